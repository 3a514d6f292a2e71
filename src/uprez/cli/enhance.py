"""`uprez enhance INPUT OUTPUT`: one file, here and now."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from uprez.cli import flags as shared


@shared.with_settings(shared.PICTURE)
def enhance(
    input: Annotated[Path, typer.Argument(callback=shared.sane, help="A video.")],  # noqa: A002  the argument's name
    output: Annotated[
        Path, typer.Argument(callback=shared.sane, help="The file to make: .mp4, .mkv or .mov; it must not exist.")
    ],
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: shared.Json = False,
    verbose: shared.Verbose = False,
) -> None:
    """Enhance one video into one file. Interrupted, it goes on from its last checkpoint when run again."""
    from uprez import batch  # for its weight: --help must not load the media libraries
    from uprez.config.layers import load_one
    from uprez.errors import UsageError
    from uprez.report.console import Console

    for given in (input, output):
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(given)):
            raise UsageError(
                f"{given} is an address, and enhance works on files here",
                hint="uprez run --input ADDRESS --output-dir PLACE does it",
            )
    if not input.is_file():
        raise UsageError(f"{input} is not a file")
    if output.exists() and input.samefile(output):
        raise UsageError(f"{output} is the input itself", hint="choose another name for the output")
    if output.suffix.lower() not in (".mp4", ".mkv", ".mov"):
        raise UsageError(f"{output} has no suffix that uprez writes", hint="name it .mp4, .mkv or .mov")
    settings = load_one(input, output, flags, config=config, preset=preset)
    console = Console(as_json=as_json, verbose=verbose, beside=True)
    shared.tell(settings.notes, console.line)
    raise typer.Exit(asyncio.run(batch.run(settings, console)))
