"""The controller's loop over one lease at a time: load what is to be seen, act on it, apply what was decided.

A pass is short: whatever takes long (checking video, publishing) runs in the background and its outcome is part of
what a later pass loads, so that a lease is always renewed in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import (
    BudgetError,
    BusyError,
    DeniedError,
    InputError,
    RateLimited,
    RentError,
    StoreError,
    Unclear,
    UprezError,
)
from uprez.fleet import checking, checks, clock, dispatch
from uprez.fleet import lease as leases
from uprez.fleet.checking import Counted, FaultError
from uprez.fleet.checks import Surveyed
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.watching import Watcher
from uprez.fleet.work import ASSEMBLE, Piece, Work
from uprez.job import Pin, Plan
from uprez.market.vast.launch import NO_PYTHON
from uprez.sheet import Sheet, Task
from uprez.status import Done
from uprez.store.open import Home

DONE = "the work is done"
LEFT = "lease ended or nothing to do"
"""How a worker says that its time was over."""
PYTHON_HINT = "choose another with --image, such as python:3.11-bookworm"
LOST_IN_A_ROW = 3
"""Machines lost without anything new that counts before the batch gives up."""
LOST_IN_A_ROW_RENTED = 5
"""Of rented ones, each of them another."""
MOST_THREADS = 16
"""Of one worker: more do not make an encoder faster."""
STORE_PAUSES_S = (10.0, 60.0, 180.0)
"""Between tries to rent while the store cannot be written."""
FAREWELL_S = 10.0
"""How long a worker that was told to stop may take to say so, at least; then it is destroyed all the same."""


@dataclass(kw_only=True)
class Loop:
    """Serves the open jobs of a batch."""

    renter: Renter
    settings: Settings
    threads: int | None
    """Of a worker; None: as many cores as its machine has."""
    works: Sequence[Work]
    on_end: Callable[[Work], None]
    """Called once for each job when it is done or failed."""
    watcher: Watcher | None = None
    """Of the lease there is."""
    _checks: dict[str, tuple[Work, Piece, Done, asyncio.Future[Counted]]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Take what the renter has too."""
        self.home, self.market, self.ledger = self.renter.home, self.renter.market, self.renter.ledger
        self.console, self.timing = self.renter.console, self.renter.terms.timing

    @property
    def rented(self) -> bool:
        """Say whether machines cost money."""
        return self.renter.terms.budget_usd is not None

    async def run(self) -> None:
        """Work until every job is done or failed; raises RentError when machine after machine is lost."""
        lost = 0
        while self._open():
            before = self._progress()
            try:
                machine, reason = await self._one_lease()
            finally:
                # Whatever ended the lease: what it published may count all the same.
                await self._settle()
                if not self._open():
                    self._tell_ends()
            if self._open() and reason != DONE:
                self.console.warn(f"Lease lost: {reason}")
                if reason.endswith(NO_PYTHON):
                    raise RentError(f"the image {self.renter.terms.image} cannot be used: {reason}", hint=PYTHON_HINT)
                if self.rented and not self._is_over(reason):
                    self.renter.banned.add(machine)
                lost = 1 if self._progress() > before else lost + 1
                if lost >= (LOST_IN_A_ROW_RENTED if self.rented else LOST_IN_A_ROW):
                    raise RentError(f"{lost} machines in a row were lost without progress; the last: {reason}")

    @staticmethod
    def _is_over(reason: str) -> bool:
        """Say whether a lease merely came to its end, which says nothing of its machine."""
        return reason.endswith(LEFT)

    async def _one_lease(self) -> tuple[str, str]:
        lease = await self._patiently_acquired()
        reason = "interrupted"
        try:
            reason = await self._serve(lease)
        except UprezError as error:
            reason = error.message
            raise
        finally:
            await self._give_back(lease, reason)
        return lease.row.machine, reason

    async def _patiently_acquired(self) -> Lease:
        """Rent; a store or a market that does not answer now may do so a little later; till then nothing is rented."""
        for pause_s in STORE_PAUSES_S:
            try:
                return await self._acquire()
            except (BusyError, Unclear, RateLimited) as error:
                where = "store" if isinstance(error, BusyError) else "market"
                self.console.warn(f"Nothing is rented while the {where} is out of reach: {error.message}")
                await asyncio.sleep(pause_s)
        return await self._acquire()

    async def _acquire(self) -> Lease:
        """Rent; not to be interrupted between the call that costs money and its record."""
        self._announce_next()
        renting = asyncio.ensure_future(self.renter.acquire())
        try:
            return await asyncio.shield(renting)
        except asyncio.CancelledError:
            self.renter.stopped = True  # no other offer is tried
            with contextlib.suppress(RentError, BudgetError, StoreError):  # then there is nothing to give back
                await self._give_back(await renting, "interrupted")
            raise

    async def _give_back(self, lease: Lease, reason: str) -> None:
        """Give the machine back; an interruption is heard when that is done."""
        await background.whole(self._end_lease(lease, reason))

    async def _end_lease(self, lease: Lease, reason: str) -> None:
        """Show the last of the log, if it is to be had, and destroy; nothing about the log may prevent that."""
        stopping = background.start(partial(leases.stop, self.home, lease))  # it hears that way too, should DELETE fail
        try:
            if self.watcher is not None and self.watcher.lease is lease:
                await self.watcher.end()
        finally:
            row = replace(lease.row, instance=lease.instance)
            await leases.give_back(self.market, self.ledger, row, self.console, reason)
        self.watcher = None
        with contextlib.suppress(TimeoutError, UprezError):
            await asyncio.wait_for(stopping, FAREWELL_S)
        with contextlib.suppress(StoreError):  # the ledger has them: the next start closes what is left
            await background.start(partial(leases.close_uploads, self.home, lease, list(lease.uploads)))

    async def _serve(self, lease: Lease) -> str:
        """Pass after pass until the work is done or the lease is lost; gives the reason it ended."""
        self.watcher = Watcher(
            home=self.home,
            market=self.market,
            ledger=self.ledger,
            console=self.console,
            lease=lease,
            timing=self.timing,
            rented=self.rented,
            logs=self.settings.state_dir / "logs" if self.rented else None,
        )
        self.renter.say_length(lease)
        await self._apply(lease)
        while True:
            await asyncio.sleep(self.timing.poll_s)
            lost = await self._load(lease)
            self._act(lease)
            if self._only_results_left():
                return await self._farewell(lease)
            if lost:
                return await self._explain(lease, lost)
            self.renter.check_money(lease)
            await self._apply(lease)

    async def _load(self, lease: Lease) -> str | None:
        """See what there is to see; gives why the lease is lost, if it is."""
        if self.watcher is None:
            raise AssertionError("nobody watches")
        lost = await self.watcher.look(makes_frames=lambda: _makes_frames(lease))
        self._show_progress(lease)
        return lost

    def _act(self, lease: Lease) -> None:
        """Begin to check what was published, take note of what failed, and of the checks that ended."""
        status = lease.monitor.status
        for done in status.done if status else ():
            if done.task not in lease.handled and done.task in lease.assigned:
                lease.handled.add(done.task)
                work, piece = lease.assigned.pop(done.task)
                self._begin_check(lease, work, piece, done)
        for task, (work, piece, done, check) in list(self._checks.items()):
            if check.done():
                del self._checks[task]
                self._end_check(work, piece, done, check)

    async def _apply(self, lease: Lease) -> None:
        """Write the sheet anew when there is something new to ask, or the lease is half over."""
        self._drop_unwanted(lease)
        kept = [task for task in lease.sheet.tasks if task.id in lease.assigned]
        new = await self._new_tasks(lease)
        # While something is checked, it may turn out that there is more to do: the worker waits for it.
        sheet = replace(lease.sheet, tasks=(*kept, *new), hold=bool(self._checks))
        renewal = sheet.renewal
        if leases.due(lease) and await self.renter.may_renew(lease):
            sheet = self._renewed(lease, sheet)
        if sheet == lease.sheet:
            return
        try:
            await leases.write_sheet(self.home, lease, sheet)
        except DeniedError:
            raise
        except StoreError as error:
            # The next pass tries again; should the store stay away, monitor.look ends the batch.
            self.console.warn(f"The sheet could not be written: {error.message}")
            for task in new:
                lease.assigned.pop(task.id, None)
            await background.start(partial(_close_quietly, self.home, lease, [task.id for task in new]))
            return
        if sheet.renewal != renewal:
            lease.renewed = clock.now()
            self.console.debug(f"Lease {lease.id} renewed for {sheet.length_s:.0f} s")

    def _lengthen(self) -> None:
        """Let a lease last as long as its plans need, unless somebody said how long."""
        if self.watcher is not None and self.settings.max_runtime_s is None:
            self.renter.lengthen(self.watcher.lease, sum(_seconds_left(work) for work in self._open()))

    async def _new_tasks(self, lease: Lease) -> list[Task]:
        """Choose more work for a lease and write it down as tasks."""
        room = dispatch.AHEAD - len(lease.assigned)
        busy = [(work.job.id, piece) for work, piece in lease.assigned.values()]
        busy += [(work.job.id, piece) for work, piece, _, _ in self._checks.values()]
        new = []
        for work, piece in dispatch.choose(self.works, busy, room):
            threads = self.threads or lease.offer.cores or 2
            task = leases.task(self.home, lease, work, piece, min(threads, MOST_THREADS))
            try:
                task = await background.start(partial(leases.with_upload, self.home, lease, task, work))
            except DeniedError:
                raise
            except StoreError as error:
                self.console.warn(f"{_title(work, piece)} has to wait: {error.message}")
                break
            lease.assigned[task.id] = (work, piece)
            new.append(task)
            self.console.debug(f"Task {task.id}: {piece.kind} of {_title(work, piece)}")
        return new

    def _renewed(self, lease: Lease, sheet: Sheet) -> Sheet:
        """Lengthen a lease by its length; all its URLs are signed anew."""
        fresh = (leases.resigned(self.home, task, lease.assigned[task.id][0], sheet) for task in sheet.tasks)
        sheet = replace(sheet, renewal=sheet.renewal + 1, tasks=tuple(fresh))
        return leases.addressed(sheet, self.home, self.renter.supplies) if self.home.remote else sheet

    def _drop_unwanted(self, lease: Lease) -> None:
        """Take back the tasks of jobs that failed, or whose plan was given up."""
        for task, (work, piece) in list(lease.assigned.items()):
            if piece not in dispatch.wanted(work):
                del lease.assigned[task]
                lease.handled.add(task)

    def _begin_check(self, lease: Lease, work: Work, piece: Piece, done: Done) -> None:
        if work.state != "open":
            return
        if done.fault == "store" and self.home.remote:
            # Another machine's run may have finished the same job meanwhile, and cleared up what this one reads.
            self._checks[done.task] = (
                work,
                piece,
                done,
                background.start(partial(checking.elsewhere, self.home, work, done)),
            )
            return
        if done.fault:
            self._take_fault(lease.row.machine, work, piece, done)
            return
        work.seconds += done.seconds
        seen = copy(work)  # the thread's own: this one may lose its plan meanwhile
        checked: dict[str, Callable[[], Counted]] = {
            "index": partial(checks.survey, self.home, seen, done.key, self.settings.segment_frames),
            "enhance": partial(checks.segment, self.home, seen, piece.segment, done.key),
            "assemble": partial(checks.result, self.home, seen, done.key),
        }
        check = partial(checking.patiently, self.home, seen, checked[piece.kind])
        self._checks[done.task] = (work, piece, done, background.start(check))

    def _take_fault(self, machine: str, work: Work, piece: Piece, done: Done) -> None:
        """Take note of a try that failed on a worker."""
        follows = dispatch.after_fault(work, piece, done.fault or "defect", done.error or "no reason given", done.hint)
        if follows and follows != "failed":
            self.console.warn(f"{_title(work, piece)} failed on {machine}: {done.error} ({follows})")
        self._note_end(work)

    def _end_check(self, work: Work, piece: Piece, done: Done, check: asyncio.Future[Counted]) -> None:
        try:
            found = check.result()
        except FaultError:
            self._take_fault("its machine", work, piece, done)
            return
        except UprezError as error:
            # A store that refuses would refuse again after the same work was paid for once more.
            final = isinstance(error, InputError | StoreError)
            follows = dispatch.after_fault(work, piece, "input" if final else "verify", error.message, error.hint)
            self.console.warn(f"{_title(work, piece)} does not count: {error.message} ({follows})")
        else:
            if piece in dispatch.wanted(work):
                self._count(work, piece, found)
        self._note_end(work)

    def _count(self, work: Work, piece: Piece, found: Counted) -> None:
        """Take note of what counts from now on."""
        if isinstance(found, Pin):
            work.counted[piece.segment] = found
            work.computed += 1
            total = len(work.plan.segments) if work.plan else 0
            name = work.job.source.name
            self.console.ok(f"Segment {piece.segment + 1} of {total} of {name} counts ({len(work.counted)} done)")
        elif isinstance(found, Surveyed):
            work.survey, work.survey_pin = found.survey, found.survey_pin
            work.plan, work.plan_pin = found.plan, found.plan_pin
            self._say_plan(work.job.source.name, found.plan)
            self._lengthen()
        else:
            if piece != ASSEMBLE:
                self.console.info(f"{work.job.source.name} was finished by another run")
            work.finish(found.output, found.made)

    def _say_plan(self, name: str, plan: Plan) -> None:
        ready, pieces = plan.preflight, len(plan.segments)
        self.console.ok(
            f"Plan {plan.number} of {name}: {plan.count} frames in {pieces} segment{'s' if pieces > 1 else ''}, "
            f"{plan.width}x{plan.height}, {ready.encoding.rung}, {ready.provider}"
        )
        for rung in ready.ladder:
            self.console.debug(f"Tried {rung}")

    async def _settle(self) -> None:
        """Let the checks that run end: what a lost machine published may count all the same."""
        if self._checks:
            await asyncio.wait([check for _, _, _, check in self._checks.values()])
        for task, (work, piece, done, check) in list(self._checks.items()):
            del self._checks[task]
            self._end_check(work, piece, done, check)

    async def _farewell(self, lease: Lease) -> str:
        """Tell the worker to leave: it costs nothing more while the last results are checked and get their names."""
        with contextlib.suppress(StoreError):  # it leaves by itself, a little later
            await leases.write_sheet(self.home, lease, replace(lease.sheet, stop=True, tasks=()))
        # It looks at its sheet every `watch_s`: without its last words nobody would see that it ended well.
        until = clock.now() + max(FAREWELL_S, self.timing.watch_s + self.timing.status_s)
        while clock.now() < until:
            await asyncio.sleep(self.timing.watch_s / 4)
            lost = await self._load(lease)
            if lost:
                break
        if self.watcher is not None:
            await self.watcher.end()
        # What is checked now may take long, and the machine costs: it is given back first then.
        if self._checks:
            await asyncio.wait([check for _, _, _, check in self._checks.values()], timeout=FAREWELL_S)
        if all(check.done() for _, _, _, check in self._checks.values()):
            await self._settle()
            self._tell_ends()
        return DONE

    def _only_results_left(self) -> bool:
        """Say whether nothing is left for a machine to do, unless a result turns out wrong."""
        checking = {work.job.id for work, piece, _, _ in self._checks.values() if piece == ASSEMBLE}
        return all(work.job.id in checking for work in self._open())

    def _note_end(self, work: Work) -> None:
        """Tell a job's end at once, but for the last one's: its machine's last line comes first."""
        if work.state != "open" and self._open():
            self._tell_end(work)

    def _tell_ends(self) -> None:
        for work in self.works:
            self._tell_end(work)

    def _tell_end(self, work: Work) -> None:
        if work.state != "open" and work.job.id not in self._ended:
            self._ended.add(work.job.id)
            self._announce(work)
            self.on_end(work)

    def _open(self) -> list[Work]:
        return [work for work in self.works if work.state == "open"]

    def _progress(self) -> int:
        return sum(len(work.counted) + bool(work.plan) + (work.state != "open") for work in self.works)

    def _announce_next(self) -> None:
        for work in self._open()[:1]:
            self._announce(work)

    def _announce(self, work: Work) -> None:
        if not work.announced:
            work.announced = True
            number = 1 + sum(other.announced for other in self.works if other is not work)
            self.console.line("RUN", f"Processing file {number}/{len(self.works)}: {work.job.source.name}")

    def _show_progress(self, lease: Lease) -> None:
        status = lease.monitor.status
        if status is None or status.task not in lease.assigned:
            return
        work, piece = lease.assigned[status.task]
        self._announce(work)
        if piece.kind == "enhance" and work.plan:
            done = work.frames_counted + status.frames
            self.console.progress(work.job.source.name, min(done, work.plan.count), work.plan.count, status.fps)

    async def _explain(self, lease: Lease, lost: str) -> str:
        """Take note of the task that was being done, and show what the machine printed last."""
        status = lease.monitor.status
        if status and status.task in lease.assigned:
            work, piece = lease.assigned[status.task]
            dispatch.after_fault(work, piece, "lost", lost, None)
            self._note_end(work)
        if self.watcher is not None:
            await self.watcher.tell_why()
        return lost


def _close_quietly(home: Home, lease: Lease, tasks: list[str]) -> None:
    """Give up uploads that nobody will use; the ledger has those that cannot be given up now."""
    with contextlib.suppress(StoreError):
        leases.close_uploads(home, lease, tasks)


def _seconds_left(work: Work) -> float:
    """Give the seconds that a planned job still needs on the machine that its plan was made on."""
    if work.plan is None:
        return 0.0
    return (work.plan.count - work.frames_counted) * work.plan.preflight.seconds_per_frame


def _makes_frames(lease: Lease) -> bool:
    status = lease.monitor.status
    return status is not None and status.task in lease.assigned and lease.assigned[status.task][1].kind == "enhance"


def _title(work: Work, piece: Piece) -> str:
    return work.job.source.name if piece.segment < 0 else f"{work.job.source.name}, segment {piece.segment + 1}"
