"""Bring ledger, market and store to agree: before a run works, and after it, so that nothing of ours is left."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import MarketError, StoreError
from uprez.fleet import cleaning, reaper
from uprez.fleet.ledger import Ledger, utc_now
from uprez.fleet.locks import is_looked_after
from uprez.fleet.markets import Place, set_clock
from uprez.fleet.reaper import Reaped
from uprez.fleet.rows import LeaseRow
from uprez.fleet.serving import DONE
from uprez.report.console import Console
from uprez.store import keys, objects
from uprez.store.open import Home


def is_due(settings: Settings) -> bool:
    """Say whether an earlier run, which lives no more, left a lease open."""
    locks = settings.state_dir / "batches"
    with cleaning.ledger_of(settings.state_dir) as ledger:
        now = ledger.clock() if ledger else utc_now()
        return any(not is_looked_after(locks, row, now) for row in (ledger.open_leases() if ledger else ()))


@dataclass(kw_only=True)
class Reconciling:
    """What one run does about leases beside its own work."""

    home: Home
    ledger: Ledger
    place: Place
    locks: Path
    console: Console
    batch: str
    stuck: bool = False
    """Something may be left running, and bill."""

    async def begin(self) -> Reaped:
        """Give back what earlier runs left; raises MarketError when the market cannot be asked."""
        market, console = self.place.market, self.console
        set_clock(self.ledger, market)
        for row in self.ledger.open_leases():
            if row.place != market.place and not is_looked_after(self.locks, row, self.ledger.clock()):
                console.warn(
                    f"Lease {row.id} of an earlier run on {row.place} may still last, and is not looked for here"
                )
                console.line("HINT", "uprez reap, with the key and the VAST_URL that it was rented with")
        reaped = await reaper.reap(market, self.ledger, self.locks, console, batch=self.batch, home=self.home)
        for lease in reaped.ended:
            await background.start(partial(clear, self.home, lease, whole=False))  # nobody has seen its log to the end
        return reaped

    async def end(self, reaping: Awaitable[Reaped]) -> None:
        """See that nothing of ours is left; `stuck` says whether that is so."""
        reaped = await reaping
        self.stuck = bool(reaped.stuck)
        if not self.place.rented:
            return
        market, console = self.place.market, self.console
        try:
            again = (*reaped.unsettled, *reaped.lost)
            last = await reaper.settle(market, self.ledger, console, again, batch=self.batch, home=self.home)
            for lease in last.ended:
                await background.start(partial(clear, self.home, lease, whole=False))
            await reaper.sweep(market, self.ledger, console, last)
            self.stuck = bool(last.stuck)
        except MarketError as error:
            self.stuck = self.stuck or bool(reaped.unsettled)
            console.warn(f"The last look at the market failed: {error.message}")
            console.line("HINT", "uprez reap looks again")

    def pending(self) -> list[tuple[str, str]]:
        """Name what is not seen gone yet, of this run or of one that is dead, with the command that ends it by hand."""
        try:
            ours = [row for row in self.ledger.leases(self.batch) if row.state != "gone"]
            rows = [*reaper.abandoned(self.ledger, self.place.market, self.locks), *ours]
        except StoreError as error:  # whoever wants to leave must not be kept by a broken disk
            return [(f"what the ledger cannot name ({error.message})", "uprez reap")]
        return [(row.named, self._by_hand(row)) for row in rows]

    def clear(self, leases: Iterable[LeaseRow], *, whole: bool) -> None:
        """Remove what leases left in the store; logs stay unless it is the `whole`, and those of lost leases always.

        A machine that was not seen gone keeps its sheet, which tells it to stop.
        """
        for lease in leases:
            if lease.state == "gone":
                clear(self.home, lease.id, whole=whole and lease.reason == DONE)

    def _by_hand(self, row: LeaseRow) -> str:
        return self.place.market.by_hand(row.instance) if row.instance else "uprez reap"


def clear(home: Home, lease: str, *, whole: bool) -> None:
    """Remove what a lease left in the store: all of it, or only what holds signed URLs."""
    with contextlib.suppress(StoreError):  # the results are there: what is left is for `uprez clean`
        found = objects.listing(home, keys.lease_prefix(lease))
        secret = {keys.sheet(lease), *(key for key in found if "/upload-" in key)}
        objects.delete(home, found if whole else [key for key in found if key in secret])
