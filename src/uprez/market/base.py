"""What every market is: offers, instances, and one protocol to rent and give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class OfferQuery:
    """What a machine must have. Every criterion is checked again here, whatever the market's own filter did."""

    max_usd_per_hour: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A machine with a price."""

    id: str
    machine: str
    """The physical machine, for people and for bans."""
    description: str
    usd_per_hour: Decimal


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How an instance is started: what it is called, what it is told, how long it may live at most."""

    label: str
    """Unique for ever; an instance is ours by its label even when we never learnt its id."""
    lease: str
    boot_url: str
    """The address of its sheet: the only thing it is told."""
    life_s: float
    """Seconds after which its dead-man ends it, unless the worker renewed its lease."""
    hard_life_s: float
    """Seconds after which its dead-man ends it, whatever was renewed."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine we have."""

    id: str
    label: str
    running: bool


class Market(Protocol):
    """A place that offers machines. No call is retried here; whoever calls knows what the call costs."""

    name: str

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """List the offers that meet the query, cheapest first; raises RentError when the market cannot be asked."""

    async def create(self, offer: Offer, launch: Launch) -> Instance:
        """Rent; raises RentError, which carries the id of anything that was made all the same."""

    async def instances(self) -> list[Instance]:
        """List all our instances; an incomplete list raises, it never reads as "none"."""

    async def logs(self, instance: str) -> str:
        """Give what the instance printed so far, oldest first; empty when there is nothing yet."""

    async def destroy(self, instance: str) -> None:
        """Give a machine back and see it gone; idempotent, an absent one is success. Raises BillingError."""


def matches(offer: Offer, query: OfferQuery) -> bool:
    """Check an offer against every criterion."""
    return query.max_usd_per_hour is None or offer.usd_per_hour <= query.max_usd_per_hour


def cheapest_first(offers: list[Offer], query: OfferQuery) -> list[Offer]:
    """Keep what meets the query, cheapest first."""
    return sorted((offer for offer in offers if matches(offer, query)), key=lambda offer: offer.usd_per_hour)
