"""What came of a run, as results.json has it and a person is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from uprez.fleet import account, budget, estimate
from uprez.fleet.intake import Skipped
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Work
from uprez.job import Mode, Options, Strategy
from uprez.media.timeline import Factor, rate_asked
from uprez.report.console import Console
from uprez.report.results import Expected, JobResult, JobState, LeaseResult


def job_result(work: Work, *, dry_run: bool) -> JobResult:
    """Sum up one job."""
    state: JobState = work.state if work.state != "open" else "planned" if dry_run else "unfinished"
    return JobResult(
        job=work.job.id,
        input=work.job.source.name,
        state=state,
        **_asked(work.job.options),
        expected=_expected(work) if state == "planned" else None,
        output=work.result,
        made=work.made,
        segments_computed=work.computed,
        segments_adopted=work.adopted,
        segments_discarded=dict(work.discarded),
        seconds=round(work.seconds, 3),
        stages=tuple(replace(stage, seconds=round(stage.seconds, 3)) for stage in work.stages.values()),
        reused=work.reused,
        held=work.held,
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
        **_asked(skipped.job.options),
        output=skipped.output,
        made=skipped.made,
    )


def tell(work: Work, console: Console) -> None:
    """Say what of the work took how long, and what of it needed none."""
    name = work.job.source.name
    if work.reused:
        console.info(f"{name}: {work.reused} frames were identical to the one before and not computed again")
    if work.held:
        console.debug(f"{name}: {work.held} frames stay as the one before, between two scenes or two identical frames")
    if work.stages:
        stages = (f"{stage.name} {stage.seconds:.1f} s ({stage.frames} frames)" for stage in work.stages.values())
        console.debug(f"{name}: {', '.join(stages)}")


class _Asked(TypedDict):
    mode: Mode
    factor: str | None
    target_fps: str | None
    strategy: Strategy | None


def _asked(options: Options) -> _Asked:
    """Say what was asked of the frames, with the factor that was taken where none was given."""
    rate = rate_asked(options)
    return _Asked(
        mode=options.mode,
        factor=str(rate.ratio) if options.interpolates and isinstance(rate, Factor) else None,
        target_fps=None if options.target_fps is None else str(options.target_fps),
        strategy=options.strategy if options.mode == "both" else None,
    )


def _expected(work: Work) -> Expected:
    figures = estimate.estimate(work.video, work.job.options)
    fps = None if figures.fps is None else round(float(figures.fps), 3)
    return Expected(frames=figures.frames, fps=fps, width=figures.width, height=figures.height)


def tell_left(rows: Sequence[LeaseRow], now: datetime, budget_usd: Decimal, console: Console) -> None:
    """Say what each machine that was not seen gone has cost and goes on to cost, and by how much that is too much.

    One that works by itself is meant to.
    """
    left = [row for row in rows if row.state != "gone" and not row.is_left_alone(now)]
    for row in left:
        so_far, hourly = budget.cost(row, now), row.rates.usd_per_hour
        console.warn(f"{row.named} may go on billing: ${so_far:.3f} so far, ${hourly:.3f} an hour from now on")
    beyond = sum((budget.cost(row, now) for row in rows), Decimal(0)) - budget_usd
    if left and beyond > 0:
        console.warn(f"${beyond:.3f} beyond the budget of ${budget_usd:f} are spent already")


def lease_result(row: LeaseRow, now: datetime) -> LeaseResult:
    """Sum up one lease; `now` by the clock that the ledger goes by."""
    ended, statement = row.ended_at or now, account.stated(row, now)
    return LeaseResult(
        lease=row.id,
        market=row.market,
        machine=row.machine,
        instance=row.instance,
        state=row.state,
        usd_per_hour=round(row.usd_per_hour, 6),
        held_s=account.held_ms(row, now) / 1000,
        running_s=round(max(0.0, (ended - row.running_at).total_seconds()), 3) if row.running_at else 0.0,
        down_bytes=row.down_bytes,
        up_bytes=row.up_bytes,
        cost_usd=budget.cost(row, now),
        use_s=statement.use_s(),
        use_usd=statement.use_usd(),
        reason=row.reason,
    )
