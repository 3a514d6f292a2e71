"""One lease while it serves: what is asked of it, how it is told to leave, and how its machine is given back."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from uprez import background
from uprez.errors import DeniedError, StoreError, UprezError
from uprez.fleet import clock, dispatch, labels
from uprez.fleet import lease as leases
from uprez.fleet.account import Came
from uprez.fleet.checking import title
from uprez.fleet.dispatch import Hand, Name
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.watching import Watcher
from uprez.fleet.work import ASSEMBLE, Piece, Work
from uprez.sheet import Sheet, Task
from uprez.status import Status
from uprez.store.open import Home

DONE = "the work is done"
FAREWELL_S = 10.0
"""How long a worker that was told to stop may take to say so, at least; then it is destroyed all the same."""
STILL_S = 60.0
"""A segment of which nothing moves for so long ends nobody knows when."""
UNWATCHED_S = 120.0
"""Between two looks of a worker at its sheet, and two heartbeats, where nobody waits for them; each costs a request."""
LEAST_FPS = 1e-6
"""Whoever says less makes none, or lies."""
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
    came: Callable[[str, Came], None]
    """Called when it is known what came of a task."""
    state: Literal["serving", "leaving", "ending"] = "serving"
    reason: str = ""
    """Why it ends."""
    farewell: str = ""
    """Why its worker was let go."""
    lost: bool = False
    """It ends before its time."""
    ending: asyncio.Future[None] | None = None
    left_at: float | None = None
    """When its worker had left, or could not be waited for any longer."""
    source: str = ""
    """The job that it worked on last."""
    pixel_s: float | None = None
    """Seconds that its segments take for a pixel of the source; None while that was not seen."""
    _ready_at: float = 0.0
    """When its worker first said that it is there."""
    _unwritten: str = ""
    """Why its sheet could not be written."""
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

    @property
    def room_s(self) -> float:
        """Give the seconds in which what is begun must end: without a bound, unless its next length cannot be paid."""
        label, length_s = labels.parse(self.lease.row.label), self.lease.sheet.length_s
        if not self.lease.unpaid or label is None:
            return math.inf
        paid_s = (label.deadline - self.renter.ledger.clock()).total_seconds() - self.renter.terms.timing.grace_s
        return min(paid_s, max(self.lease.renewed, self._ready_at or clock.now()) + length_s - clock.now())

    def learn(self) -> None:
        """Take note of what it works on, and how fast it is at that."""
        doing, status = self.doing, self.status
        if not self._ready_at and status is not None and status.phase != "booting":
            self._ready_at = clock.now()
        if doing is None or status is None:
            return
        work, piece = doing
        self.source = work.job.id
        if piece.kind == "enhance" and work.plan is not None and status.fps > LEAST_FPS:
            self.pixel_s = 1 / (status.fps * work.pixels)

    def slowness(self, usual_s: float | None) -> float:
        """Compare what a pixel takes here with what it takes on a machine of the middle; 1 where that is not known."""
        return self.pixel_s / usual_s if self.pixel_s and usual_s else 1.0

    def hand(self, usual_s: float | None, barred: frozenset[str] = frozenset()) -> Hand:
        """Describe it for sharing out.

        `usual_s` is what a pixel takes on a machine of the middle, if known; `barred` are the jobs of which this
        one gets no more.
        """
        doing, status = self.doing, self.status
        queue = [(work.job.id, piece) for work, piece in self.lease.assigned.values()]
        ready = status is not None and status.phase != "booting"
        hand = Hand(
            lease=self.lease.id,
            queue=queue,
            slowness=self.slowness(usual_s),
            ready=ready,
            source=self.source,
            barred=barred,
            room_s=self.room_s,
        )
        if doing is None or status is None:
            return hand
        work, piece = doing
        hand.current, hand.current_s = (work.job.id, piece), UNTOLD_S
        if piece.kind == "enhance" and work.plan is not None:
            count = work.plan.segments[piece.segment].count
            seconds = self.pixel_s * work.pixels if self.pixel_s else work.plan.preflight.seconds_per_frame
            hand.current_s = max(0, count - status.frames) * seconds
            if 0 < status.frames < count and self.lease.monitor.still_s > STILL_S:
                hand.current_s = float("inf")
        return hand

    # --- what is asked of it

    def drop_unwanted(self) -> None:
        """Take back tasks of jobs that have ended, that somebody else has done, or whose plan was given up."""
        for task, (work, piece) in list(self.lease.assigned.items()):
            stale = self.lease.plans.get(task) is not work.plan or self.machine in work.doubts
            if piece not in dispatch.wanted(work) or stale:
                self.forget(task)
                self.came(task, "stopped" if stale or work.state == "failed" else "raced")

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
                self.came(task, "raced")

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
            if self._unwritten != error.message:
                self._unwritten = error.message
                self.renter.console.warn(f"The sheet could not be written: {error.message}")
            for task in made:
                self.forget(task.id)
            await background.start(partial(_close_quietly, home, lease, [task.id for task in made]))
            return
        self._unwritten = ""
        if sheet.renewal != renewal:
            lease.renewed = clock.now()
            self.renter.console.debug(f"Lease {lease.id} renewed for {sheet.length_s:.0f} s")

    async def _tasks(self, pieces: Sequence[tuple[Work, Piece]]) -> list[Task]:
        """Write pieces of work down as tasks."""
        home, lease, console = self.renter.home, self.lease, self.renter.console
        made = []
        for work, piece in pieces:
            task = leases.task(home, lease, work, piece, self.threads, seconds=leases.valid_s(lease.sheet))
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

    async def hand_over(self, works: Sequence[Work], length_s: float) -> None:
        """Write its last sheet: these jobs to their ends, in a lease of so many seconds. Raises StoreError."""
        lease, home = self.lease, self.renter.home
        sheet = replace(
            lease.sheet,
            renewal=lease.sheet.renewal + 1,
            length_s=length_s,
            watch_s=UNWATCHED_S,
            status_s=UNWATCHED_S,
            idle_s=0.0,
            hold=False,
            detached=True,
        )
        tasks: list[Task] = []
        for work in works:
            tasks += await self._to_its_end(work, sheet)
        sheet = leases.addressed(replace(sheet, tasks=tuple(tasks)), home, self.renter.supplies)
        await leases.write_sheet(home, lease, sheet)

    async def _to_its_end(self, work: Work, sheet: Sheet) -> list[Task]:
        """Write down all that a job lacks; what is being made already goes on as it is."""
        lease, home, seconds = self.lease, self.renter.home, leases.valid_s(sheet)
        if work.plan is None:
            raise AssertionError("a job without a plan is not handed over")
        given = {piece: task for task, (one, piece) in lease.assigned.items() if one is work}
        old = {task.id: task for task in lease.sheet.tasks}
        own: dict[int, Task] = {}
        for segment in work.plan.segments:
            piece = Piece("enhance", segment.number)
            if segment.number in work.counted:
                continue
            own[segment.number] = (
                leases.resigned(home, old[given[piece]], work, sheet)
                if given.get(piece) in old
                else leases.task(home, lease, work, piece, self.threads, seconds=seconds)
            )
        joined = leases.task(home, lease, work, ASSEMBLE, self.threads, seconds=seconds, own=own)
        if given.get(ASSEMBLE) in old:
            joined = leases.resigned(home, old[given[ASSEMBLE]], work, sheet)
        else:
            joined = await background.start(
                partial(leases.with_upload, home, lease, joined, work, seconds=max(seconds, leases.UPLOAD_S))
            )
        return [*own.values(), joined]

    # --- its end

    def leave(self, why: str = DONE) -> None:
        """Let its worker go: nothing more is asked of it."""
        timing = self.renter.terms.timing
        self.state, self.farewell = "leaving", why
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


def usual(servings: Sequence[Serving]) -> float | None:
    """Give the seconds that a pixel takes on the machine of the middle; None while that was seen of none."""
    seen = sorted(one.pixel_s for one in servings if one.pixel_s)
    return seen[len(seen) // 2] if seen else None


def _close_quietly(home: Home, lease: Lease, tasks: list[str]) -> None:
    """Give up uploads that nobody will use; the ledger has those that cannot be given up now."""
    with contextlib.suppress(StoreError):
        leases.close_uploads(home, lease, tasks)
