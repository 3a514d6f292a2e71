"""The controller's loop over one lease at a time: load what is to be seen, act on it, apply what was decided.

A pass is short: whatever takes long (checking video, publishing) runs in the background and its outcome is part of
what a later pass loads, so that a lease is always renewed in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial

from uprez.config.settings import Settings, Timing
from uprez.errors import BusyError, DeniedError, InputError, RentError, StoreError, UprezError
from uprez.fleet import background, checking, checks, dispatch
from uprez.fleet import lease as leases
from uprez.fleet.checking import Counted, FaultError
from uprez.fleet.checks import Surveyed
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.work import ASSEMBLE, Piece, Work
from uprez.job import Pin, Plan
from uprez.market.base import Market
from uprez.report.console import Console
from uprez.sheet import Ref, Sheet, Task
from uprez.status import Done
from uprez.store.open import Home

DONE = "the work is done"
LOST_IN_A_ROW = 3
"""Machines lost without anything new that counts before the batch gives up."""
LAST_LOG_S = 20.0
"""How long the last of the log may keep a machine from being given back."""
STORE_PAUSES_S = (10.0, 60.0, 180.0)
"""Between tries to rent while the store cannot be written."""
FAREWELL_S = 10.0
"""How long a worker that was told to stop may take to say so; then it is destroyed all the same."""


@dataclass(kw_only=True)
class Loop:
    """Serves the open jobs of a batch."""

    home: Home
    market: Market
    ledger: Ledger
    console: Console
    settings: Settings
    batch: str
    families: tuple[str, ...]
    models: dict[str, Ref]
    threads: int
    works: Sequence[Work]
    on_end: Callable[[Work], None]
    """Called once for each job when it is done or failed."""
    _checks: dict[str, tuple[Work, Piece, Done, asyncio.Future[Counted]]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Work until every job is done or failed; raises RentError when machine after machine is lost."""
        lost = 0
        while self._open():
            before = self._progress()
            reason = await self._one_lease()
            await self._settle()
            if not self._open():
                self._tell_ends()
            if self._open() and reason != DONE:
                self.console.warn(f"Lease lost: {reason}")
                lost = 1 if self._progress() > before else lost + 1
                if lost >= LOST_IN_A_ROW:
                    raise RentError(f"{lost} machines in a row were lost without progress; the last: {reason}")

    @property
    def timing(self) -> Timing:
        """The market's numbers."""
        return self.settings.bucket_timing if self.home.remote else self.settings.local

    async def _one_lease(self) -> str:
        lease = await self._patiently_acquired()
        reason = "interrupted"
        try:
            reason = await self._serve(lease)
        finally:
            await self._give_back(lease, reason)
        return reason

    async def _patiently_acquired(self) -> Lease:
        """Rent; a store that takes no sheet now may do so a little later, and until then nothing is rented."""
        for pause_s in STORE_PAUSES_S:
            try:
                return await self._acquire()
            except BusyError as error:
                self.console.warn(f"Nothing is rented while the store is out of reach: {error.message}")
                await asyncio.sleep(pause_s)
        return await self._acquire()

    async def _acquire(self) -> Lease:
        """Rent; not to be interrupted between the call that costs money and its record."""
        self._announce_next()
        timing = self.timing
        sheet = Sheet(
            lease="",
            length_s=timing.lease_s,
            grace_s=timing.grace_s,
            watch_s=timing.watch_s,
            status_s=timing.status_s,
            families=self.families,
            models=self.models,
            status_url="",
            log_urls=(),
            next_sheet_url="",
        )
        renting = asyncio.ensure_future(
            leases.acquire(
                self.market, self.ledger, self.home, self.console, batch=self.batch, sheet=sheet, timing=timing
            )
        )
        try:
            return await asyncio.shield(renting)
        except asyncio.CancelledError:
            with contextlib.suppress(RentError):  # then there is nothing to give back
                await self._give_back(await renting, "interrupted")
            raise

    async def _give_back(self, lease: Lease, reason: str) -> None:
        """Give the machine back; an interruption is heard when that is done."""
        giving = asyncio.ensure_future(self._end_lease(lease, reason))
        try:
            await asyncio.shield(giving)
        except asyncio.CancelledError:
            await giving
            raise

    async def _end_lease(self, lease: Lease, reason: str) -> None:
        """Show the last of the log, if it is to be had, and destroy; nothing about the log may prevent that."""
        with contextlib.suppress(UprezError, OSError, TimeoutError):
            self._show_log(lease, await asyncio.wait_for(self.market.logs(lease.instance), LAST_LOG_S))
        await leases.give_back(
            self.market, self.ledger, replace(lease.row, instance=lease.instance), self.console, reason
        )
        with contextlib.suppress(StoreError):  # the ledger has them: the next start closes what is left
            await background.start(partial(leases.close_uploads, self.home, lease, list(lease.uploads)))

    async def _serve(self, lease: Lease) -> str:
        """Pass after pass until the work is done or the lease is lost; gives the reason it ended."""
        await self._apply(lease)
        while True:
            await asyncio.sleep(self.timing.poll_s)
            lost = await self._load(lease)
            self._act(lease)
            if self._only_results_left():
                return await self._farewell(lease)
            if lost:
                return self._explain(lease, lost)
            await self._apply(lease)

    async def _load(self, lease: Lease) -> str | None:
        """See what there is to see; gives why the lease is lost, if it is."""
        monitor = lease.monitor
        booting = monitor.status is None
        await background.start(partial(monitor.look, self.home))
        running = any(found.id == lease.instance and found.running for found in await self.market.instances())
        if not running:
            await background.start(
                partial(monitor.look, self.home)
            )  # it may have written its last status after the first look
        if booting and monitor.status is not None:
            self.console.ok(f"Instance running: lease {lease.id}")
            self.console.line("MONITOR", f"Watching instance {lease.instance} (log, heartbeat, progress)")
        if monitor.status is not None:
            self._show_log(lease, await self.market.logs(lease.instance))
        self._show_progress(lease)
        return monitor.verdict(running=running, makes_frames=_makes_frames(lease))

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
        if leases.due(lease):
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
            lease.renewed = time.monotonic()
            self.console.debug(f"Lease {lease.id} renewed for {sheet.length_s:.0f} s")

    async def _new_tasks(self, lease: Lease) -> list[Task]:
        """Choose more work for a lease and write it down as tasks."""
        room = dispatch.AHEAD - len(lease.assigned)
        busy = [(work.job.id, piece) for work, piece in lease.assigned.values()]
        busy += [(work.job.id, piece) for work, piece, _, _ in self._checks.values()]
        new = []
        for work, piece in dispatch.choose(self.works, busy, room):
            task = leases.task(self.home, lease, work, piece, self.threads)
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
        return leases.addressed(sheet, self.home) if self.home.remote else sheet

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
        until = time.monotonic() + FAREWELL_S
        while time.monotonic() < until:
            await asyncio.sleep(self.timing.watch_s / 4)
            lost = await self._load(lease)
            if lost:
                break
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

    def _show_log(self, lease: Lease, snapshot: str) -> None:
        for line in lease.monitor.new_lines(snapshot):
            self.console.log(line.stamp, line.text)

    def _show_progress(self, lease: Lease) -> None:
        status = lease.monitor.status
        if status is None or status.task not in lease.assigned:
            return
        work, piece = lease.assigned[status.task]
        self._announce(work)
        if piece.kind == "enhance" and work.plan:
            done = work.frames_counted + status.frames
            self.console.progress(work.job.source.name, min(done, work.plan.count), work.plan.count, status.fps)

    def _explain(self, lease: Lease, lost: str) -> str:
        """Take note of the task that was being done, and show what the machine printed last."""
        status = lease.monitor.status
        if status and status.task in lease.assigned:
            work, piece = lease.assigned[status.task]
            dispatch.after_fault(work, piece, "lost", lost, None)
            self._note_end(work)
        for line in lease.monitor.strays():
            self.console.warn(f"instance {lease.instance}: {line}")
        return lost


def _close_quietly(home: Home, lease: Lease, tasks: list[str]) -> None:
    """Give up uploads that nobody will use; the ledger has those that cannot be given up now."""
    with contextlib.suppress(StoreError):
        leases.close_uploads(home, lease, tasks)


def _makes_frames(lease: Lease) -> bool:
    status = lease.monitor.status
    return status is not None and status.task in lease.assigned and lease.assigned[status.task][1].kind == "enhance"


def _title(work: Work, piece: Piece) -> str:
    return work.job.source.name if piece.segment < 0 else f"{work.job.source.name}, segment {piece.segment + 1}"
