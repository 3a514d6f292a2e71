"""What a market knows at one time. All that happens is a function of this, called with the market's lock held."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal

from uprez.practice.access import Key, Style
from uprez.practice.billing import MS_A_DAY, Bill
from uprez.practice.clock import Clock
from uprez.practice.faults import Faults
from uprez.practice.instance import Instance
from uprez.practice.logs import Snapshots
from uprez.practice.offers import Offer
from uprez.practice.process import Machines
from uprez.practice.refusal import no_such_instance


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a market is set up."""

    seed: int = 1
    machines: int = 90
    credit_usd: Decimal = Decimal(25)
    boot_s: tuple[float, float] = (15.0, 50.0)
    """Between these, by the seed."""
    log_delay_s: float = 1.0
    limits: bool = True
    """Refuse calls that come too soon after another."""
    style: Style = "detail"
    """How those refusals look."""
    retry_after: bool = False


@dataclass(kw_only=True)
class State:
    """Who has rented what, and what it has cost up to `at_ms`."""

    clock: Clock
    options: Options
    machines: Machines
    faults: Faults
    rng: random.Random
    """Lengths of boots and steps of ids."""
    at_ms: int
    listed: list[Offer]
    taken: dict[int, Offer] = field(default_factory=dict)
    """Asks that somebody took, by the id that is no longer listed."""
    instances: dict[int, Instance] = field(default_factory=dict)
    bills: dict[int, Bill] = field(default_factory=dict)
    """Of every instance that ever was."""
    keys: dict[str, Key] = field(default_factory=dict)
    granted_usd: Decimal
    gone_usd: Decimal = Decimal(0)
    """What the instances that are gone have cost."""
    last_instance: int = 7_835_610
    last_ask: int = 30_000_000
    doomed: dict[int, tuple[float, bool]] = field(default_factory=dict)
    """What is still to be ended: when, by `time.monotonic`, and whether its folder goes too."""
    snapshots: Snapshots = field(default_factory=Snapshots)

    @property
    def day(self) -> int:
        """Days since 1970."""
        return self.at_ms // MS_A_DAY

    def get(self, instance: int) -> Instance:
        """Give an instance; raises Refusal."""
        if instance not in self.instances:
            raise no_such_instance(instance)
        return self.instances[instance]

    def spent_usd(self) -> Decimal:
        """Give what everything has cost so far."""
        return sum((one.bill.usd() for one in self.instances.values()), self.gone_usd)

    def credit_usd(self) -> Decimal:
        """Give what is left of the account's money; storage may bring it below zero."""
        return self.granted_usd - self.spent_usd()
