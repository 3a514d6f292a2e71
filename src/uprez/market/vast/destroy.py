"""Giving an instance back: asked for until it is seen to be gone, and a verdict of what is known in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from uprez.errors import BillingError, KeyRefused, MarketError
from uprez.market.vast.wire import Vast

ROUNDS = 10
PAUSE_S = 10.0
"""Between two rounds: an instance that was destroyed may be listed for 7 s more."""
REFUSALS = 3
"""Refusals of the key that are believed: a gateway may send one of its own."""
ABSENT = 2
"""Complete lists, one after the other, that must lack an instance: one alone may lag behind."""


class Verdict(Enum):
    """What is known of an instance that was given back."""

    DESTROYED = "destroyed"
    ALREADY_GONE = "already gone"
    LEAKED = "leaked"
    """It is there, whatever was asked: it bills."""
    UNKNOWN = "unknown"
    """Nobody could be asked: it may bill."""


@dataclass(frozen=True, kw_only=True)
class Destroyed:
    """How giving back ended."""

    instance: int
    verdict: Verdict
    ended_at: datetime | None = None
    """By the market's clock, where it heeded us."""
    reason: str = ""
    """What stood in the way, for people."""

    @property
    def is_gone(self) -> bool:
        """Say whether it is certain that nothing bills any more."""
        return self.verdict in (Verdict.DESTROYED, Verdict.ALREADY_GONE)

    @property
    def hint(self) -> str:
        """Give the command that ends it by hand."""
        return f"{by_hand(self.instance)}, or the Instances page of console.vast.ai"


def by_hand(instance: int) -> str:
    """Give the command of the official client that destroys an instance."""
    return f"vastai destroy instance {instance} -y"


def destroy(
    vast: Vast,
    instance: int,
    *,
    rounds: int = ROUNDS,
    pause_s: float = PAUSE_S,
    tell: Callable[[str], None] = lambda text: None,
) -> Destroyed:
    """Destroy an instance until two complete lists in a row lack it. Idempotent; raises nothing but our defects.

    `tell` hears after each round but the last why there is another.
    """
    ended_at: datetime | None = None
    missing = listed = False
    refusals, reason = 0, ""
    for left in reversed(range(rounds)):
        try:
            if vast.destroy(instance):
                ended_at = ended_at or vast.now()
            else:
                missing = True
        except KeyRefused as error:
            reason, refusals = error.message, refusals + 1
            if refusals >= REFUSALS:
                return Destroyed(instance=instance, verdict=Verdict.UNKNOWN, reason=reason)
        except MarketError as error:
            reason = error.message
        try:
            listed = not _is_absent(vast, instance)
            if not listed and (ended_at or missing):
                verdict = Verdict.DESTROYED if ended_at else Verdict.ALREADY_GONE
                return Destroyed(instance=instance, verdict=verdict, ended_at=ended_at)
        except MarketError as error:
            reason = error.message
        if left:
            why = reason or "it is still listed"
            tell(f"Instance {instance} is not seen gone: {why}; again ({rounds - left + 1} of {rounds})")
            vast.limiter.pause(pause_s)
    verdict = Verdict.LEAKED if listed else Verdict.UNKNOWN
    return Destroyed(instance=instance, verdict=verdict, reason=reason or "it is still listed")


def confirmed(vast: Vast, instance: int, *, tell: Callable[[str], None] = lambda text: None) -> Destroyed:
    """Destroy an instance; raises BillingError, with its id and what ends it by hand, unless it is certainly gone."""
    gone = destroy(vast, instance, tell=tell)
    if not gone.is_gone:
        what = "is still there" if gone.verdict is Verdict.LEAKED else "may still be there"
        raise BillingError(f"instance {instance} of Vast.ai {what}, and may bill: {gone.reason}", hint=gone.hint)
    return gone


def _is_absent(vast: Vast, instance: int) -> bool:
    """Say whether each of some complete lists lacks an instance. Raises MarketError for a list that is not whole."""
    return all(all(one.id != instance for one in vast.instances()) for _ in range(ABSENT))
