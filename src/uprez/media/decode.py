"""Exactly the frames that are asked for, found by their time and never by counting."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, dropwhile
from typing import cast

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from uprez.errors import InputError
from uprez.job import Colour, Deinterlace, Index
from uprez.media.deinterlace import deinterlaced
from uprez.media.frame import Frame, Samples
from uprez.media.layouts import stored
from uprez.media.packets import Clock, clock_of, packets
from uprez.media.source import AnyPacket, decoded, demuxed, opened, shown

_EARLIER_KEYFRAMES = 3
"""Keyframes tried, going back, before decoding from the file's beginning."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A decoded picture at its place."""

    frame: VideoFrame
    pts: int
    damaged: bool


def frames(
    url: str, index: Index, first: int, count: int, *, threads: int, deinterlace: Deinterlace = "off"
) -> Iterator[Frame]:
    """Decode the `count` frames from position `first` of the index, in order; each has the pts that the index states.

    A frame that cannot be decoded shows its neighbour's picture and is marked as damaged, so that none is lost.
    Interlaced video is deinterlaced frame by frame, unless `deinterlace` is "off". Raises InputError, naming the time,
    when nothing can be decoded there, and where the pictures' size or format changes.
    """
    if first < 0 or count < 0 or first + count > len(index.pts):
        raise ValueError(f"frames {first} to {first + count} of an index of {len(index.pts)}")
    if not count:
        return
    if deinterlace == "off" or not (index.video.interlaced or deinterlace == "on"):
        pictures = _pictures(url, index, index.pts[first : first + count], threads)
    else:
        pictures = _deinterlaced(url, index, first, count, threads, always=deinterlace == "on")
    for picture in pictures:
        yield frame_of(picture.frame, index.video.colour, pts=picture.pts, damaged=picture.damaged)


def frame_of(picture: VideoFrame, colour: Colour, *, pts: int, damaged: bool = False) -> Frame:
    """Give a decoded picture, of a file whose frames are stored as `colour` says, as a Frame."""
    found = _planar(picture, stored(colour)).planes[: 1 if colour.family == "gray" else 3]
    return Frame(planes=tuple(_plane(plane, colour.depth) for plane in found), pts=pts, damaged=damaged)


def _deinterlaced(url: str, index: Index, first: int, count: int, threads: int, *, always: bool) -> Iterator[_Picture]:
    """Deinterlace frames, each beside its neighbours: those of a segment come out as they do in the whole."""
    before, after = min(1, first), min(1, len(index.pts) - first - count)
    wanted = index.pts[first - before : first + count + after]
    planar, taken = stored(index.video.colour), deque[_Picture]()

    def fed() -> Iterator[VideoFrame]:
        for picture in _pictures(url, index, wanted, threads):
            taken.append(picture)
            yield _planar(picture.frame, planar)

    video = index.video
    made = deinterlaced(fed(), video.field_order, flagged_only=video.flagged and not always)
    for number, frame in enumerate(made):
        picture = taken.popleft()
        if before <= number < before + count:
            yield replace(picture, frame=frame)


# --- the right pictures at the right times


def _pictures(url: str, index: Index, wanted: tuple[int, ...], threads: int) -> Iterator[_Picture]:
    """Decode from the best keyframe: one from where the first that is wanted can be decoded, if there is any."""
    starts = _starts(index, wanted[0])
    second_best: int | None = None
    for number, start in enumerate((*starts, second_best)):
        with opened(url) as container:
            coming = _decoded_from(container, url, index, start if number < len(starts) else second_best, threads)
            earlier, head = _approach(coming, wanted[0])
            exact = head is not None and head.pts == wanted[0]
            # After all starts, once more: the frame is damaged, and the one before it stands in, or else the next.
            if exact or (number == len(starts) and (earlier or head)):
                yield from _exactly(url, index, wanted, earlier, chain([head] if head else (), coming))
                return
            if earlier is not None and second_best is None:
                second_best = start
    raise InputError(f"{shown(url)}: the frame at {_at(index, wanted[0])} cannot be decoded")


def _starts(index: Index, pts: int) -> list[int | None]:
    """List where to begin decoding, best first; None is the file's beginning.

    One keyframe is not enough: containers seek by decoding time or to the nearest byte and may land behind the one
    asked for, and after some (gradual refresh) the first frames do not decode.
    """
    if pts == index.pts[0]:
        return [None]
    before = index.keyframes[: bisect_right(index.keyframes, pts)]
    return [*reversed(before[-_EARLIER_KEYFRAMES:]), None]


def _decoded_from(
    container: InputContainer, url: str, index: Index, start: int | None, threads: int
) -> Iterator[VideoFrame]:
    stream = cast("VideoStream", container.streams[index.video.stream])
    stream.thread_count = threads
    stream.thread_type = "AUTO"
    if index.breaks or index.patched:  # a time may occur twice in the file, so there is no seeking by it
        return decoded(stream, _on_one_clock(container, clock_of(url), index, start))
    if start is not None:
        try:
            container.seek(start, stream=stream)
        except FFmpegError:
            return iter(())  # not seekable there: the next start is tried, the last of which does not seek
    return decoded(stream, demuxed(container, stream))  # its end flushes the decoder


def _on_one_clock(container: InputContainer, clock: Clock, index: Index, start: int | None) -> Iterator[AnyPacket]:
    """Give the picture's packets from a keyframe on, found by reading on to it."""
    number = index.video.stream
    mine = (packet for packet in packets(container, clock) if packet.stream_index == number)
    yield from mine if start is None else dropwhile(lambda packet: packet.pts != start, mine)
    yield from (packet for packet in demuxed(container, container.streams[number]) if not packet.size)  # flushes


def _approach(decoded: Iterator[VideoFrame], pts: int) -> tuple[VideoFrame | None, VideoFrame | None]:
    """Decode up to a time: the last frame before it, and the first one at it or after it."""
    earlier = None
    for frame in decoded:
        if frame.pts is None:
            continue
        if frame.pts >= pts:
            return earlier, frame
        earlier = frame
    return earlier, None


def _exactly(
    url: str, index: Index, wanted: tuple[int, ...], earlier: VideoFrame | None, decoded: Iterator[VideoFrame]
) -> Iterator[_Picture]:
    """Give a picture for each time: its own, or where there is none the one before it, or else the next."""
    coming = next(decoded, None)
    for pts in wanted:
        while coming is not None and (coming.pts is None or coming.pts < pts):
            earlier, coming = coming, next(decoded, None)
        if coming is not None and coming.pts == pts:
            _check(coming, url, index)
            yield _Picture(frame=coming, pts=pts, damaged=coming.is_corrupt)
            earlier, coming = coming, next(decoded, None)
        else:
            stand_in = earlier or coming
            if stand_in is None:
                raise InputError(f"{shown(url)}: the frame at {_at(index, pts)} cannot be decoded")
            _check(stand_in, url, index)
            yield _Picture(frame=stand_in, pts=pts, damaged=True)


def _check(frame: VideoFrame, url: str, index: Index) -> None:
    video = index.video
    if (frame.width, frame.height, frame.format.name) != (video.width, video.height, video.pix_fmt):
        raise InputError(
            f"{shown(url)}: at {_at(index, frame.pts or 0)} the picture is {frame.width}x{frame.height}"
            f" {frame.format.name}, elsewhere it is {video.width}x{video.height} {video.pix_fmt}"
        )


def _at(index: Index, pts: int) -> str:
    return f"{float((pts - index.pts[0]) * index.time_base):.3f} s"


# --- samples


def _planar(frame: VideoFrame, planar: str) -> VideoFrame:
    """Bring a frame to its planar format: samples move, and none changes."""
    name = frame.format.name
    if planar in (name, name.replace("yuvj", "yuv"), name.replace("yuva", "yuv"), name.replace("gbrap", "gbrp")):
        return frame  # its first planes are what is asked for
    # The same range on both sides, stated: FFmpeg otherwise converts where it takes one format for full range. One
    # thread: with two, FFmpeg 8.1 left 8 chroma samples of P010 grey, in 7 of 4000 pictures of 48x32.
    return frame.reformat(format=planar, src_color_range=2, dst_color_range=2, threads=1)


def _plane(plane: VideoPlane, depth: int) -> Samples:
    data = cast("bytes", plane)
    rows: Samples = np.frombuffer(data, np.uint8) if depth == 8 else np.frombuffer(data, np.uint16)
    padded = rows.reshape(plane.height, plane.line_size // rows.itemsize)
    return padded[:, : plane.width].copy()  # a copy: the decoder reuses its buffers, and rows are padded
