"""What the source shows where a result is looked at: each frame that is due, beside its neighbours in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom

from uprez.job import Index, Plan
from uprez.media import decode, likeness
from uprez.media.frame import Frame
from uprez.media.likeness import Finding, Thumb
from uprez.media.timeline import Timeline, planned

PLACES = 8
"""Frames of a segment that are looked at."""
NEIGHBOURS = 2
"""Output frames on either side that the right one must be told from."""
_OTHERS = 40
"""Other frames of the source that a result is judged beside, at most."""
_NEAR = 24
"""Source frames between two places up to which decoding goes on rather than seeking anew."""
_random = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Window:
    """The source around one output frame."""

    due: Thumb
    others: tuple[tuple[str, Thumb], ...]
    """Other frames that were decoded on the way, by name."""
    position: int
    """Of the frame that is due, in the index."""
    damaged: bool
    """A frame of it could not be decoded whole: what it shows is not certain."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What an attempt showed where it was looked at, by output frame."""

    thumbs: Mapping[int, Thumb]
    windows: Mapping[int, Window]
    findings: Mapping[int, Finding]
    """Of those that are not what is due."""

    def agrees(self, earlier: Looks) -> bool:
        """Say whether two attempts show the same, and are only further from the source than good ones have been.

        Then the model does that, and not the machine. Neither may show anything that has a name: a shift, other
        colours, no picture.
        """
        found = [*earlier.findings.items(), *self.findings.items()]
        return all(
            finding.soft
            and number in self.thumbs
            and number in earlier.thumbs
            and likeness.agree(self.thumbs[number], earlier.thumbs[number], self.windows[number].due)
            for number, finding in found
        )


def looks(thumbs: Mapping[int, Thumb], windows: Mapping[int, Window]) -> Looks:
    """Judge frames of a result by the source's."""
    return Looks(thumbs=thumbs, windows=windows, findings=findings(thumbs, windows))


def findings(thumbs: Mapping[int, Thumb], windows: Mapping[int, Window]) -> dict[int, Finding]:
    """Judge frames of a result by the source's; gives those that are not what is due."""
    judged = {number: likeness.judge(thumbs[number], seen.due, seen.others) for number, seen in windows.items()}
    return {number: finding for number, finding in judged.items() if finding is not None}


def reads_in_order(index: Index) -> bool:
    """Say whether a source is to be read from its beginning wherever one looks at it: its clock jumps, or it has hardly
    a keyframe.
    """
    return bool(index.breaks or index.patched) or index.rarely_keyed


def windows(url: str, *, plan: Plan, index: Index, numbers: Iterable[int], threads: int) -> dict[int, Window]:
    """Decode the source around output frames, in order.

    Raises InputError when the source cannot be read.
    """
    times, wanted = planned(index, plan), sorted(set(numbers))
    around = {number: _around(times, number) for number in wanted}
    size, video = likeness.size_of(index.video), index.video
    thumbs: dict[int, Thumb] = {}
    damaged: set[int] = set()
    for first, last in _runs(sorted({at for places in around.values() for at in places.values()}), index):
        needed = {at for places in around.values() for at in places.values() if first <= at <= last}
        found = decode.frames(
            url, index, first, last + 1 - first, threads=threads, deinterlace=plan.options.deinterlace
        )
        for at, frame in enumerate(found, first):
            if at in needed:
                thumbs[at] = likeness.thumb(frame, video.colour, size, video.turn)
                damaged |= {at} if frame.damaged else set()
    numbered = {at: number + distance for number, places in around.items() for distance, at in places.items()}
    seen = {numbered[at]: (at, thumb) for at, thumb in thumbs.items()}
    return {
        number: Window(
            due=thumbs[places[0]],
            others=_others(number, places[0], seen),
            position=places[0],
            damaged=not damaged.isdisjoint(places.values()),
        )
        for number, places in around.items()
    }


def _around(times: Timeline, number: int) -> dict[int, int]:
    """Give the source positions of an output frame (0) and its neighbours, by distance."""
    first, last = max(0, number - NEIGHBOURS), min(times.frames - 1, number + NEIGHBOURS)
    shown = times.shown(first, last + 1 - first)
    return {first + place - number: each.left for place, each in enumerate(shown)}


def _others(number: int, position: int, seen: Mapping[int, tuple[int, Thumb]]) -> tuple[tuple[str, Thumb], ...]:
    """Name what else was seen, the nearest first: neighbours tell a shift, frames far away a picture that stands."""
    nearest = sorted(seen, key=lambda other: abs(other - number))
    others = [(named(other - number), seen[other][1]) for other in nearest if seen[other][0] != position]
    return tuple(others[:_OTHERS])


def named(distance: int) -> str:
    """Name the frame so many output frames later, or earlier."""
    return f"the frame {abs(distance)} {'later' if distance > 0 else 'earlier'}"


def _runs(positions: Sequence[int], index: Index) -> Iterator[tuple[int, int]]:
    """Give the (first, last) positions to decode without a break, in order."""
    if not positions:
        return
    near = len(index.pts) if reads_in_order(index) else _NEAR
    first = last = positions[0]
    for at in positions[1:]:
        if at - last > near:
            yield first, last
            first = at
        last = at
    yield first, last


def chosen(count: int, most: int) -> tuple[int, ...]:
    """Choose frames to look at, of so many: the first, the last, and others that nobody can foresee."""
    ends = {0, count - 1}
    between = range(1, count - 1)
    return tuple(sorted(ends | set(_random.sample(between, min(len(between), max(0, most - len(ends)))))))


@dataclass(kw_only=True)
class Witness:
    """Keeps the source's thumbs around chosen output frames of a segment while its frames pass."""

    index: Index
    places: tuple[int, ...]
    """Output frames that are looked at, counted from the segment's first."""
    _numbers: frozenset[int]
    """The same and their neighbours."""
    _thumbs: dict[int, Thumb] = field(default_factory=dict)

    @classmethod
    def of(cls, index: Index, count: int) -> Witness:
        """Begin to look at a segment of so many frames."""
        places = chosen(count, PLACES)
        near = range(-NEIGHBOURS, NEIGHBOURS + 1)
        return cls(index=index, places=places, _numbers=frozenset(place + d for place in places for d in near))

    def seeing(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pass frames on, one for each output frame; the same one comes again where it is shown longer."""
        video, size = self.index.video, likeness.size_of(self.index.video)
        before: tuple[Frame, Thumb] | None = None
        for number, frame in enumerate(frames):
            if number in self._numbers:
                if before is None or before[0] is not frame:
                    before = frame, likeness.thumb(frame, video.colour, size, video.turn)
                self._thumbs[number] = before[1]
            yield frame

    def windows(self) -> dict[int, Window]:
        """Give what was seen, as far as the segment goes."""
        return {place: self._around(place) for place in self.places}

    def _around(self, place: int) -> Window:
        seen = {number: (id(thumb), thumb) for number, thumb in self._thumbs.items()}
        due = self._thumbs[place]
        return Window(due=due, others=_others(place, id(due), seen), position=place, damaged=False)
