"""What is told about a job before anything is rented."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.fleet.estimate import estimate, part_frames, result_bytes, result_frames
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


@pytest.mark.usefixtures("rife")
@pytest.mark.parametrize(
    ("options", "frames", "fps", "upscaled", "interpolated"),
    [
        (Options(mode="interp", scale=Fraction(1)), 200, 50, 0, 200),
        (Options(mode="both"), 200, 50, 200, 200),
        (Options(mode="both", target_fps=Fraction(60), duration=Fraction(2)), 120, 60, 120, 120),
        (Options(mode="both", factor=Fraction(5, 2)), 250, Fraction(125, 2), 250, 250),
        (Options(mode="both", strategy="upscale-then-interp"), 200, 50, 100, 4 * 200),
        (Options(cfr=Fraction(30)), 120, 30, 100, 0),
        (Options(cfr=Fraction(10)), 40, 10, 40, 0),
    ],
)
def test_interpolation_is_counted_by_its_frames_and_its_size(
    video: Video, options: Options, frames: int, fps: Fraction, upscaled: int, interpolated: int
) -> None:
    """Of 100 frames: how many come out, at which rate, and how often each network sees how many pixels."""
    figures = estimate(video, options)
    assert (figures.source_frames, figures.frames, figures.fps) == (part_frames(video, options), frames, fps)
    due = 320 * 180 * (619_200 * upscaled + 200_000 * interpolated) / 1e9
    assert figures.work_gmac == pytest.approx(due)
    assert result_bytes(video, options) == round(frames * figures.width * figures.height * 0.25 / 8)


@pytest.mark.usefixtures("rife")
def test_what_a_header_does_not_say_is_not_invented(video: Video) -> None:
    """Frames at a constant rate follow from the length, or from count and rate; a factor needs the count alone."""
    at_60, twice = Options(mode="interp", target_fps=Fraction(60)), Options(mode="interp")
    bare = replace(video, duration=None)
    assert (result_frames(bare, at_60), result_frames(bare, twice)) == (240, 200)
    less = replace(bare, rate=None)
    assert (result_frames(less, at_60), result_frames(less, twice)) == (None, 200)
    assert (estimate(less, at_60).fps, estimate(less, twice).fps) == (60, None)


def test_estimate_gives_output_size_and_work(video: Video) -> None:
    """Sides are scaled and even; work is the network's per pixel of input, and nothing without a network."""
    figures = estimate(video, Options(scale=Fraction(3, 2)))
    assert (figures.frames, figures.width, figures.height) == (100, 480, 270)
    assert figures.work_gmac == pytest.approx(100 * 320 * 180 * 619_200 / 1e9)
    assert estimate(video, Options(model="lanczos")).work_gmac == 0
