"""Which output frame is shown when. Pure: integers in the source's time base and fractions of a second."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from uprez.errors import InputError
from uprez.job import Index


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The times of a result's frames, in ticks of `time_base`."""

    time_base: Fraction
    origin: int
    """Source tick that becomes tick 0 of the result: 0 for the whole video, which keeps its start offset."""
    pts: tuple[int, ...]
    """When each output frame is shown, ascending."""
    end: int
    """Tick of the result at which the last frame ends."""


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


def timeline(index: Index, first: int, count: int) -> Timeline:
    """Give the times of a result made of `count` frames of the source from position `first`.

    The whole video keeps its times; a part of it begins at 0.
    """
    after = first + count
    if first < 0 or count < 1 or after > len(index.pts):
        raise ValueError(f"frames {first} to {after} of an index of {len(index.pts)}")
    origin = 0 if count == len(index.pts) else index.pts[first]
    end = index.pts[after] if after < len(index.pts) else index.pts[-1] + index.last_duration
    return Timeline(
        time_base=index.time_base,
        origin=origin,
        pts=tuple(pts - origin for pts in index.pts[first:after]),
        end=end - origin,
    )


def _position(index: Index, seconds: Fraction) -> int:
    """Count the frames shown before `seconds`."""
    return bisect_left(index.pts, index.pts[0] + ceil(seconds / index.time_base))


def _length(index: Index) -> Fraction:
    return (index.pts[-1] + index.last_duration - index.pts[0]) * index.time_base


def _seconds(value: Fraction) -> str:
    return f"{float(value):.3f} s"
