"""Money: what a lease has cost, what it may come to cost, and for how long a sum keeps it. Pure, in Decimal USD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from uprez.fleet.rows import LeaseRow
from uprez.market.base import Rates

BYTES_PER_GB = 10**9
SECONDS_PER_HOUR = 3600
ERRS = 4
SMALL_CHANGE = 5 * 10**9
"""Bytes that a lease may move whatever its work is."""
MICRO_USD = Decimal("0.000001")
"""What sums are rounded to: a second of the cheapest machine costs more."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that go to a machine and come from it."""

    down_bytes: int = 0
    up_bytes: int = 0

    def usd(self, rates: Rates) -> Decimal:
        """Price it."""
        down, up = rates.down_usd_per_gb * self.down_bytes, rates.up_usd_per_gb * self.up_bytes
        return (down + up) / BYTES_PER_GB

    def at_most(self) -> Traffic:
        """Give what is still believed where this much was expected: estimates err, by a few times and not by more."""
        down, up = (ERRS * expected + SMALL_CHANGE for expected in (self.down_bytes, self.up_bytes))
        return Traffic(down_bytes=down, up_bytes=up)

    def capped(self, most: Traffic) -> Traffic:
        """Give as much of it as is in `most`."""
        return Traffic(down_bytes=min(self.down_bytes, most.down_bytes), up_bytes=min(self.up_bytes, most.up_bytes))

    def exceeds(self, other: Traffic) -> bool:
        """Say whether it is more, either way."""
        return self.down_bytes > other.down_bytes or self.up_bytes > other.up_bytes


def commitment(rates: Rates, seconds: float, traffic: Traffic) -> Decimal:
    """Give what a lease may cost at most: GPU and disk for all its time, as if it ran from the start, and traffic."""
    return rates.usd_per_hour * _hours(seconds) + traffic.usd(rates)


def life_s(rates: Rates, usd: Decimal, traffic: Traffic) -> float:
    """Give the seconds that a sum pays for, its traffic paid first; infinite where an hour costs nothing."""
    if rates.usd_per_hour <= 0:
        return float("inf")
    return float(max(Decimal(0), usd - traffic.usd(rates)) / rates.usd_per_hour * SECONDS_PER_HOUR)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a lease has cost, by what was paid for."""

    gpu: Decimal
    disk: Decimal
    down: Decimal
    up: Decimal
    before: Decimal
    """More than all this, since it had other prices for a while; below 0: less."""

    @property
    def usd(self) -> Decimal:
        """Their sum, rounded."""
        return self.exact.quantize(MICRO_USD)

    @property
    def exact(self) -> Decimal:
        """Their sum."""
        return self.gpu + self.disk + self.down + self.up + self.before


def cost(row: LeaseRow, now: datetime, *, cautious: bool = False) -> Decimal:
    """Give what a lease has cost until it ended, or until now; `cautious` as in `parts`."""
    return parts(row, now, cautious=cautious).usd


def parts(row: LeaseRow, now: datetime, *, cautious: bool = False) -> Parts:
    """Give what a lease has cost until it ended, or until now, part by part.

    A machine that was never seen running is not billed for its GPU, only for its disk; a `cautious` reckoning counts
    its GPU from the order on, since nobody says for certain that loading is free.
    """
    end = row.ended_at if row.state == "gone" and row.ended_at else now
    began = row.intended_at if cautious and row.instance else row.running_at
    gpu = _seconds(began, end) if began else 0.0
    disk = _seconds(row.intended_at, end) if row.instance or row.state != "gone" else 0.0
    return Parts(
        gpu=row.rates.gpu_usd_per_hour * _hours(gpu),
        disk=row.rates.disk_usd_per_hour * _hours(disk),
        down=Traffic(down_bytes=row.down_bytes).usd(row.rates),
        up=Traffic(up_bytes=row.up_bytes).usd(row.rates),
        before=row.before_usd,
    )


def repriced(row: LeaseRow, rates: Rates, now: datetime) -> LeaseRow:
    """Let a lease cost other prices from now on; what it did until now keeps its own."""
    changed = replace(row, rates=rates)
    more = parts(row, now).exact - parts(changed, now).exact
    return replace(changed, before_usd=row.before_usd + more)


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _hours(seconds: float) -> Decimal:
    return Decimal(str(seconds)) / SECONDS_PER_HOUR
