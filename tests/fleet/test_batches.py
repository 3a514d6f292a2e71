"""What is left of a batch, and which one a person means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from uprez.errors import UsageError
from uprez.fleet import batches
from uprez.fleet.batches import BatchRow, JobLine, Summary
from uprez.report.results import JobState

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(number: str, *jobs: tuple[str, JobState], continues: str = "", is_saved: bool = True) -> BatchRow:
    """Make a batch of jobs, each of which has an input of its own name."""
    lines = tuple(JobLine(job=name, input=f"{name}.mp4", state=state) for name, state in jobs)
    return BatchRow(
        id=number,
        started_at=NOW,
        ended_at=None,
        exit_code=None,
        home="file:///out",
        is_saved=is_saved,
        summary=Summary(jobs=lines, continues=continues),
    )


FIRST = row("aaaa0001", ("one", "done"), ("two", "unfinished"), ("three", "failed"), ("four", "skipped"))


def names(jobs: list[JobLine]) -> list[str]:
    """Name the jobs."""
    return [job.job for job in jobs]


def test_what_failed_or_was_not_finished_is_left() -> None:
    """The rest is done, by this run or by an earlier one."""
    assert names(batches.left(FIRST, [FIRST])) == ["two", "three"]


def test_what_a_later_run_has_finished_is_not_left() -> None:
    """Whether it made it or found it made; what it did not finish either stays, and an earlier run does not count."""
    later = row("aaaa0002", ("two", "done"), ("three", "unfinished"))
    latest = row("aaaa0003", ("three", "skipped"))
    assert names(batches.left(FIRST, [later, FIRST])) == ["three"]
    assert names(batches.left(FIRST, [latest, later, FIRST])) == []
    assert names(batches.left(latest, [latest, later, FIRST])) == []
    assert names(batches.left(later, [later, FIRST])) == ["three"]


def test_an_input_that_never_became_a_job_is_known_by_its_name() -> None:
    """It was repaired, and a later run has made a job of it."""
    broken = row("aaaa0001")
    broken = BatchRow(
        **{**vars(broken), "summary": Summary(jobs=(JobLine(job="", input="a.mp4", state="failed"),))},
    )
    assert len(batches.left(broken, [broken])) == 1
    repaired = BatchRow(
        **{**vars(row("aaaa0002")), "summary": Summary(jobs=(JobLine(job="", input="a.mp4", state="done"),))},
    )
    assert batches.left(broken, [repaired, broken]) == []


def test_the_last_run_with_work_left_is_the_one_to_go_on_with() -> None:
    """One whose settings were not kept cannot be, and one that is finished need not be."""
    done, unkept = row("aaaa0002", ("five", "done")), row("aaaa0003", ("six", "failed"), is_saved=False)
    assert batches.last_left([unkept, done, FIRST]) is FIRST
    assert batches.last_left([unkept, done]) is None


def test_what_a_chain_of_runs_has_made_is_known() -> None:
    """Back to the first one, without turning in a circle."""
    second = row("aaaa0002", ("two", "done"), continues="aaaa0001")
    assert batches.finished(second, [second, FIRST]) == {"one", "two"}
    assert batches.finished(FIRST, [second, FIRST]) == {"one"}
    looped = row("aaaa0003", ("two", "done"), continues="aaaa0003")
    assert batches.finished(looped, [looped]) == {"two"}


def test_a_run_is_found_by_its_first_digits() -> None:
    """By four at least, and by no digits that two begin with."""
    rows = [row("aaaa0001"), row("aaaa0002"), row("bbbb0001")]
    assert batches.find(rows, "bbbb").id == "bbbb0001"
    assert batches.find(rows, "aaaa0002").id == "aaaa0002"
    with pytest.raises(UsageError, match="may be batch aaaa0001 or aaaa0002"):
        batches.find(rows, "aaaa")
    for text in ("bbb", "cccc", "bbbb00011"):
        with pytest.raises(UsageError, match=f"there is no batch {text}"):
            batches.find(rows, text)
