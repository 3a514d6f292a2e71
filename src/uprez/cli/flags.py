"""The flags that several verbs share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sane(path: Path | None) -> Path | None:
    """Refuse a path that the system cannot even look up, such as one with a name of 300 letters."""
    try:
        if path is not None:
            path.exists()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{str(path)[:60]}... cannot be a path: {error.args[-1]}") from error
    return path


Scale = Annotated[str | None, typer.Option(help="Output side over input side, 1 to 4 (default 2).", metavar="NUMBER")]
Model = Annotated[str | None, typer.Option(help="See: uprez models list.", metavar="NAME")]
Mode = Annotated[str | None, typer.Option(help="upscale (interp and both come with RIFE).", metavar="MODE")]
Codec = Annotated[str | None, typer.Option(help="auto, h264, hevc or ffv1 (lossless).", metavar="NAME")]
Crf = Annotated[int | None, typer.Option(help="Constant quality in the codec's scale; lower is better.", metavar="N")]
Start = Annotated[str | None, typer.Option(help="Begin here: seconds or h:mm:ss.", metavar="TIME")]
Duration = Annotated[str | None, typer.Option(help="Process this much of the video.", metavar="TIME")]
SegmentFrames = Annotated[
    int | None, typer.Option(help="Frames per segment, the unit of checkpoint (default: by time).", metavar="N")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON event a line; the last is the results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
