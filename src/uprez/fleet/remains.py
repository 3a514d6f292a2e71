"""What a run that ended early has left, what that would take, and the command that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from uprez.errors import BudgetError
from uprez.fleet import budget, estimate
from uprez.fleet import plan as plans
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Work
from uprez.report.console import Console
from uprez.report.results import Remains

ROOM = Decimal("1.5")
"""By which a budget that would do is more than the work alone costs: others are dearer, and some are lost."""
CENT = Decimal("0.01")


def of(
    works: Sequence[Work],
    rows: Sequence[LeaseRow],
    now: datetime,
    *,
    batch: str,
    segment_frames: int | None,
    error: BudgetError | None = None,
) -> Remains | None:
    """Sum up the jobs that are open; None where there are none. A budget is named where lack of money was the error."""
    left = [work for work in works if work.state == "open"]
    if not left:
        return None
    frames, speed, rate = [_frames(work) for work in left], _seconds_per_pixel(works), _usd_per_hour(rows, now)
    seconds = None if speed is None or None in frames else sum(map(_pixels, left)) * speed
    usd = None if seconds is None or rate is None else rate * Decimal(str(round(seconds, 3))) / budget.SECONDS_PER_HOUR
    enough = None if error is None else _enough(usd, error)
    return Remains(
        videos=len(left),
        segments=sum(_segments(work, segment_frames) for work in left),
        frames=None if None in frames else sum(filter(None, frames)),
        seconds=None if seconds is None else round(seconds, 3),
        usd_per_hour=None if rate is None else rate.quantize(budget.MICRO_USD),
        usd=None if usd is None else usd.quantize(budget.MICRO_USD),
        budget_usd=enough,
        command=f"uprez resume {batch}" + ("" if enough is None else f" --budget {enough}"),
    )


def tell(remains: Remains, console: Console) -> None:
    """Say what is left, what it would cost, and how to go on."""
    frames = "an unknown number of frames" if remains.frames is None else f"{remains.frames} frames"
    videos = f"{remains.videos} video{'s' if remains.videos != 1 else ''}"
    segments = f"{remains.segments} segment{'s' if remains.segments != 1 else ''}"
    console.info(f"Left: {videos}, {segments}, {frames}")
    if remains.seconds is None:
        console.info("What they would cost is not known: nothing was measured yet")
    else:
        length = timedelta(seconds=round(remains.seconds))
        price = "" if remains.usd is None else f", ${remains.usd:.3f} at ${remains.usd_per_hour:.3f}/hr"
        console.info(f"At the speed of this run that is {length} on one machine{price}; boots and traffic come on top")
    console.line("HINT", remains.command)


def _enough(usd: Decimal | None, error: BudgetError) -> Decimal:
    """Give a budget that would do: the work with room, beside what the last lease may promise without an end of it."""
    return ((usd or Decimal(0)) * ROOM + (error.needed_usd or Decimal(0)) + CENT).quantize(CENT, rounding=ROUND_UP)


def _frames(work: Work) -> int | None:
    """Count the frames of a result that do not count yet."""
    if work.plan is not None:
        return work.plan.frames - work.frames_counted
    return estimate.result_frames(work.video, work.job.options)


def _pixels(work: Work) -> int:
    found = estimate.estimate(work.video, work.job.options)
    return (_frames(work) or 0) * found.width * found.height


def _segments(work: Work, segment_frames: int | None) -> int:
    if work.plan is not None:
        return len(work.plan.segments) - len(work.counted)
    return plans.pieces(estimate.estimate(work.video, work.job.options), segment_frames)


def _seconds_per_pixel(works: Sequence[Work]) -> float | None:
    """Give the seconds that a pixel of a result took: as this run's segments did, or as its machines tried it.

    The jobs of a batch differ in size, and hardly in what is done with a pixel.
    """
    made = [(work, work.made_s, work.made_frames) for work in works if work.made_frames]
    tried = [(work, work.plan.preflight.seconds_per_frame, 1) for work in works if work.plan is not None]
    chosen = made or tried
    pixels = sum(frames * _size(work) for work, _, frames in chosen)
    return sum(seconds for _, seconds, _ in chosen) / pixels if pixels else None


def _size(work: Work) -> int:
    found = estimate.estimate(work.video, work.job.options)
    return found.width * found.height


def _usd_per_hour(rows: Sequence[LeaseRow], now: datetime) -> Decimal | None:
    """Give the mean price of the machines that ran, each for as long as it did."""
    ran = [(row, (row.ended_at or now) - row.running_at) for row in rows if row.running_at]
    hours = [(row.rates.usd_per_hour, Decimal(str(max(1.0, length.total_seconds())))) for row, length in ran]
    whole = sum(length for _, length in hours)
    return sum((rate * length for rate, length in hours), Decimal(0)) / whole if whole else None
