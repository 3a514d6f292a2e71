"""What a video's headers and its first frame say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from threading import Lock
from typing import Protocol, cast

import av
import av.logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.stream import Stream as AvStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uprez.errors import InputError
from uprez.job import Chapter, Colour, FieldOrder, Siting, Stream, StreamKind, Turn, Video
from uprez.media import hdr
from uprez.media.colour import colour_of
from uprez.media.layouts import layout
from uprez.media.source import fraction

MAX_RATE = 1000
"""Frames a second. More is a clock's rate, which stands in the frame rate's place when a remux left that out."""
MAX_HOURS = 1000

_FIELD_ORDERS: dict[int, FieldOrder] = {2: "top", 3: "bottom", 4: "top", 5: "bottom"}
"""By AVFieldOrder: TT, BB, and for woven fields TB and BT, whose first letter FFmpeg and Matroska mean to be first."""
_ONE = 1 << 16
_TURNS = {
    (1, 0, 0, 1): Turn(),
    (0, 1, -1, 0): Turn(quarters=1),
    (-1, 0, 0, -1): Turn(quarters=2),
    (0, -1, 1, 0): Turn(quarters=3),
    (-1, 0, 0, 1): Turn(mirrored=True),
    (0, -1, -1, 0): Turn(quarters=1, mirrored=True),
    (1, 0, 0, -1): Turn(quarters=2, mirrored=True),
    (0, 1, 1, 0): Turn(quarters=3, mirrored=True),
}
"""By a, b, c and d of the display matrix, which takes (x, y) to (a x + c y, b x + d y), y downwards."""
_KINDS: dict[str, StreamKind] = {"video": "video", "audio": "audio", "subtitle": "subtitle", "attachment": "attachment"}
_DISPOSITIONS = (
    *("default", "forced", "original", "dub", "comment", "hearing_impaired", "visual_impaired"),
    *("attached_pic", "timed_thumbnails"),
)
_logging = Lock()


def video(container: InputContainer, stream: VideoStream, frame: VideoFrame, name: str) -> Video:
    """Describe a video by its container, the picture's stream, and its first frame.

    Raises InputError, naming the video, for what this version cannot enhance correctly.
    """
    duration = _duration(container, stream)
    if duration is not None and duration > MAX_HOURS * 3600:
        raise InputError(f"{name}: its header states {float(duration / 3600):.0f} hours; up to {MAX_HOURS} work")
    rate = _rate(stream)
    counted = max(0, stream.frames)
    how = layout(stream.pix_fmt)
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
        frames=counted or (round(duration * rate) if duration and rate else None),
        frames_counted=bool(counted) and _lists_frames(container),  # an AVI may count twice
        colour=_colour(container, stream, name),
        others=tuple(_other(each) for each in container.streams if each.index != stream.index),
        start=_start(stream),
        turn=_turn(frame, name),
        field_order=field_order(stream, frame),
        flagged=frame.interlaced_frame,
        alpha=how.alpha,
        mastering=hdr.mastering(frame),
        dynamic_hdr=hdr.dynamic(frame),
        captions=frame.side_data.get("A53_CC") is not None,
        title=container.metadata.get("title"),
        chapters=tuple(_chapters(container)),
    )


def _start(stream: AvStream) -> Fraction | None:
    return None if stream.start_time is None else stream.start_time * fraction(stream.time_base or Fraction(1))


def _lists_frames(container: InputContainer) -> bool:
    return "mov" in container.format.name.split(",")


def _chapters(container: InputContainer) -> Iterable[Chapter]:
    for each in container.chapters():
        tick = fraction(each["time_base"] or Fraction(1, av.time_base))
        title = each["metadata"].get("title")
        yield Chapter(start=each["start"] * tick, end=each["end"] * tick, title=title)


def _time_base(stream: AvStream, name: str) -> Fraction:
    if not stream.time_base:
        raise InputError(f"{name}: its video stream has no time base")
    return fraction(stream.time_base)


def _rate(stream: VideoStream) -> Fraction | None:
    stated = (stream.average_rate, stream.guessed_rate)
    return next((fraction(rate) for rate in stated if rate and 0 < rate <= MAX_RATE), None)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Give the seconds that a header states; None where it does not, or nonsense."""
    if stream.duration and stream.duration > 0 and stream.time_base:
        return stream.duration * fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration and container.duration > 0 else None


def _other(stream: AvStream) -> Stream:
    sound = stream.codec_context if isinstance(stream, AudioStream) else None
    return Stream(
        index=stream.index,
        kind=_KINDS.get(stream.type, "data"),
        codec=_codec(stream),
        language=stream.language,
        title=next((stream.metadata[key] for key in ("title", "name", "filename") if key in stream.metadata), None),
        dispositions=tuple(word for word in _DISPOSITIONS if stream.disposition & Disposition[word]),
        start=_start(stream),
        channels=sound.channels if sound else None,
        sample_rate=sound.sample_rate if sound else None,
    )


def _codec(stream: AvStream) -> str:
    """Name what is in a stream, as FFmpeg does; of an attachment its media type."""
    if stream.type == "attachment":
        return stream.metadata.get("mimetype", "unknown")
    if cast("object | None", stream.codec_context) is not None:
        return stream.codec_context.codec.canonical_name
    return str(getattr(stream, "name", None) or "unknown")  # streams of some kinds have none


def _colour(container: InputContainer, stream: VideoStream, name: str) -> Colour:
    siting = re.search(
        r"\((?:[^()]*, )?(left|center|topleft|top|bottomleft|bottom)\)", _described(container, stream.index)
    )
    try:
        return colour_of(
            pix_fmt=stream.pix_fmt,
            matrix=stream.colorspace,
            primaries=stream.color_primaries,
            transfer=stream.color_trc,
            colour_range=stream.color_range,
            siting=cast("Siting", siting[1]) if siting else None,
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


def is_cover(stream: AvStream) -> bool:
    """Say whether a stream is a picture that stands for the file, such as an album's cover."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _turn(frame: VideoFrame, name: str) -> Turn:
    """Read the display matrix."""
    matrix = cast("bytes | None", frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return Turn()
    a, b, _, c, d, *_ = memoryview(bytes(matrix)).cast("i")
    found = _TURNS.get((round(a / _ONE), round(b / _ONE), round(c / _ONE), round(d / _ONE)))
    if found is None or any(value % _ONE for value in (a, b, c, d)):
        raise InputError(
            f"{name}: the video is to be shown turned by {frame.rotation} degrees, or stretched (display matrix);"
            " quarter turns work",
        )
    return found


def field_order(stream: VideoStream, frame: VideoFrame) -> FieldOrder:
    """Say which field is first, by the header or, where that is silent, whether the frame is made of fields at all."""
    stated = _FIELD_ORDERS.get(stream.codec_context.field_order)
    return stated or ("unknown" if frame.interlaced_frame else "progressive")
