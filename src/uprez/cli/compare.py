"""`uprez compare A B`: how like two videos are, in figures and in one picture."""

from __future__ import annotations

import json
import math
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.cli import video
from uprez.errors import EXIT_OK, StoreError, UsageError

if TYPE_CHECKING:
    from uprez.media.compare import Comparison, File, Score


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=video.HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help="Another; of any size, rate and colour.")],
    *,
    at: Annotated[
        str | None, typer.Option(help="Only the frame shown then, after the first one: 1.5, 1:02:03.", metavar="TIME")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Only so many frames, spread evenly.", metavar="N")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            callback=shared.sane,
            help="Put the worst frame, or the one of --at, side by side into this file (.png).",
            metavar="FILE",
        ),
    ] = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Say how far B is from A: frames, times, and PSNR and SSIM of luma. Frames are paired by their times."""
    from uprez.market.local import cores  # for their weight
    from uprez.media import compare as media
    from uprez.media import probe
    from uprez.report.console import printable

    wanted = _time(at, frames)
    _check_picture(picture)
    urls = [video.readable(each, config) for each in (first, second)]
    one, other = (media.File(url=url, index=probe.index(url)) for url in urls)
    found = media.compare(one, other, at=wanted, count=frames, threads=cores())
    if picture is not None:
        _write(picture, one, other, found.worst)
    said = media.notes(one, other, found)
    if as_json:
        typer.echo(json.dumps(_document(one, other, found, said)))
    else:
        lines = _lines((first, second), (one, other), found, said)
        typer.echo("\n".join(printable(line) for line in lines))
    raise typer.Exit(EXIT_OK)


def _time(at: str | None, frames: int | None) -> Fraction | None:
    from uprez.config.kinds import TIME, seconds  # for its weight

    if at is not None and frames is not None:
        raise UsageError("--at names one frame, and --frames several", hint="give one of the two")
    if frames is not None and frames < 1:
        raise UsageError(f"--frames {frames} is nothing to compare", hint="give 1 or more, or leave it out for all")
    if at is None:
        return None
    try:
        return seconds(at)
    except ValueError as error:
        raise UsageError(f"--at {at} {error}", hint=TIME.allowed) from error


# --- the picture


def _check_picture(path: Path | None) -> None:
    """Refuse, before anything is decoded, what could not be written after."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UsageError(f"--picture {path} is no name of a PNG file", hint="name it .png")
    if os.path.lexists(path):
        raise UsageError(f"--picture {path} exists already: it is left as it is", hint="choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"--picture {path}: there is no folder {path.parent}", hint="make it, or choose another")


def _write(path: Path, one: File, other: File, score: Score) -> None:
    """Write beside, then give it its name, which nothing may have taken meanwhile."""
    from uprez.market.local import cores  # for their weight
    from uprez.media import compare as media
    from uprez.media import stills

    data = stills.png(media.picture(one, other, score.pair, threads=cores()))
    try:
        with tempfile.TemporaryDirectory(prefix=".uprez-", dir=path.parent) as folder:
            beside = Path(folder) / path.name
            beside.write_bytes(data)
            path.hardlink_to(beside)
    except FileExistsError as error:
        raise UsageError(f"--picture {path} exists already: it is left as it is", hint="choose another name") from error
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}", hint="choose another place with --picture") from error


# --- words


def _document(one: File, other: File, found: Comparison, notes: list[str]) -> dict[str, object]:
    return {
        "videos": [
            {"width": size[0], "height": size[1], "frames": len(file.index.pts), "seconds": float(file.times[-1])}
            for file, size in ((file, file.index.video.shown_size) for file in (one, other))
        ],
        "compared_at": {"width": found.size[0], "height": found.size[1]},
        "pairs": len(found.pairs),
        "measured": len(found.scores),
        "largest_time_difference_s": float(found.apart),
        "psnr_db": _figures(found.psnr, found.psnr_of(found.worst), found.worst),
        "ssim": _figures(found.ssim, found.worst_ssim.ssim, found.worst_ssim),
        "notes": notes,
    }


def _figures(average: float, worst: float, score: Score) -> dict[str, float | None]:
    """Give what JSON can hold: no PSNR is that of equal pictures."""
    mean, least = (None if math.isinf(value) else round(value, 6) for value in (average, worst))
    return {"average": mean, "worst": least, "worst_at_s": float(score.pair.at)}


def _lines(names: tuple[str, str], files: tuple[File, File], found: Comparison, notes: list[str]) -> list[str]:
    rows = [
        *((letter, _file(file)) for letter, file in zip("AB", files, strict=True)),
        ("pairs", _pairs(found)),
        ("times", _times(found)),
        ("PSNR", _psnr(found)),
        ("SSIM", f"{found.ssim:.4f}{_at_worst(found, f'{found.worst_ssim.ssim:.4f}', found.worst_ssim)}"),
        *(("note", note) for note in notes),
    ]
    return [*names, *(f"  {name:<7}{text}" for name, text in rows)]


def _file(file: File) -> str:
    index = file.index
    width, height = index.video.shown_size
    length = video.clock(file.times[-1])
    return f"{index.video.codec} {width}x{height} {index.video.pix_fmt}, {len(index.pts)} frames, {length}"


def _pairs(found: Comparison) -> str:
    width, height = found.size
    measured = "all measured" if len(found.scores) == len(found.pairs) else f"{len(found.scores)} measured"
    return f"{len(found.pairs)} by time, {measured}, at {width}x{height}"


def _times(found: Comparison) -> str:
    return f"differ by up to {float(found.apart * 1000):.2f} ms" if found.apart else "are equal"


def _psnr(found: Comparison) -> str:
    worst = found.psnr_of(found.worst)
    if math.isinf(worst):
        return "equal in all that was measured"
    return f"{_decibels(found.psnr)}{_at_worst(found, _decibels(worst), found.worst)}"


def _decibels(value: float) -> str:
    return f"{value:.2f} dB"


def _at_worst(found: Comparison, value: str, score: Score) -> str:
    at = video.clock(score.pair.at)
    return f" at {at}" if len(found.scores) == 1 else f" on average, {value} at worst, at {at}"
