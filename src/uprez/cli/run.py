"""`uprez run`: enhance every video of a folder, of a bucket's prefix, or one by its address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from uprez.cli import flags as shared


@shared.with_settings()
def run(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave the work to the rented machines and return (as --no-wait).")
    ] = False,
    as_json: shared.Json = False,
    verbose: shared.Verbose = False,
) -> None:
    """Enhance every video of a folder. Finished work is skipped, interrupted work goes on: just run it again."""
    from uprez import batch  # for its weight: --help must not load the media libraries
    from uprez.config.layers import load
    from uprez.report.console import Console

    settings = load({**flags, "wait": False} if detach else flags, config=config, preset=preset)
    console = Console(as_json=as_json, verbose=verbose, beside=True)
    shared.tell(settings.notes, console.line)
    raise typer.Exit(asyncio.run(batch.run(settings, console)))
