"""Give back what a controller that died left behind, and whatever else carries our label and nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from uprez import background
from uprez import status as statuses
from uprez.errors import BillingError, MarketError, StoreError, WorkerError
from uprez.fleet import labels
from uprez.fleet import lease as leases
from uprez.fleet.lease import Unsettled
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import is_looked_after
from uprez.fleet.rows import LeaseRow
from uprez.market.base import Instance, Market
from uprez.report.console import Console
from uprez.store import keys
from uprez.store.open import Home

YOUNG = timedelta(seconds=90)
"""An instance is never an orphan before: whoever rented it may not have written it down yet."""
GRACE = timedelta(minutes=5)
"""After the deadline in a label, before a stranger may end the instance."""
ASK_AGAIN_S = 15.0


@dataclass(kw_only=True)
class Reaped:
    """What came of it."""

    ended: list[str] = field(default_factory=list)
    """Leases that are seen to be over."""
    unsettled: list[LeaseRow] = field(default_factory=list)
    """Leases of which nobody can know yet whether anything was rented."""
    lost: list[LeaseRow] = field(default_factory=list)
    """Leases that could not be seen gone: a market that failed then may answer later."""
    stuck: list[BillingError] = field(default_factory=list)


async def reap(
    market: Market, ledger: Ledger, locks: Path, console: Console, *, batch: str | None = None, home: Home | None = None
) -> Reaped:
    """End every lease of ours in this market whose controller no longer lives, and every orphan.

    `batch`: the run that reports and pays for them. A machine that does not go keeps none of the others; MarketError
    when the market cannot be asked.
    """
    done = Reaped()
    for row in abandoned(ledger, market, locks):
        console.info(f"An earlier run ended without giving instance {row.instance or row.id} back")
        await _end(market, ledger, row, console, done, batch=batch, home=home)
    try:
        await sweep(market, ledger, console, done)
    except MarketError as error:
        if not done.stuck:
            raise
        console.warn(f"Whether there are others is not known: {error.message}")  # what is stuck outranks that
    return done


def abandoned(ledger: Ledger, market: Market, locks: Path) -> list[LeaseRow]:
    """List the open leases of this market whose controller no longer lives."""
    now = ledger.clock()
    return [row for row in ledger.open_leases() if row.place == market.place and not is_looked_after(locks, row, now)]


async def settle(
    market: Market,
    ledger: Ledger,
    console: Console,
    unsettled: Collection[LeaseRow],
    *,
    batch: str | None = None,
    home: Home | None = None,
) -> Reaped:
    """Wait until it is known what came of rentings that nobody heard the end of, and end it. `batch` as in `reap`."""
    done = Reaped(unsettled=list(unsettled))
    while done.unsettled:
        waiting, done.unsettled = done.unsettled, []
        for row in waiting:
            await _end(market, ledger, row, console, done, batch=batch, home=home, quiet=True)
        if done.unsettled:
            names = ", ".join(row.id for row in done.unsettled)
            console.info(f"Looking for what a run that was killed may have rented (lease {names})")
            await asyncio.sleep(ASK_AGAIN_S)
    return done


async def sweep(market: Market, ledger: Ledger, console: Console, done: Reaped) -> None:
    """Destroy what carries our label and belongs to no lease that lasts."""
    found = await market.instances()  # before the rows: a lease that another run begins meanwhile must be among them
    open_rows = [row for row in ledger.open_leases() if row.place == market.place]
    for instance, why in orphans(found, ledger.id, open_rows, await market.now(), local=market.place == "local"):
        console.line("CLEANUP", f"Destroying instance {instance.id} ({why})")
        try:
            await market.destroy(instance.id)
        except BillingError as error:
            done.stuck.append(error)
            console.error(error.message, error.hint)


def orphans(
    found: Iterable[Instance], ledger: str, open_rows: Collection[LeaseRow], now: datetime, *, local: bool = False
) -> list[tuple[Instance, str]]:
    """Say which instances nobody wants, and why. Pure.

    One of an open lease is that lease's matter. One of this ledger without a lease that lasts is a late comer: an order
    that was sent twice, or heard after we had given up. Anybody's is an orphan once its deadline is over. On this
    machine no other ledger has instances, and what has ended is what may go.
    """
    lasting = {row.id for row in open_rows}
    ids = {row.instance for row in open_rows}
    chosen = []
    for one in found:
        label = labels.parse(one.label)
        if one.id in ids or (label and label.ledger == ledger and label.lease in lasting):
            continue
        if local:
            if not one.running:
                chosen.append((one, "it has ended"))
        elif label is not None and now > label.deadline + GRACE:
            chosen.append((one, "its deadline is over"))
        elif label is not None and label.ledger == ledger and one.created_at and now - one.created_at > YOUNG:
            chosen.append((one, "no lease of ours wants it"))
    return chosen


async def _end(
    market: Market,
    ledger: Ledger,
    row: LeaseRow,
    console: Console,
    done: Reaped,
    *,
    batch: str | None = None,
    home: Home | None = None,
    quiet: bool = False,
) -> None:
    if home is not None and row.instance is not None:
        await background.start(partial(catch_up, ledger, row, home))
    try:
        await leases.give_back(market, ledger, row, console, "its controller is gone", quiet=quiet)
    except Unsettled:
        done.unsettled.append(row)
    except BillingError as error:
        done.lost.append(row)
        done.stuck.append(error)
        console.error(error.message, error.hint)
    else:
        done.ended.append(row.id)
        if home is not None and row.instance is None:
            await background.start(partial(catch_up, ledger, row, home))  # its label may have led to an instance
        if batch is not None:
            leases.note(console, partial(ledger.adopt, row.id, batch))


def catch_up(ledger: Ledger, row: LeaseRow, home: Home) -> None:
    """Count what the machine did while nobody looked: its traffic, and its GPU from when it was rented on."""
    try:
        if ledger.lease(row.id).instance is None:
            return  # nothing came of it
        ledger.running(row.id, at=row.held_at or row.intended_at)
        data = home.state.read(keys.status(row.id))
        if data is not None:
            status = statuses.read(data)
            ledger.traffic(row.id, status.fetched_bytes, status.up_bytes)
    except (StoreError, WorkerError):
        return  # then it is not known
