"""Which machines are shunned, for how long and why: what one batch found out, the next ones know.

A machine that lied is shunned for a week at once. One that failed is shunned by its batch alone; after its second fault
within a week for a day, after more for a month.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import Ban
from uprez.market.base import Instance
from uprez.status import Status

MEMORY = timedelta(days=7)
"""For how long a fault is held against a machine, from when it could be rented again."""
NONE, DAY, WEEK, MONTH = timedelta(), timedelta(days=1), timedelta(days=7), timedelta(days=30)
SHOWN = 3
"""Bans that a run names; `uprez bans` names all."""


def length(*, lied: bool, earlier: Sequence[timedelta]) -> timedelta:
    """Say for how long a machine is shunned; `earlier`: for how long it was, for each fault that is remembered."""
    if len(earlier) >= 2 or (lied and any(earlier)):
        return MONTH
    if lied:
        return WEEK
    return DAY if earlier else NONE


def remembered(faults: Iterable[Ban], machine: str, now: datetime) -> list[timedelta]:
    """Give, of the faults of a machine that are held against it, for how long each of them had it shunned."""
    return [ban.until - ban.banned_at for ban in faults if ban.machine == machine and now - ban.until <= MEMORY]


def current(faults: Iterable[Ban], now: datetime) -> dict[str, Ban]:
    """Give the machines that are shunned now, each with the ban that lasts longest; the first to end comes first."""
    lasting: dict[str, Ban] = {}
    for ban in sorted(faults, key=lambda ban: ban.until, reverse=True):
        if ban.until > now:
            lasting.setdefault(ban.machine, ban)
    return dict(reversed(lasting.items()))


def everywhere(faults: Iterable[Ban], now: datetime) -> list[Ban]:
    """List what lasts now of all places' bans, place by place."""
    places: dict[str, list[Ban]] = {}
    for ban in faults:
        places.setdefault(ban.place, []).append(ban)
    return [ban for place in sorted(places) for ban in current(places[place], now).values()]


def note(
    ledger: Ledger, place: str, machine: str, batch: str, reason: str, *, lied: bool, evidence: str | None = None
) -> Ban:
    """Write down a machine's fault, with what follows from it. Raises StoreError."""
    now = ledger.clock()
    lasts = length(lied=lied, earlier=remembered(ledger.bans(place), machine, now))
    ban = Ban(
        place=place,
        machine=machine,
        batch=batch,
        reason=reason,
        evidence=evidence,
        banned_at=now,
        until=now + lasts,
    )
    ledger.ban(ban)
    return ban


def is_its_fault(instance: Instance | None, status: Status | None) -> bool:
    """Say whether a machine is to blame for its loss, by what market and worker said of it last.

    It is not where its contract ended or somebody else paid more, where it is not there any more (whoever ended it),
    and where its worker left by itself.
    """
    if status is not None and status.phase == "left":
        return False
    return instance is not None and instance.state != "stopped"


def told(found: Iterable[Ban]) -> list[str]:
    """Name the machines that are shunned, a line each, a few at most."""
    bans = list(found)
    if not bans:
        return []
    count = f"{len(bans)} machine{'s are' if len(bans) > 1 else ' is'} not rented, for what earlier runs saw"
    rest = len(bans) - SHOWN
    lines = [f"machine {ban.machine} until {ban.until:%Y-%m-%d %H:%M}Z: {ban.reason}" for ban in bans[:SHOWN]]
    return [count, *lines, *([f"and {rest} more: uprez bans shows them all"] if rest > 0 else [])]
