"""The streams beside the picture, packet by packet: a result's must be the source's, byte for byte and in time."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from uprez.errors import VerifyError
from uprez.job import Index, Plan, Stream
from uprez.media import subtitles
from uprez.media.containers import copied
from uprez.media.mux import heard, move, showing_time, taken
from uprez.media.packets import is_broken
from uprez.media.source import AnyPacket, demuxed, fraction, opened
from uprez.media.timeline import Timeline

if TYPE_CHECKING:
    from av.codec.context import CodecContext
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
    places: array[int] = field(default_factory=lambda: array("Q"))
    """How many bytes come before each."""
    digests: array[int] = field(default_factory=lambda: array("Q"))
    """The first 8 bytes of each one's SHA-256."""
    size: int = 0
    _all: hashlib._Hash = field(default_factory=hashlib.sha256)
    _last: bytes = b""
    """Of a subtitle stream."""

    def take(self, packet: AnyPacket) -> None:
        """Take note of the next packet; of timed text, which may become SubRip, only the text is.

        Subtitles of one moment are one: Matroska joins what PGS has in several packets.
        """
        data = subtitles.text_of(bytes(packet)).encode() if subtitles.is_text(packet) else _payload(packet)
        if not data:  # a gap between two subtitles
            return
        self.tick = fraction(packet.time_base)
        at = (packet.pts if packet.pts is not None else packet.dts) or 0
        sparse = self.stream.kind == "subtitle"
        if sparse and self.at and self.at[-1] == at:
            self._last += data
            self.digests[-1] = _short(self._last)
        else:
            self.at.append(at)
            self.places.append(self.size)
            self.digests.append(_short(data))
            self._last = data if sparse else b""
        self.size += len(data)
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

    @property
    def recut(self) -> bool:
        """Containers cut its bytes into packets as they like: uncompressed sound."""
        return self.stream.codec.startswith("pcm")

    def time(self, number: int) -> Fraction:
        """Give the seconds of a packet."""
        return self.at[number] * self.tick

    def holes(self, end: Fraction) -> list[Fraction]:
        """Give where nothing is heard for long, the longest first; `end` is that of the picture, in seconds."""
        if self.stream.kind != "audio" or not self.at:
            return []
        times = [*map(self.time, range(len(self.at))), end]
        gaps = [(after - before, before) for before, after in pairwise(times) if after - before > LISTENED_S]
        return [before for _, before in sorted(gaps, reverse=True)]


def _short(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def of_result(container: InputContainer, plan: Plan, index: Index, name: str) -> dict[int, Track]:
    """Begin to take note of a result's streams, by their number in it; raises VerifyError where one is not due."""
    tracks = {number: Track(stream=stream) for number, stream in enumerate(copied(index.video, plan.container), 1)}
    for number, track in tracks.items():
        found = container.streams[number] if number < len(container.streams) else None
        due = "subrip" if subtitles.becomes_subrip(track.stream, plan.container) else track.stream.codec
        context = cast("CodecContext | None", found.codec_context) if found is not None else None
        got = context.codec.canonical_name if context is not None else "nothing"
        if got != due:
            raise VerifyError(f"{name}: its {track.name} is {got}, {due} is due")
    return tracks


def of_source(
    url: str, plan: Plan, index: Index, times: Timeline, places: Sequence[Fraction] | None = None
) -> list[Track]:
    """Read the source's streams as a result must have them; at some places only where these are given.

    Raises InputError when the source cannot be read.
    """
    streams, whole = (
        {stream.index: Track(stream=stream) for stream in copied(index.video, plan.container)},
        plan.count == len(index.pts),
    )
    with opened(url) as container:
        packets = (
            taken(url, container, streams, times, whole=whole)
            if places is None
            else _at(container, streams, times, places, whole=whole)
        )
        for packet in packets:
            streams[packet.stream_index].take(packet)
    return list(streams.values())


def compare(name: str, got: Track, due: Track, shift: Fraction, *, everywhere: bool) -> None:
    """Compare a result's track with the source's, which is later by `shift` seconds. Raises VerifyError."""
    if not everywhere:
        _compare_places(name, got, due, shift)
        return
    same = len(got.at) == len(due.at)
    if got.digest != due.digest or not (same or due.recut):
        raise VerifyError(f"{name}: its {got.name} differs from the source's{_where(got, due)}")
    for number, place in enumerate(got.places):
        there = number if same else bisect_left(due.places, place)
        if there < len(due.places) and due.places[there] == place:
            _check_time(name, got, got.time(number), due.time(there) + shift)


def _where(got: Track, due: Track) -> str:
    if len(got.at) != len(due.at):
        return f": {len(got.at)} packets, {len(due.at)} are due"
    pairs = enumerate(zip(got.digests, due.digests, strict=True))
    return next((f" at {float(due.time(number)):.4f} s" for number, (mine, theirs) in pairs if mine != theirs), "")


def _compare_places(name: str, got: Track, due: Track, shift: Fraction) -> None:
    reach = LISTENED_S / 2 if due.recut else TOLERANCE_S
    ticks = round(reach / got.tick) + 1
    for number, digest in enumerate(due.digests):
        wanted = round((due.time(number) + shift) / got.tick)
        first, last = bisect_left(got.at, wanted - ticks), bisect_left(got.at, wanted + ticks + 1)
        if first == last or not (due.recut or digest in got.digests[first:last]):
            raise VerifyError(f"{name}: its {got.name} differs from the source's at {float(due.time(number)):.4f} s")


def _check_time(name: str, track: Track, got: Fraction, due: Fraction) -> None:
    if abs(got - due) > TOLERANCE_S:
        raise VerifyError(f"{name}: its {track.name} is at {float(got):.4f} s where {float(due):.4f} s is due")


def _at(
    container: InputContainer, streams: Iterable[int], times: Timeline, places: Sequence[Fraction], *, whole: bool
) -> Iterator[AnyPacket]:
    """Give the packets around some places, in seconds on the source's clock, with the result's times.

    What a whole source has before its first place is given too: sound may begin before 0.
    """
    numbers, start, end = set(streams), times.origin * times.time_base, (times.origin + times.end) * times.time_base
    listened = None
    for place in sorted(places):
        first = whole and listened is None and place <= start + times.pts[0] * times.time_base
        if not first:
            container.seek(round(place * 1_000_000))
        coming = demuxed(container, *(container.streams[number] for number in numbers))
        for packet in heard(coming) if first else (packet for packet in coming if not packet.is_discard):
            at = showing_time(packet)
            if at > place + LISTENED_S:
                break
            usable = packet.size and not is_broken(packet)
            begin = max(place, start, listened if listened is not None else start)
            if usable and at < min(place + LISTENED_S, end) and (first or at >= begin):
                move(packet, round(start / fraction(packet.time_base)))
                yield packet
        listened = place + LISTENED_S


def _payload(packet: AnyPacket) -> bytes:
    """Give the packet without the ADTS header that AAC has in transport streams and nowhere else."""
    data = bytes(packet)
    if packet.stream.name == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7:] if data[1] & 1 else data[9:]  # a checksum of two bytes unless the last bit says none
    return data
