"""What a video is: `quick` from its headers and first frame, `index` from every packet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from random import SystemRandom
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream as AvStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uprez.errors import InputError
from uprez.job import Index, Video
from uprez.media import headers, matroska
from uprez.media.headers import MAX_HOURS, MAX_RATE
from uprez.media.layouts import layout
from uprez.media.packets import JUMPING, Clock, clock_of, is_broken, packets
from uprez.media.source import MAX_PIXELS, AnyPacket, decoded, demuxed, fraction, local_path, opened, shown

MAX_SIDE = 16384
_LOOKED_AT, _READ = 4, 60
"""Places at which an index is compared with the video, and packets that are read at each."""
SCANNED_FRAMES = 12
_SCANNED_AT = (Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))
"""So many frames at each of these parts are decoded by `index` to tell interlaced video: headers are often silent."""
_LITTLE = 4
"""Blocks that `quick` reads ahead: it jumps about, and what it does not use costs as much as what it does."""


def quick(url: str) -> Video:
    """Say what a video is from its headers and its first frame.

    Raises InputError, in one line, for what is not a video and for what this version cannot enhance correctly.
    """
    name = shown(url)
    with opened(url, ahead=_LITTLE) as container:
        stream = _picture(container, name)
        _check_size(stream, name)
        return headers.video(container, stream, _first_frame(container, stream, name), name)


def index(url: str) -> Index:
    """Read every packet and say when each frame is shown.

    Raises InputError for a file that ends early and for frames without a time of their own.
    """
    name = shown(url)
    video = quick(url)
    if not video.flagged:
        video = _scanned(url, video)
    with opened(url) as container:
        stream = container.streams[video.stream]
        promised = _promised(stream, video)
        walk = _walk(container, stream, clock_of(url), name)
        _check_complete(container, video, walk, promised, name)
    _check_length(url, video, name)
    return _index(video, walk, name)


def holds(url: str, index: Index) -> bool:
    """Say whether an index, which may be anybody's, lacks no frame where one looks: at a few places and at the end.

    Of Matroska, MP4 and QuickTime without damage only: others give other times after seeking. Raises InputError.
    """
    sound = not (index.damaged or index.breaks or index.patched)
    if not sound or index.rarely_keyed or not any(map(index.video.is_of, ("mov", "matroska"))):
        return True
    known, first = frozenset(index.pts), index.pts[0]
    with opened(url) as container:
        stream = container.streams[index.video.stream]
        for at in (*SystemRandom().sample(index.pts, min(_LOOKED_AT, len(index.pts))), index.pts[-1]):
            with suppress(FFmpegError):
                container.seek(at, stream=stream)
            shown = [
                packet.pts for packet in islice(_shown_from(container, stream), None if at == index.pts[-1] else _READ)
            ]
            if any(pts >= first and pts not in known for pts in shown if pts is not None):
                return False
    return True


def _shown_from(container: InputContainer, stream: AvStream) -> Iterator[AnyPacket]:
    return (packet for packet in demuxed(container, stream) if packet.size and not packet.is_discard)


# --- the picture's stream and its checks


def _picture(container: InputContainer, name: str) -> VideoStream:
    moving = [stream for stream in container.streams.video if not headers.is_cover(stream)]
    if moving:
        return moving[0]
    if not len(container.streams):
        raise InputError(f"{name}: no stream at all")
    kinds = sorted({"cover art" if stream.type == "video" else stream.type for stream in container.streams})
    raise InputError(f"{name}: no video stream: {' and '.join(kinds)} only")


def _check_size(stream: VideoStream, name: str) -> None:
    # A stream whose codec FFmpeg does not know has no context, although PyAV's types promise one.
    if cast("object | None", stream.codec_context) is None:
        raise InputError(f"{name}: its video codec cannot be decoded here")
    try:
        layout(stream.pix_fmt)
    except InputError as error:
        raise InputError(f"{name}: {error.message}") from error
    if not (0 < stream.width <= MAX_SIDE and 0 < stream.height <= MAX_SIDE):
        size = f"{stream.width}x{stream.height}"
        raise InputError(f"{name}: size {size} is out of range; 1 to {MAX_SIDE} pixels a side work")
    if stream.width * stream.height > MAX_PIXELS:
        size = f"{stream.width}x{stream.height}"
        raise InputError(f"{name}: size {size} is out of range; up to {MAX_PIXELS} pixels (8K) work")


def _first_frame(container: InputContainer, stream: VideoStream, name: str) -> VideoFrame:
    """Give the first frame that can be decoded; a damaged one before it is passed over."""
    for frame in decoded(stream, demuxed(container, stream)):
        return frame
    raise InputError(f"{name}: not one frame of its video can be decoded")


def _scanned(url: str, video: Video) -> Video:
    """Look at more frames than the first for one that says that it is interlaced: here and there in the video."""
    with opened(url) as container:
        stream = cast("VideoStream", container.streams[video.stream])
        for part in _SCANNED_AT if video.duration else _SCANNED_AT[:1]:
            at = (video.start or Fraction(0)) + part * (video.duration or Fraction(0))
            with suppress(FFmpegError):  # not seekable: what comes next is looked at
                container.seek(round(at / video.time_base), stream=stream)
            for frame in islice(decoded(stream, demuxed(container, stream)), SCANNED_FRAMES):
                if frame.interlaced_frame:
                    return replace(video, field_order=headers.field_order(stream, frame), flagged=True)
    return video


# --- every packet


@dataclass(frozen=True, kw_only=True)
class _Walk:
    shown: tuple[tuple[int, bool, int], ...]
    """Of each frame: pts, whether it is a keyframe, duration in ticks (0: not stated); in file order."""
    packets: int
    """All packets of the picture, those that an edit list hides included."""
    damaged: int
    clock: Clock
    end: Fraction
    """Seconds at which the last packet of any stream ends."""

    @property
    def hidden(self) -> int:
        return self.packets - len(self.shown)


def _walk(container: InputContainer, picture: AvStream, clock: Clock, name: str) -> _Walk:
    shown: list[tuple[int, bool, int]] = []
    count, damaged, cut_off, end = 0, 0, False, Fraction(0)
    for packet in packets(container, clock):
        end = max(end, _packet_end(packet))
        if packet.stream_index != picture.index:
            damaged += is_broken(packet)
            continue
        count += 1
        cut_off = packet.is_corrupt
        damaged += packet.is_corrupt
        if packet.is_discard:
            continue
        if packet.pts is None:
            raise InputError(f"{name}: packet {count} of its video has no time", hint="remux it to Matroska first")
        shown.append((packet.pts, packet.is_keyframe, packet.duration or 0))
    if cut_off and container.format.name not in JUMPING:  # a transport stream is cut anywhere and is still whole
        last = f"packet {count} of its video, the last, is damaged or cut off"
        raise InputError(f"{name}: {last} (is the file truncated?)")
    return _Walk(shown=tuple(shown), packets=count, damaged=damaged, clock=clock, end=end)


def _packet_end(packet: AnyPacket) -> Fraction:
    at = packet.pts if packet.pts is not None else packet.dts
    return Fraction(0) if at is None else (at + (packet.duration or 0)) * fraction(packet.time_base)


def _promised(stream: AvStream, video: Video) -> int:
    # Of MP4's two counts this one has the edit list applied; a Matroska file's entries are only its cues.
    return len(stream.index_entries) if video.is_of("mov") else 0


def _check_complete(container: InputContainer, video: Video, walk: _Walk, promised: int, name: str) -> None:
    if walk.packets < promised:
        raise InputError(
            f"{name}: ends early: {promised} frames are listed, {walk.packets} can be read (is the file truncated?)"
        )
    if not walk.packets:
        raise InputError(f"{name}: its video stream holds no frame")
    stated = Fraction(container.duration or 0, av.time_base)
    # Matroska lists no frames, but its header states the length; writers round that to less than a second.
    if video.is_of("matroska") and walk.end + 1 < stated:
        raise InputError(
            f"{name}: ends early: its header states {float(stated):.2f} s, {float(walk.end):.2f} s can be read"
            " (is the file truncated?)"
        )


def _check_length(url: str, video: Video, name: str) -> None:
    """A Matroska file states its own length; a second that is missing at its end is otherwise not seen."""
    if url.startswith("file:") and video.is_of("matroska") and matroska.cut_short(local_path(url)):
        raise InputError(f"{name}: ends early: it is shorter than its header states (is the file truncated?)")


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
    last_duration = _last_duration(shown[-1][2], pts, video)
    _check_span((pts[-1] + last_duration - pts[0]) * video.time_base, len(pts), name)
    return Index(
        video=video if video.rate else replace(video, rate=_measured_rate(pts, last_duration, video.time_base)),
        time_base=video.time_base,
        pts=pts,
        keyframes=keyframes,
        last_duration=last_duration,
        vfr=_is_vfr(pts, video.time_base),
        # Where files were joined, packets seem to be missing between the last one and the next; none is.
        damaged=max(0, walk.damaged - walk.clock.breaks) + walk.clock.patched,
        breaks=walk.clock.breaks,
        patched=walk.clock.patched,
    )


def _is_vfr(pts: tuple[int, ...], time_base: Fraction) -> bool:
    """Frames at a constant rate are apart by the same time, to the rounding of a tick or, in some files, of a ms."""
    gaps: list[int] = [after - before for before, after in pairwise(pts)]
    spread = Fraction(max(gaps, default=0) - min(gaps, default=0))
    return spread * time_base > max(2 * time_base, Fraction(2, 1000))


def _measured_rate(pts: tuple[int, ...], last_duration: int, time_base: Fraction) -> Fraction:
    # A few digits are enough for rate control, and FFmpeg's own fractions are small.
    return (len(pts) / ((pts[-1] + last_duration - pts[0]) * time_base)).limit_denominator(1001)


def _check_distinct(pts: tuple[int, ...], video: Video, name: str) -> None:
    # Frames are found by their pts, so two with the same one cannot be told apart; moving one would invent a time.
    for before, after in pairwise(pts):
        if before == after:
            seconds = float(after * video.time_base)
            raise InputError(f"{name}: two frames have the same time, {seconds:.3f} s", hint="remux the file first")


def _last_duration(stated: int, pts: tuple[int, ...], video: Video) -> int:
    if stated > 0:
        return stated
    if len(pts) > 1:
        return pts[-1] - pts[-2]
    return max(1, round(1 / (video.rate or Fraction(25)) / video.time_base))


def _check_span(seconds: Fraction, frames: int, name: str) -> None:
    if seconds > MAX_HOURS * 3600:
        raise InputError(f"{name}: its frames span {float(seconds / 3600):.0f} hours; up to {MAX_HOURS} work")
    if frames > MAX_RATE * max(seconds, Fraction(1)):
        raise InputError(f"{name}: {frames} frames in {float(seconds):.3f} s; up to {MAX_RATE} a second work")
