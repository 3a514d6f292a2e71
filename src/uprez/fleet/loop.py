"""The controller's loop over all leases: load what is to be seen, act on it, apply what was decided.

    hire -> [look -> act -> judge -> share out] every few seconds -> retire

A pass is short: whatever takes long (renting, checking video, publishing, giving a machine back) runs in the background
and its outcome is part of what a later pass loads, so that leases are always renewed in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import (
    BillingError,
    BudgetError,
    MarketError,
    RentError,
    StoreError,
    UprezError,
)
from uprez.fleet import bans, clock, dispatch, speeds
from uprez.fleet.books import Books
from uprez.fleet.checking import Blame, Checks, title
from uprez.fleet.detaching import Detaching
from uprez.fleet.dispatch import Assignment, Name
from uprez.fleet.hiring import Hiring
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.serving import DONE, FAREWELL_S, UNTOLD_S, Serving, usual
from uprez.fleet.view import Views
from uprez.fleet.watching import LOGS_AT_ONCE, Listed, Lister, Watcher
from uprez.fleet.work import Piece, Work
from uprez.market.vast.launch import NO_PYTHON
from uprez.report.results import Loss
from uprez.status import Done

LEFT = "lease ended or nothing to do"
"""How a worker says that its time was over."""
PYTHON_HINT = "choose another with --image, such as python:3.11-bookworm"
LOST_IN_A_ROW = 3
"""Machines lost without anything new that counts before the batch gives up."""
LOST_IN_A_ROW_RENTED = 5
"""Of rented ones, each of them another; more, where more are held at once."""
MOST_THREADS = 16
"""Of a worker on a rented machine: more do not make an encoder faster, and the GPU has the rest of the work."""
CHECKED_S = 120.0
"""For which leases wait, at most, for what is checked before they are left alone; half of one's length is more."""
READS_AT_ONCE = 16
"""Statuses that are read at the same time."""
READS_PER_S = 10.0
"""Of statuses, by all leases together; each is read at least as often as its worker writes it."""


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
        self._detaching = Detaching(renter=self.renter, max_runtime_s=self.settings.max_runtime_s)
        self._books = Books(ledger=self.ledger, console=self.console, works=self._by_id)
        self._views = Views(renter=self.renter, works=self.works)
        self._lister, self._log_turns = Lister(self.market, self.console), asyncio.Semaphore(LOGS_AT_ONCE)
        self._checks = Checks(
            home=self.home,
            console=self.console,
            segment_frames=self.settings.segment_frames,
            planned=self._lengthen,
            looked=self._note_end,
            distrusted=self._distrust,
            affords=self._lacks_budget,
            alone=not self.rented,
            learn=self._learn,
            others=self._others,
            came=self._books.end,
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
            self.console.show(None)
            # Not to be interrupted: whoever wants to leave wants nothing left running.
            await background.whole(self._end_all(reason))
            # Whatever ended a lease: what it published may count all the same.
            await self._checks.settle()
            self._books.settle()
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
        self._take_rented()
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
        if self.renter.terms.detach:
            await self._detach()
        self._views.show(self.servings, self._checks.busy, renting=self._hiring.task is not None)

    def _take_rented(self) -> None:
        """Serve what was rented; where no other machine is offered, the first one's word about an input suffices."""
        try:
            rented = self._hiring.take(alone=not self._in("serving"))
        except RentError as error:
            if isinstance(error, MarketError) or not all(work.doubts for work in self._open()):
                raise
            for work in self._open():
                work.believe(error.message)
            return
        if rented is not None:
            self._begin(rented)

    def _in(self, *states: str) -> list[Serving]:
        return [serving for serving in self.servings if serving.state in states]

    # --- load and act

    async def _look(self) -> None:
        """See what there is to see of every lease; what was found out stays with it."""
        watched = self._in("serving", "leaving")
        if not watched:
            return
        listed = await self._lister.look()
        turns, every_s = asyncio.Semaphore(READS_AT_ONCE), min(self.timing.status_s, len(watched) / READS_PER_S)

        async def look(serving: Serving, listed: Listed | None) -> None:
            async with turns:
                lost = await serving.watcher.look(listed, makes_frames=serving.makes_frames, every_s=every_s)
            serving.reason = lost or ""

        await _all(look(serving, listed) for serving in watched)
        for serving in watched:
            serving.learn()
            self._books.look(serving.lease)
            if serving.status is not None and serving.status.beat > 0 and self._hiring.boot_s is None:
                self._hiring.boot_s = serving.lease.age_s
                self.renter.shunning.came_up()
        for serving in self._in("serving"):
            if serving.doing is not None:
                self._announce(serving.doing[0])

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
            else:
                self._books.end(done.task, "stopped")

    def _learn(self, work: Work, piece: Piece, done: Done) -> None:
        """Remember how long something took that counts; a full disk must not end anything."""
        with contextlib.suppress(StoreError):
            speeds.note_done(self.ledger, work, piece, done)

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
            self._give_back(serving, serving.farewell, lost=False)

    def _retire(self) -> None:
        """Let those go for whom nothing is left to do, the dearest first."""
        doubters = set().union(*(work.doubts for work in self._open()))
        for one in self._in("serving"):
            if one.machine in doubters and not one.lease.assigned and not self._demand(one.machine):
                one.leave("others are to try what is left")
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
        self._books.give_up(serving.lease, self._loss(serving) if lost else "stopped")
        for task in list(serving.lease.assigned):
            serving.forget(task)
        serving.end(reason, lost=lost)

    def _loss(self, serving: Serving) -> Loss:
        """Say by what a lease that is lost loses its work."""
        if serving.machine in self._distrusted:
            return "refused"
        found = serving.watcher.instance
        return "outbid" if found is not None and found.state == "stopped" else "killed"

    def _take_ended(self) -> None:
        """Take note of machines that are gone; raises BillingError where one may not be, RentError after too many."""
        for serving in self._in("ending"):
            if serving.ending is None or not serving.ending.done():
                continue
            self.servings.remove(serving)
            self._books.close(serving.lease.id)
            serving.ending.result()
            if serving.lost and self._open():
                self._note_loss(serving)

    def _note_loss(self, serving: Serving) -> None:
        reason = serving.reason
        self.console.warn(f"Lease {serving.lease.id} lost: {reason}" if self.most > 1 else f"Lease lost: {reason}")
        if reason.endswith(NO_PYTHON):
            raise RentError(f"the image {self.renter.terms.image} cannot be used: {reason}", hint=PYTHON_HINT)
        if self.rented and not reason.endswith(LEFT):  # a lease that merely came to its end says nothing of its machine
            fault, booted = bans.is_its_fault(serving.watcher.instance, serving.status), serving.status is not None
            self.renter.shunning.shun(serving.machine, reason, fault=fault, booted=booted)
        progress = self._progress()
        self._lost = 1 if progress > self._progress_at_loss else self._lost + 1
        self._progress_at_loss = progress
        most = max(LOST_IN_A_ROW_RENTED, len(self.servings)) if self.rented else LOST_IN_A_ROW
        if self._lost >= most and not self._checks:
            raise RentError(f"{self._lost} machines in a row were lost without progress; the last: {reason}")

    def _distrust(self, machine: str, reason: str, blame: Blame) -> None:
        """Give a rented machine no more work; it is named by itself, or by an attempt that was made on it."""
        if not self.rented:
            return
        machine = self._machines.get(machine.partition("-")[0], machine)
        self._distrusted[machine] = reason
        self.renter.shunning.shun(machine, reason, fault=blame.fault, lied=blame.lied, evidence=blame.evidence)

    # --- share out

    async def _share_out(self) -> None:
        """Give each lease what it is to do, and renew those that are half over."""
        serving = self._in("serving")
        usual_s = usual(serving)
        works, seconds = self.works, partial(self._seconds, usual_s)
        if self.renter.terms.detach and any(work.plan is None for work in self._open()):
            works = [work for work in works if work.plan is None]  # before all have their plans nobody can leave
        for one in serving:
            one.leave_to_another(dispatch.overdue(one.hand(usual_s), seconds))
        hands = [one.hand(usual_s, self._barred(one.machine)) for one in serving]
        shared = dispatch.assign(works, hands, self._checks.busy, seconds)
        for one in serving:
            one.leave_to_another(shared.taken[one.lease.id])
        self._say_shared(shared)
        # While something is checked, or another may fail, it may turn out that there is more to do: the worker waits.
        hold = bool(self._checks) or len(serving) > 1
        await _all(
            one.ask([(self._by_id[job], piece) for job, piece in shared.new[one.lease.id]], hold=hold)
            for one in serving
        )
        self._end_unpaid()

    def _end_unpaid(self) -> None:
        """Where there is no money to renew a lease: end all at once, or let it go when nothing more fits."""
        unpaid = [one for one in self._in("serving") if one.lease.unpaid]
        if unpaid and self.settings.on_budget == "stop":
            lease = unpaid[0].lease
            raise BudgetError(
                f"lease {lease.id} is not renewed: {lease.last_words}",
                hint=self.renter.more_money,
                needed_usd=self.renter.first_usd(lease.row.rates),
            )
        for one in unpaid:
            if not one.lease.assigned and not self._checks:
                one.leave(f"it is not renewed: {one.lease.last_words}")

    def _barred(self, machine: str) -> frozenset[str]:
        """Name the jobs whose input a machine could not use: others are to try."""
        return frozenset(work.job.id for work in self._open() if machine in work.doubts)

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

    def _seconds(self, usual_s: float | None, name: Name) -> float:
        """Reckon what a piece takes on a machine of the middle, or on the one that its job's plan was made on."""
        work, piece = self._by_id[name[0]], name[1]
        if piece.kind != "enhance" or work.plan is None:
            return UNTOLD_S
        return work.plan.segments[piece.segment].count * work.frame_s(usual_s)

    # --- detach

    async def _detach(self) -> None:
        """Leave the leases to themselves once every job has its plan, nothing is checked and no machine is to come."""
        if not self._may_detach():
            return
        await self._checks.wait(CHECKED_S)  # meanwhile nothing new is looked at: what is published stays told
        self._checks.gather()
        if self._checks or not self._may_detach():
            return
        for share in await self._detaching.leave(self._in("serving"), self._open()):
            share.serving.watcher.close()
            self.servings.remove(share.serving)
            self._books.close(share.serving.lease.id)  # from now on nobody sees what its time is for
            for work in share.works:
                work.state = "detached"

    def _may_detach(self) -> bool:
        serving, works = self._in("serving"), self._open()
        booting = any(one.status is None or one.status.phase == "booting" for one in serving)
        planned = all(work.plan is not None for work in works)
        return bool(serving and works) and planned and not booting and self._hiring.task is None

    # --- hire

    def _demand(self, machine: str = "") -> int:
        """Say how many machines could be kept busy now; of a `machine`, by work that it may be given.

        Those that will be left to themselves take whole jobs.
        """
        busy = self._checks.busy
        works = [work for work in self._open() if machine not in work.doubts]
        if self.renter.terms.detach:
            return len(works)
        pieces = partial(self._hiring.pieces, segment_frames=self.settings.segment_frames)
        return sum(dispatch.demand(work, pieces(work), busy) for work in works)

    def _hire(self) -> None:
        """Begin to rent one more machine, if there is work for it."""
        held = len(self.servings)
        if self._hiring.task or held >= min(self._hiring.most(self._open(), held, self.most), self._demand()):
            return
        if held and not self._hiring.is_worth_another(self._open(), held):
            return
        if not held:
            self._announce_next()
        machines = {one.machine for one in self.servings}.union(*(work.doubts for work in self._open()))
        self._hiring.begin(machines if self.rented else (), patient=not held)

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
            logs=self.settings.state_dir / "logs",
            alone=self.renter.terms.detach,
            label=lease.id if self.most > 1 else "",
            turns=self._log_turns,
        )
        self._books.open(lease.id)
        threads = self.threads or min(lease.offer.cores or 2, MOST_THREADS)
        serving = Serving(renter=self.renter, lease=lease, watcher=watcher, threads=threads, came=self._books.end)
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
        for serving in self.servings:
            self._books.close(serving.lease.id)
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


async def _all(each: Iterable[Awaitable[None]]) -> None:
    """Do all at once and to the end, then raise the worst of what failed."""
    _raise_worst([error for error in await asyncio.gather(*each, return_exceptions=True) if error is not None])


def _raise_worst(errors: Sequence[BaseException]) -> None:
    """Raise what may bill before what is a defect of ours, and that before all else."""
    if errors:
        raise min(errors, key=lambda error: (not isinstance(error, BillingError), isinstance(error, UprezError)))
