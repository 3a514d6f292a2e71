"""Give back what a controller that died left behind."""

from __future__ import annotations

from pathlib import Path

from uprez.fleet import lease as leases
from uprez.fleet.ledger import Ledger, is_controlled
from uprez.market.base import Market
from uprez.report.console import Console


async def reap(market: Market, ledger: Ledger, locks: Path, console: Console) -> list[str]:
    """End every lease of ours in this market whose controller no longer lives, and sweep up instances that ended.

    Gives the ids of the leases. Raises BillingError when one does not go.
    """
    reaped = []
    for row in ledger.open_leases():
        if row.market == market.name and not is_controlled(locks, row.batch):
            console.info(f"An earlier run ended without giving instance {row.instance or row.id} back")
            await leases.give_back(market, ledger, row, console, "its controller is gone")
            reaped.append(row.id)
    open_ids = {row.id for row in ledger.open_leases()}  # a lease whose instance is being made has no label yet
    for instance in await market.instances():
        if not instance.running and instance.id not in open_ids:
            await market.destroy(instance.id)
    return reaped
