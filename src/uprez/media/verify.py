"""Whether a file is what its plan says: packets walked, pictures decoded, the sound compared byte by byte.

A segment is decoded whole. Of a result every packet is read once, in order: those of the picture must be the very bytes
of the segments that count, so that decoding them again would tell nothing new.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uprez.errors import InputError, VerifyError
from uprez.job import Index, Pin, Plan, Segment, Video
from uprez.media import contents, decode, likeness, probe, tracks
from uprez.media.colour import tags_for
from uprez.media.containers import QUICKTIME, carried
from uprez.media.encode import UNKNOWN_RATE, extradata_sha256, pix_fmt_of
from uprez.media.layouts import layout
from uprez.media.likeness import Thumb
from uprez.media.mux import reorder_delay
from uprez.media.source import Digest, demuxed, fraction, opened, opened_once, shown
from uprez.media.target import target
from uprez.media.timeline import Timeline, planned
from uprez.media.tracks import Track

if TYPE_CHECKING:
    from uprez.media.source import AnyPacket

_MKV_TICK = Fraction(1, 1000)
"""Matroska's clock as FFmpeg writes it: times in it are rounded."""
_HOLES = 4
"""Silent places of a track that are looked at in the source."""
_SHAPE = Fraction(1, 100)
"""By which share the shape of a sample may be off where a container rounds it to whole pixels."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What a segment that was checked is made of."""

    packets: str
    """SHA-256 of its packets' bytes, in file order."""
    delay: int
    """By how many frames decoding runs ahead of showing."""
    thumbs: dict[int, Thumb]
    """Of the frames that were asked for, counted from its first."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a verified result holds."""

    frames: int
    duration: Fraction
    """Seconds from the first frame's appearance to the last one's end, by the timeline."""
    audio: int
    """Sound tracks, each equal to the source's bit for bit."""
    thumbs: dict[int, Thumb] = field(default_factory=dict, compare=False)
    """Of the frames that were asked for."""


def segment(url: str, *, plan: Plan, index: Index, segment: Segment, at: Collection[int] = ()) -> Walk:
    """Check a segment: settings, size, number of packets and frames, first keyframe, every picture decodable.

    `at` are the frames to give thumbs of, counted from the segment's first. Raises VerifyError, naming what differs.
    """
    name = shown(url)
    digest, keys, pts = hashlib.sha256(), list[bool](), list[int]()
    try:
        with opened(url) as container:
            stream = _picture(container.streams.video, name)
            _check_picture(stream, plan, name)
            _check_extradata(stream, plan, name)
            for packet in demuxed(container, stream):
                if packet.size:
                    digest.update(bytes(packet))
                    keys.append(packet.is_keyframe)
                    pts.append(packet.pts or 0)
    except InputError as error:
        raise VerifyError(error.message) from error
    _check_count(name, "packets", len(keys), segment.count)
    if not keys[0]:
        raise VerifyError(f"{name}: does not begin with a keyframe")
    thumbs = _decoded(url, plan, index, segment.count, at)
    return Walk(packets=digest.hexdigest(), delay=reorder_delay(pts), thumbs=thumbs)


def result(
    url: str,
    *,
    plan: Plan,
    index: Index,
    source_url: str,
    pins: Sequence[Pin],
    digest: Digest | None = None,
    at: Collection[int] = (),
    places: Sequence[Fraction] | None = None,
) -> Facts:
    """Check a result against its plan, the segments that count (`pins`, in order) and its source.

    Every packet is read, once and in order, and `digest` is given every byte on the way. The picture must be made of
    the segments' packets, at the timeline's times; each other stream must be the source's, byte for byte.

    `at` are the frames to give thumbs of. `places`, in seconds on the source's clock, are where the sound is compared
    if not everywhere. Raises VerifyError, naming what differs, or InputError when the source cannot be read.
    """
    name, times = shown(url), planned(index, plan)
    try:
        with opened_once(url, digest or hashlib.sha256()) as container:
            stream = _picture(container.streams.video, name)
            _check_picture(stream, plan, name)
            tick = fraction(stream.time_base or Fraction(1))
            picture = _Pictures(plan=plan, pins=pins, name=name)
            others = tracks.of_result(container, plan, index, name)
            for packet in demuxed(container):
                if packet.stream_index == stream.index:
                    picture.take(packet)
                elif packet.stream_index in others:
                    others[packet.stream_index].take(packet)
        seen = probe.quick(url)
        _check_shown(seen, plan, index, name)
    except InputError as error:
        raise VerifyError(error.message) from error
    _check_count(name, "frames", len(picture.pts), len(times.pts))
    due = tracks.of_source(source_url, plan, index, times, places)
    earliest = min((track.time(0) for track in due if track.at), default=Fraction(0))
    shift = _check_times(name, sorted(picture.pts), tick, times, plan, earliest)
    for got, wanted in zip(others.values(), due, strict=True):
        tracks.compare(name, got, wanted, shift, everywhere=places is None)
    if places is not None:
        _check_holes(name, list(others.values()), source_url, plan, index, times, shift)
    contents.check(url, seen, source_url, plan=plan, index=index, times=times, name=name)
    return Facts(
        frames=len(picture.pts),
        duration=(times.end - times.pts[0]) * times.time_base,
        audio=sum(stream.kind == "audio" for stream in carried(index.video, plan.container)),
        thumbs=_thumbs_at(url, seen, picture, tick, plan, index, at),
    )


def _check_holes(
    name: str, others: Sequence[Track], source_url: str, plan: Plan, index: Index, times: Timeline, shift: Fraction
) -> None:
    """Where a result is silent for long, its source must be, though it was not read there."""
    moved, end = times.origin * times.time_base - shift, times.end * times.time_base + shift
    silent = sorted({hole for track in others for hole in track.holes(end)[:_HOLES]})
    if not silent:
        return
    due = tracks.of_source(source_url, plan, index, times, [hole + moved for hole in silent])
    for got, wanted in zip(others, due, strict=True):
        tracks.compare(name, got, wanted, shift, everywhere=False)


# --- the picture


@dataclass(kw_only=True)
class _Pictures:
    """The picture's packets of a result, compared with the segments' as they come."""

    plan: Plan
    pins: Sequence[Pin]
    name: str
    pts: array[int] = field(default_factory=lambda: array("q"))
    """In the order of decoding."""
    keyframes: list[int] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _number: int = 0
    """Of the segment whose packets come now."""

    def take(self, packet: AnyPacket) -> None:
        """Take note of the next packet; raises VerifyError where a segment ended that is not the one that counts."""
        if not packet.size:
            return
        if packet.is_corrupt or packet.pts is None:
            raise VerifyError(f"{self.name}: packet {len(self.pts) + 1} of its picture is damaged or cut off")
        self.pts.append(packet.pts)
        if packet.is_keyframe:
            self.keyframes.append(packet.pts)
        self._digest.update(bytes(packet))
        segments = self.plan.segments
        if (
            self._number < len(segments)
            and len(self.pts) == segments[self._number].first + segments[self._number].count
        ):
            self._compare()

    def _compare(self) -> None:
        number, self._number = self._number, self._number + 1
        got, self._digest = self._digest.hexdigest(), hashlib.sha256()
        if got != self.pins[number].packets:
            first = self.plan.segments[number].first
            raise VerifyError(
                f"{self.name}: from frame {first} on its picture is not that of segment {number + 1}, which counts"
            )


def _picture(streams: tuple[VideoStream, ...], name: str) -> VideoStream:
    if not streams:
        raise VerifyError(f"{name}: holds no video")
    return streams[0]


def _check_picture(stream: VideoStream, plan: Plan, name: str) -> None:
    encoding = plan.preflight.encoding
    if cast("object | None", stream.codec_context) is None:
        raise VerifyError(f"{name}: holds a codec that nobody knows, the plan says {encoding.codec}")
    got = (stream.codec_context.codec.canonical_name, stream.width, stream.height, pix_fmt_of(stream))
    due = (encoding.codec, plan.width, plan.height, encoding.decoded_as or encoding.pix_fmt)
    if got != due:
        raise VerifyError(f"{name}: holds {_kind(got)}, the plan says {_kind(due)}")


def _check_extradata(stream: VideoStream, plan: Plan, name: str) -> None:
    got, due = extradata_sha256(stream), plan.preflight.extradata_sha256
    if got != due:
        raise VerifyError(
            f"{name}: made with other encoder settings than the plan's (extradata {got[:12]}, the plan has {due[:12]})"
        )


def _kind(facts: tuple[str, int, int, str | None]) -> str:
    return f"{facts[0]} {facts[1]}x{facts[2]} {facts[3]}"


def _check_count(name: str, what: str, got: int, due: int) -> None:
    if got != due:
        raise VerifyError(f"{name}: {got} {what}, the plan says {due}")


def _decoded(url: str, plan: Plan, index: Index, count: int, at: Collection[int]) -> dict[int, Thumb]:
    """Decode a segment whole and give thumbs of some of its frames."""
    encoding, colour = plan.preflight.encoding, target(index.video, plan.options).colour
    if encoding.decoded_as:
        colour = replace(colour, depth=layout(encoding.decoded_as).depth)
    size, thumbs, number = likeness.size_of(index.video), {}, 0
    try:
        with opened(url) as container:
            stream = container.streams.video[0]
            stream.thread_count = encoding.threads
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream), 1):
                if frame.is_corrupt:
                    raise VerifyError(f"{shown(url)}: frame {number - 1} of it is damaged")
                _check_frame(frame, plan, f"{shown(url)}: frame {number - 1} of it")
                if number - 1 in at:
                    thumbs[number - 1] = likeness.thumb(decode.frame_of(frame, colour, pts=0), colour, size)
    except InputError as error:
        raise VerifyError(error.message) from error
    _check_count(shown(url), "frames", number, count)
    return thumbs


def _check_frame(frame: VideoFrame, plan: Plan, name: str) -> None:
    """A stream may change its size and format on the way."""
    encoding = plan.preflight.encoding
    got = (frame.width, frame.height, frame.format.name.replace("yuvj", "yuv"))
    due = (plan.width, plan.height, encoding.decoded_as or encoding.pix_fmt)
    if got != due:
        raise VerifyError(f"{name} is {got[0]}x{got[1]} {got[2]}, the plan says {due[0]}x{due[1]} {due[2]}")


def _thumbs_at(
    url: str, seen: Video, picture: _Pictures, tick: Fraction, plan: Plan, index: Index, at: Collection[int]
) -> dict[int, Thumb]:
    """Decode some frames of a result where they lie."""
    made = Index(
        video=seen,
        time_base=tick,
        pts=tuple(sorted(picture.pts)),
        keyframes=tuple(sorted(picture.keyframes)),
        last_duration=1,
    )
    size, thumbs = likeness.size_of(index.video), {}
    for number in sorted(at):
        try:
            (frame,) = decode.frames(url, made, number, 1, threads=plan.preflight.encoding.threads)
        except InputError as error:
            raise VerifyError(error.message) from error
        if frame.damaged:
            raise VerifyError(f"{shown(url)}: frame {number} of it is damaged")
        thumbs[number] = likeness.thumb(frame, seen.colour, size, seen.turn)
    return thumbs


def _check_shown(seen: Video, plan: Plan, index: Index, name: str) -> None:
    """Compare what a player is told of the picture."""
    due, colour = target(index.video, plan.options), seen.colour
    if abs(seen.sar / index.video.shown_sar - 1) > _SHAPE:
        raise VerifyError(f"{name}: its samples have the shape {seen.sar}, {index.video.shown_sar} is due")
    tags = tags_for(due.colour, index.video.rate or UNKNOWN_RATE)
    got = (colour.tag_matrix, colour.tag_primaries, colour.tag_transfer, colour.full_range)
    wanted = (tags.matrix, tags.primaries, tags.transfer, due.colour.full_range)
    if got != wanted:
        raise VerifyError(f"{name}: its colour is tagged {_tags(got)}, {_tags(wanted)} is due")


def _tags(tags: tuple[int, int, int, bool]) -> str:
    return f"{tags[0]}/{tags[1]}/{tags[2]} {'full' if tags[3] else 'limited'}"


# --- times


def _check_times(
    name: str, pts: Sequence[int], tick: Fraction, times: Timeline, plan: Plan, earliest: Fraction
) -> Fraction:
    """Compare the times of all frames with the timeline; give by how many seconds the whole file is later than it."""
    shift = pts[0] * tick - times.pts[0] * times.time_base
    if not -_tolerance(plan) <= shift <= _largest_shift(plan, earliest):
        due = _seconds(times.pts[0] * times.time_base)
        raise VerifyError(f"{name}: begins at {_seconds(pts[0] * tick)}, the timeline says {due}")
    for number, (got, wanted) in enumerate(zip(pts, times.pts, strict=True)):
        due_at = wanted * times.time_base + shift
        if abs(got * tick - due_at) > _tolerance(plan):
            raise VerifyError(
                f"{name}: frame {number} is shown at {_seconds(got * tick)}, the timeline says {_seconds(due_at)}"
            )
    return shift


def _tolerance(plan: Plan) -> Fraction:
    return Fraction(0) if plan.container in QUICKTIME else _MKV_TICK


def _largest_shift(plan: Plan, earliest: Fraction) -> Fraction:
    """Matroska has no times before 0: sound that begins before it (AAC in MP4 does) moves the whole file up to 0."""
    return Fraction(0) if plan.container in QUICKTIME else _MKV_TICK - min(earliest, Fraction(0))


def _seconds(value: Fraction) -> str:
    return f"{float(value):.4f} s"
