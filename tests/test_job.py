"""Names of jobs, and sizes of pictures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez import job
from uprez.job import Options, Source, job_id, scaled

SOURCE = Source(url="file:///in/a.mp4", name="a.mp4", size=9, identity="5" * 64)
WEIGHTS = "7" * 64


def test_a_jobs_id_is_the_same_in_every_version() -> None:
    """Ids are pinned: finished work of an earlier version is found again."""
    asked = Options(scale=Fraction(3, 2), crf=18, start=Fraction(1, 3))
    assert job_id(SOURCE, Options(), WEIGHTS) == "d3b50b8559a9f2ab"
    assert job_id(SOURCE, asked, WEIGHTS) == "8d2a76c50abd7844"


def test_a_new_option_at_its_default_renames_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may add options: work that does not use them keeps its id, work that does gets another."""
    before = job_id(SOURCE, Options(crf=20), WEIGHTS)

    @dataclass(frozen=True, kw_only=True)
    class Later(Options):
        denoise: int = 3

    monkeypatch.setattr(job, "Options", Later)
    assert job_id(SOURCE, Later(crf=20), WEIGHTS) == before
    assert job_id(SOURCE, Later(crf=20, denoise=4), WEIGHTS) != before


def test_equal_scales_are_one_job() -> None:
    """It does not matter how a number was written: 2, 2.0 and 4/2 are the same work."""
    ids = {job_id(SOURCE, Options(scale=Fraction(text)), WEIGHTS) for text in ("2", "2.0", "4/2")}
    assert ids == {job_id(SOURCE, Options(), WEIGHTS)}


OTHERS: dict[str, object] = {
    "mode": "interp",
    "scale": Fraction(3),
    "model": "lanczos",
    "factor": Fraction(3),
    "target_fps": Fraction(60),
    "strategy": "upscale-then-interp",
    "precision": "f32",
    "codec": "hevc",
    "container": "mkv",
    "drop_unsupported": True,
    "crf": 0,
    "encoder_preset": "slow",
    "pix_fmt": "yuv420p10le",
    "deinterlace": "off",
    "cfr": Fraction(25),
    "start": Fraction(1),
    "duration": Fraction(1),
}


def test_every_option_is_listed_here() -> None:
    """The next test forgets no option."""
    assert set(OTHERS) == {option.name for option in dataclasses.fields(Options)}


@pytest.mark.parametrize("option", OTHERS)
def test_every_option_is_part_of_the_id(option: str) -> None:
    """Another value of any option is another job."""
    assert job_id(SOURCE, replace(Options(), **{option: OTHERS[option]}), WEIGHTS) != job_id(SOURCE, Options(), WEIGHTS)


def test_content_and_weights_are_part_of_the_id_and_places_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moved or renamed file is the same job; other content, weights or pictures are another."""
    base = job_id(SOURCE, Options(), WEIGHTS)
    assert job_id(replace(SOURCE, url="file:///b", name="b"), Options(), WEIGHTS) == base
    assert job_id(replace(SOURCE, identity="6" * 64), Options(), WEIGHTS) != base
    assert job_id(SOURCE, Options(), "8" * 64) != base
    monkeypatch.setattr(job, "PIXELS_VERSION", job.PIXELS_VERSION + 1)
    assert job_id(SOURCE, Options(), WEIGHTS) != base


@settings(deadline=None)  # a busy machine is no failure
@given(side=st.integers(1, 20000), scale=st.fractions(1, 4, max_denominator=1000))
def test_output_sides_are_even_and_nearest(side: int, scale: Fraction) -> None:
    """An output side is even, at least 2, and no even number is nearer to the exact product."""
    found = scaled(side, scale)
    assert found >= 2
    assert found % 2 == 0
    assert abs(found - side * scale) <= 1
