"""What an instance costs: GPU while it runs, its disk for as long as it exists, and its traffic. All in Decimal USD."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

MS_AN_HOUR = 3_600_000
BYTES_A_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The prices of one instance."""

    gpu_usd_per_hour: Decimal
    disk_usd_per_hour: Decimal
    down_usd_per_gb: Decimal
    up_usd_per_gb: Decimal


@dataclass(kw_only=True)
class Bill:
    """What one instance has cost so far; kept after it is gone."""

    instance: int
    label: str | None
    rates: Rates
    gpu_ms: int = 0
    disk_ms: int = 0
    items: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(("gpu", "disk", "down", "up"), Decimal(0)))

    def pass_time(self, ms: int, *, gpu: bool, disk: bool) -> None:
        """Charge for time that has passed."""
        if gpu:
            self.gpu_ms += ms
            self.items["gpu"] += self.rates.gpu_usd_per_hour * ms / MS_AN_HOUR
        if disk:
            self.disk_ms += ms
            self.items["disk"] += self.rates.disk_usd_per_hour * ms / MS_AN_HOUR

    def pass_traffic(self, *, down: int, up: int) -> None:
        """Charge for bytes that came in and went out."""
        self.items["down"] += self.rates.down_usd_per_gb * down / BYTES_A_GB
        self.items["up"] += self.rates.up_usd_per_gb * up / BYTES_A_GB

    def usd(self) -> Decimal:
        """Give the sum."""
        return sum(self.items.values(), Decimal(0))
