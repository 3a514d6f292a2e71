"""Giving an instance back: asked for until it is seen to be gone, and a verdict of what is known in the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from uprez.errors import BillingError, KeyRefused, MarketError
from uprez.market.vast.wire import Vast

ROUNDS = 10
PAUSE_S = 10.0
"""Between two rounds: an instance that was destroyed may be listed for 7 s more."""
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
    reason: str = ""
    """What stood in the way, for people."""

    @property
    def is_gone(self) -> bool:
        """Say whether it is certain that nothing bills any more."""
        return self.verdict in (Verdict.DESTROYED, Verdict.ALREADY_GONE)

    @property
    def hint(self) -> str:
        """Give the command that ends it by hand."""
        return f"vastai destroy instance {self.instance} -y, or the Instances page of console.vast.ai"


def destroy(vast: Vast, instance: int, *, rounds: int = ROUNDS, pause_s: float = PAUSE_S) -> Destroyed:
    """Destroy an instance until two complete lists in a row lack it. Idempotent; raises nothing but our defects."""
    accepted = missing = listed = False
    reason = ""
    for left in reversed(range(rounds)):
        try:
            if vast.destroy(instance):
                accepted = True
            else:
                missing = True
        except KeyRefused as error:
            return Destroyed(instance=instance, verdict=Verdict.UNKNOWN, reason=error.message)
        except MarketError as error:
            reason = error.message
        try:
            listed = not _is_absent(vast, instance)
            if not listed and (accepted or missing):
                verdict = Verdict.DESTROYED if accepted else Verdict.ALREADY_GONE
                return Destroyed(instance=instance, verdict=verdict)
        except MarketError as error:
            reason = error.message
        if left:
            vast.limiter.pause(pause_s)
    verdict = Verdict.LEAKED if listed else Verdict.UNKNOWN
    return Destroyed(instance=instance, verdict=verdict, reason=reason or "it is still listed")


def confirmed(vast: Vast, instance: int) -> Destroyed:
    """Destroy an instance; raises BillingError, with its id and what ends it by hand, unless it is certainly gone."""
    gone = destroy(vast, instance)
    if not gone.is_gone:
        what = "is still there" if gone.verdict is Verdict.LEAKED else "may still be there"
        raise BillingError(f"instance {instance} of Vast.ai {what}, and may bill: {gone.reason}", hint=gone.hint)
    return gone


def _is_absent(vast: Vast, instance: int) -> bool:
    """Say whether each of some complete lists lacks an instance. Raises MarketError for a list that is not whole."""
    return all(all(one.id != instance for one in vast.instances()) for _ in range(ABSENT))
