"""Renting beside the loop's passes: one machine at a time, so that two rentings never count on the same money."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from uprez.errors import BillingError, BusyError, DeniedError, KeyRefused, RateLimited, Unclear, UprezError
from uprez.fleet import clock, estimate
from uprez.fleet import plan as plans
from uprez.fleet.lease import Lease
from uprez.fleet.renting import Renter
from uprez.fleet.work import Work

STORE_PAUSES_S = (10.0, 60.0, 180.0, 300.0, 300.0)
"""Between tries to rent while the store cannot be written."""
AGAIN_S = 60.0
"""Until another machine is looked for where one could not be had."""
BOOT_GAIN = 2.0
"""By how many times its boot a further machine must shorten the work, each of those there are going on as it does."""


@dataclass(kw_only=True)
class Hiring:
    """What is being rented, and why nothing is."""

    renter: Renter
    task: asyncio.Task[Lease] | None = None
    """What is being rented."""
    boot_s: float | None = None
    """What the first boot of this batch took."""
    _acquiring: asyncio.Task[Lease] | None = None
    """What of it must not be interrupted."""
    _pieces: dict[str, int] = field(default_factory=dict)
    """In how many segments each job is cut at least, by its header; by its id."""
    _again_at: float = 0.0
    _said: str = ""

    def begin(self, held: Collection[str], *, patient: bool) -> None:
        """Begin to rent a machine that is none of those `held`; `patient`: whatever is out of reach may come back."""
        self.task = asyncio.ensure_future(self._rented(held, patient=patient))

    def most(self, works: Sequence[Work], held: int, allowed: int) -> int:
        """Say how many machines are wanted: what was foreseen; all that are allowed once it takes longer than that."""
        foreseen = self.renter.foreseen
        if foreseen is None or clock.now() + _left_s(works, held) > foreseen.until:
            return allowed
        return min(allowed, foreseen.machines)

    def pieces(self, work: Work, *, segment_frames: int | None) -> int:
        """Reckon in how many segments a job without a plan will be cut: by its header, and by what was foreseen."""
        if work.job.id not in self._pieces:
            found = estimate.estimate(work.video, work.job.options)
            self._pieces[work.job.id] = plans.pieces(found, segment_frames)
        foreseen = self.renter.foreseen
        return max(self._pieces[work.job.id], foreseen.pieces.get(work.job.id, 1) if foreseen else 1)

    def is_worth_another(self, works: Sequence[Work], held: int) -> bool:
        """Say whether what is open lasts long enough for one more boot to pay, beside the machines that are held."""
        if clock.now() < self._again_at or self.renter.short:
            return False
        if any(work.plan is None for work in works):
            return True
        boot_s = self.boot_s if self.boot_s is not None else self.renter.terms.timing.boot_s / 10
        return _left_s(works, held) > BOOT_GAIN * boot_s

    def take(self, *, alone: bool) -> Lease | None:
        """Give the machine that was rented; None while there is none, or where none could be and it is not `alone`.

        Raises what ends a batch: as `Renter.acquire` where there is no other machine, else only what others meet too.
        """
        if self.task is None or not self.task.done():
            return None
        task, self.task, self._acquiring = self.task, None, None
        try:
            return task.result()
        except (BillingError, KeyRefused, DeniedError):
            raise
        except UprezError as error:
            if alone:
                raise
            self._again_at = clock.now() + AGAIN_S
            if error.message != self._said:
                self._said = error.message
                self.renter.console.info(f"No further machine: {error.message}")
            return None

    async def end(self) -> Lease | None:
        """Rent no more; gives what is being rented, to be given back. Raises BillingError where that is not known."""
        self.renter.stopped = True  # no other offer is tried
        task, acquiring, self.task, self._acquiring = self.task, self._acquiring, None, None
        if task is not None:
            task.cancel()  # should it wait for a better time
            await asyncio.gather(task, return_exceptions=True)  # what it was waiting for is looked at below
        if acquiring is None:
            return None
        try:
            return await acquiring
        except BillingError:
            raise
        except UprezError:
            return None

    async def _rented(self, held: Collection[str], *, patient: bool) -> Lease:
        """Rent; a store or a market that does not answer now may do so a little later; till then nothing is rented."""
        for pause_s in STORE_PAUSES_S if patient else ():
            try:
                return await self._acquired(held)
            except (BusyError, Unclear, RateLimited) as error:
                where = "store" if isinstance(error, BusyError) else "market"
                self.renter.console.warn(f"Nothing is rented while the {where} is out of reach: {error.message}")
                await asyncio.sleep(pause_s)
        return await self._acquired(held)

    async def _acquired(self, held: Collection[str]) -> Lease:
        """Rent; not to be interrupted between the call that costs money and its record."""
        self._acquiring = asyncio.ensure_future(self.renter.acquire(held=held))
        return await asyncio.shield(self._acquiring)


def _left_s(works: Sequence[Work], held: int) -> float:
    """Give the seconds that so many machines still need, by the plans that there are."""
    return sum(work.seconds_left for work in works) / max(1, held)
