"""Decoded frames come as what each output frame is made of."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plain import VIDEO, indexed
from uprez.enhance.feed import Feed
from uprez.media import scenes
from uprez.media.frame import Frame
from uprez.media.timeline import Constant, Factor, Shown, timeline

HALF = Fraction(1, 2)


def frame(position: int, *, scene: int = 0, damaged: bool = False) -> Frame:
    """A frame of a scene of its own seed, told by its pts; every one is a little brighter."""
    picture = np.random.default_rng(scene).integers(16, 200, (18, 32)) + position % 32
    return Frame(planes=(picture.astype(np.uint8),), pts=position, damaged=damaged)


def shown(*positions: float) -> list[Shown]:
    """Output frames at these positions of the source."""
    places = [(int(at), Fraction(at) % 1) for at in positions]
    return [
        Shown(left=left, right=left + (fraction > 0), fraction=fraction, pts=pts)
        for pts, (left, fraction) in enumerate(places)
    ]


def moments(feed: Feed, wanted: list[Shown]) -> list[tuple[int, int, Fraction]]:
    """What a feed gives, in short; where the fraction is 0, left is right."""
    found = []
    for moment in feed.shown(wanted):
        assert (moment.left is moment.right) == (moment.fraction == 0)
        found.append((moment.left.pts, moment.right.pts, moment.fraction))
    return found


def test_frames_are_repeated_and_left_out() -> None:
    """The very same frame comes again, so that it is enhanced once; frames in between are passed over."""
    feed = Feed((frame(at) for at in range(5, 12)), 5, VIDEO)
    got = list(feed.shown(shown(5, 5, 6, 9, 9, 9, 11)))
    assert [each.left.pts for each in got] == [5, 5, 6, 9, 9, 9, 11]
    assert all(each.right is each.left and each.fraction == 0 for each in got)
    assert got[3].left is got[4].left is got[5].left
    assert feed.held == 0


def test_each_damaged_frame_counts_once() -> None:
    """However often it is shown, and also where it is not."""
    feed = Feed((frame(at, damaged=at in (1, 2)) for at in range(5)), 0, VIDEO)
    list(feed.shown(shown(0, 0.5, 1, 1, 1.5, 3, 3.5)))
    assert feed.damaged == 2


def test_what_lies_between_has_both_frames() -> None:
    """Left, right and how far; a source frame is the very same before, alone and after."""
    feed = Feed((frame(at) for at in range(3, 8)), 3, VIDEO)
    wanted = shown(3, 3.25, 3.5, 4, 4.75, 6.5)
    found = moments(feed, wanted)
    assert found == [(3, 3, 0), (3, 4, Fraction(1, 4)), (3, 4, HALF), (4, 4, 0), (4, 5, Fraction(3, 4)), (6, 7, HALF)]
    again = list(Feed((frame(at) for at in range(3, 8)), 3, VIDEO).shown(wanted))
    assert again[1].right is again[3].left is again[4].left


def test_nothing_is_made_across_a_cut() -> None:
    """The frame before it is held, and held moments are counted."""
    feed = Feed((frame(at, scene=at // 3) for at in range(6)), 0, VIDEO)
    found = moments(feed, shown(1.5, 2, 2.25, 2.75, 3, 3.5))
    assert found == [(1, 2, HALF), (2, 2, 0), (2, 2, 0), (2, 2, 0), (3, 3, 0), (3, 4, HALF)]
    assert feed.held == 2


def test_nothing_is_made_between_equal_frames() -> None:
    """They differ in their times only."""
    pair = [frame(0), Frame(planes=frame(0).planes, pts=1)]
    feed = Feed(iter(pair), 0, VIDEO)
    assert moments(feed, shown(0, 0.5, 1)) == [(0, 0, 0), (0, 0, 0), (1, 1, 0)]
    assert feed.held == 1


def test_a_pair_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many frames are made between the two."""
    asked: list[int] = []
    holds = scenes.holds

    def counting(left: Frame, right: Frame, *more: object) -> bool:
        asked.append(left.pts)
        return holds(left, right, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(scenes, "holds", counting)
    feed = Feed((frame(at) for at in range(4)), 0, VIDEO)
    list(feed.shown(shown(0, 0.25, 0.5, 0.75, 1, 1.5, 2)))
    assert asked == [0, 1]


@dataclass
class Source:
    """Frames on demand; knows how many were taken, how many are held at most, and whether it was closed."""

    first: int
    taken: int = 0
    most: int = 0
    closed: bool = False

    def __iter__(self) -> Iterator[Frame]:
        """Give them without end."""
        made: list[weakref.ref[np.ndarray]] = []
        try:
            while True:
                yield self._next(made)
                self.most = max(self.most, sum(each() is not None for each in made))
        finally:
            self.closed = True

    def _next(self, made: list[weakref.ref[np.ndarray]]) -> Frame:
        plane = np.full((18, 32), 16 + self.taken, np.uint8)
        made.append(weakref.ref(plane))
        self.taken += 1
        return Frame(planes=(plane,), pts=self.first + self.taken)


@given(
    st.sampled_from([Factor(Fraction(2)), Factor(Fraction(5, 2)), Constant(Fraction(60)), Constant(Fraction(10))]),
    st.integers(0, 70),
    st.integers(1, 20),
)
def test_no_more_is_decoded_than_needed(rate: Factor | Constant, first: int, count: int) -> None:
    """Of any part of a result what its timeline says, two frames held at a time, and the file is closed."""
    times = timeline(indexed(VIDEO, 50), 7, 30, rate=rate, between=True)
    first %= times.frames
    count = min(count, times.frames - first)
    begin, needed = times.needed(first, count)
    source = Source(begin)
    feed = Feed(iter(source), begin, VIDEO)
    for moment in feed.shown(times.shown(first, count)):
        del moment
    assert source.taken == needed
    assert source.most <= 2
    assert source.closed
