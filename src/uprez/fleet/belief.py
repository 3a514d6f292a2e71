"""What is believed of a positive quantity: a guess, corrected by what was measured of it. Pure.

Logarithms are taken to be normal with an unknown middle and an unknown spread (the conjugate prior of both is a
normal-inverse-gamma): with one sample the guess still counts, with twenty only the samples do, and few samples give
wide ranges by themselves.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

NINE_IN_TEN = 1.645
"""Standard deviations of a normal distribution on each side of its middle, between which nine in ten lie."""
PRIOR_WEIGHT = 10.0
"""Samples that a guess of the spread counts for: with fewer, its own doubt would widen a guess several times."""

FAR = math.log(10)
"""From the median: what is further is an accident, or the lie of a machine."""


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A quantity by its middle and its spread, both unsure."""

    log_middle: float
    weight: float
    """Samples that the middle counts for."""
    freedom: float
    """Samples that the spread counts for."""
    squares: float
    """Of the deviations of so many."""

    def corrected(self, samples: Sequence[float]) -> Belief:
        """Give what is believed after seeing these."""
        logs = [math.log(one) for one in samples if one > 0]
        if not logs:
            return self
        median = statistics.median_low(logs)  # one of them, so that one at least is near
        logs = [one for one in logs if abs(one - median) <= FAR]
        count, mean = len(logs), sum(logs) / len(logs)
        weight = self.weight + count
        squares = sum((one - mean) ** 2 for one in logs)
        return Belief(
            log_middle=(self.weight * self.log_middle + count * mean) / weight,
            weight=weight,
            freedom=self.freedom + count,
            squares=self.squares + squares + self.weight * count / weight * (mean - self.log_middle) ** 2,
        )

    def times(self, factor: float) -> Belief:
        """Give what is believed of so many times the quantity."""
        return replace(self, log_middle=self.log_middle + math.log(factor))

    @property
    def middle(self) -> float:
        """Give the value that as much is believed to lie above as below."""
        return math.exp(self.log_middle)

    def drawn(self, rng: random.Random) -> Callable[[float], float]:
        """Draw one way that things may be: from the deviation of a case (a standard normal number) to its value.

        Cases that are drawn from one call share a middle and a spread; calls differ by what is unsure of these.
        """
        spread = math.sqrt(self.squares / (2 * rng.gammavariate(self.freedom / 2, 1.0)))
        middle = rng.gauss(self.log_middle, spread / math.sqrt(self.weight))
        return lambda deviation: math.exp(middle + spread * deviation)


def between(low: float, high: float, *, factor: float) -> Belief:
    """Believe that the middle lies between two values, and nine in ten cases within `factor` of it; so does the middle.

    `factor` is above 1, `high` above `low`.
    """
    spread = math.log(factor) / NINE_IN_TEN
    unsure = math.log(high / low) / 2 / NINE_IN_TEN
    return Belief(
        log_middle=(math.log(low) + math.log(high)) / 2,
        weight=(spread / unsure) ** 2,
        freedom=PRIOR_WEIGHT,
        squares=PRIOR_WEIGHT * spread**2,
    )
