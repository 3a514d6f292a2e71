"""The packets of a file on one clock: where a transport stream's clock jumps, what follows is moved to go on.

Recordings that were joined, or whose sender began anew, jump. Times of two frames would be the same, or days apart; a
single time that no neighbour shares is damage, and is put where it is due. Index, decoder and assembly read packets by
the same rule, so the times that they speak of are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from av.container import InputContainer

from uprez.media.source import AnyPacket, demuxed, fraction, opened

JUMPING = frozenset({"mpegts", "mpeg"})
"""Formats whose clock may jump (FFmpeg's AVFMT_TS_DISCONT)."""
BACK_S = Fraction(1, 10)
AHEAD_S = 10
"""How far a time may lie before or after what is due, in seconds, and be no jump; FFmpeg's own limits."""
_ADTS_BYTES = 7
_LAST_RATE = 12
"""Of the sampling rates that an AAC packet's head names by number."""
TOGETHER_S = 5
"""How far apart streams may begin behind the same jump."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """The times of one packet as the file has them, in seconds."""

    stream: int
    decoded: Fraction
    shown: Fraction
    length: Fraction
    """How long it lasts; 0 where it does not say."""
    sparse: bool = False
    """Of a stream with gaps of any length: subtitles."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What to add to the times of each packet that has any, in file order, in seconds."""

    shifts: tuple[Fraction, ...] = ()
    breaks: int = 0
    """Jumps."""
    patched: int = 0
    """Packets whose time was wrong alone."""

    @property
    def goes_on(self) -> bool:
        """Say whether nothing had to be put right."""
        return not self.breaks and not self.patched


def clock_of(url: str) -> Clock:
    """Read a file's times and see how its clock goes; nothing is read of a format whose clock goes on."""
    with opened(url) as container:
        if container.format.name not in JUMPING:
            return Clock()
        return straightened([stamp for packet in _full(container) if (stamp := _stamp(packet)) is not None])


def packets(container: InputContainer, clock: Clock) -> Iterator[AnyPacket]:
    """Give all packets that hold something, in file order from the file's beginning, their times put right."""
    if clock.goes_on:
        yield from _full(container)
        return
    shifts, heard = iter(clock.shifts), dict[int, int]()
    for packet in _full(container):
        if packet.dts is not None or packet.pts is not None:
            _move(packet, round(next(shifts) / fraction(packet.time_base)))
        if packet.stream.type == "audio" and packet.dts is not None:
            # Sound that comes a little early, as after damage, would be out of order: it comes right after.
            _move(packet, max(0, heard.get(packet.stream_index, packet.dts - 1) + 1 - packet.dts))
            heard[packet.stream_index] = packet.dts
        yield packet


def _move(packet: AnyPacket, ticks: int) -> None:
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _full(container: InputContainer) -> Iterator[AnyPacket]:
    """Leave out the empty packets by which decoders are flushed."""
    return (packet for packet in demuxed(container) if packet.size or packet.dts is not None)


def _stamp(packet: AnyPacket) -> Stamp | None:
    at = packet.dts if packet.dts is not None else packet.pts
    if at is None:
        return None
    tick = fraction(packet.time_base)
    return Stamp(
        stream=packet.stream_index,
        decoded=at * tick,
        shown=(packet.pts if packet.pts is not None else at) * tick,
        length=(packet.duration or 0) * tick,
        sparse=packet.stream.type == "subtitle",
    )


def is_broken(packet: AnyPacket) -> bool:
    """Say whether an AAC packet of a transport stream has a damaged head (ISO/IEC 13818-7, 6.2): no muxer takes it."""
    if getattr(packet.stream, "name", None) != "aac" or packet.stream.container.format.name != "mpegts":
        return False
    data = bytes(packet)
    if len(data) < _ADTS_BYTES or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return True
    length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    return (data[2] >> 2 & 15) > _LAST_RATE or data[6] & 3 != 0 or not _ADTS_BYTES <= length <= len(data)


# --- the rule: pure


@dataclass(kw_only=True)
class _Run:
    """Packets of one stream, by their number in the file, between two jumps."""

    stream: int
    numbers: list[int] = field(default_factory=list)
    patches: dict[int, Fraction] = field(default_factory=dict)
    """What to add to those whose time is wrong alone, before the run is moved."""


def straightened(stamps: Sequence[Stamp]) -> Clock:
    """See where the clock of a file jumps, and by how much what follows must move to go on.

    All streams that jump together move by the same amount, so that sound and picture stay together: by as much as lets
    none of them overlap what came before it.
    """
    of_stream: dict[int, list[int]] = {}
    for number, stamp in enumerate(stamps):
        of_stream.setdefault(stamp.stream, []).append(number)
    runs = [run for numbers in of_stream.values() for run in _runs(stamps, numbers)]
    patches = {number: by for run in runs for number, by in run.patches.items()}
    groups = _groups(stamps, [run for run in runs if run.numbers[0] != of_stream[run.stream][0]])
    firsts = [run for run in runs if run.numbers[0] == of_stream[run.stream][0]]
    offsets = _offsets(stamps, patches, firsts, groups)
    shifts = [Fraction(0)] * len(stamps)
    for run in firsts:  # a stream that begins late begins behind the jumps before it
        _shift(shifts, run, offsets[_behind(groups, run.numbers[0])])
    for place, group in enumerate(groups, 1):
        for run in group:
            _shift(shifts, run, offsets[place])
    for number, stamp in enumerate(stamps):
        if stamp.sparse:
            shifts[number] = offsets[_behind(groups, number)]
    for number, by in patches.items():
        shifts[number] += by
    return Clock(shifts=tuple(shifts), breaks=len(groups), patched=len(patches))


def _runs(stamps: Sequence[Stamp], numbers: Sequence[int]) -> list[_Run]:
    """Cut a stream where its times jump; one that jumps and comes back at once is damaged."""
    runs = [_Run(stream=stamps[numbers[0]].stream)]
    due: Fraction | None = None
    before: Fraction | None = None
    step = Fraction(0)
    for place, number in enumerate(numbers):
        stamp = stamps[number]
        at, length = stamp.decoded, stamp.length or step
        if due is not None and not stamp.sparse:
            after = stamps[numbers[place + 1]].decoded if place + 1 < len(numbers) else None
            if after is None or not _near(after, at + length):  # nobody shares its time
                if _jumps(at, due) or (after is not None and _near(after, due + length) and not _near(at, due)):
                    runs[-1].patches[number], at = due - at, due
            elif _jumps(at, due):
                runs.append(_Run(stream=stamp.stream))
        if before is not None and 0 < at - before <= AHEAD_S:
            step = at - before
        runs[-1].numbers.append(number)
        before, due = at, at + (stamp.length or step)
    return runs


def _near(at: Fraction, due: Fraction) -> bool:
    return abs(at - due) <= BACK_S


def _jumps(at: Fraction, due: Fraction) -> bool:
    return not -BACK_S <= at - due <= AHEAD_S


def _groups(stamps: Sequence[Stamp], runs: Sequence[_Run]) -> list[list[_Run]]:
    """Put the runs together that begin behind the same jump, in file order."""
    groups: list[list[_Run]] = []
    for run in sorted(runs, key=lambda run: run.numbers[0]):
        at = stamps[run.numbers[0]].shown
        last = groups[-1] if groups else []
        mine = any(other.stream == run.stream for other in last)
        if last and not mine and abs(at - stamps[last[0].numbers[0]].shown) <= TOGETHER_S:
            last.append(run)
        else:
            groups.append([run])
    return groups


def _offsets(
    stamps: Sequence[Stamp], patches: dict[int, Fraction], firsts: Sequence[_Run], groups: Sequence[Sequence[_Run]]
) -> list[Fraction]:
    """Give what is added to times before the first jump (nothing) and behind each."""
    offsets = [Fraction(0)]
    ends = {run.stream: _end(stamps, patches, run) for run in firsts}
    for group in groups:
        starts = {run.stream: min(stamps[number].shown for number in run.numbers[:_REORDERED]) for run in group}
        offsets.append(max(ends[run.stream] - starts[run.stream] for run in group))
        ends |= {run.stream: offsets[-1] + _end(stamps, patches, run) for run in group}
    return offsets


_REORDERED = 16
"""Packets among which the one that is shown first is: H.264 reorders no further."""


def _end(stamps: Sequence[Stamp], patches: dict[int, Fraction], run: _Run) -> Fraction:
    """Say when all of a run has been shown or heard, on the file's clock."""
    last = run.numbers[-1]
    before = stamps[run.numbers[-2]].decoded if len(run.numbers) > 1 else stamps[last].decoded
    usual = stamps[last].decoded - before
    return max(
        stamps[number].shown + patches.get(number, Fraction(0)) + (stamps[number].length or usual)
        for number in run.numbers
    )


def _shift(shifts: list[Fraction], run: _Run, by: Fraction) -> None:
    for number in run.numbers:
        shifts[number] = by


def _behind(groups: Sequence[Sequence[_Run]], number: int) -> int:
    """Count the jumps before a packet."""
    return sum(group[0].numbers[0] <= number for group in groups)
