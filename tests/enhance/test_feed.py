"""Decoded frames come as often as they are shown."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from uprez.enhance.feed import Feed
from uprez.media.frame import Frame
from uprez.media.timeline import Shown


def frame(position: int, *, damaged: bool = False) -> Frame:
    """A frame that is told by its pts."""
    return Frame(planes=(np.zeros((2, 2), np.uint8),), pts=position, damaged=damaged)


def shown(*positions: int) -> list[Shown]:
    """Output frames that show these source frames."""
    return [Shown(left=at, right=at, fraction=Fraction(0), pts=pts) for pts, at in enumerate(positions)]


def test_frames_are_repeated_and_left_out() -> None:
    """The very same frame comes again, so that it is enhanced once; frames in between are passed over."""
    feed = Feed((frame(at) for at in range(5, 12)), 5)
    got = list(feed.shown(shown(5, 5, 6, 9, 9, 9, 11)))
    assert [each.pts for each in got] == [5, 5, 6, 9, 9, 9, 11]
    assert got[3] is got[4] is got[5]


def test_each_damaged_frame_counts_once() -> None:
    """However often it is shown, and also where it is not."""
    feed = Feed((frame(at, damaged=at in (1, 2)) for at in range(4)), 0)
    list(feed.shown(shown(0, 1, 1, 3)))
    assert feed.damaged == 2
