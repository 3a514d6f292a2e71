"""Which pieces of work go on a lease's sheet; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.status import Fault

AHEAD = 3
"""Tasks on a sheet: the one being done and two queued, so that a worker never waits for us."""
TRIES = 3
"""Tries of one piece before its job fails."""


def wanted(work: Work) -> Iterator[Piece]:
    """List the pieces of a job that could be done now, in order."""
    if work.state != "open" or work.assembled:
        return
    if work.plan is None:
        yield INDEX
    elif missing := [segment.number for segment in work.plan.segments if segment.number not in work.counted]:
        yield from (Piece("enhance", number) for number in missing)
    else:
        yield ASSEMBLE


def choose(works: Sequence[Work], busy: Iterable[tuple[str, Piece]], room: int) -> list[tuple[Work, Piece]]:
    """Choose what to put on a sheet with `room` for more: jobs in order, pieces in order, none that is busy already."""
    taken = set(busy)
    free = ((work, piece) for work in works for piece in wanted(work) if (work.job.id, piece) not in taken)
    return [pair for pair, _ in zip(free, range(max(0, room)), strict=False)]


def after_fault(work: Work, piece: Piece, fault: Fault, error: str, hint: str | None) -> str | None:
    """Take note of a failed try and say what follows, None when the worker merely stopped.

    A bad input fails its job at once: another try reads the same bytes. A machine that cannot follow the plan, or whose
    encoder failed twice, leads to a new plan. Anything else is tried again, three times in all.
    """
    if fault == "stopped":
        return None
    work.tries[piece] += 1
    tries = work.tries[piece]
    if fault == "input" or tries >= TRIES:
        work.fail(error, hint)
        return "failed"
    if piece.kind == "enhance" and (fault == "plan" or (fault in ("encode", "model") and tries >= 2)):
        work.forget_plan()
        return "new plan"
    return "again"
