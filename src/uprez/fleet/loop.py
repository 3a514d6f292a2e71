"""The controller's loop over one lease at a time: load what is to be seen, act on it, apply what was decided.

A pass is short: whatever takes long (checking video, publishing) runs in the background and its outcome is part of
what a later pass loads, so that a lease is always renewed in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import (
    BudgetError,
    BusyError,
    DeniedError,
    RateLimited,
    RentError,
    StoreError,
    Unclear,
    UprezError,
)
from uprez.fleet import clock, dispatch
from uprez.fleet import lease as leases
from uprez.fleet.checking import Checks, title
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.watching import Watcher
from uprez.fleet.work import ASSEMBLE, Work
from uprez.market.vast.launch import NO_PYTHON
from uprez.sheet import Sheet, Task
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
"""Of a worker on a rented machine: more do not make an encoder faster, and the GPU has the rest of the work."""
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
    _ended: set[str] = field(default_factory=set)
    _machines: dict[str, str] = field(default_factory=dict)
    """Of each lease of this run."""
    _distrusted: dict[str, str] = field(default_factory=dict)
    """Machines that get no more work, and why."""

    def __post_init__(self) -> None:
        """Take what the renter has too."""
        self.home, self.market, self.ledger = self.renter.home, self.renter.market, self.renter.ledger
        self.console, self.timing = self.renter.console, self.renter.terms.timing
        self._checks = Checks(
            home=self.home,
            console=self.console,
            segment_frames=self.settings.segment_frames,
            planned=self._lengthen,
            looked=self._note_end,
            distrusted=self._distrust,
            affords=self._lacks_budget,
            alone=not self.rented,
        )

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
                await self._checks.settle()
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
        self._machines[lease.id] = lease.row.machine
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
            if (why := self._distrusted.get(lease.row.machine)) is not None:
                return f"it gets no more work: {why}"
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
                self._checks.begin(lease.row.machine, work, piece, done)
        self._checks.gather()

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

    def _distrust(self, machine: str, reason: str) -> None:
        """Give a rented machine no more work; it is named by itself, or by an attempt that was made on it."""
        if not self.rented:
            return
        machine = self._machines.get(machine.partition("-")[0], machine)
        self._distrusted[machine] = reason
        self.renter.banned.add(machine)

    def _lacks_budget(self, work: Work) -> str | None:
        """Say that a job cannot be made anew within the budget."""
        if self.watcher is None or work.plan is None:
            return None
        seconds = work.plan.frames * work.plan.preflight.seconds_per_frame
        return self.renter.lacks(self.watcher.lease, seconds)

    def _lengthen(self) -> None:
        """Let a lease last as long as its plans need, unless somebody said how long."""
        if self.watcher is not None and self.settings.max_runtime_s is None:
            self.renter.lengthen(self.watcher.lease, sum(_seconds_left(work) for work in self._open()))

    async def _new_tasks(self, lease: Lease) -> list[Task]:
        """Choose more work for a lease and write it down as tasks."""
        room = dispatch.AHEAD - len(lease.assigned)
        busy = [(work.job.id, piece) for work, piece in lease.assigned.values()] + self._checks.busy
        new = []
        for work, piece in dispatch.choose(self.works, busy, room):
            threads = self.threads or min(lease.offer.cores or 2, MOST_THREADS)
            task = leases.task(self.home, lease, work, piece, threads)
            try:
                task = await background.start(partial(leases.with_upload, self.home, lease, task, work))
            except DeniedError:
                raise
            except StoreError as error:
                self.console.warn(f"{title(work, piece)} has to wait: {error.message}")
                break
            lease.assigned[task.id] = (work, piece)
            new.append(task)
            self.console.debug(f"Task {task.id}: {piece.kind} of {title(work, piece)}")
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
        await self._checks.wait(FAREWELL_S)
        if self._checks.idle:
            self._checks.gather()
            self._tell_ends()
        return DONE

    def _only_results_left(self) -> bool:
        """Say whether nothing is left for a machine to do, unless a result turns out wrong."""
        checking = {job for job, piece in self._checks.busy if piece == ASSEMBLE}
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
            self.console.progress(work.job.source.name, min(done, work.plan.frames), work.plan.frames, status.fps)

    async def _explain(self, lease: Lease, lost: str) -> str:
        """Take note of the task that was being done, and show what the machine printed last."""
        status = lease.monitor.status
        if status and status.task in lease.assigned:
            work, piece = lease.assigned[status.task]
            self._checks.after_fault(work, piece, "lost", lost, None)
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
    return (work.plan.frames - work.frames_counted) * work.plan.preflight.seconds_per_frame


def _makes_frames(lease: Lease) -> bool:
    status = lease.monitor.status
    return status is not None and status.task in lease.assigned and lease.assigned[status.task][1].kind == "enhance"
