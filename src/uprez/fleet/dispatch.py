"""Which pieces of work go on which lease's sheet; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

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


Name: TypeAlias = tuple[str, Piece]
"""A piece of work by its job's id."""
RACE_GAIN = 1.2
"""By which another machine must be slower than a race against it takes."""


Seconds: TypeAlias = Callable[[Name], float]
"""What a piece takes on the machine that its job's plan was made on."""


@dataclass(kw_only=True)
class Hand:
    """What one lease has to do, as far as sharing out depends on it."""

    lease: str
    queue: list[Name] = field(default_factory=list)
    """Tasks on its sheet, in order."""
    current: Name | None = None
    """Of these, the one that it is seen to do."""
    current_s: float = 0.0
    """Until that is done; infinite where nothing moves."""
    slowness: float = 1.0
    """Its seconds a frame, against those of the machine that the plan was made on."""
    ready: bool = True
    """A worker is there; until it is, nobody knows how long anything takes."""
    source: str = ""
    """The job whose input it read last, and may have there."""

    def left_s(self, seconds: Seconds) -> float:
        """Give the seconds until its queue is done."""
        if not self.ready:
            return math.inf
        return self.current_s + sum(self.piece_s(name, seconds) for name in self.queue if name != self.current)

    def piece_s(self, name: Name, seconds: Seconds) -> float:
        """Give the seconds that a whole piece takes here."""
        return seconds(name) * self.slowness

    @property
    def jobs(self) -> set[str]:
        """Give the jobs whose inputs it has, or will have."""
        return {self.source, *(job for job, _ in self.queue)}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Who gets what, and who is to leave what to another."""

    new: dict[str, list[Name]]
    """By lease, in order."""
    taken: dict[str, list[Name]]
    """Queued pieces that a lease has not begun."""


def demand(work: Work, pieces: int, checking: Collection[Name]) -> int:
    """Say how many machines a job could keep busy now; `pieces` of them where it has no plan yet.

    One at least, unless its result is being checked: where segments are, the assembly is to come.
    """
    if work.state != "open" or work.assembled or (work.job.id, ASSEMBLE) in checking:
        return 0
    if work.plan is None:
        return max(1, pieces)
    return max(1, sum((work.job.id, piece) not in checking for piece in wanted(work)))


def assign(works: Sequence[Work], hands: Sequence[Hand], checking: Collection[Name], seconds: Seconds) -> Assignment:
    """Share out what is wanted, first to whoever has the least to do; queues are changed.

    One machine gets jobs in order, pieces in order. Of several each goes on with the job whose input it has, then
    begins one that no other has, and only then joins another's. Nobody gets more than an even share, so that nothing
    waits on one sheet while another is empty, and a machine that boots gets what no other has room for. Whoever has
    nothing to do when all is given out takes over what another has not begun, or races it at its segment, where that is
    reckoned to end clearly sooner.
    """
    new: dict[str, list[Name]] = {hand.lease: [] for hand in hands}
    taken: dict[str, list[Name]] = {hand.lease: [] for hand in hands}
    busy = set(checking).union(*(hand.queue for hand in hands))
    free = [(work.job.id, piece) for work in works for piece in wanted(work) if (work.job.id, piece) not in busy]
    share = min(AHEAD, math.ceil(len(free) / len(hands))) if hands else 0
    while free:
        room = [hand for hand in hands if len(hand.queue) < AHEAD and len(new[hand.lease]) < share]
        room.sort(key=lambda hand: (not hand.ready, hand.left_s(seconds), len(hand.queue)))
        found = ((hand, name) for hand in room if (name := _next(hand, hands, free)) is not None)
        if (chosen := next(found, None)) is None:
            break
        hand, name = chosen
        free.remove(name)
        hand.queue.append(name)
        new[hand.lease].append(name)
    for hand in hands:
        if hand.queue or not hand.ready:
            continue
        if (left := _takeover(hand, hands, seconds)) is not None:
            victim, name = left
            victim.queue.remove(name)
            taken[victim.lease].append(name)
        elif (raced := _race(hand, hands, seconds)) is not None:
            name = raced
        else:
            continue
        hand.queue.append(name)
        new[hand.lease].append(name)
    return Assignment(new=new, taken=taken)


def _next(hand: Hand, hands: Sequence[Hand], free: Sequence[Name]) -> Name | None:
    """Choose what a machine is to do next: the nearest piece, and of equals the first; None where it had better wait.

    An input that another machine has is fetched a second time only by one that has nothing else to do.
    """
    if len(hands) == 1:
        return free[0]
    theirs = set().union(*(other.jobs for other in hands if other is not hand))
    far = {name: 0 if name[0] in hand.jobs else 1 + (name[0] in theirs) for name in free}
    nearest = min(free, key=far.__getitem__)
    return None if far[nearest] > 1 and hand.queue else nearest


def _takeover(idle: Hand, hands: Sequence[Hand], seconds: Seconds) -> tuple[Hand, Name] | None:
    """Find a queued piece that another has not begun, and would come to the end of later than it is done here."""
    for victim in sorted(hands, key=lambda hand: -hand.left_s(seconds)):
        queued = [name for name in victim.queue if name != victim.current]
        if victim.ready and victim.current is None:
            queued = queued[1:]  # its first may just have been begun
        if queued and victim.left_s(seconds) > RACE_GAIN * idle.piece_s(queued[-1], seconds):
            return victim, queued[-1]
    return None


def _race(idle: Hand, hands: Sequence[Hand], seconds: Seconds) -> Name | None:
    """Find a segment that another makes, alone, and would end clearly later than a second attempt here."""
    held = [name for hand in hands for name in hand.queue]
    for slow in sorted(hands, key=lambda hand: -hand.current_s):
        name = slow.current
        if name is None or name[1].kind != "enhance" or held.count(name) > 1:
            continue
        if slow.current_s > RACE_GAIN * idle.piece_s(name, seconds):
            return name
    return None


Follows = Literal["again", "elsewhere", "new plan", "failed"]
"""What comes after a failed try: another one, one on another machine, a new plan, the job's end."""


def after_fault(
    work: Work,
    piece: Piece,
    fault: Fault,
    error: str,
    hint: str | None,
    *,
    alone: bool = True,
    others: bool = False,
) -> Follows | None:
    """Take note of a failed try and say what follows, None when the worker merely stopped.

    A bad input fails its job at once: another try reads the same bytes. An encoder that fails is tried once more, on
    another machine unless there is one `alone`; the second failure with nothing made in between, or at the same
    segment, leads to a plan without it. So does a machine that is lost twice at a job's first segment: an encoder may
    bring it down. A machine that cannot follow the plan leads to another machine, if there is one, and a second failure
    to a new plan. While `others` make frames by the plan, it is the machine that is to blame, and no plan is given up.
    Anything else is tried again, three times in all.
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
    second = (work.failures >= 2 or tries >= 2) and not others
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
