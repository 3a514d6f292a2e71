"""`uprez probe FILE`: what a video is, as uprez sees it."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.cli.video import HELP, clock, readable
from uprez.errors import EXIT_OK

if TYPE_CHECKING:
    from uprez.job import Colour, Index, Stream, Video

_MATRICES = {
    "bt601": "BT.601",
    "bt709": "BT.709",
    "bt2020": "BT.2020",
    "fcc": "FCC",
    "smpte240m": "SMPTE 240M",
}
_TRANSFERS = {16: ", PQ (HDR10)", 18: ", HLG"}
_FIELDS = {"top": "top field first", "bottom": "bottom field first", "unknown": "field order unknown"}


def probe(
    file: Annotated[str, typer.Argument(help=HELP)],
    *,
    packets: Annotated[
        bool, typer.Option("--packets", help="Read every packet: true count, variable rate, damage.")
    ] = False,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Say what a video is: size, rate, colour, HDR, streams. Reads its headers only, unless told otherwise."""
    from uprez.media import probe as media  # for its weight
    from uprez.report.console import printable

    url = readable(file, config)
    index = media.index(url) if packets else None
    video = index.video if index else media.quick(url)
    if as_json:
        typer.echo(json.dumps(_document(video, index)))
    else:
        typer.echo("\n".join(printable(line) for line in _lines(file, video, index)))
    raise typer.Exit(EXIT_OK)


def _document(video: Video, index: Index | None) -> dict[str, object]:
    from uprez import wire  # for its weight

    facts: dict[str, object] = {"video": json.loads(wire.dump(video))}
    if index is not None:
        facts["index"] = {
            "frames": len(index.pts),
            "keyframes": len(index.keyframes),
            "vfr": index.vfr,
            "first_pts": index.pts[0],
            "end_pts": index.pts[-1] + index.last_duration,
            "time_base": str(index.time_base),
            "damaged_packets": index.damaged,
            "clock_jumps": index.breaks,
        }
    return facts


def _lines(file: str, video: Video, index: Index | None) -> list[str]:
    about = "" if index else "~"
    rate = f"{float(video.rate):.3f}".rstrip("0").rstrip(".") + " fps" if video.rate else "rate unknown"
    count = len(index.pts) if index else video.frames
    sure = "" if index or video.frames_counted else "~"
    frames = "frames unknown" if count is None else f"{sure}{count} frames"
    length = _length(index) if index else video.duration
    rows = [
        ("picture", f"{video.codec} {video.width}x{video.height}, {rate}, {frames}"),
        ("length", "unknown" if length is None else f"{about}{clock(length)}{_begins(video.start)}"),
        ("colour", _colour(video.pix_fmt, video.colour)),
        ("shown", _shown(video)),
        ("HDR", _hdr(video)),
        ("index", _index(index) if index else None),
        *((stream.kind, _stream(stream)) for stream in video.others),
        ("chapters", str(len(video.chapters)) if video.chapters else None),
        *(("note", note) for note in _notes(video)),
    ]
    title = f"{file}: {video.container.split(',')[0]}, {_size(video.size)}"
    return [title, *(f"  {name:<11}{text}" for name, text in rows if text)]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _length(index: Index) -> Fraction:
    return (index.pts[-1] + index.last_duration - index.pts[0]) * index.time_base


def _begins(start: Fraction | None) -> str:
    return f", begins at {float(start):.3f} s" if start else ""


def _colour(pix_fmt: str, colour: Colour) -> str:
    span = "full" if colour.full_range else "limited"
    if colour.family == "rgb":
        return f"{pix_fmt}, RGB, {span} range{_TRANSFERS.get(colour.tag_transfer, '')}"
    stated = "" if colour.tag_matrix != 2 else " (by its size)"
    siting = f", chroma {colour.siting}" if colour.across * colour.down > 1 else ""
    transfer = _TRANSFERS.get(colour.tag_transfer, "")
    return f"{pix_fmt}, {_MATRICES[colour.matrix]}{stated}{transfer}, {span} range{siting}"


def _shown(video: Video) -> str | None:
    parts = []
    if video.turn.mirrored:
        parts.append("mirrored")
    if video.turn.quarters:
        parts.append(f"turned by {90 * video.turn.quarters} degrees clockwise")
    if parts:
        parts.append("{}x{}".format(*video.shown_size))
    if video.sar != 1:
        parts.append(f"samples {video.sar.numerator}:{video.sar.denominator}")
    if video.interlaced:
        parts.append(f"interlaced, {_FIELDS[video.field_order]}")
    return ", ".join(parts) or None


def _hdr(video: Video) -> str | None:
    parts = list(video.dynamic_hdr)
    facts = video.mastering
    if facts and facts.luminance:
        parts.append(f"mastered at {float(facts.luminance[0]):g} to {float(facts.luminance[1]):g} cd/m2")
    if facts and (facts.max_cll or facts.max_fall):
        parts.append(f"MaxCLL {facts.max_cll or 0}, MaxFALL {facts.max_fall or 0}")
    return ", ".join(parts) or None


def _index(index: Index) -> str:
    rate = "variable rate" if index.vfr else "constant rate"
    parts = [rate, f"keyframes: {len(index.keyframes)}", f"clock 1/{index.time_base.denominator} s"]
    if index.damaged:
        parts.append(f"packets damaged: at least {index.damaged}")
    if index.breaks:
        parts.append(f"clock jumps: {index.breaks}")
    return ", ".join(parts)


def _stream(stream: Stream) -> str:
    sound = f" {stream.channels} channels {stream.sample_rate} Hz" if stream.channels else ""
    title = f' "{stream.title}"' if stream.title else ""
    words = "".join(f" {word}" for word in (stream.language, *stream.dispositions) if word)
    return f"#{stream.index} {stream.codec}{sound}{words}{title}{_begins(stream.start)}"


def _notes(video: Video) -> list[str]:
    from uprez.media import notes  # for its weight

    return notes.of_video(video)
