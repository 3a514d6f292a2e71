"""What is rented at this moment, by the ledger and by the market, and whether anybody still wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from uprez.fleet import budget, labels, reaper
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import is_looked_after
from uprez.fleet.rows import LeaseRow
from uprez.market.base import Instance, Market


@dataclass(frozen=True, kw_only=True)
class Held:
    """One machine, or one lease of which nobody knows whether it has one."""

    row: LeaseRow | None
    """None: no lease of this computer's."""
    instance: Instance | None
    """None: the market lists none."""
    wanted: bool
    """A run on this computer works on it, or another computer's run may."""
    why: str
    """Whose it is, for people."""
    cost_usd: Decimal
    """So far, as far as it is known here."""

    @property
    def name(self) -> str:
        """Name it by the market's number, or by its lease."""
        if self.instance is not None:
            return self.instance.id
        return (self.row.instance or self.row.id) if self.row else "?"


async def take(market: Market, ledger: Ledger, locks: Path) -> list[Held]:
    """Look at one market; raises MarketError when it cannot be asked."""
    found = await market.instances()
    return compare(found, ledger, locks, await market.now(), market.place)


def compare(found: Sequence[Instance], ledger: Ledger, locks: Path, now: datetime, place: str) -> list[Held]:
    """Put the market's list beside the ledger's open leases of that place."""
    rows = [row for row in ledger.open_leases() if row.place == place]
    lost = {one.id: why for one, why in reaper.orphans(found, ledger.id, rows, now, local=place == "local")}
    held = []
    for row in rows:
        mine = next((one for one in found if one.id == row.instance or labels.same(one.label, row.label)), None)
        alive = is_looked_after(locks, row, now)
        why = "a run on this computer" if alive else "a run on this computer that is gone"
        if row.is_left_alone(now):
            why = f"batch {row.batch}, detached"
        cost = budget.cost(row, now)
        held.append(Held(row=row, instance=mine, wanted=alive, why=why, cost_usd=cost))
    known = {one.instance.id for one in held if one.instance}
    for other in found:
        if other.id not in known:
            why = lost.get(other.id, "another computer's run")
            held.append(Held(row=None, instance=other, wanted=other.id not in lost, why=why, cost_usd=Decimal(0)))
    return held
