"""What the ledger remembers of runs: which jobs each had, how they ended, and what is left of one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from uprez.config.kinds import nearest
from uprez.errors import UsageError
from uprez.report.results import JobResult, JobState

LEFT: tuple[JobState, ...] = ("unfinished", "failed")
OVER: tuple[JobState, ...] = ("done", "skipped")
_PART = re.compile(r"[0-9a-f]{4,8}")


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """One job of a run."""

    job: str
    """Its id; empty where an input never became a job."""
    input: str
    state: JobState

    @property
    def key(self) -> str:
        """What it is found again by in another run."""
        return self.job or self.input


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run had to do and what came of it: written when it begins, and again when it ends."""

    jobs: tuple[JobLine, ...] = ()
    continues: str = ""
    """The run whose work it goes on with."""


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One run as the ledger has it."""

    id: str
    started_at: datetime
    ended_at: datetime | None
    """None: it lives, works detached, or was killed."""
    exit_code: int | None
    home: str
    """URL of the place its results go to."""
    is_saved: bool
    """Its settings are kept."""
    summary: Summary
    detached_at: datetime | None = None
    collected_at: datetime | None = None

    @property
    def is_detached(self) -> bool:
        """Say whether its leases work without a controller, or did and nobody has looked at what they made."""
        return self.detached_at is not None and self.collected_at is None

    def count(self, state: JobState) -> int:
        """Count its jobs in one state."""
        return sum(job.state == state for job in self.summary.jobs)


def summary(jobs: Iterable[JobResult], continues: str = "") -> Summary:
    """Give what is to be remembered of a run's jobs."""
    lines = tuple(JobLine(job=one.job, input=one.input, state=one.state) for one in jobs)
    return Summary(jobs=lines, continues=continues)


def left(row: BatchRow, rows: Sequence[BatchRow]) -> list[JobLine]:
    """List the jobs of a run that neither it nor a later one has finished. `rows`: all runs, the newest first."""
    later = rows[: [other.id for other in rows].index(row.id)]
    finished = {job.key for other in later for job in other.summary.jobs if job.state in OVER}
    unfinished = LEFT if row.is_detached else (*LEFT, "detached")
    return [job for job in row.summary.jobs if job.state in unfinished and job.key not in finished]


def finished(row: BatchRow, rows: Sequence[BatchRow]) -> frozenset[str]:
    """Name the jobs that a run made, and those that the runs made whose work it goes on with."""
    by_id = {other.id: other for other in rows}
    found: set[str] = set()
    seen: set[str] = set()
    one: BatchRow | None = row
    while one is not None and one.id not in seen:
        seen.add(one.id)
        found |= {job.job for job in one.summary.jobs if job.state == "done"}
        one = by_id.get(one.summary.continues)
    return frozenset(found)


def find(rows: Sequence[BatchRow], text: str) -> BatchRow:
    """Give the run that a person means by its number or the first four digits of it; raises UsageError."""
    matches = [row for row in rows if row.id == text] or matching(rows, text)
    if not matches:
        raise UsageError(
            f"there is no batch {text}{nearest(text, [row.id for row in rows])}", hint="uprez history lists them"
        )
    if len(matches) > 1:
        raise UsageError(f"{text} may be batch {' or '.join(row.id for row in matches)}", hint="write more of it")
    return matches[0]


def matching(rows: Iterable[BatchRow], text: str) -> list[BatchRow]:
    """List the runs whose number begins so."""
    return [row for row in rows if _PART.fullmatch(text) and row.id.startswith(text)]


def last_left(rows: Sequence[BatchRow]) -> BatchRow | None:
    """Give the last run that can be gone on with and of which something is left."""
    return next((row for row in rows if row.is_saved and left(row, rows)), None)
