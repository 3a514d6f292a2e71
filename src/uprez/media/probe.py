"""What a video is: `quick` from its headers and first frame, `index` from every packet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from threading import Lock
from typing import Protocol, cast

import av
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.stream import Stream as AvStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uprez.errors import InputError
from uprez.job import Colour, Index, Stream, StreamKind, Video
from uprez.media.colour import colour_of
from uprez.media.source import fraction, opened, shown

PIX_FMTS = ("yuv420p", "yuvj420p")
MAX_SIDE = 16384
MAX_RATE = 1000
"""Frames a second. More is a clock's rate, which stands in the frame rate's place when a remux left that out."""

_INTERLACED_ORDERS = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT
_IDENTITY_MATRIX = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_KINDS: dict[str, StreamKind] = {"video": "video", "audio": "audio", "subtitle": "subtitle", "attachment": "attachment"}
_logging = Lock()


def quick(url: str) -> Video:
    """Say what a video is from its headers and its first frame.

    Raises InputError, in one line, for what is not a video and for what this version cannot enhance correctly.
    """
    name = shown(url)
    with opened(url) as container:
        stream = _picture(container, name)
        described = _described(container, stream.index)
        _check_size(stream, name)
        _check_scan(stream, name)
        _check_first_frame(container, stream, name)
        return _video(container, stream, _colour(stream, described, name), name)


def index(url: str) -> Index:
    """Read every packet and say when each frame is shown.

    Raises InputError for a file that ends early, for damaged packets and for frames without a time of their own.
    """
    name = shown(url)
    video = quick(url)
    with opened(url) as container:
        stream = container.streams[video.stream]
        promised = _promised(stream, video)
        walk = _walk(container, stream, name)
        _check_complete(container, video, walk, promised, name)
    return _index(video, walk, name)


# --- the picture's stream and its checks


def _picture(container: InputContainer, name: str) -> VideoStream:
    moving = [stream for stream in container.streams.video if not _is_cover(stream)]
    if moving:
        return moving[0]
    if not len(container.streams):
        raise InputError(f"{name}: no stream at all")
    kinds = sorted({"cover art" if stream.type == "video" else stream.type for stream in container.streams})
    raise InputError(f"{name}: no video stream: {' and '.join(kinds)} only")


def _is_cover(stream: AvStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _check_size(stream: VideoStream, name: str) -> None:
    # A stream whose codec FFmpeg does not know has no context, although PyAV's types promise one.
    if cast("object | None", stream.codec_context) is None:
        raise InputError(f"{name}: its video codec cannot be decoded here")
    if stream.pix_fmt not in PIX_FMTS:
        raise InputError(f"{name}: pixel format {stream.pix_fmt} is not supported; 8-bit 4:2:0 ({PIX_FMTS[0]}) works")
    size = f"{stream.width}x{stream.height}"
    if not (0 < stream.width <= MAX_SIDE and 0 < stream.height <= MAX_SIDE):
        raise InputError(f"{name}: size {size} is out of range; 2 to {MAX_SIDE} pixels a side work")
    if stream.width % 2 or stream.height % 2:
        raise InputError(f"{name}: odd size {size} is not supported; even sides work")


def _check_scan(stream: VideoStream, name: str) -> None:
    if stream.codec_context.field_order in _INTERLACED_ORDERS:
        raise InputError(f"{name}: interlaced video is not supported; deinterlace it first")


def _check_first_frame(container: InputContainer, stream: VideoStream, name: str) -> None:
    frame = next(container.decode(stream), None)
    if frame is None:
        raise InputError(f"{name}: not one frame of its video can be decoded")
    if frame.interlaced_frame:
        raise InputError(f"{name}: interlaced video is not supported; deinterlace it first")
    if _turned(frame):
        raise InputError(
            f"{name}: the video is to be shown turned or mirrored (display matrix, {frame.rotation} degrees), which is"
            " not supported; upright video works"
        )


def _turned(frame: VideoFrame) -> bool:
    matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    return matrix is not None and tuple(memoryview(bytes(matrix)).cast("i")) != _IDENTITY_MATRIX


# --- facts from the headers


def _video(container: InputContainer, stream: VideoStream, colour: Colour, name: str) -> Video:
    duration = _duration(container, stream)
    rate = _rate(stream)
    return Video(
        container=container.format.name,
        size=container.size,
        stream=stream.index,
        codec=_codec(stream),
        width=stream.width,
        height=stream.height,
        pix_fmt=str(stream.pix_fmt),
        sar=fraction(stream.sample_aspect_ratio or Fraction(1)),
        rate=rate,
        time_base=_time_base(stream, name),
        duration=duration,
        frames=stream.frames or (round(duration * rate) if duration and rate else None),
        colour=colour,
        others=tuple(_other(each) for each in container.streams if each.index != stream.index),
    )


def _time_base(stream: AvStream, name: str) -> Fraction:
    if not stream.time_base:
        raise InputError(f"{name}: its video stream has no time base")
    return fraction(stream.time_base)


def _rate(stream: VideoStream) -> Fraction | None:
    stated = (stream.average_rate, stream.guessed_rate)
    return next((fraction(rate) for rate in stated if rate and 0 < rate <= MAX_RATE), None)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None


def _other(stream: AvStream) -> Stream:
    return Stream(
        index=stream.index,
        kind=_KINDS.get(stream.type, "data"),
        codec="cover art" if _is_cover(stream) else _codec(stream),
        language=stream.language,
        title=stream.metadata.get("title"),
    )


def _codec(stream: AvStream) -> str:
    if cast("object | None", stream.codec_context) is not None:
        return stream.codec_context.codec.canonical_name
    return stream.name or "unknown"


def _colour(stream: VideoStream, described: str, name: str) -> Colour:
    siting = re.search(r"\((?:[^()]*, )?(left|center|topleft|top|bottomleft|bottom)\)", described)
    try:
        return colour_of(
            matrix=stream.colorspace,
            primaries=stream.color_primaries,
            transfer=stream.color_trc,
            full_range=stream.color_range == 2 or stream.pix_fmt == "yuvj420p",
            siting=siting[1] if siting else None,
            width=stream.width,
            height=stream.height,
        )
    except InputError as error:
        raise InputError(f"{name}: {error.message}") from error


def _described(container: InputContainer, number: int) -> str:
    """Give FFmpeg's line about a stream: the only way by which PyAV tells the chroma location (as of 19.0).

    FFmpeg is silent otherwise, so its log is opened for this moment; what other threads say meanwhile is dropped.
    """
    with _logging, av.logging.Capture(local=False):
        av.logging.set_level(av.logging.VERBOSE)
        av.logging.set_libav_level(av.logging.VERBOSE)
        try:
            text = cast("_Dumps", container).dumps_format()
        finally:
            av.logging.set_libav_level(av.logging.INFO)
            av.logging.set_level(None)  # back to PyAV's own setting
    return next((line for line in text.splitlines() if re.match(rf"\s*Stream #0:{number}\D.*Video:", line)), "")


class _Dumps(Protocol):  # PyAV 18's stub forgets this method
    def dumps_format(self) -> str: ...


# --- every packet


@dataclass(frozen=True, kw_only=True)
class _Walk:
    shown: tuple[tuple[int, bool, int], ...]
    """Of each frame: pts, whether it is a keyframe, duration in ticks (0: not stated); in file order."""
    packets: int
    """All packets of the picture, those that an edit list hides included."""
    end: Fraction
    """Seconds at which the last packet of any stream ends."""

    @property
    def hidden(self) -> int:
        return self.packets - len(self.shown)


def _walk(container: InputContainer, picture: AvStream, name: str) -> _Walk:
    shown: list[tuple[int, bool, int]] = []
    packets, end = 0, Fraction(0)
    for packet in _packets(container):
        end = max(end, _packet_end(packet))
        if packet.stream_index != picture.index:
            continue
        packets += 1
        if packet.is_corrupt:
            raise InputError(f"{name}: packet {packets} of its video is damaged or cut off (is the file truncated?)")
        if packet.is_discard:
            continue
        if packet.pts is None:
            raise InputError(f"{name}: packet {packets} of its video has no time", hint="remux it to Matroska first")
        shown.append((packet.pts, packet.is_keyframe, packet.duration or 0))
    return _Walk(shown=tuple(shown), packets=packets, end=end)


def _packets(container: InputContainer) -> Iterator[Packet[AvStream]]:
    for packet in container.demux():
        if packet.size or packet.dts is not None:  # PyAV ends with empty packets that flush decoders
            yield packet


def _packet_end(packet: Packet[AvStream]) -> Fraction:
    at = packet.pts if packet.pts is not None else packet.dts
    return Fraction(0) if at is None else (at + (packet.duration or 0)) * fraction(packet.time_base)


def _promised(stream: AvStream, video: Video) -> int:
    # Of MP4's two counts this one has the edit list applied; a Matroska file's entries are only its cues.
    return len(stream.index_entries) if "mov" in video.container.split(",") else 0


def _check_complete(container: InputContainer, video: Video, walk: _Walk, promised: int, name: str) -> None:
    if walk.packets < promised:
        raise InputError(
            f"{name}: ends early: {promised} frames are listed, {walk.packets} can be read (is the file truncated?)"
        )
    if not walk.packets:
        raise InputError(f"{name}: its video stream holds no frame")
    stated = Fraction(container.duration or 0, av.time_base)
    # Matroska lists no frames, but its header states the length; writers round that to less than a second.
    if "matroska" in video.container.split(",") and walk.end + 1 < stated:
        raise InputError(
            f"{name}: ends early: its header states {float(stated):.2f} s, {float(walk.end):.2f} s can be read"
            " (is the file truncated?)"
        )


def _index(video: Video, walk: _Walk, name: str) -> Index:
    shown = sorted(walk.shown)
    keyframes = tuple(pts for pts, key, _ in shown if key)
    if not walk.hidden and keyframes:
        # A recording that begins in the middle of a GOP: what is shown before its first keyframe cannot be decoded.
        shown = [entry for entry in shown if entry[0] >= keyframes[0]]
    pts = tuple(entry[0] for entry in shown)
    if not pts:
        raise InputError(f"{name}: its video stream holds no frame that is shown")
    _check_distinct(pts, video, name)
    last_duration = shown[-1][2] or _usual_duration(pts, video)
    return Index(
        video=video if video.rate else replace(video, rate=_measured_rate(pts, last_duration, video.time_base)),
        time_base=video.time_base,
        pts=pts,
        keyframes=keyframes,
        last_duration=last_duration,
    )


def _measured_rate(pts: tuple[int, ...], last_duration: int, time_base: Fraction) -> Fraction:
    # A few digits are enough for rate control, and FFmpeg's own fractions are small.
    return (len(pts) / ((pts[-1] + last_duration - pts[0]) * time_base)).limit_denominator(1001)


def _check_distinct(pts: tuple[int, ...], video: Video, name: str) -> None:
    # Frames are found by their pts, so two with the same one cannot be told apart; moving one would invent a time.
    for before, after in pairwise(pts):
        if before == after:
            seconds = float(after * video.time_base)
            raise InputError(f"{name}: two frames have the same time, {seconds:.3f} s", hint="remux the file first")


def _usual_duration(pts: tuple[int, ...], video: Video) -> int:
    if len(pts) > 1:
        return pts[-1] - pts[-2]
    return max(1, round(1 / (video.rate or Fraction(25)) / video.time_base))
