"""What is told about a job before anything is rented."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.fleet.estimate import estimate, part_frames
from uprez.job import Options, Video

SECONDS = st.fractions(min_value=0, max_value=10, max_denominator=1000)


@pytest.mark.parametrize(
    ("start", "duration", "frames"),
    [
        (Fraction(0), None, 100),
        (Fraction(1), None, 75),
        (Fraction(0), Fraction(2), 50),
        (Fraction(3), Fraction(2), 25),
        (Fraction(0), Fraction(100), 100),
        (Fraction(100), None, 0),
    ],
)
def test_part_is_counted_by_the_header(video: Video, start: Fraction, duration: Fraction | None, frames: int) -> None:
    """The part of a clip of 100 frames in 4 s has as many frames as its length times the rate."""
    assert part_frames(video, Options(start=start, duration=duration)) == frames


def test_unknown_length_stays_unknown(video: Video) -> None:
    """A header without a duration gives no estimate of a part, and none of the work."""
    bare = replace(video, duration=None)
    assert part_frames(bare, Options()) == 100
    part = estimate(bare, Options(start=Fraction(1)))
    assert (part.frames, part.work_gmac) == (None, None)
    assert estimate(replace(bare, frames=None), Options()).frames is None


@settings(deadline=None)  # a busy machine is no failure
@given(start=SECONDS, duration=st.none() | SECONDS)
def test_part_is_never_more_than_the_whole(video: Video, start: Fraction, duration: Fraction | None) -> None:
    """No part has a negative number of frames or more than the video."""
    frames = part_frames(video, Options(start=start, duration=duration))
    assert frames is not None
    assert 0 <= frames <= 100


def test_estimate_gives_output_size_and_work(video: Video) -> None:
    """Sides are scaled and even; work is the network's per pixel of input, and nothing without a network."""
    figures = estimate(video, Options(scale=Fraction(3, 2)))
    assert (figures.frames, figures.width, figures.height) == (100, 480, 270)
    assert figures.work_gmac == pytest.approx(100 * 320 * 180 * 619_200 / 1e9)
    assert estimate(video, Options(model="lanczos")).work_gmac == 0
