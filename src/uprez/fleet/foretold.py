"""How the plan of a batch is said: as a table of a dry run, in a line or two before a run rents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from uprez.config.settings import Settings
from uprez.report.console import Console, printable
from uprez.report.results import BatchPlan, PlannedShare, Seconds, Usd

NAME = 25
"""Columns of a name: with "[INFO] " before it a row has 79."""


def say(plan: BatchPlan, settings: Settings, console: Console) -> None:
    """Say before the first machine what all will take, and what will not fit."""
    if plan.seconds is not None:
        cost = f", {usd(plan.cost_usd)}" if plan.cost_usd and settings.market == "vast" else ""
        console.info(f"Plan: {_machines(plan)}{length(plan.seconds)}{cost} (nine times in ten)")
    elif settings.market == "vast":
        console.info("Plan: " + "; ".join(plan.notes))
        _doubt(settings, console)
    _warn(plan, settings, console)


def table(plan: BatchPlan | None, settings: Settings, console: Console) -> None:
    """Show what a run would take, job by job, and whether that fits."""
    if plan is None:
        return
    for line in _lines(plan):
        console.info(line)
    if plan.uncounted:
        console.info(f"Not counted: {plan.uncounted} files whose headers do not say how long they are")
    if plan.seconds is None:
        for note in plan.notes if settings.market == "vast" else ():
            console.info(note[:1].upper() + note[1:])
        _doubt(settings, console)
        return
    _warn(plan, settings, console)
    if settings.market == "vast" and plan.fits_budget:
        console.ok(f"Fits the budget of ${settings.budget_usd:f}")
    if settings.deadline_s is not None and plan.fits_deadline:
        console.ok(f"Fits the deadline of {timedelta(seconds=round(settings.deadline_s))}")


def _lines(plan: BatchPlan) -> Iterator[str]:
    if plan.seconds is None or plan.boots is None:
        if plan.one_machine:
            yield _row("One machine", "", "time", "cost")
            yield from (_share(share, share.cost_usd) for share in plan.one_machine)
        return
    yield _row(f"Plan: {_machines(plan).rstrip(', ')}", "frames", "time", "cost")
    yield from (_share(share, share.cost_usd) for share in plan.jobs)
    yield _share(plan.boots, plan.boots.cost_usd)
    frames = sum(share.frames or 0 for share in plan.jobs)
    yield _row("All, from start to end", f"~{frames}", length(plan.seconds), usd(plan.cost_usd))


def _share(share: PlannedShare, cost: Usd | None) -> str:
    frames = "" if share.frames is None else f"~{share.frames}"
    return _row(share.name, frames, length(share.seconds), usd(cost))


def _row(name: str, frames: str, time: str, cost: str) -> str:
    name = printable(name)
    short = name if len(name) <= NAME else f"{name[: NAME - 13]}...{name[-10:]}"
    return f"{short:{NAME}} {frames:>10} {time:>18} {cost:>16}".rstrip()


def _machines(plan: BatchPlan) -> str:
    """Name the machines by their GPUs, each once."""
    counts = {gpu: plan.gpus.count(gpu) for gpu in plan.gpus if gpu}
    named = [gpu if count == 1 else f"{count} x {gpu}" for gpu, count in counts.items()]
    return f"{', '.join(named)}, " if named else ""


def _doubt(settings: Settings, console: Console) -> None:
    if settings.deadline_s is not None:
        console.warn(f"Whether the deadline of {timedelta(seconds=round(settings.deadline_s))} holds is not known")


def _warn(plan: BatchPlan, settings: Settings, console: Console) -> None:
    if plan.fits_deadline is False and settings.deadline_s is not None:
        console.warn(f"The deadline of {timedelta(seconds=round(settings.deadline_s))} may be missed")
    if plan.fits_budget is False:
        console.warn(f"The budget of ${settings.budget_usd:f} may not be enough")
    if plan.seconds is not None:
        for note in plan.notes:
            console.line("HINT", note)


def length(found: Seconds) -> str:
    """Write a range of time: 0:41:10-0:52:30, from ten hours on 10h05-12h40."""
    low, high = _time(found.low), _time(found.high)
    return low if low == high else f"{low}-{high}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours >= 10 else f"{hours}:{minutes:02}:{rest:02}"


def usd(found: Usd | None) -> str:
    """Write a range of money; a question mark where no price is known."""
    if found is None:
        return "?"
    low, high = _sum(found.low), _sum(found.high)
    return low if low == high else f"{low}-{high}"


def _sum(value: Decimal) -> str:
    return f"${value:.{3 if value < 10 else 2 if value < 1000 else 0}f}"
