"""Assembly: the segments' packets with times from the timeline; everything else from the source, once, untouched."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream as AvStream
from av.video.stream import VideoStream

from uprez.errors import VerifyError
from uprez.job import Index, Plan, Segment, Stream, StreamKind, Video
from uprez.media import matroska
from uprez.media.encode import extradata_sha256
from uprez.media.packets import clock_of, is_broken, packets
from uprez.media.source import AnyPacket, fraction, opened
from uprez.media.timeline import Timeline, planned

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists in PyAV's stubs only

_LOSSY_SOUND = ("aac", "ac3", "dts", "eac3", "mp2", "mp3", "opus", "vorbis")
_LOSSLESS_SOUND = ("alac", "flac", "mlp", "truehd", "tta", "wavpack")
_PCM_SOUND = (
    *("pcm_f32le", "pcm_f64le", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_u8"),
)

CARRIES: dict[str, dict[StreamKind, frozenset[str]]] = {
    "mp4": {
        "audio": frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}),
        "subtitle": frozenset({"mov_text"}),
    },
    "mov": {
        "audio": frozenset({"aac", "ac3", "alac", "eac3", "mp3", *_PCM_SOUND}),
        "subtitle": frozenset({"mov_text"}),
    },
    "mkv": {
        "audio": frozenset((*_LOSSY_SOUND, *_LOSSLESS_SOUND, *_PCM_SOUND)),
        "subtitle": frozenset({"ass", "dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "ssa", "subrip", "webvtt"}),
    },
}
"""What each container holds unchanged, by kind of stream and FFmpeg's codec name."""

PRIMING = 1
"""Packets of sound that a decoder hears before the first that a person does."""
PICTURES = {
    "mp4": frozenset({"h264", "hevc", "av1"}),
    "mov": frozenset({"h264", "hevc", "prores"}),
    "mkv": frozenset({"h264", "hevc", "av1", "prores", "ffv1"}),
}
"""The codecs of results that each container takes."""
_FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
"""Metadata that describes the source's file and would be wrong in another."""


def container_for(video: Video, codec: str) -> str:
    """Give the suffix of a result: "mp4" when the source is MP4 or QuickTime and all of it fits there, else "mkv"."""
    played = [stream for stream in video.others if stream.kind in ("audio", "subtitle")]
    fits = codec in PICTURES["mp4"] and all(_fits(stream, "mp4") for stream in played)
    return "mp4" if video.is_of("mov") and fits else "mkv"


def carried(video: Video, container: str) -> tuple[Stream, ...]:
    """List the streams beside the picture that a result holds, in file order."""
    return tuple(stream for stream in video.others if _fits(stream, container))


def left_behind(video: Video, container: str) -> tuple[str, ...]:
    """Name, for a warning, the source's streams that a result of this container does not hold."""
    return tuple(
        f"stream {stream.index} ({stream.kind}, {stream.codec})"
        for stream in video.others
        if not _fits(stream, container) and stream.codec != "bin_data"  # an MP4's chapter titles, which are copied
    )


def _fits(stream: Stream, container: str) -> bool:
    return stream.codec in CARRIES[container].get(stream.kind, frozenset())


def assemble(target: Path, *, plan: Plan, index: Index, segments: Sequence[Path], source_url: str) -> None:
    """Write the result from a plan's segments, given in order, and the source.

    Packets of sound that are so damaged that no file takes them are left out. Raises VerifyError when a segment is not
    the plan's or the target cannot be written (nothing stays there then), and InputError when the source cannot be
    read.
    """
    times = planned(index, plan)
    delay = _reorder_delay(plan, segments)
    with ExitStack() as stack:
        source = stack.enter_context(opened(source_url))
        first = stack.enter_context(opened(segments[0].resolve().as_uri()))
        stack.enter_context(_removed_on_error(target))
        output = stack.enter_context(
            _output(target, plan, _movie_timescale(source, index.video, times, plan.container))
        )
        with _writing(target):
            picture = _add_picture(output, first.streams.video[0], source, index, times, plan)
            others = _add_others(output, source, index.video, plan.container)
            _copy_headers(output, source, times)
        pictures = _pictures(plan, segments, times, delay, picture)
        rest = _rest(taken(source_url, source, others, times, whole=plan.count == len(index.pts)), others)
        _write(output, heapq.merge(pictures, rest, key=_decoding_time), target)
    sar = index.video.shown_sar
    if plan.container == "mkv" and sar != 1:
        matroska.state_shape(target, plan.width, plan.height, sar)


# --- the picture: packets from the segments, times from the timeline


def _reorder_delay(plan: Plan, segments: Sequence[Path]) -> int:
    """Say by how many frames decoding must run ahead of showing: one number for all segments, so that they join."""
    if len(segments) != len(plan.segments):
        raise VerifyError(f"{len(segments)} segments are there, the plan has {len(plan.segments)}")
    return max(
        _delay(_ranks(_packets_of(path, plan, segment))) for path, segment in zip(segments, plan.segments, strict=True)
    )


def _packets_of(path: Path, plan: Plan, segment: Segment) -> list[AnyPacket]:
    with opened(path.resolve().as_uri()) as container:
        stream = container.streams.video[0]
        _check_extradata(stream, plan, path)
        packets = [cast("AnyPacket", packet) for packet in container.demux(stream) if packet.size]
    if len(packets) != segment.count:
        raise VerifyError(f"{path}: {len(packets)} frames, the plan says {segment.count}")
    return packets


def _check_extradata(stream: VideoStream, plan: Plan, path: Path) -> None:
    got, due = extradata_sha256(stream), plan.preflight.extradata_sha256
    if got != due:
        raise VerifyError(
            f"{path}: made with other encoder settings than the plan's (extradata {got[:12]}, the plan has {due[:12]})"
        )


def _ranks(packets: Sequence[AnyPacket]) -> list[int]:
    """Give each packet's place in the order of showing; packets come in the order of decoding."""
    shown = sorted(packet.pts or 0 for packet in packets)
    return [bisect_left(shown, packet.pts or 0) for packet in packets]


def _delay(ranks: Sequence[int]) -> int:
    return max(place - rank for place, rank in enumerate(ranks))


def _pictures(
    plan: Plan, segments: Sequence[Path], times: Timeline, delay: int, stream: AvStream
) -> Iterator[AnyPacket]:
    decoding = _decoding_times(times, delay)
    ends = (*times.pts[1:], times.end)
    for path, segment in zip(segments, plan.segments, strict=True):
        packets = _packets_of(path, plan, segment)
        for place, (packet, rank) in enumerate(zip(packets, _ranks(packets), strict=True)):
            packet.stream = stream
            packet.time_base = times.time_base
            packet.pts = times.pts[segment.first + rank]
            packet.dts = decoding[segment.first + place]
            packet.duration = ends[segment.first + rank] - packet.pts
            yield packet


def _decoding_times(times: Timeline, delay: int) -> list[int]:
    """Give ascending decoding times, each at or before its packet's pts: the showing times, `delay` frames earlier."""
    step = times.pts[1] - times.pts[0] if len(times.pts) > 1 else max(1, times.end - times.pts[0])
    before = [times.pts[0] - step * ahead for ahead in range(delay, 0, -1)]
    return [*before, *times.pts][: len(times.pts)]


# --- everything else: packets from the source


def _add_others(output: OutputContainer, source: InputContainer, video: Video, container: str) -> dict[int, AvStream]:
    return {stream.index: _copy_stream(output, source.streams[stream.index]) for stream in carried(video, container)}


def _copy_stream(output: OutputContainer, template: AvStream) -> AvStream:
    stream = output.add_stream_from_template(template, opaque=True)
    stream.metadata.update(_kept(template.metadata))
    stream.disposition = template.disposition
    return stream


def taken(
    url: str, source: InputContainer, numbers: Collection[int], times: Timeline, *, whole: bool
) -> Iterator[AnyPacket]:
    """Give the packets of some streams of the source, in file order, with the result's times.

    Of a cut (`whole` is false) those that begin in it, and where it begins at 0 also what comes before (the samples by
    which a decoder gets going). Each stream's times move by one number of its own ticks.
    """
    start, end = times.origin * times.time_base, (times.origin + times.end) * times.time_base
    for packet in _heard(packets(source, clock_of(url))) if numbers else ():
        if packet.stream_index not in numbers or not packet.size or is_broken(packet):
            continue
        if whole or ((start <= 0 or start <= _showing_time(packet)) and _showing_time(packet) < end):
            _move(packet, round(start / fraction(packet.time_base)))
            yield packet


def _rest(packets: Iterable[AnyPacket], streams: dict[int, AvStream]) -> Iterator[AnyPacket]:
    for packet in packets:
        packet.stream = streams[packet.stream_index]
        yield packet


def _move(packet: AnyPacket, ticks: int) -> None:
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks


def _heard(of: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
    """Leave out what an edit list hides, which Matroska could not hide again, but for what gets a decoder going."""
    hidden: dict[int, deque[AnyPacket]] = {}
    for packet in of:
        before = hidden.setdefault(packet.stream_index, deque(maxlen=PRIMING))
        if packet.is_discard:
            before.append(packet)
            continue
        yield from before
        before.clear()
        yield packet


def _showing_time(packet: AnyPacket) -> Fraction:
    at = packet.pts if packet.pts is not None else packet.dts
    return (at or 0) * fraction(packet.time_base)


def _decoding_time(packet: AnyPacket) -> Fraction:
    at = packet.dts if packet.dts is not None else packet.pts
    return (at or 0) * fraction(packet.time_base)


# --- the file


@contextmanager
def _removed_on_error(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _output(target: Path, plan: Plan, movie_timescale: int) -> Iterator[OutputContainer]:
    # faststart: the index goes to the front, so that a player begins before all of the file is there.
    of_mp4 = {"movflags": "+faststart", "movie_timescale": str(movie_timescale)}
    options = of_mp4 if plan.container == "mp4" else {}
    with _writing(target):
        output = av.open(f"file:{target}", "w", format=_FORMATS[plan.container], container_options=options)
    try:
        yield output
    finally:
        with _writing(target):
            output.close()


def _movie_timescale(source: InputContainer, video: Video, times: Timeline, container: str) -> int:
    """Give the clock, in ticks a second, in which MP4 states how late a track begins.

    FFmpeg's own, 1000, would round that by up to half a millisecond; one that all tracks' clocks divide does not.
    """
    scale = times.time_base.denominator
    for stream in carried(video, container):
        both = lcm(scale, (source.streams[stream.index].time_base or Fraction(1)).denominator)
        scale = both if both < 2**31 else scale  # the field has 32 bits, and FFmpeg reads it as signed
    return scale


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except FFmpegError as error:
        raise VerifyError(f"{target}: cannot be written: {error}") from error


def _add_picture(
    output: OutputContainer, segment: VideoStream, source: InputContainer, index: Index, times: Timeline, plan: Plan
) -> AvStream:
    template = source.streams[index.video.stream]
    stream = output.add_stream_from_template(segment, opaque=True)
    stream.time_base = times.time_base
    stream.metadata.update(_kept(template.metadata))
    if plan.container == "mkv" and index.video.shown_sar != 1:
        stream.metadata["title"] = matroska.padded(stream.metadata.get("title", ""))
    stream.disposition = template.disposition
    if plan.container == "mp4" and plan.preflight.encoding.codec == "hevc":
        stream.codec_context.codec_tag = "hvc1"  # Apple's players refuse FFmpeg's default, hev1
    return stream


def _copy_headers(output: OutputContainer, source: InputContainer, times: Timeline) -> None:
    output.metadata.update(_kept(source.metadata))
    start, end = times.origin * times.time_base, (times.origin + times.end) * times.time_base
    output.set_chapters([moved for chapter in source.chapters() if (moved := _chapter(chapter, start, end))])


def _chapter(chapter: Chapter, start: Fraction, end: Fraction) -> Chapter | None:
    """Clip a chapter to what is taken, given in the source's seconds, and move it to the result's time."""
    tick = fraction(chapter["time_base"] or Fraction(1, av.time_base))
    first, last = max(chapter["start"] * tick, start), min(chapter["end"] * tick, end)
    if first >= last:
        return None
    moved = {"start": round((first - start) / tick), "end": round((last - start) / tick), "time_base": tick}
    return cast("Chapter", {**chapter, **moved})


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _OF_THE_FILE}


def _write(output: OutputContainer, packets: Iterable[AnyPacket], target: Path) -> None:
    for packet in packets:
        with _writing(target):
            output.mux_one(packet)
