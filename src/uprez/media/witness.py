"""What the source shows where a result is looked at: each frame that is due, beside its neighbours in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom

from uprez.job import Index, Plan
from uprez.media import decode, likeness, scenes
from uprez.media.frame import Frame, Moment
from uprez.media.likeness import Finding, Other, Sides, Thumb
from uprez.media.timeline import Shown, planned

PLACES = 8
"""Frames of a segment that are looked at."""
NEIGHBOURS = 2
"""Output frames, and where some lie between the source's also of these, on either side, that the right one must be told
from."""
_OTHERS = 40
"""Other frames of the source that a result is judged beside, at most."""
_NEAR = 24
"""Source frames between two places up to which decoding goes on rather than seeking anew."""
_random = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Window:
    """The source around one output frame."""

    due: Thumb
    """Of what lies between two frames, the two blended."""
    others: tuple[Other, ...]
    """What it could show instead, by name: other frames of the source that were decoded on the way, none of which it is
    made of, and of one that lies between two the pairs near."""
    position: int
    """Of the frame that is due, in the index; of one between two frames, the left one's."""
    damaged: bool
    """A frame of it, or near, could not be decoded whole: what it shows is not certain."""
    sides: Sides | tuple[()] = ()
    """The two frames between which it lies; none of one that is shown as it is."""


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
    judged = {
        number: likeness.judge(thumbs[number], seen.due, seen.others, seen.sides) for number, seen in windows.items()
    }
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
    times, places = planned(index, plan), dict[int, Place]()
    source = range(times.part.first, times.part.first + times.part.count)
    for number in sorted(set(numbers)):
        first = max(0, number - NEIGHBOURS)
        around = times.shown(first, min(times.frames, number + NEIGHBOURS + 1) - first)
        places[number] = _place(around, number - first, source=source if times.between else None)
    seen = Seen(index=index, needed=_needed(places.values()))
    between = {place.shown.left for place in places.values() if place.shown.fraction}
    held: set[int] = set()
    for first, last in _runs(sorted(seen.needed), index):
        found = decode.frames(
            url, index, first, last + 1 - first, threads=threads, deinterlace=plan.options.deinterlace
        )
        before: Frame | None = None
        for at, frame in enumerate(found, first):
            seen.see(at, frame)
            if before is not None and at - 1 in between and scenes.holds(before, frame, index.video.colour):
                held.add(at - 1)
            before = frame
    return {number: seen.window(place, held=place.shown.left in held) for number, place in places.items()}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an output frame lies in the source, and what it is told from."""

    shown: Shown
    near: frozenset[int]
    """Positions of the source's frames that show what it and its neighbours do."""


def _place(around: Sequence[Shown], number: int, *, source: range | None) -> Place:
    """Give the place of one output frame among its neighbours.

    `source` are the positions that its neighbours in the source may have; None: none is made between those, so that the
    result's are enough. Else all of these may be of one pair.
    """
    shown = around[number]
    near = {position for each in around for position in (each.left, each.right)}
    if source is not None:
        reach = range(shown.left - NEIGHBOURS, shown.right + NEIGHBOURS + 1)
        near.update(position for position in reach if position in source)
    return Place(shown=shown, near=frozenset(near))


def _needed(places: Iterable[Place]) -> frozenset[int]:
    return frozenset().union(*(place.near for place in places))


@dataclass(kw_only=True)
class Seen:
    """Thumbs of the source's frames, by position in the index."""

    index: Index
    needed: frozenset[int]
    thumbs: dict[int, Thumb] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)

    def see(self, position: int, frame: Frame) -> None:
        """Take a frame's thumb, once, where it is needed."""
        if position in self.needed and position not in self.thumbs:
            video = self.index.video
            self.thumbs[position] = likeness.thumb(frame, video.colour, likeness.size_of(video), video.turn)
            self.damaged |= {position} if frame.damaged else set()

    def window(self, place: Place, *, held: bool) -> Window:
        """Give the window of a place; `held`: nothing is made there between two frames."""
        left, right, share = place.shown.left, place.shown.right, float(place.shown.fraction)
        damaged = not self.damaged.isdisjoint(place.near)
        if held or not share:
            return Window(due=self.thumbs[left], others=self._others(left, left), position=left, damaged=damaged)
        sides = self.thumbs[left], self.thumbs[right]
        others = (*self._pairs(left), *self._others(left, right))
        return Window(due=likeness.blend(*sides, share), others=others, position=left, damaged=damaged, sides=sides)

    def _others(self, left: int, right: int) -> tuple[tuple[str, Thumb], ...]:
        """Name the other frames seen, the nearest first: neighbours tell a shift, others a picture that stands."""
        distances = {at: min(at - left, 0) + max(at - right, 0) for at in self.thumbs}
        nearest = sorted((at for at in distances if distances[at]), key=lambda at: (abs(distances[at]), at))
        return tuple((named(distances[at]), self.thumbs[at]) for at in nearest[:_OTHERS])

    def _pairs(self, left: int) -> Iterator[Other]:
        """Name the pairs of frames near: whole frames of the source earlier, or later."""
        for distance in range(-NEIGHBOURS, NEIGHBOURS + 1):
            at = left + distance
            if distance and at in self.thumbs and at + 1 in self.thumbs:
                yield _named(distance), (self.thumbs[at], self.thumbs[at + 1])


def named(distance: int) -> str:
    """Name the frame of the source so many later, or earlier."""
    return f"the source's frame {abs(distance)} {'later' if distance > 0 else 'earlier'}"


def _named(distance: int) -> str:
    """Name what lies between the two frames so many later, or earlier."""
    return f"what lies {abs(distance)} of the source's frames {'later' if distance > 0 else 'earlier'}"


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
    """Keeps the source's thumbs around chosen output frames of a segment while what they are made of passes."""

    places: tuple[int, ...]
    """Output frames that are looked at, counted from the segment's first."""
    _shown: Sequence[Shown]
    _around: dict[int, Place]
    _seen: Seen
    _held: set[int] = field(default_factory=set)
    """Places at which a frame is shown though its place is between two."""

    @classmethod
    def of(cls, index: Index, shown: Sequence[Shown]) -> Witness:
        """Begin to look at a segment that shows this."""
        places = chosen(len(shown), PLACES)
        between = any(each.fraction for each in shown)
        source = range(shown[0].left, shown[-1].right + 1) if between else None
        around = {}
        for place in places:
            first = max(0, place - NEIGHBOURS)
            around[place] = _place(shown[first : place + NEIGHBOURS + 1], place - first, source=source)
        seen = Seen(index=index, needed=_needed(around.values()))
        return cls(places=places, _shown=shown, _around=around, _seen=seen)

    def seeing(self, moments: Iterator[Moment]) -> Iterator[Moment]:
        """Pass moments on, one for each output frame."""
        for number, (each, moment) in enumerate(zip(self._shown, moments, strict=True)):
            self._seen.see(each.left, moment.left)
            if moment.fraction:
                self._seen.see(each.right, moment.right)
            elif each.fraction and number in self._around:
                self._held.add(number)
            yield moment

    def windows(self) -> dict[int, Window]:
        """Give what was seen, as far as the segment goes."""
        return {number: self._seen.window(place, held=number in self._held) for number, place in self._around.items()}
