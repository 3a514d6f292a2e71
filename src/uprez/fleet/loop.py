"""The controller's loop over all leases: load what is to be seen, act on it, apply what was decided.

    hire -> [look -> act -> judge -> share out] every few seconds -> retire

A pass is short: whatever takes long (renting, checking video, publishing, giving a machine back) runs in the background
and its outcome is part of what a later pass loads, so that leases are always renewed in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import (
    BillingError,
    RentError,
    UprezError,
)
from uprez.fleet import clock, dispatch, estimate
from uprez.fleet import plan as plans
from uprez.fleet.checking import Checks, title
from uprez.fleet.dispatch import Assignment, Name
from uprez.fleet.hiring import Hiring
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.serving import FAREWELL_S, UNTOLD_S, Serving
from uprez.fleet.watching import Listed, Lister, Watcher
from uprez.fleet.work import Piece, Work
from uprez.market.vast.launch import NO_PYTHON
from uprez.status import Done

DONE = "the work is done"
LEFT = "lease ended or nothing to do"
"""How a worker says that its time was over."""
PYTHON_HINT = "choose another with --image, such as python:3.11-bookworm"
LOST_IN_A_ROW = 3
"""Machines lost without anything new that counts before the batch gives up."""
LOST_IN_A_ROW_RENTED = 5
"""Of rented ones, each of them another; more, where more are held at once."""
MOST_THREADS = 16
"""Of a worker on a rented machine: more do not make an encoder faster, and the GPU has the rest of the work."""
READS_AT_ONCE = 16
"""Statuses that are read at the same time."""


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
    servings: list[Serving] = field(default_factory=list)
    """Leases that are not seen to have ended."""
    _ended: set[str] = field(default_factory=set)
    _machines: dict[str, str] = field(default_factory=dict)
    """Of each lease of this run."""
    _distrusted: dict[str, str] = field(default_factory=dict)
    """Machines that get no more work, and why."""
    _lost: int = 0
    _progress_at_loss: int = 0

    def __post_init__(self) -> None:
        """Take what the renter has too."""
        self.home, self.market, self.ledger = self.renter.home, self.renter.market, self.renter.ledger
        self.console, self.timing = self.renter.console, self.renter.terms.timing
        self._by_id = {work.job.id: work for work in self.works}
        self._hiring = Hiring(renter=self.renter)
        self._lister = Lister(self.market, self.console)
        self._checks = Checks(
            home=self.home,
            console=self.console,
            segment_frames=self.settings.segment_frames,
            planned=self._lengthen,
            looked=self._note_end,
            distrusted=self._distrust,
            affords=self._lacks_budget,
            alone=not self.rented,
            others=self._others,
        )

    @property
    def rented(self) -> bool:
        """Say whether machines cost money."""
        return self.renter.terms.budget_usd is not None

    @property
    def most(self) -> int:
        """How many machines there may be at once."""
        return self.settings.max_machines if self.rented else 1

    async def run(self) -> None:
        """Work until every job is done or failed; raises RentError when machine after machine is lost."""
        reason = DONE
        try:
            while self._open() or self.servings or self._hiring.task:
                await self._pass()
                await self._rest()
        except asyncio.CancelledError:
            reason = "interrupted"
            raise
        except UprezError as error:
            reason = error.message
            raise
        finally:
            # Not to be interrupted: whoever wants to leave wants nothing left running.
            await background.whole(self._end_all(reason))
            # Whatever ended a lease: what it published may count all the same.
            await self._checks.settle()
            if not self._open():
                self._tell_ends()

    async def _rest(self) -> None:
        """Wait for the next pass; something that ended is looked at sooner."""
        waiting = {task for task in (self._hiring.task, *(each.ending for each in self.servings)) if task is not None}
        if any(task.done() for task in waiting):
            return
        if waiting:
            await asyncio.wait(waiting, timeout=self.timing.poll_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self.timing.poll_s)

    async def _pass(self) -> None:
        self._take_ended()
        if (rented := self._hiring.take(alone=not self._in("serving"))) is not None:
            self._begin(rented)
        await self._look()
        for serving in self._in("serving"):
            self._act(serving)
        self._checks.gather()
        for serving in self._in("serving"):
            serving.drop_unwanted()
        await self._judge()
        self.renter.check_money()
        await self._share_out()
        self._hire()

    def _in(self, *states: str) -> list[Serving]:
        return [serving for serving in self.servings if serving.state in states]

    # --- load and act

    async def _look(self) -> None:
        """See what there is to see of every lease; what was found out stays with it."""
        watched = self._in("serving", "leaving")
        if not watched:
            return
        listed = await self._lister.look()
        turns = asyncio.Semaphore(READS_AT_ONCE)

        async def look(serving: Serving, listed: Listed | None) -> None:
            async with turns:
                lost = await serving.watcher.look(listed, makes_frames=serving.makes_frames)
            serving.reason = lost or ""

        await _all(look(serving, listed) for serving in watched)
        for serving in watched:
            serving.learn()
            if serving.status is not None and self._hiring.boot_s is None:
                self._hiring.boot_s = serving.lease.age_s
        self._show_progress()

    def _act(self, serving: Serving) -> None:
        """Begin to check what was published, and take note of what failed."""
        lease, status = serving.lease, serving.status
        for done in status.done if status else ():
            if done.task in lease.handled or done.task not in lease.assigned:
                continue
            work, piece = lease.assigned[done.task]
            if (work.job.id, piece) in self._checks.busy:
                continue  # another attempt is looked at; this one is, should that not count
            plan = lease.plans.get(done.task)
            serving.forget(done.task)
            if plan is work.plan:
                self._checks.begin(lease.row.machine, work, piece, done)

    def _others(self, work: Work, piece: Piece | None, task: str) -> bool:
        """Say whether another machine is at the same piece; or, of no piece, whether one makes frames by the plan."""
        for serving in self._in("serving"):
            if task in serving.lease.handled:  # its own
                continue
            if piece is not None and serving.holds(work, piece):
                return True
            doing, status = serving.doing, serving.status
            if piece is None and doing is not None and doing[0] is work and status is not None and status.frames > 0:
                return True
        return False

    # --- judge

    async def _judge(self) -> None:
        """End the leases that are lost, trusted no more, or have left."""
        for serving in self._in("serving"):
            if serving.reason:
                self._explain(serving)
                self._give_back(serving, serving.reason, lost=True)
            elif (why := self._distrusted.get(serving.machine)) is not None:
                self._give_back(serving, f"it gets no more work: {why}", lost=True)
        self._retire()
        leaving = self._in("leaving")
        await _all(serving.tell_to_leave() for serving in leaving)
        for serving in leaving:
            serving.note_leaving(serving.reason)
            # What is checked now may take long, and the machine costs: it is given back then.
            if serving.left_at is None or not (
                self._checks.idle or self.most > 1 or clock.now() > serving.left_at + FAREWELL_S
            ):
                continue
            if self.most == 1:
                await serving.watcher.end()
            self._checks.gather()
            if not self._open():
                self._tell_ends()
            self._give_back(serving, DONE, lost=False)

    def _retire(self) -> None:
        """Let those go for whom nothing is left to do, the dearest first."""
        serving = self._in("serving")
        idle = [one for one in serving if not one.lease.assigned]
        idle.sort(key=lambda one: one.lease.row.usd_per_hour, reverse=True)
        for one in idle[: max(0, len(serving) - self._demand())]:
            one.leave()

    def _explain(self, serving: Serving) -> None:
        """Take note of the task that was being done."""
        doing, status = serving.doing, serving.status
        if doing is None or status is None or status.task is None:
            return
        work, piece = doing
        serving.forget(status.task)
        self._checks.lost(work, piece, Done(task=status.task, key="", fault="lost", error=serving.reason))

    def _give_back(self, serving: Serving, reason: str, *, lost: bool) -> None:
        for task in list(serving.lease.assigned):
            serving.forget(task)
        serving.end(reason, lost=lost)

    def _take_ended(self) -> None:
        """Take note of machines that are gone; raises BillingError where one may not be, RentError after too many."""
        for serving in self._in("ending"):
            if serving.ending is None or not serving.ending.done():
                continue
            self.servings.remove(serving)
            serving.ending.result()
            if serving.lost and self._open():
                self._note_loss(serving)

    def _note_loss(self, serving: Serving) -> None:
        reason = serving.reason
        self.console.warn(f"Lease {serving.lease.id} lost: {reason}" if self.most > 1 else f"Lease lost: {reason}")
        if reason.endswith(NO_PYTHON):
            raise RentError(f"the image {self.renter.terms.image} cannot be used: {reason}", hint=PYTHON_HINT)
        if self.rented and not reason.endswith(LEFT):  # a lease that merely came to its end says nothing of its machine
            self.renter.banned.add(serving.machine)
        progress = self._progress()
        self._lost = 1 if progress > self._progress_at_loss else self._lost + 1
        self._progress_at_loss = progress
        most = max(LOST_IN_A_ROW_RENTED, len(self.servings)) if self.rented else LOST_IN_A_ROW
        if self._lost >= most and not self._checks:
            raise RentError(f"{self._lost} machines in a row were lost without progress; the last: {reason}")

    def _distrust(self, machine: str, reason: str) -> None:
        """Give a rented machine no more work; it is named by itself, or by an attempt that was made on it."""
        if not self.rented:
            return
        machine = self._machines.get(machine.partition("-")[0], machine)
        self._distrusted[machine] = reason
        self.renter.banned.add(machine)

    # --- share out

    async def _share_out(self) -> None:
        """Give each lease what it is to do, and renew those that are half over."""
        serving = self._in("serving")
        shared = dispatch.assign(self.works, [one.hand() for one in serving], self._checks.busy, self._seconds)
        for one in serving:
            one.leave_to_another(shared.taken[one.lease.id])
        self._say_shared(shared)
        # While something is checked, or another may fail, it may turn out that there is more to do: the worker waits.
        hold = bool(self._checks) or len(serving) > 1
        await _all(
            one.ask([(self._by_id[job], piece) for job, piece in shared.new[one.lease.id]], hold=hold)
            for one in serving
        )

    def _say_shared(self, shared: Assignment) -> None:
        """Tell what is made a second time, and what changes hands."""
        for lease, names in shared.new.items():
            for job, piece in names:
                work = self._by_id[job]
                if any(serving.holds(work, piece) for serving in self.servings):
                    self.console.info(f"{title(work, piece)} is raced: lease {lease} may be sooner at its end")
        for lease, names in shared.taken.items():
            for job, piece in names:
                # Should it have begun a moment ago, it is made twice.
                named = title(self._by_id[job], piece)
                self.console.info(f"{named} is taken over: another may be sooner than lease {lease}")

    def _seconds(self, name: Name) -> float:
        """Reckon what a piece takes on the machine that its job's plan was made on."""
        work, piece = self._by_id[name[0]], name[1]
        if piece.kind != "enhance" or work.plan is None:
            return UNTOLD_S
        return work.plan.segments[piece.segment].count * work.plan.preflight.seconds_per_frame

    # --- hire

    def _demand(self) -> int:
        """Say how many machines could be kept busy now."""
        busy = self._checks.busy
        return sum(dispatch.demand(work, self._pieces(work), busy) for work in self._open())

    def _pieces(self, work: Work) -> int:
        """Reckon in how many segments a job without a plan will be cut."""
        found = estimate.estimate(work.video, work.job.options)
        if found.frames is None:
            return 1
        most = self.settings.segment_frames or round((found.fps or 25) * plans.SEGMENT_OUTPUT_S)
        return ceil(found.frames / max(1, most))

    def _hire(self) -> None:
        """Begin to rent one more machine, if there is work for it."""
        held = len(self.servings)
        if self._hiring.task or held >= min(self.most, self._demand()):
            return
        if held and not self._hiring.is_worth_another(self._open(), held):
            return
        if not held:
            self._announce_next()
        self._hiring.begin({one.machine for one in self.servings} if self.rented else (), patient=not held)

    def _begin(self, lease: Lease) -> Serving:
        """Serve a lease from now on."""
        watcher = Watcher(
            home=self.home,
            market=self.market,
            ledger=self.ledger,
            console=self.console,
            lease=lease,
            timing=self.timing,
            rented=self.rented,
            logs=self.settings.state_dir / "logs" if self.rented else None,
            label=lease.id if self.most > 1 else "",
        )
        threads = self.threads or min(lease.offer.cores or 2, MOST_THREADS)
        serving = Serving(renter=self.renter, lease=lease, watcher=watcher, threads=threads)
        self.servings.append(serving)
        self._machines[lease.id] = lease.row.machine
        self.renter.say_length(lease)
        self._lengthen()
        return serving

    async def _end_all(self, reason: str) -> None:
        """Give all machines back at once; raises BillingError where one may not be gone, before any other error."""
        self._lister.close()
        errors: list[BaseException] = []
        try:
            if (rented := await self._hiring.end()) is not None:
                self._begin(rented)
        except Exception as error:  # noqa: BLE001  raised below: the others are to be given back all the same
            errors.append(error)
        for serving in self._in("serving", "leaving"):
            self._give_back(serving, reason, lost=False)
        ends = [serving.ending for serving in self.servings if serving.ending is not None]
        errors += [end for end in await asyncio.gather(*ends, return_exceptions=True) if end is not None]
        self.servings.clear()
        _raise_worst(errors)

    # --- jobs

    def _lacks_budget(self, work: Work) -> str | None:
        """Say that a job cannot be made anew within the budget."""
        if work.plan is None or not self.servings:
            return None
        seconds = work.plan.frames * work.plan.preflight.seconds_per_frame
        dearest = max(self.servings, key=lambda serving: serving.lease.row.usd_per_hour)
        return self.renter.lacks(dearest.lease, seconds)

    def _lengthen(self) -> None:
        """Let leases last as long as their plans need, unless somebody said how long."""
        if self.settings.max_runtime_s is None:
            seconds = sum(work.seconds_left for work in self._open())
            for serving in self._in("serving"):
                self.renter.lengthen(serving.lease, seconds)

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

    def _show_progress(self) -> None:
        """Move each job's bar: frames that count, and those of the segments that are being made."""
        made: dict[str, dict[Piece, tuple[int, float]]] = {}
        for serving in self._in("serving"):
            doing, status = serving.doing, serving.status
            if doing is None or status is None:
                continue
            work, piece = doing
            self._announce(work)
            if piece.kind == "enhance" and work.plan:
                best = max(made.setdefault(work.job.id, {}).get(piece, (0, 0.0)), (status.frames, status.fps))
                made[work.job.id][piece] = best
        for work in self.works:
            if work.plan and work.job.id in made:
                frames = sum(count for count, _ in made[work.job.id].values()) + work.frames_counted
                fps = sum(rate for _, rate in made[work.job.id].values())
                self.console.progress(work.job.source.name, min(frames, work.plan.frames), work.plan.frames, fps)


async def _all(each: Iterable[Awaitable[None]]) -> None:
    """Do all at once and to the end, then raise the worst of what failed."""
    _raise_worst([error for error in await asyncio.gather(*each, return_exceptions=True) if error is not None])


def _raise_worst(errors: Sequence[BaseException]) -> None:
    """Raise what may bill before what is a defect of ours, and that before all else."""
    if errors:
        raise min(errors, key=lambda error: (not isinstance(error, BillingError), isinstance(error, UprezError)))
