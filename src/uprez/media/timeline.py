"""Which output frame is shown when, and which frames of the source it is made of. Pure: whole ticks and fractions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil, floor, gcd, lcm

from uprez.errors import InputError
from uprez.job import Index, Options, Plan, Video
from uprez.media.packets import JUMPING

MOST_TICKS = 2**31 - 1
"""The finest clock, in ticks a second: containers state it in 32 bits, which FFmpeg reads as signed."""

Place = tuple[int, int, int]
"""Where an output frame lies: a source frame's number in the part, and how far on to the next as two whole numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One output frame: what it shows, and when."""

    left: int
    """Position in the index."""
    right: int
    """The next position, or `left` where the source's frame itself is shown."""
    fraction: Fraction
    """How far from left to right, at least 0 and below 1; 0 where and only where they are the same."""
    pts: int
    """In ticks of the timeline's time base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The frames of a source that a result is made of."""

    first: int
    """Position in the index of the first."""
    marks: tuple[int, ...]
    """When each of them is shown and, last, when the last one ends; in the source's ticks, ascending."""
    tick: Fraction
    """Seconds."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.marks) - 1

    def begin(self, time_base: Fraction) -> int:
        """Give the time of the first frame, to the nearest tick of `time_base`."""
        return _nearest(self.marks[0] * self.tick / time_base)

    def end(self, time_base: Fraction) -> int:
        """Give the time at which the last frame ends, to the nearest tick of `time_base`."""
        return _nearest(self.marks[-1] * self.tick / time_base)


@dataclass(frozen=True, slots=True)
class Factor:
    """So many output frames for every source frame, spread evenly from its time to the next one's: VFR stays VFR.

    N frames become N times the ratio, a half counting as one, and at least 1; they end when the source ends. After the
    last source frame there is none to go to, so it is held.
    """

    ratio: Fraction
    """Above 0; below 1 frames are left out."""

    def __post_init__(self) -> None:
        """Raise ValueError for a ratio that is not above 0."""
        if self.ratio <= 0:
            raise ValueError(f"a factor of {self.ratio}: it must be above 0")

    def frames(self, part: Part) -> int:
        """Count the output frames."""
        return max(1, _nearest(part.count * self.ratio))

    def time_base(self, part: Part) -> Fraction:
        """Give the ticks in which all times are whole; where they are too fine, the source's, split as far as can be.

        Raises InputError when two output frames would share such a tick.
        """
        exact = part.tick / self.ratio.numerator
        if exact.denominator <= MOST_TICKS:
            return exact
        finest = part.tick / (MOST_TICKS // part.tick.denominator)
        if min(right - left for left, right in pairwise(part.marks)) * part.tick < finest * self.ratio:
            raise InputError(
                f"{self.ratio} times the frames would be closer than a container's clock, {MOST_TICKS} Hz, tells apart",
                hint="choose a constant rate",
            )
        return finest

    def times(self, part: Part, numbers: Iterable[int], time_base: Fraction) -> list[int]:
        """Give when output frames are shown on the source's clock, in ticks of `time_base`."""
        marks, up = part.marks, self.ratio.numerator
        exact = [
            marks[left] * up + (marks[left + 1] - marks[left]) * done for left, done, _ in self.places(part, numbers)
        ]
        return _rescaled(exact, part.tick / up / time_base)

    def end(self, part: Part, time_base: Fraction) -> int:
        """Give when the last output frame ends, likewise."""
        return part.end(time_base)

    def places(self, part: Part, numbers: Iterable[int]) -> list[Place]:
        """Give where output frames lie in the part."""
        up, down = self.ratio.as_integer_ratio()
        return [(*divmod(number * down, up), up) for number in numbers]


@dataclass(frozen=True, slots=True)
class Constant:
    """Output frames at equal distances from the first source frame's time on, whatever the source's times: CFR.

    There are duration times rate of them, a half counting as one, and at least 1, so that they end within half an
    output frame of the source's end. After the last source frame there is none to go to, so it is held.
    """

    fps: Fraction
    """Frames a second, above 0."""

    def __post_init__(self) -> None:
        """Raise ValueError for a rate that is not above 0."""
        if self.fps <= 0:
            raise ValueError(f"{self.fps} frames a second: it must be above 0")

    def frames(self, part: Part) -> int:
        """Count the output frames."""
        return max(1, _nearest((part.marks[-1] - part.marks[0]) * part.tick * self.fps))

    def time_base(self, part: Part) -> Fraction:
        """Give the ticks in which all times are whole; where they are too fine, a frame's, split as far as can be.

        Then the first frame is shown at the nearest tick to its time. Raises InputError for a rate that no clock has.
        """
        step = 1 / self.fps
        exact = Fraction(gcd(part.tick.numerator, step.numerator), lcm(part.tick.denominator, step.denominator))
        if exact.denominator <= MOST_TICKS:
            return exact
        if max(self.fps.as_integer_ratio()) > MOST_TICKS:
            raise InputError(f"no container states a rate of {self.fps}", hint="choose one such as 60000/1001")
        return step / (MOST_TICKS // step.denominator)

    def times(self, part: Part, numbers: Iterable[int], time_base: Fraction) -> list[int]:
        """Give when output frames are shown on the source's clock, in ticks of `time_base`."""
        begin, step = part.begin(time_base), int(1 / self.fps / time_base)
        return [begin + number * step for number in numbers]

    def end(self, part: Part, time_base: Fraction) -> int:
        """Give when the last output frame ends, likewise."""
        return self.times(part, [self.frames(part)], time_base)[0]

    def places(self, part: Part, numbers: Iterable[int]) -> list[Place]:
        """Give where output frames lie in the part."""
        marks = part.marks
        up, down = (1 / self.fps / part.tick).as_integer_ratio()
        places = []
        for number in numbers:
            whole, rest = divmod(number * up, down)
            at = marks[0] + whole
            left = bisect_right(marks, at) - 1
            places.append((left, (at - marks[left]) * down + rest, (marks[left + 1] - marks[left]) * down))
        return places


Rate = Factor | Constant

KEEP = Factor(Fraction(1))
"""Every source frame at its own time."""
USUAL = Fraction(2)
"""The factor of interpolation, where neither it nor a rate was asked for."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The frames of a result, their times in ticks of `time_base`."""

    time_base: Fraction
    """Seconds a tick."""
    origin: int
    """Tick of the source's clock that becomes tick 0.

    0 for the whole video, which keeps its start offset; of a transport stream, whose clock begins anywhere, when its
    first stream begins.
    """
    end: int
    """When the last frame ends."""
    frames: int
    """Number of output frames."""
    part: Part
    rate: Rate
    between: bool
    """Frames are due between those of the source; False: these are only repeated and left out."""

    @cached_property
    def pts(self) -> tuple[int, ...]:
        """When each output frame is shown, ascending."""
        return tuple(self._times(range(self.frames)))

    def shown(self, first: int, count: int) -> tuple[Shown, ...]:
        """Say what `count` output frames from number `first` show; costs what these cost, however long the result is.

        Raises ValueError for frames that the result does not have.
        """
        numbers = self._numbers(first, count)
        places = self.rate.places(self.part, numbers)
        return tuple(self._shown(place, pts) for place, pts in zip(places, self._times(numbers), strict=True))

    def needed(self, first: int, count: int) -> tuple[int, int]:
        """Give (first, count) of the source frames, by position in the index, of which these output frames are made.

        Neighbouring segments share the frame that something is made on both sides of. Raises ValueError as `shown`.
        """
        numbers = self._numbers(first, count)
        (begin,), (last,) = self.shown(numbers[0], 1), self.shown(numbers[-1], 1)
        return begin.left, last.right + 1 - begin.left

    def _numbers(self, first: int, count: int) -> range:
        if first < 0 or count < 1 or first + count > self.frames:
            raise ValueError(f"frames {first} to {first + count} of a result of {self.frames}")
        return range(first, first + count)

    def _times(self, numbers: range) -> list[int]:
        return [at - self.origin for at in self.rate.times(self.part, numbers, self.time_base)]

    def _shown(self, place: Place, pts: int) -> Shown:
        number, done, of = place
        left = self.part.first + number
        if not done or self._holds(number):
            return Shown(left=left, right=left, fraction=Fraction(0), pts=pts)
        return Shown(left=left, right=left + 1, fraction=Fraction(done, of), pts=pts)

    def _holds(self, number: int) -> bool:
        last = self.part.count - 1
        return not self.between or number == last


def timeline(index: Index, first: int, count: int, *, rate: Rate = KEEP, between: bool = True) -> Timeline:
    """Give the frames of a result made of `count` frames of the source from position `first`.

    The whole video keeps its start offset; a part of it begins at 0. Times are exact, but where that would take a finer
    clock than containers have: then they are off by half a tick of the finest at most (see the rates' `time_base`).

    Raises ValueError for frames that the index does not have, and InputError for a rate that no clock can show.
    """
    part = _part(index, first, count)
    time_base = rate.time_base(part)
    origin = _beginning(index, time_base) if count == len(index.pts) else part.begin(time_base)
    return Timeline(
        time_base=time_base,
        origin=origin,
        end=rate.end(part, time_base) - origin,
        frames=rate.frames(part),
        part=part,
        rate=rate,
        between=between,
    )


def _beginning(index: Index, time_base: Fraction) -> int:
    if index.video.container not in JUMPING:
        return 0
    heard = [stream.start for stream in index.video.audio if stream.start is not None]
    return floor(min([index.pts[0] * index.time_base, *heard]) / time_base)


def planned(index: Index, plan: Plan) -> Timeline:
    """Give the timeline of a plan's result."""
    return asked(index, plan.first, plan.count, plan.options)


def asked(index: Index, first: int, count: int, options: Options) -> Timeline:
    """Give the timeline of a result made of `count` frames of the source, as its options ask for."""
    return timeline(index, first, count, rate=rate_asked(options), between=options.interpolates)


def rate_asked(options: Options) -> Rate:
    """Give the rate that options ask for."""
    if options.interpolates:
        return Constant(options.target_fps) if options.target_fps else Factor(options.factor or USUAL)
    return Constant(options.cfr) if options.cfr else KEEP


def rate_of(video: Video, options: Options) -> Fraction | None:
    """Give the average frames a second of a video's result; None where they follow from the video's, which are unknown.

    For people, rate control and estimates, never for time. A rate of numbers that encoders do not take is the nearest
    that they do.
    """
    rate = rate_asked(options)
    if isinstance(rate, Constant):
        return rate.fps
    if video.rate is None:
        return None
    exact = video.rate * rate.ratio
    return exact if max(exact.as_integer_ratio()) <= MOST_TICKS else exact.limit_denominator(1001)


def select(index: Index, start: Fraction, duration: Fraction | None) -> tuple[int, int]:
    """Give (first, count) of the frames shown from `start` until before `start + duration`, in seconds from the first.

    Raises InputError when there is none.
    """
    first = _position(index, start)
    last = len(index.pts) if duration is None else _position(index, start + duration)
    if first >= last:
        until = "the end" if duration is None else _seconds(start + duration)
        raise InputError(
            f"no frame between {_seconds(start)} and {until}: the video lasts {_seconds(_length(index))}",
            hint="choose --start and --duration within it",
        )
    return first, last - first


def _part(index: Index, first: int, count: int) -> Part:
    after = first + count
    if first < 0 or count < 1 or after > len(index.pts):
        raise ValueError(f"frames {first} to {after} of an index of {len(index.pts)}")
    end = index.pts[after] if after < len(index.pts) else index.pts[-1] + index.last_duration
    return Part(first=first, marks=(*index.pts[first:after], end), tick=index.time_base)


def _position(index: Index, seconds: Fraction) -> int:
    """Count the frames shown before `seconds`."""
    return bisect_left(index.pts, index.pts[0] + ceil(seconds / index.time_base))


def _length(index: Index) -> Fraction:
    return (index.pts[-1] + index.last_duration - index.pts[0]) * index.time_base


def _seconds(value: Fraction) -> str:
    return f"{float(value):.3f} s"


def _nearest(value: Fraction) -> int:
    """Round to a whole number, a half upwards."""
    return floor(value + Fraction(1, 2))


def _rescaled(ticks: Sequence[int], scale: Fraction) -> list[int]:
    """Give times in other ticks, each rounded as `_nearest`, without a Fraction for each."""
    up, down = scale.as_integer_ratio()
    return [(2 * tick * up + down) // (2 * down) for tick in ticks]
