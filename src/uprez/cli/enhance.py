"""`uprez enhance INPUT OUTPUT`: one file, here and now."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated

import typer

from uprez.cli import flags


def enhance(
    input: Annotated[Path, typer.Argument(callback=flags.sane, help="A video.")],  # noqa: A002  the argument's name
    output: Annotated[
        Path, typer.Argument(callback=flags.sane, help="The file to make, .mp4 or .mkv; it must not exist.")
    ],
    start: flags.Start = None,
    duration: flags.Duration = None,
    scale: flags.Scale = None,
    model: flags.Model = None,
    mode: flags.Mode = None,
    codec: flags.Codec = None,
    crf: flags.Crf = None,
    segment_frames: flags.SegmentFrames = None,
    as_json: flags.Json = False,
    verbose: flags.Verbose = False,
) -> None:
    """Enhance one video into one file. Interrupted, it goes on from its last checkpoint when run again."""
    from uprez import batch  # for its weight: --help must not load the media libraries
    from uprez.config.environment import folders
    from uprez.config.layers import load
    from uprez.errors import UsageError
    from uprez.report.console import Console

    if not input.is_file():
        raise UsageError(f"{input} is not a file")
    if output.exists() and input.samefile(output):
        raise UsageError(f"{output} is the input itself", hint="choose another name for the output")
    parent = output.absolute().parent
    # Checkpoints go to this machine's state folder: nobody expects a hidden folder beside the one file asked for.
    prefix = folders()[0] / "enhance" / hashlib.sha256(str(parent).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    settings = load(
        {
            "input": input,
            "output_dir": parent,
            "state_prefix": prefix,
            "name": output.name,
            "exact": True,
            "start": start,
            "duration": duration,
            "scale": scale,
            "model": model,
            "mode": mode,
            "codec": codec,
            "crf": crf,
            "segment_frames": segment_frames,
        }
    )
    if settings.options.container == "auto":
        raise UsageError(f"{output} has no suffix that uprez writes", hint="name it .mp4 or .mkv")
    raise typer.Exit(asyncio.run(batch.run(settings, Console(as_json=as_json, verbose=verbose))))
