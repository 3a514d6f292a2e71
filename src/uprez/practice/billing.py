"""What an instance costs: GPU while it runs, its disk for as long as it exists, and its traffic. All in Decimal USD.

A bill keeps whole milliseconds and bytes, and prices them when it is asked: so it is the same however often the time
since the last look was counted, and all bills together are exactly what the account has lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

MS_AN_HOUR = 3_600_000
MS_A_DAY = 24 * MS_AN_HOUR
BYTES_A_GB = 10**9
LEAST = Decimal("1e-18")
"""USD: what each item of a bill is rounded to, so that sums of bills are exact in Decimal's 28 digits."""
ITEMS = ("gpu", "disk", "down", "up")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The prices of one instance."""

    gpu_usd_per_hour: Decimal
    disk_usd_per_hour: Decimal
    down_usd_per_gb: Decimal
    up_usd_per_gb: Decimal


@dataclass(kw_only=True)
class Use:
    """What was used on one UTC day at one price."""

    day: int
    """Days since 1970."""
    rates: Rates
    gpu_ms: int = 0
    disk_ms: int = 0
    down: int = 0
    up: int = 0

    def items(self) -> dict[str, Decimal]:
        """Price it."""
        return {
            "gpu": self.rates.gpu_usd_per_hour * self.gpu_ms / MS_AN_HOUR,
            "disk": self.rates.disk_usd_per_hour * self.disk_ms / MS_AN_HOUR,
            "down": self.rates.down_usd_per_gb * self.down / BYTES_A_GB,
            "up": self.rates.up_usd_per_gb * self.up / BYTES_A_GB,
        }


@dataclass(kw_only=True)
class Bill:
    """What one instance has cost so far; kept after it is gone."""

    instance: int
    label: str | None
    rates: Rates
    uses: list[Use] = field(default_factory=list)
    _usd: Decimal | None = field(default=None, repr=False)

    def pass_time(self, ms: int, *, day: int, gpu: bool, disk: bool) -> None:
        """Charge for time that has passed, all of it on one day."""
        if ms and (gpu or disk):
            use = self._use(day)
            use.gpu_ms += ms * gpu
            use.disk_ms += ms * disk

    def pass_traffic(self, *, day: int, down: int, up: int) -> None:
        """Charge for bytes that came in and went out."""
        if down or up:
            use = self._use(day)
            use.down += down
            use.up += up

    def reprice(self, gpu_usd_per_hour: Decimal) -> None:
        """Charge another price for the GPU from now on."""
        self.rates = replace(self.rates, gpu_usd_per_hour=gpu_usd_per_hour)

    def _use(self, day: int) -> Use:
        self._usd = None
        if not self.uses or self.uses[-1].day != day or self.uses[-1].rates is not self.rates:
            self.uses.append(Use(day=day, rates=self.rates))
        return self.uses[-1]

    @property
    def gpu_ms(self) -> int:
        """For how long the GPU was charged."""
        return sum(use.gpu_ms for use in self.uses)

    @property
    def disk_ms(self) -> int:
        """For how long the disk was charged."""
        return sum(use.disk_ms for use in self.uses)

    @property
    def down(self) -> int:
        """Bytes that came in."""
        return sum(use.down for use in self.uses)

    @property
    def up(self) -> int:
        """Bytes that went out."""
        return sum(use.up for use in self.uses)

    @property
    def items(self) -> dict[str, Decimal]:
        """The parts of the sum."""
        return priced(self.uses)

    def usd(self) -> Decimal:
        """Give the sum."""
        if self._usd is None:
            self._usd = sum(self.items.values(), Decimal(0))
        return self._usd


def priced(uses: Iterable[Use]) -> dict[str, Decimal]:
    """Add up what was used, item by item."""
    total = dict.fromkeys(ITEMS, Decimal(0))
    for use in uses:
        for name, usd in use.items().items():
            total[name] += usd
    return {name: usd.quantize(LEAST) for name, usd in total.items()}
