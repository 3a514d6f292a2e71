"""Exactly the frames that are asked for, found by their time and never by counting."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import cast

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream
from numpy.typing import NDArray

from uprez.errors import InputError
from uprez.job import Index
from uprez.media.frame import Frame
from uprez.media.source import opened, shown

_EARLIER_KEYFRAMES = 3
"""Keyframes tried, going back, before decoding from the file's beginning."""


def frames(url: str, index: Index, first: int, count: int, *, threads: int) -> Iterator[Frame]:
    """Decode the `count` frames from position `first` of the index, in order; each has the pts that the index states.

    Raises InputError, naming the time, when a frame is missing, damaged or of another size than the video's.
    """
    wanted = index.pts[first : first + count]
    if first < 0 or len(wanted) != count:
        raise ValueError(f"frames {first} to {first + count} of an index of {len(index.pts)}")
    if wanted:
        yield from _from_some_keyframe(url, index, wanted, threads)


def _from_some_keyframe(url: str, index: Index, wanted: tuple[int, ...], threads: int) -> Iterator[Frame]:
    for start in _starts(index, wanted[0]):
        with opened(url) as container:
            decoded = _decoded_from(container, index, start, threads)
            head = next((frame for frame in decoded if frame.pts is not None and frame.pts >= wanted[0]), None)
            if head is not None and head.pts == wanted[0]:
                yield from _exactly(url, index, wanted, chain([head], decoded))
                return
    raise _missing(url, index, wanted[0])


def _starts(index: Index, pts: int) -> list[int | None]:
    """List where to begin decoding, best first; None is the file's beginning.

    One keyframe is not enough: containers seek by decoding time or to the nearest byte and may land behind the one
    asked for, and after some (gradual refresh) the first frames do not decode.
    """
    if pts == index.pts[0]:
        return [None]
    before = index.keyframes[: bisect_right(index.keyframes, pts)]
    return [*reversed(before[-_EARLIER_KEYFRAMES:]), None]


def _decoded_from(container: InputContainer, index: Index, start: int | None, threads: int) -> Iterator[VideoFrame]:
    stream = cast("VideoStream", container.streams[index.video.stream])
    stream.thread_count = threads
    stream.thread_type = "AUTO"
    if start is not None:
        try:
            container.seek(start, stream=stream)
        except FFmpegError:
            return iter(())  # not seekable there: the next start is tried, the last of which does not seek
    return container.decode(stream)  # its end flushes the decoder


def _exactly(url: str, index: Index, wanted: tuple[int, ...], decoded: Iterator[VideoFrame]) -> Iterator[Frame]:
    for pts in wanted:
        frame = next((each for each in decoded if each.pts is not None and each.pts >= pts), None)
        if frame is None or frame.pts != pts:
            raise _missing(url, index, pts)
        _check(frame, url, index)
        yield Frame(planes=tuple(_plane(plane) for plane in frame.planes), pts=pts)


def _check(frame: VideoFrame, url: str, index: Index) -> None:
    video = index.video
    at = _at(index, frame.pts or 0)
    if frame.is_corrupt:
        raise InputError(f"{shown(url)}: the frame at {at} is damaged")
    if (frame.width, frame.height, frame.format.name) != (video.width, video.height, video.pix_fmt):
        raise InputError(
            f"{shown(url)}: from {at} on the picture is {frame.width}x{frame.height} {frame.format.name},"
            f" before it was {video.width}x{video.height} {video.pix_fmt}"
        )


def _missing(url: str, index: Index, pts: int) -> InputError:
    return InputError(f"{shown(url)}: the frame at {_at(index, pts)} cannot be decoded")


def _at(index: Index, pts: int) -> str:
    return f"{float((pts - index.pts[0]) * index.time_base):.3f} s"


def _plane(plane: VideoPlane) -> NDArray[np.uint8]:
    rows = np.frombuffer(cast("bytes", plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()  # a copy: the decoder reuses its buffers, and rows are padded
