"""Whether a file is what its plan says: every packet walked, every frame decoded, the sound compared byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from av.video.stream import VideoStream

from uprez.errors import InputError, VerifyError
from uprez.job import Encoding, Index, Plan, Segment
from uprez.media.encode import extradata_sha256, pix_fmt_of
from uprez.media.mux import carried, taken
from uprez.media.source import fraction, opened, shown
from uprez.media.timeline import Timeline, planned

if TYPE_CHECKING:
    from uprez.media.source import AnyPacket

_MKV_TICK = Fraction(1, 1000)
"""Matroska's clock as FFmpeg writes it: times in it are rounded."""


Track = list[tuple[Fraction, bytes]]
"""Of each packet of a sound track: when it is heard, in seconds, and the SHA-256 of its bytes."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a verified result holds."""

    frames: int
    duration: Fraction
    """Seconds from the first frame's appearance to the last one's end, by the timeline."""
    audio: int
    """Sound tracks, each equal to the source's bit for bit."""


def segment(url: str, *, plan: Plan, segment: Segment) -> None:
    """Check a segment. Raises VerifyError, naming what differs: settings, size, number of frames, first keyframe."""
    name = shown(url)
    try:
        with opened(url) as container:
            stream = _picture(container.streams.video, name)
            _check_picture(stream, plan, name)
            _check_extradata(stream, plan, name)
            keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    except InputError as error:
        raise VerifyError(error.message) from error
    _check_count(name, "packets", len(keys), segment.count)
    if not keys[0]:
        raise VerifyError(f"{name}: does not begin with a keyframe")
    _check_count(name, "frames", len(_times_shown(url, plan.preflight.encoding)), segment.count)


def result(url: str, *, plan: Plan, index: Index, source_url: str) -> Facts:
    """Check a result against its plan and its source: size, frames, times, sound.

    Raises VerifyError, naming what differs, or InputError when the source cannot be read.
    """
    name, times = shown(url), planned(index, plan)
    try:
        with opened(url) as container:
            _check_picture(_picture(container.streams.video, name), plan, name)
        seen = _times_shown(url, plan.preflight.encoding)
        sound = _sound_of(url)
    except InputError as error:
        raise VerifyError(error.message) from error
    _check_count(name, "frames", len(seen), len(times.pts))
    due = _source_sound(source_url, plan, index, times)
    shift = _check_times(name, seen, times, plan, due)
    _check_sound(name, sound, due, shift)
    return Facts(frames=len(seen), duration=(times.end - times.pts[0]) * times.time_base, audio=len(sound))


# --- the picture


def _picture(streams: tuple[VideoStream, ...], name: str) -> VideoStream:
    if not streams:
        raise VerifyError(f"{name}: holds no video")
    return streams[0]


def _check_picture(stream: VideoStream, plan: Plan, name: str) -> None:
    encoding = plan.preflight.encoding
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


def _times_shown(url: str, encoding: Encoding) -> list[Fraction]:
    """Decode everything and give the times, in seconds, at which frames are shown."""
    with opened(url) as container:
        stream = container.streams.video[0]
        stream.thread_count = encoding.threads
        stream.thread_type = "AUTO"
        frames = [(frame.pts, frame.is_corrupt) for frame in container.decode(stream)]
        tick = fraction(stream.time_base or Fraction(1))
    if any(corrupt or pts is None for pts, corrupt in frames):
        raise VerifyError(f"{shown(url)}: a frame of it is damaged")
    return [(pts or 0) * tick for pts, _ in frames]


def _check_times(name: str, seen: list[Fraction], times: Timeline, plan: Plan, sound: Sequence[Track]) -> Fraction:
    """Compare the times of all frames with the timeline; give by how many seconds the whole file is later than it."""
    due = [pts * times.time_base for pts in times.pts]
    shift = seen[0] - due[0]
    if not -_tolerance(plan) <= shift <= _largest_shift(plan, sound):
        raise VerifyError(f"{name}: begins at {_seconds(seen[0])}, the timeline says {_seconds(due[0])}")
    for number, (got, wanted) in enumerate(zip(seen, due, strict=True)):
        if abs(got - wanted - shift) > _tolerance(plan):
            raise VerifyError(
                f"{name}: frame {number} is shown at {_seconds(got)}, the timeline says {_seconds(wanted + shift)}"
            )
    return shift


def _tolerance(plan: Plan) -> Fraction:
    return Fraction(0) if plan.container == "mp4" else _MKV_TICK


def _largest_shift(plan: Plan, sound: Sequence[Track]) -> Fraction:
    """Matroska has no times before 0: sound that begins before it (AAC in MP4 does) moves the whole file up to 0."""
    if plan.container == "mp4":
        return Fraction(0)
    earliest = min((at for track in sound for at, _ in track[:1]), default=Fraction(0))
    return _MKV_TICK - min(earliest, Fraction(0))


def _seconds(value: Fraction) -> str:
    return f"{float(value):.4f} s"


# --- the sound


def _sound_of(url: str) -> list[Track]:
    with opened(url) as container:
        streams = container.streams.audio
        packets: Iterable[AnyPacket] = container.demux(*streams) if streams else ()
        return _tracks([stream.index for stream in streams], packets)


def _source_sound(source_url: str, plan: Plan, index: Index, times: Timeline) -> list[Track]:
    numbers = [stream.index for stream in carried(index.video, plan.container) if stream.kind == "audio"]
    with opened(source_url) as container:
        return _tracks(numbers, taken(source_url, container, numbers, times, whole=plan.count == len(index.pts)))


def _tracks(numbers: Sequence[int], packets: Iterable[AnyPacket]) -> list[Track]:
    tracks: dict[int, Track] = {number: [] for number in numbers}
    for packet in packets:
        if packet.size:
            at = packet.pts if packet.pts is not None else packet.dts
            tracks[packet.stream_index].append(
                ((at or 0) * fraction(packet.time_base), hashlib.sha256(_payload(packet)).digest())
            )
    return list(tracks.values())


def _payload(packet: AnyPacket) -> bytes:
    """Give the packet without the ADTS header that AAC has in transport streams and nowhere else."""
    data = bytes(packet)
    if packet.stream.name == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7:] if data[1] & 1 else data[9:]  # a checksum of two bytes unless the last bit says none
    return data


def _check_sound(name: str, sound: Sequence[Track], due: Sequence[Track], shift: Fraction) -> None:
    _check_count(name, "sound tracks", len(sound), len(due))
    for number, (track, wanted) in enumerate(zip(sound, due, strict=True)):
        _check_count(name, f"packets in sound track {number}", len(track), len(wanted))
        for (got_at, got), (due_at, expected) in zip(track, wanted, strict=True):
            if got != expected:
                raise VerifyError(f"{name}: sound track {number} differs from the source's at {_seconds(due_at)}")
            if abs(got_at - due_at - shift) > _MKV_TICK:
                raise VerifyError(
                    f"{name}: sound track {number} is at {_seconds(got_at)} where {_seconds(due_at + shift)} is due"
                )
