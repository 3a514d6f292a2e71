"""How a job is cut into segments."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plain
from uprez.errors import InputError
from uprez.fleet import plan as plans
from uprez.job import Colour, Encoding, Options, Survey
from uprez.media import encode, timeline
from uprez.media.frame import Frame
from uprez.media.ladders import LADDERS
from uprez.media.layouts import layout

COUNTS = st.integers(1, 200_000)


@settings(deadline=None)  # a busy machine is no failure
@given(count=st.integers(1, 2000), size=st.integers(1, 2500))
def test_segments_cover_every_frame_once(count: int, size: int) -> None:
    """Segments are numbered from 0, follow each other without gap or overlap, and only the last is shorter."""
    segments = plans.cut(count, size)
    assert [segment.number for segment in segments] == list(range(len(segments)))
    ends = [segment.first + segment.count for segment in segments]
    assert [segment.first for segment in segments] == [0, *ends[:-1]]
    assert ends[-1] == count
    assert all(segment.count == size for segment in segments[:-1])
    assert 0 < segments[-1].count <= size


@settings(deadline=None)  # a busy machine is no failure
@given(
    count=COUNTS,
    rate=st.none() | st.fractions(min_value=1, max_value=240, max_denominator=1001),
    seconds=st.floats(0, 1000, allow_nan=False),
    keys=st.lists(st.integers(1, 200_000), unique=True).map(sorted),
)
def test_segments_are_short_but_never_tiny(count: int, rate: Fraction | None, seconds: float, keys: list[int]) -> None:
    """Whatever keyframes a source has, segments have at least 12 frames and stay within their bounds."""
    most = plans.frames_at_most(rate, seconds)
    segments = plans.cut_at(plans.borders(count, most, nearest(keys)))
    lengths = [segment.count for segment in segments]
    assert sum(lengths) == count
    assert [segment.first for segment in segments] == list(accumulate(lengths, initial=0))[:-1]
    assert min(lengths) >= min(12, count)
    assert max(lengths) < 24 or (max(lengths) <= 60 * (rate or 25) and max(lengths) * seconds <= 300 * (1 + 1e-9))


@settings(deadline=None)
@given(count=st.integers(200, 5000), most=st.integers(23, 400))
def test_segments_are_as_long_as_each_other_without_keyframes(count: int, most: int) -> None:
    """Where nothing draws a border, lengths differ by a frame."""
    lengths = [segment.count for segment in plans.cut_at(plans.borders(count, most, nearest([])))]
    assert max(lengths) - min(lengths) <= 1


def test_borders_move_to_keyframes() -> None:
    """The nearest keyframe within a quarter of a piece draws a border; one further away does not."""
    assert plans.borders(1000, 625, nearest([])) == [0, 500, 1000]
    assert plans.borders(1000, 625, nearest([90, 440, 530, 800])) == [0, 530, 1000]
    assert plans.borders(1000, 625, nearest([374, 630])) == [0, 500, 1000]
    assert plans.borders(1000, 520, nearest([440])) == [0, 333, 666, 1000]


def test_keyframes_are_those_of_the_output(survey: Survey) -> None:
    """A keyframe is found by the first output frame that shows it, at another rate and in a part too."""
    index = replace(survey.index, keyframes=tuple(survey.index.pts[at] for at in (0, 30, 50)))
    whole = plans.keyframes(index, timeline.asked(index, 0, 100, Options()))
    assert [whole(at) for at in (0, 29, 30, 49, 99)] == [[0, 30], [0, 30], [30, 50], [30, 50], [50]]
    doubled = plans.keyframes(index, timeline.asked(index, 0, 100, Options(cfr=Fraction(50))))
    assert [doubled(at) for at in (59, 60)] == [[0, 60], [60, 100]]
    part = plans.keyframes(index, timeline.asked(index, 20, 20, Options()))
    assert [part(at) for at in (5, 15)] == [[0, 10], [10]]


def test_a_long_film_is_cut_in_no_time() -> None:
    """Four hours of all keyframes at 60 a second take seconds to cut, as do four hours of one."""
    frames = 4 * 3600 * 60
    index = plain.indexed(plain.counted(frames), frames)
    for keys in (index.pts, index.pts[:1]):
        cut = replace(index, keyframes=keys)
        times = timeline.asked(cut, 0, frames, Options())
        made = plans.borders(times.frames, 3600, plans.keyframes(cut, times))
        assert (made[0], made[-1]) == (0, frames)
        assert len(made) > 240


def nearest(keys: list[int]) -> plans.Near:
    """Give the one of `keys`, ascending, at or before a place, and the one behind it."""

    def near(at: int) -> list[int]:
        behind = bisect_right(keys, at)
        return keys[max(0, behind - 1) : behind + 1]

    return near


def test_plan_fixes_part_size_and_cuts(survey: Survey) -> None:
    """A plan holds the frames between start and duration, counted in the index, the output's size and the cuts."""
    options = Options(scale=Fraction(3, 2), start=Fraction(1), duration=Fraction(2))
    made = plans.make("job", 4, options, survey, container="mkv", segment_frames=12)
    assert (made.number, made.first, made.count) == (4, 25, 50)
    assert (made.width, made.height) == (480, 270)
    assert [segment.count for segment in made.segments] == [12, 12, 12, 12, 2]
    assert made.preflight == survey.preflight


@pytest.mark.parametrize(
    ("options", "frames", "rate"),
    [
        (Options(), 3000, 25),
        (Options(mode="interp", scale=Fraction(1)), 6000, 50),
        (Options(mode="both", target_fps=Fraction(60)), 7200, 60),
        (Options(mode="both", factor=Fraction(5, 2), strategy="upscale-then-interp"), 7500, Fraction(125, 2)),
    ],
)
def test_a_segment_of_a_result_with_more_frames_lasts_no_longer(
    survey: Survey, options: Options, frames: int, rate: Fraction
) -> None:
    """Segments are at most 60 s of what comes out, and all of them together are all of it."""
    video = plain.counted(3000)
    fast = replace(survey.preflight, seconds_per_frame=0.001)
    made = plans.make("job", 1, options, Survey(index=plain.indexed(video, 3000), preflight=fast), container="mkv")
    assert made.frames == frames
    assert (made.first, made.count) == (0, 3000)
    longest = max(segment.count for segment in made.segments)
    assert 30 * rate < longest <= 60 * rate


def test_plan_of_nothing_is_refused(survey: Survey) -> None:
    """A start behind the end is the input's fault, said as such."""
    with pytest.raises(InputError):
        plans.make("job", 1, Options(start=Fraction(100)), survey, container="mkv")


@pytest.mark.parametrize(
    ("codec", "option", "pix_fmt", "share"),
    [
        ("h264", ("crf", "18"), "yuv420p", 0.69),
        ("h264", ("cq", "20"), "yuv420p", 0.54),
        ("hevc", ("crf", "8"), "yuv420p10le", 0.92),
        ("h264", ("crf", "0"), "yuv444p", 1.6),
        ("h264", ("crf", "best"), "yuv444p", 1.6),
        ("av1", ("crf", "1"), "yuv420p10le", 1.37),
        ("prores", ("profile", "4444xq"), "yuv444p10le", 0.46),
        ("ffv1", ("level", "3"), "yuv420p", 1.1),
    ],
)
def test_a_segment_of_noise_fits_one_put(codec: str, option: tuple[str, str], pix_fmt: str, share: float) -> None:
    """Whatever the quality, the frames of a segment cannot outgrow the 5 GB of one PUT, and are not cut for nothing."""
    encoding = Encoding(codec=codec, rung="any", pix_fmt=pix_fmt, options=(option,), threads=1)
    how = layout(pix_fmt)
    raw = 3840 * 2160 * (1 + 2 / (how.across * how.down)) * how.depth / 8
    frames = plans.frames_in_one_put(3840, 2160, encoding)
    assert frames * raw * share <= 4_500_000_000
    assert frames * raw * share >= 4_500_000_000 / 2


@pytest.mark.parametrize(
    ("codec", "crf", "preset"),
    [
        *(("h264", crf, preset) for crf in (18, 8, 0) for preset in ("ultrafast", "medium")),
        *(("hevc", 18, "ultrafast"), ("av1", 1, None), ("av1", 8, None), ("av1", 18, None)),
    ],
)
def test_noise_is_as_large_as_the_table_says(tmp_path: Path, codec: str, crf: int, preset: str | None) -> None:
    """The shares are those of real encoders."""
    colour = Colour(matrix="bt709", full_range=True, siting="left")
    picture = encode.Picture(width=192, height=128, sar=Fraction(1), rate=Fraction(25), colour=colour)
    software = LADDERS[codec][-1].encoder
    encoding = encode.encoding(codec, software, picture, crf=crf, preset=preset, threads=1)
    generator = np.random.default_rng(1)
    with encode.Encoder(tmp_path / "noise.mkv", encoding, picture) as encoder:
        for number in range(8):
            shapes = ((128, 192), (64, 96), (64, 96))
            planes = tuple(generator.integers(0, 256, shape, np.uint8) for shape in shapes)
            encoder.write(Frame(planes=planes, pts=number))
    size = (tmp_path / "noise.mkv").stat().st_size
    assert size <= 8 * 192 * 128 * 1.5 * plans.share_of_raw(encoding) * 1.02
