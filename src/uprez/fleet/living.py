"""Which batches run on this computer at this moment, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from uprez.fleet import budget, controllers
from uprez.fleet.ledger import Ledger, utc_now
from uprez.fleet.locks import Controller


@dataclass(frozen=True, kw_only=True)
class Living:
    """One batch whose controller lives."""

    batch: str
    controller: Controller
    seconds: int
    """Since it began."""
    machines: int
    """That it has now."""
    cost_usd: Decimal
    """So far, of all it has had."""


def take(ledger: Ledger, locks: Path) -> list[Living]:
    """List them, the newest first."""
    found = []
    for row in ledger.batches():
        controller = controllers.holder(locks, row.id) if row.ended_at is None else None
        if controller is None:
            continue
        leases, now = ledger.leases(row.id), ledger.clock()
        found.append(
            Living(
                batch=row.id,
                controller=controller,
                seconds=max(0, round((utc_now() - row.started_at).total_seconds())),
                machines=sum(lease.state != "gone" for lease in leases),
                cost_usd=sum((budget.cost(lease, now) for lease in leases), Decimal(0)),
            )
        )
    return found
