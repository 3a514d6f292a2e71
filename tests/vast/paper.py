"""A market on paper, and leases that were only ever written down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from uprez.errors import BillingError
from uprez.fleet.ledger import Ledger
from uprez.fleet.renting import Renter, Terms
from uprez.fleet.rows import LeaseRow
from uprez.fleet.supplies import Supplies
from uprez.market.base import Instance, Launch, Market, Offer, OfferQuery, Rates
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.store.open import Home

BATCH = "b0000001"
"""Of leases that are rented by `renter_of`."""
OFFER = Offer(id="o", machine="m", description="a machine", usd_per_hour=Decimal("0.5"))


def intended(
    ledger: Ledger,
    batch: str,
    *,
    market: str = "local",
    usd_per_hour: Decimal = Decimal(0),
    life_s: float = 40,
    now: datetime | None = None,
) -> LeaseRow:
    """Write down that something is about to be rented."""
    offer = Offer(
        id="o",
        machine="here",
        description="",
        usd_per_hour=usd_per_hour,
        rates=Rates(gpu_usd_per_hour=usd_per_hour),
    )
    return ledger.intend(
        batch=batch, market=market, place=market, offer=offer, now=now or datetime.now(UTC), life_s=life_s
    )


class PaperMarket:
    """A market whose machines are names in a table."""

    name = "paper"
    place = "paper"

    def __init__(self) -> None:
        self.rented: dict[str, str] = {}
        self.launched: list[Launch] = []
        self.before_create: Callable[[Launch], None] = lambda launch: None
        self.stuck: set[str] = set()
        self.credit: Decimal | None = None
        self.ahead = timedelta()
        self.listed: list[Offer] = [OFFER]

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """Offer what is listed, but for machines that are banned."""
        return [offer for offer in self.listed if offer.machine not in query.machines]

    async def create(self, offer: Offer, launch: Launch) -> Instance:
        """Rent it, unless `before_create` objects."""
        del offer
        self.before_create(launch)
        self.launched.append(launch)
        self.rented[f"i-{launch.lease}"] = launch.label
        return Instance(id=f"i-{launch.lease}", label=launch.label, state="running")

    async def instances(self) -> list[Instance]:
        """List what is rented."""
        old = await self.now() - timedelta(hours=1)
        return [Instance(id=name, label=label, state="running", created_at=old) for name, label in self.rented.items()]

    async def logs(self, instance: str) -> str:
        """Give nothing."""
        del instance
        return ""

    async def why(self, instance: str) -> str:
        """Give nothing."""
        del instance
        return ""

    async def relabel(self, instance: str, label: str) -> None:
        """Write another label."""
        self.rented[instance] = label

    def by_hand(self, instance: str) -> str:
        """Name a command."""
        return f"paper destroy {instance}"

    async def now(self) -> datetime:
        """Give the time, by a clock that may be ahead."""
        return datetime.now(UTC) + self.ahead

    async def funds(self) -> Decimal | None:
        """Give the credit."""
        return self.credit

    async def destroy(self, instance: str) -> datetime | None:
        """Give back, unless it is stuck."""
        if instance in self.stuck:
            raise BillingError(f"{instance} does not end")
        return await self.now() if self.rented.pop(instance, None) else None


def renter_of(market: Market, ledger: Ledger, home: Home, console: Console, terms: Terms, sheet: Sheet) -> Renter:
    """Rent for a batch, which the ledger must know."""
    return Renter(
        market=market,
        ledger=ledger,
        home=home,
        console=console,
        batch=BATCH,
        sheet=sheet,
        supplies=Supplies(),
        terms=terms,
    )
