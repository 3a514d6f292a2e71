"""Which pieces of work go on which lease's sheet; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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


HEARD_S = 30.0
"""Until a worker has heard that a task is no longer its own: what it may begin meanwhile is left to it, if need be."""
Seconds: TypeAlias = Callable[[Name], float]
"""What a piece takes, on one and the same machine for all of them as far as that is known."""


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
    """Its seconds a frame, against those of the machine that pieces are reckoned for."""
    ready: bool = True
    """A worker is there; until it is, nobody knows how long anything takes."""
    source: str = ""
    """The job whose input it read last, and may have there."""
    barred: frozenset[str] = frozenset()
    """Jobs of which its machine has said that their input cannot be used: it is another's turn."""
    room_s: float = math.inf
    """Until the end of what is paid for: nothing is begun that would end later."""

    def left_s(self, seconds: Seconds) -> float:
        """Give the seconds until its queue is done."""
        return self.queued_s(seconds) if self.ready else math.inf

    def queued_s(self, seconds: Seconds) -> float:
        """Give the seconds that its queue takes, from when its worker is there."""
        return self.current_s + sum(self.piece_s(name, seconds) for name in self.queue if name != self.current)

    def piece_s(self, name: Name, seconds: Seconds) -> float:
        """Give the seconds that a whole piece takes here; what makes no frames takes the same everywhere."""
        return seconds(name) * (self.slowness if name[1].kind == "enhance" else 1.0)

    @property
    def is_free(self) -> bool:
        """Say whether it may do any piece whatever."""
        return not self.barred and self.room_s == math.inf

    def may_begin(self, names: Sequence[Name], seconds: Seconds) -> Sequence[Name]:
        """Give those pieces that may be done here, after all on its sheet; near its end what ends a job comes first."""
        if self.is_free:
            return names
        room_s = self.room_s - self.queued_s(seconds)
        mine = [name for name in names if name[0] not in self.barred and self.piece_s(name, seconds) <= room_s]
        return mine if room_s == math.inf else sorted(mine, key=lambda name: name[1] != ASSEMBLE)

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
    waits on one sheet while another is empty, and a machine that boots gets what no other has room for. When all is
    given out, whoever is at its last piece takes over what another has not begun, and whoever has nothing to do may
    also race another at its segment, where that is reckoned to end clearly sooner.
    """
    new: dict[str, list[Name]] = {hand.lease: [] for hand in hands}
    taken: dict[str, list[Name]] = {hand.lease: [] for hand in hands}
    busy = set(checking).union(*(hand.queue for hand in hands))
    wants = ((work.job.id, [(work.job.id, piece) for piece in wanted(work)]) for work in works)
    free = {job: open_ for job, names in wants if (open_ := [name for name in names if name not in busy])}
    held = set[str]().union(*(hand.jobs for hand in hands))
    share = min(AHEAD, math.ceil(sum(map(len, free.values())) / len(hands))) if hands else 0
    while free:
        room = [hand for hand in hands if len(hand.queue) < AHEAD and len(new[hand.lease]) < share]
        room.sort(key=lambda hand: (not hand.ready, hand.left_s(seconds), len(hand.queue)))
        alone = len(hands) == 1
        found = ((hand, name) for hand in room if (name := _next(hand, held, free, seconds, alone=alone)) is not None)
        if (chosen := next(found, None)) is None:
            break
        hand, name = chosen
        job = name[0]
        free[job].remove(name)
        if not free[job]:
            del free[job]
        held.add(job)
        hand.queue.append(name)
        new[hand.lease].append(name)
    for hand in hands:
        if len(hand.queue) > 1 or not hand.ready:
            continue
        if (left := _takeover(hand, hands, new, seconds)) is not None:
            victim, name = left
            victim.queue.remove(name)
            taken[victim.lease].append(name)
        elif not hand.queue and (raced := _race(hand, hands, seconds)) is not None:
            name = raced
        else:
            continue
        hand.queue.append(name)
        new[hand.lease].append(name)
    return Assignment(new=new, taken=taken)


def overdue(hand: Hand, seconds: Seconds) -> list[Name]:
    """List what is queued and would not end within what is paid for: it is not begun."""
    late, left_s = [], hand.current_s
    for name in hand.queue:
        if name != hand.current and left_s + hand.piece_s(name, seconds) > hand.room_s:
            late.append(name)
        elif name != hand.current:
            left_s += hand.piece_s(name, seconds)
    return late


def _next(
    hand: Hand, held: Collection[str], free: Mapping[str, Sequence[Name]], seconds: Seconds, *, alone: bool
) -> Name | None:
    """Choose what a machine is to do next: the nearest piece, and of equals the first; None where it had better wait.

    `held` are the jobs whose inputs some machine has, or will have. An input that another machine has is fetched a
    second time only by one that has nothing else to do.
    """
    mine, open_ = hand.jobs, _open(hand, free, seconds)
    near = (job for job in open_ if alone or job in mine)
    new = (job for job in open_ if job not in held)
    theirs = (job for job in open_ if not hand.queue)
    job = next(chain(near, new, theirs), None)
    return None if job is None else open_[job][0]


def _open(hand: Hand, free: Mapping[str, Sequence[Name]], seconds: Seconds) -> Mapping[str, Sequence[Name]]:
    """Give the pieces that may be begun on a machine, by job."""
    if hand.is_free:
        return free
    found: dict[str, list[Name]] = {}
    for name in hand.may_begin([name for names in free.values() for name in names], seconds):
        found.setdefault(name[0], []).append(name)
    return found


def _takeover(
    taker: Hand, hands: Sequence[Hand], new: Mapping[str, Sequence[Name]], seconds: Seconds
) -> tuple[Hand, Name] | None:
    """Find a queued piece that another has not begun, and would come to the end of later than it is done here.

    What is `new` to the other stays there: it has not even heard of it.
    """
    left_s = taker.left_s(seconds)
    for victim in sorted((hand for hand in hands if hand is not taker), key=lambda hand: -hand.left_s(seconds)):
        queued = [name for name in victim.queue if name != victim.current and name not in new[victim.lease]]
        if victim.ready and victim.current is None:
            queued = queued[1:]  # its first may just have been begun
        if not queued or not taker.may_begin(queued[-1:], seconds):
            continue
        theirs_s, piece_s = victim.left_s(seconds), taker.piece_s(queued[-1], seconds)
        begins_s = theirs_s - victim.piece_s(queued[-1], seconds)
        if theirs_s > RACE_GAIN * (left_s + piece_s) and (not taker.queue or begins_s > HEARD_S):
            return victim, queued[-1]
    return None


def _race(idle: Hand, hands: Sequence[Hand], seconds: Seconds) -> Name | None:
    """Find a segment that another makes, alone, and would end clearly later than a second attempt here."""
    held = [name for hand in hands for name in hand.queue]
    for slow in sorted(hands, key=lambda hand: -hand.current_s):
        name = slow.current
        if name is None or name[1].kind != "enhance" or held.count(name) > 1 or not idle.may_begin([name], seconds):
            continue
        if slow.current_s > RACE_GAIN * idle.piece_s(name, seconds):
            return name
    return None


Follows = Literal["again", "elsewhere", "another is to try", "new plan", "failed"]
"""What comes after a failed try: another one; one on another machine, this one getting no more of anything, or no more
of this job; a new plan; the job's end."""


def after_fault(
    work: Work,
    piece: Piece,
    fault: Fault,
    error: str,
    hint: str | None,
    *,
    machine: str = "",
    alone: bool = True,
    others: bool = False,
) -> Follows | None:
    """Take note of a failed try and say what follows, None when the worker merely stopped.

    A bad input fails its job at once where there is one machine `alone`: another try reads the same bytes. Else a
    `machine` may lie: another is to try, and the job fails when that one says so too. An encoder that fails is tried
    once more, on another machine unless there is one `alone`; the second failure with nothing made in between, or at
    the same segment, leads to a plan without it. So does a machine that is lost twice at a job's first segment: an
    encoder may bring it down. A machine that cannot follow the plan leads to another machine, if there is one, and a
    second failure to a new plan. While `others` make frames by the plan, it is the machine that is to blame, and no
    plan is given up. Anything else is tried again, three times in all.
    """
    if fault == "stopped":
        return None
    work.tries[piece] += 1
    tries = work.tries[piece]
    if fault == "input" and not alone:
        return "failed" if work.doubt(machine, piece, error, hint) else "another is to try"
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
