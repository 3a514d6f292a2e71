"""Checks as the loop runs them, beside its passes: patient with a store that fails, aware of others at the same job.

What a check finds counts; what it does not find is a failed try of its piece of work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from uprez import background
from uprez.errors import BusyError, InputError, StoreError, UprezError, VerifyError
from uprez.fleet import checks, clock, dispatch, evidence
from uprez.fleet.account import Came
from uprez.fleet.checks import Published, Spoilt, Surveyed
from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.job import Pin, Plan
from uprez.media import notes
from uprez.report.console import Console
from uprez.status import Done, Fault
from uprez.store.open import Home

Counted: TypeAlias = Pin | Surveyed | Published | Spoilt
"""What may count: a segment, a job's survey with its plan, a result; or that what counted no longer does."""

CHECK_PAUSES_S = (5.0, 30.0)
"""Between the tries of a check that a store error ended; each request has its own retries before."""
LATER_S = 60.0
"""Until a check is begun anew that a store ended which was busy all that time."""
PATIENCE_S = 900.0
"""For how long that goes on: what was published is paid for."""


class FaultError(Exception):
    """A worker's try failed, and nobody else has finished the job."""


def patiently(home: Home, work: Work, check: Callable[[], Counted]) -> Counted:
    """Try a check again when the store fails it: the work is paid for, and it lies there safely.

    What is gone may have been cleared up by a run on another machine that finished the job: that counts too.
    """
    for pause in CHECK_PAUSES_S:
        try:
            return check()
        except BusyError:
            time.sleep(pause)
        except StoreError:
            if home.remote and (published := checks.finished(home, work)):
                return published
            raise
    return check()


def elsewhere(home: Home, work: Work, done: Done) -> Counted:
    """Say why something could not be read: another run finished the job and cleared up, or somebody changed segments.

    Raises FaultError when neither is so.
    """
    try:
        published = checks.finished(home, work) if home.remote else None
        spoilt = checks.spoilt(home, work) if published is None else Spoilt(pins={})
    except BusyError:
        raise  # looked at again, a little later
    except StoreError as error:
        raise FaultError(error.message) from error
    if published is None and not spoilt.pins:
        raise FaultError(done.error or "")
    return published or spoilt


@dataclass(frozen=True, kw_only=True)
class Blame:
    """What a machine that gets no more work is to blame for."""

    fault: bool = False
    """Later batches are to know; else it merely does not suit this one."""
    lied: bool = False
    """It published what is not so."""
    evidence: str | None = None
    """Where that is kept."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One attempt that is looked at."""

    machine: str
    work: Work
    piece: Piece
    plan: Plan | None
    """That it was made by."""
    done: Done
    look: Callable[[], Counted]
    began: float
    """By our own clock, the first time."""
    again: bool = False
    """It was begun before."""
    found: asyncio.Future[Counted]


@dataclass(kw_only=True)
class Checks:
    """Those that run, and what is made of each when it ends."""

    home: Home
    console: Console
    segment_frames: int | None
    planned: Callable[[], None]
    """Called when a job has got its plan."""
    looked: Callable[[Work], None]
    """Called after each, when its job may have ended."""
    distrusted: Callable[[str, str, Blame], None]
    """Called with an attempt's name, or a machine, why it gets no more work, and what it is to blame for."""
    affords: Callable[[Work], str | None]
    """Says why a job cannot be made anew, None when it can."""
    alone: bool
    """There is one machine, whatever happens."""
    learn: Callable[[Work, Piece, Done], None]
    """Called with what counts: how long it took is remembered."""
    others: Callable[[Work, Piece | None, str], bool]
    """Says whether another machine is at the same piece as a task; of no piece, whether one makes frames by the same
    plan."""
    came: Callable[[str, Came], None]
    """Called when it is known what came of an attempt, by its task."""
    _running: dict[str, Check] = field(default_factory=dict)
    _later: dict[str, float] = field(default_factory=dict)
    """When those are begun anew that a busy store ended, by task."""
    _shunned: set[str] = field(default_factory=set)
    """Machines whose encoder failed, or that could not follow a plan, where there are others."""

    def __bool__(self) -> bool:
        """Say whether any runs."""
        return bool(self._running)

    @property
    def busy(self) -> list[tuple[str, Piece]]:
        """Name the pieces of work that are looked at, by job."""
        return [(check.work.job.id, check.piece) for check in self._running.values()]

    @property
    def idle(self) -> bool:
        """Say whether all that run have ended, and only wait to be gathered."""
        return not self._later and all(check.found.done() for check in self._running.values())

    def begin(self, machine: str, work: Work, piece: Piece, done: Done) -> None:
        """Begin to look at what a worker published, or take note of its failure at once."""
        if piece not in dispatch.wanted(work):  # its job has ended, or has lost the plan that it was made by
            self.came(done.task, "raced")
            return
        if done.fault:
            self.came(done.task, "stopped" if done.fault == "stopped" else "failed")
        if done.fault == "store" and (self.home.remote or piece == ASSEMBLE):
            self._start(machine, work, piece, done, partial(elsewhere, self.home, _as_it_is(work), done))
            return
        if done.fault:
            self._take_fault(machine, work, piece, done)
            return
        work.seconds += done.seconds
        seen = _as_it_is(work)
        checked: dict[str, Callable[[], Counted]] = {
            "index": partial(checks.survey, self.home, seen, done.key, self.segment_frames),
            "enhance": partial(checks.segment, self.home, seen, piece.segment, done.key, done.suspect),
            "assemble": partial(checks.result, self.home, seen, done.key),
        }
        self._start(machine, work, piece, done, partial(patiently, self.home, seen, checked[piece.kind]))

    def gather(self) -> None:
        """Take note of those that ended."""
        for task, check in list(self._running.items()):
            if not check.found.done():
                continue
            if task in self._later:
                self._look_again(task, check)
            elif error := self._busy(check):
                self._later[task] = clock.now() + LATER_S
                if not check.again:
                    self.console.warn(f"{title(check.work, check.piece)} is looked at a little later: {error.message}")
            else:
                del self._running[task]
                self._end(check)

    async def wait(self, within_s: float | None = None) -> None:
        """Wait until all have ended, or so long."""
        if self._running:
            await asyncio.wait([check.found for check in self._running.values()], timeout=within_s)

    async def settle(self) -> None:
        """Let those that run end: what a lost machine published may count all the same.

        One that a busy store has ended is left to the next start.
        """
        await self.wait()
        for task in [task for task, check in self._running.items() if task in self._later or self._busy(check)]:
            del self._running[task]
        self._later.clear()
        self.gather()

    def _start(self, machine: str, work: Work, piece: Piece, done: Done, check: Callable[[], Counted]) -> None:
        self._running[done.task] = Check(
            machine=machine,
            work=work,
            piece=piece,
            plan=work.plan,
            done=done,
            look=check,
            began=clock.now(),
            found=background.start(check),
        )

    def _busy(self, check: Check) -> BusyError | None:
        """Give the error of a check that a store out of reach has ended, which may be there again a little later."""
        error = check.found.exception()
        return error if isinstance(error, BusyError) and clock.now() - check.began <= PATIENCE_S else None

    def _look_again(self, task: str, check: Check) -> None:
        """Begin a check anew, once it is time."""
        if clock.now() >= self._later[task]:
            del self._later[task]
            self._running[task] = replace(check, again=True, found=background.start(check.look))

    def _take_fault(self, machine: str, work: Work, piece: Piece, done: Done) -> None:
        """Take note of a try that failed on a worker; of a machine that gets no more work the first was enough."""
        fault, error = done.fault or "defect", done.error or "no reason given"
        if machine in self._shunned and fault in ("encode", "plan"):
            return
        if self.others(work, piece, done.task):
            self.console.debug(f"{title(work, piece)} failed on {machine}, and is made on another too: {error}")
            return
        follows = self.after_fault(work, piece, done, machine)
        if follows and follows != "failed":
            self.console.warn(f"{title(work, piece)} failed on {machine}: {done.error} ({follows})")
        if follows == "elsewhere":
            self._shunned.add(machine)
            self.distrusted(machine, error, Blame())
        self.looked(work)

    def lost(self, work: Work, piece: Piece, done: Done) -> None:
        """Take note of a try that ended with its machine, unless another is at the same piece."""
        if not self.others(work, piece, done.task):
            self.after_fault(work, piece, done)
        self.looked(work)

    def after_fault(self, work: Work, piece: Piece, done: Done, machine: str = "") -> str | None:
        """Take note of a failed try; says what follows, and what it costs where an encoder is given up."""
        fault, error = done.fault or "defect", done.error or "no reason given"
        unaffordable = self.affords(work)
        plan, count, counted = work.plan, work.frames_counted, list(work.counted.values())
        others = self.others(work, None, done.task)
        follows = dispatch.after_fault(
            work, piece, fault, error, done.hint, machine=machine, alone=self.alone, others=others
        )
        if follows == "new plan":
            for pin in counted:
                self.came(_attempt(pin), "failed")
        if follows != "new plan" or plan is None or len(work.given_up) == len(plan.given_up):
            return follows
        rung, name = plan.preflight.encoding.rung, work.job.source.name
        if unaffordable:
            work.fail(f"{rung} failed ({error}), and {unaffordable}", hint="raise --budget; the same command goes on")
            return "failed"
        self._warn(work, f"{rung} failed ({error}): all is made anew by the next encoder, {count} finished frames too")
        self.console.debug(f"{name}: without {', '.join(each.rung for each in work.given_up)} from now on")
        return follows

    def _end(self, check: Check) -> None:
        work, piece = check.work, check.piece
        stale = check.plan is not work.plan  # what becomes of a plan that was given up matters no more
        try:
            found = check.found.result()
        except FaultError:
            if not stale:
                self._take_fault(check.machine, work, piece, check.done)
            return
        except UprezError as error:
            if stale:
                self.came(check.done.task, "stopped")
                return
            self._refuse(check, error)
        else:
            counts = piece in dispatch.wanted(work) and (not stale or isinstance(found, Published))
            self.came(check.done.task, _came(piece, found, counts=counts, stale=stale))
            if counts:
                self._count(work, piece, found, check.done)
                if not isinstance(found, Spoilt):
                    self.learn(work, piece, check.done)
        self.looked(work)

    def _refuse(self, check: Check, error: UprezError) -> None:
        """Take note of an attempt that does not count."""
        work, piece = check.work, check.piece
        # A store that refuses would refuse again after the same work was paid for once more.
        final = isinstance(error, InputError | StoreError)
        # An index is one machine's word about the input, as its own fault would be.
        word = piece == INDEX and not self.alone and not isinstance(error, StoreError)
        follows: str | None = "another makes it"
        if final or not self.others(work, piece, check.done.task):
            fault: Fault = "input" if final or word else "verify"
            follows = dispatch.after_fault(
                work, piece, fault, error.message, error.hint, machine=check.machine, alone=not word
            )
        self.console.warn(f"{title(work, piece)} does not count: {error.message} ({follows})")
        self.came(check.done.task, "refused")
        work.warnings.insert(work.told, f"an attempt did not count: {error.message}")
        work.told += 1
        work.note_looks(piece.segment, error)
        refused = isinstance(error, VerifyError)
        if refused and word and (doubt := work.doubts.get(check.machine)):
            work.doubts[check.machine] = doubt._replace(refused=True)
        elif refused and not word:
            kept = evidence.kept(self.home, work, check.done.key)
            blame = Blame(fault=True, lied=evidence.is_lie(error), evidence=kept)
            self.distrusted(check.machine, error.message, blame)

    def _count(self, work: Work, piece: Piece, found: Counted, done: Done) -> None:
        """Take note of what counts from now on."""
        name = work.job.source.name
        if not isinstance(found, Spoilt):
            self._refute(work, piece)
        if isinstance(found, Pin):
            work.counted[piece.segment] = found
            work.unlike.pop(piece.segment, None)
            work.failures = 0
            work.note_done(done)
            total = len(work.plan.segments) if work.plan else 0
            self.console.ok(f"Segment {piece.segment + 1} of {total} of {name} counts ({len(work.counted)} done)")
        elif isinstance(found, Surveyed):
            work.follow(found.survey, found.survey_pin, found.plan, found.plan_pin)
            self._say_plan(name, found.plan)
            for note in notes.of_index(found.survey.index, work.job.options, found.plan.preflight.encoding.codec):
                self._warn(work, note)
            self.planned()
        elif isinstance(found, Spoilt):
            self._forget(work, found)
        else:
            if piece != ASSEMBLE:
                self.console.info(f"{name} was finished by another run")
            if work.damaged:
                self._warn(work, f"frames damaged: at least {work.damaged}; the nearest whole picture stands in")
            work.finish(found.output, found.made)

    def _refute(self, work: Work, piece: Piece) -> None:
        """Give those no more work who said that the input could not be used for what counts now."""
        for machine, doubt in list(work.doubts.items()):
            if doubt.piece == piece:
                del work.doubts[machine]
                said = f"it could not use the input of {title(work, piece)}, which is all right: {doubt.error}"
                self.distrusted(machine, said, Blame(fault=True, lied=doubt.refused))

    def _forget(self, work: Work, spoilt: Spoilt) -> None:
        """Let segments that no longer count be made again; whoever wrote them gets no more work."""
        for number, pin in spoilt.pins.items():
            work.counted.pop(number, None)
            follows = dispatch.after_fault(work, Piece("enhance", number), "verify", spoilt.reason, None)
            self._warn(work, f"segment {number + 1} {spoilt.reason} ({follows})")
            self.came(_attempt(pin), "refused")
            kept = evidence.kept(self.home, work, pin.key)
            blame = Blame(fault=True, lied=True, evidence=kept)
            self.distrusted(_attempt(pin), f"segment {number + 1} {spoilt.reason}", blame)

    def _warn(self, work: Work, text: str) -> None:
        """Say something of a job now, and in its results."""
        if text not in work.warnings:
            work.warnings.insert(work.told, text)
            work.told += 1
            self.console.warn(f"{work.job.source.name}: {text}")

    def _say_plan(self, name: str, plan: Plan) -> None:
        ready, pieces = plan.preflight, len(plan.segments)
        self.console.ok(
            f"Plan {plan.number} of {name}: {plan.frames} frames in {pieces} segment{'s' if pieces > 1 else ''}, "
            f"{plan.width}x{plan.height}, {ready.encoding.rung}, {ready.provider}"
        )
        for rung in ready.ladder:
            self.console.debug(f"Tried {rung}")


def _as_it_is(work: Work) -> Work:
    """Copy a job for a thread of its own: this one may lose its plan meanwhile, and other segments come to count."""
    return replace(work, counted=dict(work.counted), unlike=dict(work.unlike))


def _came(piece: Piece, found: Counted, *, counts: bool, stale: bool) -> Came:
    """Say what came of an attempt by what was found when it was looked at."""
    if isinstance(found, Spoilt):
        return "refused"
    if not counts:
        return "stopped" if stale else "raced"
    return "raced" if isinstance(found, Published) and piece != ASSEMBLE else "counts"


def _attempt(pin: Pin) -> str:
    """Name the attempt that made what counts."""
    return pin.key.rsplit("/", 1)[-1]


def title(work: Work, piece: Piece) -> str:
    """Name a piece of work for people."""
    return work.job.source.name if piece.segment < 0 else f"{work.job.source.name}, segment {piece.segment + 1}"
