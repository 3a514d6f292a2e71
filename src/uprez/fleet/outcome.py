"""What came of a run, as results.json has it."""

from __future__ import annotations

from datetime import datetime

from uprez.fleet import budget
from uprez.fleet.intake import Skipped
from uprez.fleet.ledger import LeaseRow
from uprez.fleet.work import Work
from uprez.report.results import JobResult, JobState, LeaseResult


def job_result(work: Work, *, dry_run: bool) -> JobResult:
    """Sum up one job."""
    state: JobState = work.state if work.state != "open" else "planned" if dry_run else "unfinished"
    return JobResult(
        job=work.job.id,
        input=work.job.source.name,
        state=state,
        output=work.result,
        made=work.made,
        segments_computed=work.computed,
        segments_adopted=work.adopted,
        seconds=round(work.seconds, 3),
        error=work.error,
        hint=work.hint,
        warnings=tuple(work.warnings),
    )


def skipped_result(skipped: Skipped) -> JobResult:
    """Sum up one job that was done before."""
    return JobResult(
        job=skipped.job.id,
        input=skipped.job.source.name,
        state="skipped",
        output=skipped.output,
        made=skipped.made,
    )


def lease_result(row: LeaseRow, now: datetime) -> LeaseResult:
    """Sum up one lease; `now` by the clock that the ledger goes by."""
    ended, held = row.ended_at or now, row.held_at
    held_s = max(0.0, (ended - held).total_seconds()) if held else 0.0
    return LeaseResult(
        lease=row.id,
        market=row.market,
        machine=row.machine,
        instance=row.instance,
        state=row.state,
        usd_per_hour=row.usd_per_hour,
        held_s=round(held_s, 3),
        running_s=round(max(0.0, (ended - row.running_at).total_seconds()), 3) if row.running_at else 0.0,
        down_bytes=row.down_bytes,
        up_bytes=row.up_bytes,
        cost_usd=budget.cost(row, now),
        reason=row.reason,
    )
