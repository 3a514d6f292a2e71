"""One lease while it serves: what is asked of it, how it is told to leave, and how its machine is given back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from uprez import background
from uprez.errors import DeniedError, StoreError, UprezError
from uprez.fleet import clock, dispatch
from uprez.fleet import lease as leases
from uprez.fleet.checking import title
from uprez.fleet.dispatch import Hand, Name
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.watching import Watcher
from uprez.fleet.work import Piece, Work
from uprez.sheet import Sheet, Task
from uprez.status import Status
from uprez.store.open import Home

FAREWELL_S = 10.0
"""How long a worker that was told to stop may take to say so, at least; then it is destroyed all the same."""
STILL_S = 60.0
"""A segment of which nothing moves for so long ends nobody knows when."""
UNTOLD_S = 30.0
"""What an index or an assembly is reckoned to take where nobody knows."""


@dataclass(kw_only=True)
class Serving:
    """A lease, with what is done about it."""

    renter: Renter
    lease: Lease
    watcher: Watcher
    threads: int
    """Of its worker's tasks."""
    state: Literal["serving", "leaving", "ending"] = "serving"
    reason: str = ""
    """Why it ends."""
    lost: bool = False
    """It ends before its time."""
    ending: asyncio.Future[None] | None = None
    left_at: float | None = None
    """When its worker had left, or could not be waited for any longer."""
    source: str = ""
    """The job that it worked on last."""
    slowness: float = 1.0
    _leave_by: float = 0.0
    _stop_written: bool = False

    @property
    def machine(self) -> str:
        """Name its machine, as offers do."""
        return self.lease.row.machine

    @property
    def status(self) -> Status | None:
        """What its worker said last."""
        return self.lease.monitor.status

    @property
    def doing(self) -> tuple[Work, Piece] | None:
        """What its worker is seen to do, of what it was given."""
        status = self.status
        return self.lease.assigned.get(status.task or "") if status is not None else None

    def makes_frames(self) -> bool:
        """Say whether it is at a segment."""
        doing = self.doing
        return doing is not None and doing[1].kind == "enhance"

    def holds(self, work: Work, piece: Piece) -> bool:
        """Say whether a piece is on its sheet."""
        return self.state == "serving" and any(
            held is work and one == piece for held, one in self.lease.assigned.values()
        )

    def learn(self) -> None:
        """Take note of what it works on, and how fast it is at that."""
        doing, status = self.doing, self.status
        if doing is None or status is None:
            return
        work, piece = doing
        self.source = work.job.id
        if piece.kind == "enhance" and work.plan is not None:
            seconds = work.plan.preflight.seconds_per_frame
            if status.fps > 0 and seconds > 0:
                self.slowness = 1 / (status.fps * seconds)

    def hand(self) -> Hand:
        """Describe it for sharing out."""
        doing, status = self.doing, self.status
        queue = [(work.job.id, piece) for work, piece in self.lease.assigned.values()]
        ready = status is not None and status.phase != "booting"
        hand = Hand(lease=self.lease.id, queue=queue, slowness=self.slowness, ready=ready, source=self.source)
        if doing is None or status is None:
            return hand
        work, piece = doing
        hand.current, hand.current_s = (work.job.id, piece), UNTOLD_S
        if piece.kind == "enhance" and work.plan is not None:
            count = work.plan.segments[piece.segment].count
            seconds = work.plan.preflight.seconds_per_frame * self.slowness
            hand.current_s = max(0, count - status.frames) * seconds
            if 0 < status.frames < count and self.lease.monitor.still_s > STILL_S:
                hand.current_s = float("inf")
        return hand

    # --- what is asked of it

    def drop_unwanted(self) -> None:
        """Take back tasks of jobs that have ended, that somebody else has done, or whose plan was given up."""
        for task, (work, piece) in list(self.lease.assigned.items()):
            if piece not in dispatch.wanted(work) or self.lease.plans.get(task) is not work.plan:
                self.forget(task)

    def forget(self, task: str) -> None:
        """Ask no more for a task; what comes of it is nothing to us."""
        self.lease.assigned.pop(task, None)
        self.lease.plans.pop(task, None)
        self.lease.handled.add(task)

    def leave_to_another(self, names: Sequence[Name]) -> None:
        """Take back queued pieces."""
        for task, (work, piece) in list(self.lease.assigned.items()):
            if (work.job.id, piece) in names:
                self.forget(task)

    async def ask(self, new: Sequence[tuple[Work, Piece]], *, hold: bool) -> None:
        """Write its sheet anew when there is something new to ask, or the lease is half over."""
        lease, home = self.lease, self.renter.home
        kept = [task for task in lease.sheet.tasks if task.id in lease.assigned]
        made = await self._tasks(new)
        sheet = replace(lease.sheet, tasks=(*kept, *made), hold=hold)
        renewal = sheet.renewal
        if leases.due(lease) and await self.renter.may_renew(lease):
            sheet = self._renewed(sheet)
        if sheet == lease.sheet:
            return
        try:
            await leases.write_sheet(home, lease, sheet)
        except DeniedError:
            raise
        except StoreError as error:
            # The next pass tries again; should the store stay away, monitor.look ends the batch.
            self.renter.console.warn(f"The sheet could not be written: {error.message}")
            for task in made:
                self.forget(task.id)
            await background.start(partial(_close_quietly, home, lease, [task.id for task in made]))
            return
        if sheet.renewal != renewal:
            lease.renewed = clock.now()
            self.renter.console.debug(f"Lease {lease.id} renewed for {sheet.length_s:.0f} s")

    async def _tasks(self, pieces: Sequence[tuple[Work, Piece]]) -> list[Task]:
        """Write pieces of work down as tasks."""
        home, lease, console = self.renter.home, self.lease, self.renter.console
        made = []
        for work, piece in pieces:
            task = leases.task(home, lease, work, piece, self.threads)
            plan = work.plan
            try:
                task = await background.start(partial(leases.with_upload, home, lease, task, work))
            except DeniedError:
                raise
            except StoreError as error:
                console.warn(f"{title(work, piece)} has to wait: {error.message}")
                break
            lease.assigned[task.id], lease.plans[task.id] = (work, piece), plan
            made.append(task)
            console.debug(f"Task {task.id}: {piece.kind} of {title(work, piece)}")
        return made

    def _renewed(self, sheet: Sheet) -> Sheet:
        """Lengthen a lease by its length; all its URLs are signed anew."""
        home = self.renter.home
        fresh = (leases.resigned(home, task, self.lease.assigned[task.id][0], sheet) for task in sheet.tasks)
        sheet = replace(sheet, renewal=sheet.renewal + 1, tasks=tuple(fresh))
        return leases.addressed(sheet, home, self.renter.supplies) if home.remote else sheet

    # --- its end

    def leave(self) -> None:
        """Let its worker go: nothing more is asked of it."""
        timing = self.renter.terms.timing
        self.state = "leaving"
        # It looks at its sheet every `watch_s`: without its last words nobody would see that it ended well.
        self._leave_by = clock.now() + max(FAREWELL_S, timing.watch_s + timing.status_s)
        if self.status is None:
            self.left_at = clock.now()  # there is nobody to wait for

    async def tell_to_leave(self) -> None:
        """Write the sheet that says so, once."""
        if not self._stop_written:
            with contextlib.suppress(StoreError):  # it leaves by itself, a little later
                sheet = replace(self.lease.sheet, stop=True, tasks=())
                await leases.write_sheet(self.renter.home, self.lease, sheet)
            self._stop_written = True

    def note_leaving(self, lost: str | None) -> None:
        """Take note of its worker's last words, or that there will be none."""
        if self.left_at is None and (lost or clock.now() > self._leave_by):
            self.left_at = clock.now()

    def end(self, reason: str, *, lost: bool) -> None:
        """Begin to give its machine back."""
        self.state, self.reason, self.lost = "ending", reason, lost
        self.ending = asyncio.ensure_future(self._ended())

    async def _ended(self) -> None:
        """Show the last of the log, if it is to be had, and destroy; nothing about the log may prevent that."""
        renter, lease = self.renter, self.lease
        stopping = background.start(partial(leases.stop, renter.home, lease))  # heard that way too, should DELETE fail
        try:
            if self.lost:
                await self.watcher.tell_why()
            await self.watcher.end()
        finally:
            row = replace(lease.row, instance=lease.instance)
            await leases.give_back(renter.market, renter.ledger, row, renter.console, self.reason)
        with contextlib.suppress(TimeoutError, UprezError):
            await asyncio.wait_for(stopping, FAREWELL_S)
        with contextlib.suppress(StoreError):  # the ledger has them: the next start closes what is left
            await background.start(partial(leases.close_uploads, renter.home, lease, list(lease.uploads)))


def _close_quietly(home: Home, lease: Lease, tasks: list[str]) -> None:
    """Give up uploads that nobody will use; the ledger has those that cannot be given up now."""
    with contextlib.suppress(StoreError):
        leases.close_uploads(home, lease, tasks)
