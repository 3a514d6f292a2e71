"""Whether what a machine says of a job can be true."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import plain
from uprez.errors import InputError, VerifyError
from uprez.fleet import surveys
from uprez.fleet.work import Work
from uprez.job import Job, Options, Precision, Source, Survey
from uprez.media import encode
from uprez.media.target import target
from uprez.models import MODELS


def _checked(survey: Survey, options: Options, path: Path) -> None:
    """Check a survey of a video that is not there: what can be seen without it is seen before it is read."""
    video = plain.counted(100)
    picture = encode.picture(video, options, target(video, options))
    encoding = encode.encoding("h264", "libx264", picture, crf=None, preset=None, threads=2)
    source = Source(url=path.as_uri(), name=path.name, size=1000, identity="i")
    work = Work(job=Job(id="0" * 16, source=source, options=options, model_sha256=""), video=video, output="o.mkv")
    surveys.check(replace(survey, preflight=replace(survey.preflight, encoding=encoding)), work)


@pytest.mark.parametrize(
    ("asked", "found", "model", "good"),
    [
        ("auto", "f16", "realesr-animevideov3", True),
        ("auto", "f32", "realesr-animevideov3", True),
        ("f32", "f32", "realesr-animevideov3", True),
        ("f32", "f16", "realesr-animevideov3", False),
        ("f16", "f32", "realesr-animevideov3", False),
        ("f16", "f32", "lanczos", True),
    ],
)
def test_a_machine_computes_in_what_was_asked_for(
    asked: Precision, found: str, model: str, good: bool, survey: Survey, tmp_path: Path
) -> None:
    """Another precision would be another picture; where no network runs there is none."""
    assert (MODELS[model].architecture is None) == (model == "lanczos")
    survey = replace(survey, preflight=replace(survey.preflight, precision=found))
    options = Options(model=model, scale=Fraction(2), precision=asked)
    with pytest.raises(InputError if good else VerifyError, match="no such file" if good else f"{asked} was asked"):
        _checked(survey, options, tmp_path / "gone.mkv")


def test_videos_of_one_clock_share_their_times(survey: Survey) -> None:
    """The surveys stay equal to what they were, also of a film that is too long to be kept for others."""
    one, other = (
        replace(survey, index=replace(survey.index, pts=tuple(int(f"{100_000 + number}") for number in range(50))))
        for _ in range(2)
    )
    assert surveys.sharing(one) == one
    assert surveys.sharing(one).index.pts[7] is surveys.sharing(other).index.pts[7]
    long = replace(survey, index=replace(survey.index, pts=tuple(range(surveys.MOST_TIMES + 1))))
    assert surveys.sharing(long) == long
