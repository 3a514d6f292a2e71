"""How like two videos are: their frames paired by time, brought to one size and one colour, and measured in luma."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from uprez.errors import InputError
from uprez.job import Colour, Index, Video
from uprez.media import decode, metrics, stills
from uprez.media.frame import Frame
from uprez.media.reduction import Size, code_range, luma_weights, reduced, reduced_luma

_SAME_S = Fraction(1, 1000)
"""Times so close are the same: Matroska rounds to the millisecond."""
_SEEK = 100
"""Frames that are decoded and passed over rather than sought across."""
_SHAPES = Fraction(1, 50)
"""By so much shapes differ from even sides alone."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A video, indexed."""

    url: str
    index: Index

    @property
    def times(self) -> list[Fraction]:
        """Seconds from its first frame at which each is shown, and last when the last one ends."""
        pts, tick = self.index.pts, self.index.time_base
        return [(at - pts[0]) * tick for at in (*pts, pts[-1] + self.index.last_duration)]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two frames that are shown at one time."""

    first: int
    """Position in the first video's index."""
    second: int
    at: Fraction
    """Seconds from the first frame, of the one with fewer frames."""
    apart: Fraction
    """Seconds between their times."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What was measured of one pair."""

    pair: Pair
    error: float
    """Mean squared difference of luma, in code values of the first video."""
    ssim: float
    damaged: bool
    """One of the frames could not be decoded whole."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found."""

    size: Size
    """At which pictures were compared: the smaller video's."""
    pairs: tuple[Pair, ...]
    """All of them, in order of time."""
    scores: tuple[Score, ...]
    """Of those that were measured."""
    peak: int
    """The largest code value of the first video."""

    @property
    def apart(self) -> Fraction:
        """Largest difference of times, in seconds, among all pairs."""
        return max(pair.apart for pair in self.pairs)

    @property
    def psnr(self) -> float:
        """Of the mean squared error over all that was measured, in dB."""
        return metrics.decibels(sum(score.error for score in self.scores) / len(self.scores), self.peak)

    @property
    def ssim(self) -> float:
        """Mean."""
        return sum(score.ssim for score in self.scores) / len(self.scores)

    @property
    def worst(self) -> Score:
        """The one with the lowest PSNR."""
        return max(self.scores, key=lambda score: score.error)

    @property
    def worst_ssim(self) -> Score:
        """The one with the lowest SSIM."""
        return min(self.scores, key=lambda score: score.ssim)

    def psnr_of(self, score: Score) -> float:
        """Give one pair's PSNR in dB."""
        return metrics.decibels(score.error, self.peak)


def compare(
    one: File, other: File, *, at: Fraction | None = None, count: int | None = None, threads: int
) -> Comparison:
    """Measure two videos: the pair shown `at` so many seconds, or `count` pairs spread evenly, or all.

    Raises InputError where one of them is over at that time, and for what cannot be decoded.
    """
    found = pairs(one, other)
    chosen = [_shown_at(found, at, min(one.times[-1], other.times[-1]))] if at is not None else _spread(found, count)
    size = min(one.index.video.shown_size, other.index.video.shown_size, key=lambda size: size[0] * size[1])
    scores = tuple(_scores(one, other, chosen, size, threads))
    return Comparison(size=size, pairs=found, scores=scores, peak=(1 << one.index.video.colour.depth) - 1)


def picture(one: File, other: File, pair: Pair, *, threads: int) -> stills.Still:
    """Give a pair's frames side by side, at the larger one's height."""
    halves = []
    for file, number in ((one, pair.first), (other, pair.second)):
        (frame,) = _frames(file, [number], threads)
        video = file.index.video
        halves.append(stills.rgb(frame, video.colour, video.turn))
    return stills.side_by_side(*halves)


def notes(one: File, other: File, found: Comparison) -> list[str]:
    """Say what a person should know about the figures."""
    said = []
    if not _same_shape(one.index.video, other.index.video):
        said.append("the shapes differ: pictures are stretched onto each other")
    begins = [file.index.pts[0] * file.index.time_base for file in (one, other)]
    if abs(begins[0] - begins[1]) > _SAME_S:
        said.append(f"they begin at {float(begins[0]):.3f} s and {float(begins[1]):.3f} s; times count from there")
    alone = min(len(one.index.pts), len(other.index.pts)) - len(found.pairs)
    if alone:
        said.append(f"frames shown after the other has ended: {alone}")
    if damaged := sum(score.damaged for score in found.scores):
        said.append(f"pairs with a frame that could not be decoded whole: {damaged}")
    return said


# --- pairs


def pairs(one: File, other: File) -> tuple[Pair, ...]:
    """Pair each frame of the video with fewer frames with the one that the other shows then, counted from the first.

    Frames shown after the other has ended have none.
    """
    swapped = len(other.index.pts) < len(one.index.pts)
    few, many = (other.times, one.times) if swapped else (one.times, other.times)
    same = min(_SAME_S, *((after - before) / 4 for before, after in pairwise(many)))
    found = []
    for number, at in enumerate(few[:-1]):
        partner = bisect_right(many, at + same) - 1
        if partner < len(many) - 1:
            first, second = (partner, number) if swapped else (number, partner)
            found.append(Pair(first=first, second=second, at=at, apart=abs(at - many[partner])))
    return tuple(found)


def _shown_at(found: Sequence[Pair], at: Fraction, end: Fraction) -> Pair:
    if at >= end:
        raise InputError(
            f"no frame of both is shown at {float(at):.3f} s: one of them ends at {float(end):.3f} s",
            hint="choose an earlier time, counted from the first frame",
        )
    return found[bisect_right([pair.at for pair in found], at) - 1]


def _spread(found: Sequence[Pair], count: int | None) -> list[Pair]:
    """Choose so many, the first and the last among them."""
    if count is None or count >= len(found):
        return list(found)
    last = len(found) - 1
    return [found[round(Fraction(number * last, max(1, count - 1)))] for number in range(count)]


def _same_shape(one: Video, other: Video) -> bool:
    (width, height), (other_width, other_height) = one.shown_size, other.shown_size
    return abs(Fraction(width * other_height, height * other_width) - 1) <= _SHAPES


# --- pictures


def _scores(one: File, other: File, chosen: Sequence[Pair], size: Size, threads: int) -> Iterator[Score]:
    colour = one.index.video.colour
    firsts = _frames(one, [pair.first for pair in chosen], threads)
    seconds = _frames(other, [pair.second for pair in chosen], threads)
    for pair, first, second in zip(chosen, firsts, seconds, strict=True):
        left, right = _luma(first, one.index.video, size, colour), _luma(second, other.index.video, size, colour)
        yield Score(
            pair=pair,
            error=metrics.mean_square(left, right),
            ssim=metrics.ssim(left, right, (1 << colour.depth) - 1),
            damaged=first.damaged or second.damaged,
        )


def _luma(frame: Frame, video: Video, size: Size, wanted: Colour) -> NDArray[np.float32]:
    """Give a frame's luma at this size in the code values of `wanted`: its matrix, range and depth."""
    colour = video.colour
    if colour.family != "rgb" and (colour.family == "gray" or colour.matrix == wanted.matrix):
        light = reduced_luma(frame, colour, size, video.turn)
    else:
        light = reduced(frame, colour, size, video.turn) @ luma_weights(wanted)
    low, span, _ = code_range(wanted)
    return light * np.float32(span) + np.float32(low)


def _frames(file: File, numbers: Sequence[int], threads: int) -> Iterator[Frame]:
    """Decode frames by their positions, which ascend and may be the same again."""
    for run in _runs(numbers):
        first, last = run[0], run[-1]
        coming = decode.frames(file.url, file.index, first, last - first + 1, threads=threads, deinterlace="auto")
        position = first - 1
        frame: Frame | None = None
        for number in run:
            while position < number or frame is None:
                frame, position = next(coming), position + 1
            yield frame


def _runs(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Cut positions where it is worth seeking."""
    run: list[int] = []
    for number in numbers:
        if run and number - run[-1] > _SEEK:
            yield run
            run = []
        run.append(number)
    if run:
        yield run
