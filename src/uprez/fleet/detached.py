"""Leases that were left to themselves: how far each is, and its end once its work is done, or its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from uprez import background
from uprez import sheet as sheets
from uprez import status as statuses
from uprez.errors import BillingError, StoreError, UprezError
from uprez.fleet import lease as leases
from uprez.fleet import reaper
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import WORDS
from uprez.fleet.renting import ALONE_LINGER_S
from uprez.fleet.rows import DetachedRow, LeaseRow
from uprez.market.base import Instance, Market
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.status import Done, Status
from uprez.store import keys
from uprez.store.open import Home

LAST_S = ALONE_LINGER_S + 30.0
"""From a worker's last word until its machine has given itself back, at most."""
OVER = ("ended", "failed", "stopped")
"""States of an instance that nothing comes of any more; that is sure of none of them as long as a heart beats."""
LOOKS, LOOK_AGAIN_S = 4, 3.0
"""How often, and after what pause, a market is asked that lists a machine as anything but running."""
SILENT = timedelta(minutes=15)
"""Without a heartbeat for so long, a machine that the market calls stopped is that."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One lease that works by itself."""

    row: LeaseRow
    instance: Instance | None
    """As the market has it; None: it is gone."""
    sheet: Sheet | None
    """What it was asked."""
    status: Status | None
    """What its worker said last."""
    said_at: datetime | None
    """When, by the store's clock."""
    over: str | None
    """Why it is to be ended, or has ended; None while it works."""

    @property
    def text(self) -> str:
        """Say how far it is."""
        if self.over:
            return self.over
        status, tasks = self.status, self.sheet.tasks if self.sheet else ()
        if status is None:
            return "nothing was heard from it"
        done = sum(one.fault is None for one in status.done)
        task = next((task for task in tasks if task.id == status.task), None)
        if task is None:
            return f"{done} of {len(tasks)} tasks done"
        part = f"segment {task.segment + 1}" if task.segment is not None else "assembly"
        pace = f", {status.frames} frames at {status.fps:.2f} fps" if task.segment is not None and status.fps else ""
        return f"{done} of {len(tasks)} tasks done; {part} of {task.name}{pace}"


def verdict(
    row: LeaseRow, instance: Instance | None, status: Status | None, silence: timedelta | None, now: datetime
) -> str | None:
    """Say why a lease is over; None while it works. Pure. `silence`: since its worker last spoke, None: unknown."""
    if status is not None and status.phase == "left":
        return f"its worker left: {status.reason}"
    if instance is None:
        return "its machine is gone"
    if not row.is_left_alone(now):
        return "its time is over"
    if instance.state in OVER and (silence is None or silence > SILENT):
        return WORDS[instance.state]
    return None


async def look(market: Market, ledger: Ledger, home: Home | None, batch: str) -> list[Remote]:
    """Look at the leases of one batch that are not seen gone; raises MarketError."""
    rows = [row for row in ledger.leases(batch) if row.state != "gone" and row.place == market.place and row.detached]
    listed = await _listed(market, rows)
    now = await market.now()
    found = []
    for row in rows:
        sheet, status, said_at = await background.start(partial(_read, home, row.id))
        silence = None if said_at is None else now - said_at
        instance = listed.get(row.instance or "")
        over = verdict(row, instance, status, silence, now)
        found.append(Remote(row=row, instance=instance, sheet=sheet, status=status, said_at=said_at, over=over))
    return found


async def end(market: Market, ledger: Ledger, home: Home | None, console: Console, remotes: Sequence[Remote]) -> bool:
    """Give back what is over and see it gone; says whether something may be left."""
    stuck = False
    for remote in remotes:
        if remote.over is None:
            continue
        row = remote.row
        if home is not None:
            await background.start(partial(reaper.catch_up, ledger, row, home))
        by = remote.said_at + timedelta(seconds=LAST_S) if remote.said_at and remote.instance is None else None
        try:
            await leases.give_back(market, ledger, row, console, remote.over, by=by)
        except (BillingError, leases.Unsettled) as error:
            stuck = True
            console.error(str(error) or f"lease {row.id} may still have an instance", "uprez reap looks again")
    return stuck


async def settle(market: Market, ledger: Ledger, home: Home | None, console: Console) -> bool:
    """End what is over of every detached batch on this market; says whether something may be left. `home`: a place of
    results that is known; of batches with another, nothing is read.
    """
    stuck = False
    for batch in ledger.detached():
        its = home if home is not None and home.outputs.url == batch.home else None
        stuck = await end(market, ledger, its, console, await look(market, ledger, its, batch.id)) or stuck
    return stuck


def of_home(ledger: Ledger, home: Home) -> list[DetachedRow]:
    """List the detached batches whose results go to this place."""
    return [row for row in ledger.detached() if row.home == home.outputs.url]


def told(ledger: Ledger, home: Home, batches: Sequence[DetachedRow]) -> dict[str, Done]:
    """Give what their workers said of each object that they published, by its key."""
    leases_of = [row.id for batch in batches for row in ledger.leases(batch.id)]
    statuses_of = (_read(home, lease)[1] for lease in leases_of)
    return {done.key: done for status in statuses_of if status for done in status.done if done.fault is None}


def is_working(ledger: Ledger, batch: str) -> bool:
    """Say whether a detached batch has a lease that is not seen gone."""
    return any(row.state != "gone" for row in ledger.leases(batch))


async def _listed(market: Market, rows: Sequence[LeaseRow]) -> dict[str, Instance]:
    """List the machines; a market's word for one that does not run is believed after a few lists only."""
    listed: dict[str, Instance] = {}
    for _ in range(LOOKS):
        listed = {one.id: one for one in await market.instances()}
        ours = [listed[row.instance] for row in rows if row.instance in listed]
        if all(one.running for one in ours):
            break
        await asyncio.sleep(LOOK_AGAIN_S)
    return listed


def _read(home: Home | None, lease: str) -> tuple[Sheet | None, Status | None, datetime | None]:
    if home is None:
        return None, None, None
    sheet = status = said_at = None
    try:
        if (data := home.state.read(keys.sheet(lease))) is not None:
            sheet = sheets.read(data)
        if (meta := home.state.head(keys.status(lease))) is not None:
            said_at = meta.modified
            status = statuses.read(home.state.read(keys.status(lease)) or b"")
    except StoreError:
        raise
    except UprezError:  # whoever wrote it may be anybody
        return sheet, status, said_at
    return sheet, status, said_at
