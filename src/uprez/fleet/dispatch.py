"""Which pieces of work go on a lease's sheet; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.media import ladders
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


Follows = Literal["again", "elsewhere", "new plan", "failed"]
"""What comes after a failed try: another one, one on another machine, a new plan, the job's end."""


def after_fault(
    work: Work, piece: Piece, fault: Fault, error: str, hint: str | None, *, alone: bool = True
) -> Follows | None:
    """Take note of a failed try and say what follows, None when the worker merely stopped.

    A bad input fails its job at once: another try reads the same bytes. An encoder that fails is tried once more, on
    another machine unless there is one `alone`; the second failure with nothing made in between, or at the same
    segment, leads to a plan without it. So does a machine that is lost twice at a job's first segment: an encoder may
    bring it down. A machine that cannot follow the plan leads to another machine, if there is one, and a second failure
    to a new plan. Anything else is tried again, three times in all.
    """
    if fault == "stopped":
        return None
    work.tries[piece] += 1
    tries = work.tries[piece]
    if fault == "input":
        work.fail(error, hint)
        return "failed"
    planned = piece.kind == "enhance" and work.plan is not None
    if planned and fault in ("encode", "plan"):
        work.failures += 1
    second = work.failures >= 2 or tries >= 2
    if planned and _is_encoders(work, fault, second=second) and rungs_left(work):
        work.give_up(error)
        return "new plan"
    if tries >= TRIES:
        work.fail(error, hint)
        return "failed"
    if planned and fault in ("plan", "model") and second:
        work.forget_plan()
        return "new plan"
    return "elsewhere" if planned and fault in ("encode", "plan") and not alone else "again"


def _is_encoders(work: Work, fault: Fault, *, second: bool) -> bool:
    """Say whether a plan's encoder is to blame for a failed try, and has had its second chance."""
    return second and (fault == "encode" or (fault == "lost" and not work.counted))


def rungs_left(work: Work) -> bool:
    """Say whether a ladder goes on below the plan's encoder."""
    if work.plan is None:
        raise AssertionError("a job without a plan has no encoder")
    encoding = work.plan.preflight.encoding
    return encoding.rung != ladders.rungs(encoding.codec, encoding.pix_fmt)[-1].encoder
