"""Assembly: the segments' packets with times from the timeline; everything else from the source, once, untouched."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream as AvStream
from av.video.stream import VideoStream

from uprez.errors import StoreError, VerifyError
from uprez.job import Index, Plan, Segment, Stream, Video
from uprez.media import extras, matroska, subtitles
from uprez.media.containers import FORMATS, QUICKTIME, carried, copied, language_in
from uprez.media.encode import DISK, extradata_sha256
from uprez.media.packets import clock_of, is_broken, packets
from uprez.media.source import AnyPacket, demuxed, fraction, opened
from uprez.media.timeline import Timeline, planned

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists in PyAV's stubs only

PRIMING = 1
"""Packets of sound that a decoder hears before the first that a person does."""
_APPLE = "com.apple.quicktime."
_INTERLEAVED_US = "1000000"
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
"""Metadata that describes the source's file and would be wrong in another."""


def assemble(target: Path, *, plan: Plan, index: Index, segments: Iterable[Path], delay: int, source_url: str) -> None:
    """Write the result from a plan's segments, given in order, and the source.

    Segments are taken one at a time, and each is done with when the next is asked for: they need not all be there at
    once. `delay` is by how many frames decoding runs ahead of showing in any of them (`reorder_delay`).

    Packets of sound that are so damaged that no file takes them are left out. Raises VerifyError when a segment is not
    the plan's or the target cannot be written (nothing stays there then), and InputError when the source cannot be
    read.
    """
    times, video = planned(index, plan), index.video
    coming = iter(segments)
    first = next(coming)
    with ExitStack() as stack:
        source = stack.enter_context(opened(source_url))
        stack.enter_context(_removed_on_error(target))
        output = stack.enter_context(
            _output(target, plan, _movie_timescale(source, video, times, plan.container), source.metadata)
        )
        with _writing(target), opened(first.resolve().as_uri()) as segment:
            picture = _add_picture(output, segment.streams.video[0], source, index, times, plan)
        with _writing(target):
            others = _add_others(output, source, video, plan.container)
            covers = extras.add(output, source, source_url, video, plan.container)
            _copy_headers(output, source, times)
        pictures = _pictures(plan, chain((first,), coming), times, delay, picture)
        packets = taken(source_url, source, others, times, whole=plan.count == len(index.pts))
        _write(
            output,
            chain(covers, heapq.merge(pictures, _rest(packets, others, plan.container), key=_decoding_time)),
            target,
        )
    sar = index.video.shown_sar
    if plan.container == "mkv" and sar != 1:
        matroska.state_shape(target, plan.width, plan.height, sar)


# --- the picture: packets from the segments, times from the timeline


def reorder_delay(shown: Sequence[int]) -> int:
    """Say by how many frames decoding runs ahead of showing, from the pts of packets in the order of decoding."""
    return max((place - rank for place, rank in enumerate(_ranks(shown))), default=0)


def _shown(path: Path, plan: Plan, segment: Segment) -> list[int]:
    """Give the pts of a segment's packets in file order; raises VerifyError where it is not the plan's."""
    with opened(path.resolve().as_uri()) as container:
        stream = container.streams.video[0]
        got, due = extradata_sha256(stream), plan.preflight.extradata_sha256
        if got != due:
            raise VerifyError(
                f"{path.name} (segment {segment.number + 1}): made with other encoder settings than the plan's"
                f" (extradata {got[:12]}, the plan has {due[:12]})"
            )
        shown = [packet.pts or 0 for packet in container.demux(stream) if packet.size]
    if len(shown) != segment.count:
        raise VerifyError(f"{path.name}: {len(shown)} frames, the plan says {segment.count}")
    return shown


def _ranks(shown: Sequence[int]) -> list[int]:
    """Give each packet's place in the order of showing; packets come in the order of decoding."""
    in_order = sorted(shown)
    return [bisect_left(in_order, pts) for pts in shown]


def _pictures(
    plan: Plan, segments: Iterable[Path], times: Timeline, delay: int, stream: AvStream
) -> Iterator[AnyPacket]:
    """Give the segments' packets one by one: one segment may be larger than the memory."""
    decoding, ends, coming = _decoding_times(times, delay), (*times.pts[1:], times.end), iter(segments)
    for segment in plan.segments:
        path = next(coming, None)
        if path is None:
            raise VerifyError(f"{segment.number} segments are there, the plan has {len(plan.segments)}")
        ranks = _ranks(_shown(path, plan, segment))
        if (ahead := max(place - rank for place, rank in enumerate(ranks))) > delay:
            raise VerifyError(f"{path.name}: decoding runs {ahead} frames ahead, {delay} were to be expected")
        with opened(path.resolve().as_uri()) as container:
            packets = (packet for packet in demuxed(container, container.streams.video[0]) if packet.size)
            for place, (packet, rank) in enumerate(zip(packets, ranks, strict=True)):
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
    """Add the streams whose packets are copied; by their number in the source."""
    streams = copied(video, container)
    return {each.index: _add_other(output, source.streams[each.index], each, container) for each in streams}


def _add_other(output: OutputContainer, template: AvStream, stream: Stream, container: str) -> AvStream:
    if subtitles.becomes_subrip(stream, container):
        added: AvStream = output.add_mux_stream("subrip")
        added.time_base = fraction(template.time_base or Fraction(1, 1000))
    else:
        added = output.add_stream_from_template(template, opaque=True)
    added.metadata.update(_of_stream(template.metadata))
    if stream.language:
        added.metadata["language"] = language_in(container, stream.language)
    added.disposition = template.disposition
    return added


def taken(
    url: str, source: InputContainer, numbers: Collection[int], times: Timeline, *, whole: bool
) -> Iterator[AnyPacket]:
    """Give the packets of some streams of the source, in file order, with the result's times.

    Of a cut (`whole` is false) those that begin in it, and where it begins at 0 also what comes before (the samples by
    which a decoder gets going). Each stream's times move by one number of its own ticks.
    """
    start, end = times.origin * times.time_base, (times.origin + times.end) * times.time_base
    for packet in heard(packets(source, clock_of(url))) if numbers else ():
        if packet.stream_index not in numbers or not packet.size or is_broken(packet):
            continue
        if whole or ((start <= 0 or start <= showing_time(packet)) and showing_time(packet) < end):
            move(packet, round(start / fraction(packet.time_base)))
            yield packet


def _rest(packets: Iterable[AnyPacket], streams: dict[int, AvStream], container: str) -> Iterator[AnyPacket]:
    for packet in packets:
        stream = streams[packet.stream_index]
        if not subtitles.is_text(packet):
            packet.stream = stream
            yield packet
        elif subtitles.text_of(bytes(packet)):  # of a gap MP4's muxer makes a packet itself, and Matroska has none
            yield subtitles.written(packet, stream, container)


def move(packet: AnyPacket, ticks: int) -> None:
    """Let a packet come so many of its ticks earlier."""
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks


def heard(of: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
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


def showing_time(packet: AnyPacket) -> Fraction:
    """Give the seconds at which a packet is heard or shown."""
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
def _output(target: Path, plan: Plan, movie_timescale: int, metadata: dict[str, str]) -> Iterator[OutputContainer]:
    # Where a telephone took a video, and with what, is in keys that only this form of metadata holds.
    apple = "+use_metadata_tags" if any(key.startswith(_APPLE) for key in metadata) else ""
    # faststart: the index goes to the front, so that a player begins before all of the file is there.
    of_mp4 = {"movflags": f"+faststart{apple}", "movie_timescale": str(movie_timescale)}
    # Packets come in order already; the muxer would hold back ten seconds of pictures to wait for a subtitle.
    options = {"max_interleave_delta": _INTERLEAVED_US}
    # Otherwise Matroska's muxer marks a first track as default where the source marks none.
    options |= of_mp4 if plan.container in QUICKTIME else {"default_mode": "passthrough"}
    with _writing(target):
        output = av.open(f"file:{target}", "w", format=FORMATS[plan.container], container_options=options)
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
        if error.errno in DISK:
            raise StoreError(f"{target}: {error.strerror}", hint="is the disk full?") from error
        raise VerifyError(f"{target}: cannot be written: {error}") from error


def _add_picture(
    output: OutputContainer, segment: VideoStream, source: InputContainer, index: Index, times: Timeline, plan: Plan
) -> AvStream:
    template = source.streams[index.video.stream]
    stream = output.add_stream_from_template(segment, opaque=True)
    stream.time_base = times.time_base
    stream.metadata.update(_of_stream(template.metadata))
    if plan.container == "mkv" and index.video.shown_sar != 1:
        stream.metadata["title"] = matroska.padded(stream.metadata.get("title", ""))
    stream.disposition = template.disposition
    if plan.container in QUICKTIME:
        _state_in_quicktime(stream, segment, index.video.shown_sar, plan.preflight.encoding.codec)
    return stream


def _state_in_quicktime(stream: VideoStream, segment: VideoStream, sar: Fraction, codec: str) -> None:
    """Say what FFmpeg's muxer would not take from a segment."""
    stream.codec_context.sample_aspect_ratio = sar  # AV1 and ProRes do not hold it themselves
    if codec == "hevc":
        stream.codec_context.codec_tag = "hvc1"  # Apple's players refuse FFmpeg's default, hev1
    if codec == "prores":  # the profile; a Matroska file has it in place of extradata
        stream.codec_context.codec_tag = bytes(segment.codec_context.extradata or b"apch").decode("ascii")


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


def _of_stream(metadata: dict[str, str]) -> dict[str, str]:
    """A stream's title is its "name" where FFmpeg reads MP4, and its "title" where it writes."""
    kept = _kept(metadata)
    name = kept.pop("name", None)
    return kept if name is None else {"title": name, **kept}


def _write(output: OutputContainer, packets: Iterable[AnyPacket], target: Path) -> None:
    for packet in packets:
        with _writing(target):
            output.mux_one(packet)
