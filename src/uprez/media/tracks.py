"""The streams beside the picture, packet by packet: a result's must be the source's, byte for byte and in time."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from uprez.errors import VerifyError
from uprez.job import Index, Plan, Stream
from uprez.media import subtitles
from uprez.media.containers import carried
from uprez.media.mux import taken
from uprez.media.packets import is_broken
from uprez.media.source import AnyPacket, demuxed, fraction, opened
from uprez.media.timeline import Timeline

if TYPE_CHECKING:
    from av.container import InputContainer

LISTENED_S = 2
"""How much is compared at each place where a source is too large to be read whole, in seconds."""
TOLERANCE_S = Fraction(1, 1000)
"""Matroska's clock: times in it are rounded."""


@dataclass(kw_only=True)
class Track:
    """The packets of one stream: a few bytes for each, however long the film."""

    stream: Stream
    """Of the source."""
    tick: Fraction = Fraction(1)
    at: array[int] = field(default_factory=lambda: array("q"))
    """When each is heard or shown, in ticks."""
    digests: array[int] = field(default_factory=lambda: array("Q"))
    """The first 8 bytes of each one's SHA-256."""
    _all: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, packet: AnyPacket) -> None:
        """Take note of the next packet; of timed text, which may become SubRip, only the text is."""
        data = subtitles.text_of(bytes(packet)).encode() if subtitles.is_text(packet) else _payload(packet)
        if not data:  # a gap between two subtitles
            return
        self.tick = fraction(packet.time_base)
        at = packet.pts if packet.pts is not None else packet.dts
        self.at.append(at or 0)
        self.digests.append(int.from_bytes(hashlib.sha256(data).digest()[:8], "big"))
        self._all.update(data)

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes, however they lie in packets."""
        return self._all.hexdigest()

    @property
    def name(self) -> str:
        """Its name for people."""
        kind = "sound" if self.stream.kind == "audio" else self.stream.kind
        return f"{kind} track (stream {self.stream.index} of the source)"

    def time(self, number: int) -> Fraction:
        """Give the seconds of a packet."""
        return self.at[number] * self.tick


def copied(index: Index, plan: Plan) -> list[Stream]:
    """List the streams whose packets a result has: they follow its picture in this order."""
    return [each for each in carried(index.video, plan.container) if each.kind != "attachment" and not each.cover]


def of_result(container: InputContainer, plan: Plan, index: Index, name: str) -> dict[int, Track]:
    """Begin to take note of a result's streams, by their number in it; raises VerifyError where one is not due."""
    tracks = {number: Track(stream=stream) for number, stream in enumerate(copied(index, plan), 1)}
    for number, track in tracks.items():
        found = container.streams[number] if number < len(container.streams) else None
        due = "subrip" if subtitles.becomes_subrip(track.stream, plan.container) else track.stream.codec
        got = found.codec_context.codec.canonical_name if found is not None else "nothing"
        if got != due:
            raise VerifyError(f"{name}: its {track.name} is {got}, {due} is due")
    return tracks


def of_source(
    url: str, plan: Plan, index: Index, times: Timeline, places: Sequence[Fraction] | None = None
) -> list[Track]:
    """Read the source's streams as a result must have them; at some places only where these are given.

    Raises InputError when the source cannot be read.
    """
    streams = {stream.index: Track(stream=stream) for stream in copied(index, plan)}
    with opened(url) as container:
        packets = (
            taken(url, container, streams, times, whole=plan.count == len(index.pts))
            if places is None
            else _at(container, streams, times, places)
        )
        for packet in packets:
            streams[packet.stream_index].take(packet)
    return list(streams.values())


def compare(name: str, got: Track, due: Track, shift: Fraction, *, everywhere: bool) -> None:
    """Compare a result's track with the source's, which is later by `shift` seconds. Raises VerifyError."""
    if not everywhere:
        _compare_places(name, got, due, shift)
        return
    if got.digest != due.digest:
        raise VerifyError(f"{name}: its {got.name} differs from the source's{_where(got, due)}")
    # Containers may cut the same bytes (PCM, PGS) into other packets: then only the beginning is told.
    for number in range(len(due.at) if len(got.at) == len(due.at) else min(1, len(due.at))):
        _check_time(name, got, got.time(number), due.time(number) + shift)


def _where(got: Track, due: Track) -> str:
    if len(got.at) != len(due.at):
        return f": {len(got.at)} packets, {len(due.at)} are due"
    pairs = enumerate(zip(got.digests, due.digests, strict=True))
    return next((f" at {float(due.time(number)):.4f} s" for number, (mine, theirs) in pairs if mine != theirs), "")


def _compare_places(name: str, got: Track, due: Track, shift: Fraction) -> None:
    if due.stream.codec.startswith("pcm"):
        return  # cut into packets by each container as it likes
    ticks = round(TOLERANCE_S / got.tick) + 1
    for number, digest in enumerate(due.digests):
        at = due.time(number) + shift
        wanted = round(at / got.tick)
        first, last = bisect_left(got.at, wanted - ticks), bisect_left(got.at, wanted + ticks + 1)
        if digest not in got.digests[first:last]:
            raise VerifyError(f"{name}: its {got.name} differs from the source's at {float(due.time(number)):.4f} s")


def _check_time(name: str, track: Track, got: Fraction, due: Fraction) -> None:
    if abs(got - due) > TOLERANCE_S:
        raise VerifyError(f"{name}: its {track.name} is at {float(got):.4f} s where {float(due):.4f} s is due")


def _at(
    container: InputContainer, streams: Iterable[int], times: Timeline, places: Sequence[Fraction]
) -> Iterator[AnyPacket]:
    """Give the packets around some places, in seconds on the source's clock, with the result's times."""
    numbers, start, end = set(streams), times.origin * times.time_base, (times.origin + times.end) * times.time_base
    for place in sorted(places):
        container.seek(round(place * 1_000_000))
        for packet in demuxed(container, *(container.streams[number] for number in numbers)):
            at = (packet.pts if packet.pts is not None else packet.dts or 0) * fraction(packet.time_base)
            if at > place + LISTENED_S:
                break
            usable = packet.size and not packet.is_discard and not is_broken(packet)
            if usable and max(place, start) <= at < min(place + LISTENED_S, end):
                ticks = round(start / fraction(packet.time_base))
                packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.dts = None if packet.dts is None else packet.dts - ticks
                yield packet


def _payload(packet: AnyPacket) -> bytes:
    """Give the packet without the ADTS header that AAC has in transport streams and nowhere else."""
    data = bytes(packet)
    if packet.stream.name == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7:] if data[1] & 1 else data[9:]  # a checksum of two bytes unless the last bit says none
    return data
