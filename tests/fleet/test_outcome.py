"""What is told and written of a job that ended."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from uprez.fleet import outcome
from uprez.fleet.work import Work
from uprez.job import Options
from uprez.report.console import Console
from uprez.report.results import Expected
from uprez.status import Done, Stage

MakeWork = Callable[[str, int], Work]


def _done(*stages: tuple[str, float, int], reused: int = 0, held: int = 0) -> Done:
    made = tuple(Stage(name=name, seconds=seconds, frames=frames) for name, seconds, frames in stages)
    return Done(task="t", key="k", stages=made, reused=reused, held=held)


def test_stages_are_summed_over_segments(work_of: MakeWork) -> None:
    """What each stage took of a job, in the order of the work, and how many frames needed none."""
    work = work_of("job", 3)
    work.note_done(_done(("decode", 0.5, 10), ("interpolate", 1.25, 8), ("upscale", 2, 18), reused=2, held=1))
    work.note_done(_done(("decode", 0.25, 10), ("interpolate", 1, 9), ("upscale", 3, 19), reused=1))
    found = outcome.job_result(work, dry_run=False)
    assert found.stages == _done(("decode", 0.75, 20), ("interpolate", 2.25, 17), ("upscale", 5, 37)).stages
    assert (found.segments_computed, found.reused, found.held) == (2, 3, 1)


def test_a_worker_cannot_spoil_the_figures(work_of: MakeWork) -> None:
    """A stage that there is not, and less than nothing, are left out."""
    work = work_of("job", 1)
    work.note_done(_done(("mining", 9, 9), ("decode", -1, 5), ("encode", 1, -5), ("verify", 1, 2), reused=-4, held=-1))
    found = outcome.job_result(work, dry_run=False)
    assert found.stages == _done(("verify", 1, 2)).stages
    assert (found.reused, found.held) == (0, 0)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_person_is_told_what_needed_no_work(work_of: MakeWork, verbose: bool) -> None:
    """Frames that were not computed are said always, what the stages took to whoever asks for more."""
    work, said = work_of("job", 1), io.StringIO()
    work.note_done(_done(("decode", 0.51, 10), ("encode", 12.34, 20), reused=7, held=2))
    outcome.tell(work, Console(stream=said, verbose=verbose))
    lines = said.getvalue().splitlines()
    assert lines[0] == "[INFO] job.mkv: 7 frames were identical to the one before and not computed again"
    assert lines[1:] == (
        [
            "[DEBUG] job.mkv: 2 frames stay as the one before, between two scenes or two identical frames",
            "[DEBUG] job.mkv: decode 0.5 s (10 frames), encode 12.3 s (20 frames)",
        ]
        if verbose
        else []
    )


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        (Options(), ("upscale", None, None, None), (100, 25.0, 640, 360)),
        (Options(mode="interp", scale=Fraction(1)), ("interp", "2", None, None), (200, 50.0, 320, 180)),
        (
            Options(mode="both", target_fps=Fraction(60000, 1001)),
            ("both", None, "60000/1001", "interp-then-upscale"),
            (240, 59.94, 640, 360),
        ),
        (
            Options(mode="both", factor=Fraction(5, 2), strategy="upscale-then-interp"),
            ("both", "5/2", None, "upscale-then-interp"),
            (250, 62.5, 640, 360),
        ),
    ],
)
@pytest.mark.usefixtures("rife")
def test_results_say_what_was_asked_and_a_dry_run_what_it_would_make(
    work_of: MakeWork,
    options: Options,
    asked: tuple[str, str | None, str | None, str | None],
    expected: tuple[int, float, int, int],
) -> None:
    """A program reads mode, factor or rate and order, and of a planned job its frames, their rate and their size."""
    work = work_of("job", 0)
    work.job = replace(work.job, options=options)
    found = outcome.job_result(work, dry_run=True)
    assert (found.mode, found.factor, found.target_fps, found.strategy) == asked
    frames, fps, width, height = expected
    assert found.expected == Expected(frames=frames, fps=fps, width=width, height=height)
    assert outcome.job_result(work, dry_run=False).expected is None
