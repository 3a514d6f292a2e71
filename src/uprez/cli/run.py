"""`uprez run`: enhance every video of a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from uprez.cli import flags


def run(
    input_dir: Annotated[
        Path | None,
        typer.Option(callback=flags.sane, help="Folder to search for videos, with its subfolders (default ./input)."),
    ] = None,
    input: Annotated[Path | None, typer.Option(callback=flags.sane, help="One video instead.")] = None,  # noqa: A002  the flag's name
    output_dir: Annotated[
        Path | None, typer.Option(callback=flags.sane, help="Where results go (default ./output).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the only output.")] = None,
    start: flags.Start = None,
    duration: flags.Duration = None,
    scale: flags.Scale = None,
    model: flags.Model = None,
    mode: flags.Mode = None,
    codec: flags.Codec = None,
    crf: flags.Crf = None,
    segment_frames: flags.SegmentFrames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
    as_json: flags.Json = False,
    verbose: flags.Verbose = False,
) -> None:
    """Enhance every video of a folder. Finished work is skipped, interrupted work goes on: just run it again."""
    from uprez import batch  # for its weight: --help must not load the media libraries
    from uprez.config.layers import load
    from uprez.errors import UsageError
    from uprez.report.console import Console

    if input is not None and input_dir is not None:
        raise UsageError("--input and --input-dir exclude each other", hint="give one of them")
    if input is not None and not input.is_file():
        raise UsageError(f"--input {input} is not a file", hint="a folder is given with --input-dir")
    settings = load(
        {
            "input_dir": input_dir,
            "input": input,
            "output_dir": output_dir,
            "name": name,
            "start": start,
            "duration": duration,
            "scale": scale,
            "model": model,
            "mode": mode,
            "codec": codec,
            "crf": crf,
            "segment_frames": segment_frames,
            "dry_run": dry_run,
        }
    )
    raise typer.Exit(asyncio.run(batch.run(settings, Console(as_json=as_json, verbose=verbose))))
