"""What a lease's time and traffic were for, and what each of these uses cost. Pure.

Every pass tells what the worker is at. What a task takes is booked to itself until it is known what came of it: then it
was made, or discarded. What nobody saw is booked as unseen, so that the uses of a lease add up to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from uprez.fleet import budget
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Piece
from uprez.report.results import USES, Loss, Use
from uprez.status import Status

Came: TypeAlias = Literal["counts"] | Loss
"""What came of an attempt."""
CUT: tuple[Use, ...] = ("idle", "unseen", "discarded", "assembly", "index", "made", "boot")
"""What is shortened first where more was seen than there was: a machine may have ended before we knew."""
MADE: dict[str, Use] = {"index": "index", "enhance": "made", "assemble": "assembly"}
"""What an attempt that counts was for, by the kind of its piece."""


class Amount(NamedTuple):
    """Milliseconds and bytes: whole numbers, so that sums are exact."""

    ms: int = 0
    down: int = 0
    up: int = 0

    def plus(self, other: Amount) -> Amount:
        """Add."""
        return Amount(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = Amount()


class Heading(NamedTuple):
    """What something is booked under."""

    use: Use
    job: str = ""
    """Its id, where it was for one."""


Book: TypeAlias = Mapping[Heading, Amount]


@dataclass(kw_only=True)
class Attempt:
    """One try of a piece of work on one lease."""

    task: str
    job: str
    piece: Piece
    amount: Amount = NOTHING
    begun: bool = False
    """It was seen under way, or its end was."""
    over: bool = False
    """Its worker has said how it ended."""
    came: Came | None = None
    """None while nobody knows."""

    @property
    def heading(self) -> Heading | None:
        """Say what it is booked under, None while nobody knows."""
        if self.came is None:
            return None
        return Heading(MADE[self.piece.kind] if self.came == "counts" else "discarded", self.job)


@dataclass(kw_only=True)
class Account:
    """The books of one lease, from its answer on."""

    at: datetime
    """Until when it was looked at, by the ledger's clock."""
    attempts: dict[str, Attempt] = field(default_factory=dict)
    """By task."""
    _plain: dict[Use, Amount] = field(default_factory=dict)
    """What was for no task."""
    _at_task: str | None = None
    _at_use: Use = "boot"
    """What it was seen at when it was looked at last: a task, or else this."""
    _moved: Amount = NOTHING
    _lost: list[Attempt] = field(default_factory=list)

    def look(self, now: datetime, status: Status | None, assigned: Mapping[str, tuple[str, Piece]]) -> None:
        """Book the time and the traffic since the last look; `assigned` has the tasks on its sheet by id.

        A task whose worker says how long it took gets that, and what was moved; the rest goes to what it was seen at
        before, or to what came after that.
        """
        for task, (job, piece) in assigned.items():
            self.attempts.setdefault(task, Attempt(task=task, job=job, piece=piece))
        left = self._passed(now, status)
        told = False
        for done in status.done if status else ():
            attempt = self.attempts.get(done.task)
            if attempt is None or attempt.over:
                continue
            attempt.over = True
            self._begin(attempt)
            its = min(left.ms, max(0, round(done.seconds * 1000) - attempt.amount.ms))
            attempt.amount = attempt.amount.plus(left._replace(ms=its))
            left = Amount(ms=left.ms - its)
            told = told or (done.seconds > 0 and done.task == self._at_task)
        if not told:
            self._book(left)
        self._turn_to(status)
        if told:
            self._book(left)

    def end(self, task: str, came: Came) -> None:
        """Take note of what came of an attempt: what is lost stays so, what counts may be thrown away later."""
        attempt = self.attempts.get(task)
        if attempt is None or attempt.came not in (None, "counts"):
            return
        fresh, attempt.came = attempt.came is None, came
        if fresh and came != "counts" and attempt.begun:
            self._lost.append(attempt)

    def give_up(self, came: Loss, assigned: Iterable[str]) -> None:
        """Take note that its machine does no more: what is on its sheet, or under way, will not count.

        What it has published and is being looked at may.
        """
        held = set(assigned)
        for task, attempt in self.attempts.items():
            if attempt.came is None and (task in held or not attempt.over):
                self.end(task, came)

    def close(self, now: datetime) -> None:
        """Book the time until its machine was seen gone."""
        if self._at_task is not None:
            self._at_task, self._at_use = None, "idle"
        self._book(self._passed(now, None))

    def take_lost(self) -> list[Attempt]:
        """Give the attempts that are known to be lost since this was asked last."""
        lost, self._lost = self._lost, []
        return lost

    def book(self) -> Book:
        """Give what is known of what it was for; what nobody knows yet is left out."""
        found: dict[Heading, Amount] = {Heading(use): amount for use, amount in self._plain.items()}
        for attempt in self.attempts.values():
            if (heading := attempt.heading) is not None and any(attempt.amount):
                found[heading] = found.get(heading, NOTHING).plus(attempt.amount)
        return found

    def _passed(self, now: datetime, status: Status | None) -> Amount:
        """Give what there is to book, and remember that it is."""
        ms = max(0, _ms(now - self.at))
        self.at += timedelta(milliseconds=ms)
        before = self._moved
        if status is not None:
            down, up = max(before.down, status.fetched_bytes), max(before.up, status.up_bytes)
            self._moved = Amount(down=down, up=up)
        return Amount(ms, self._moved.down - before.down, self._moved.up - before.up)

    def _book(self, amount: Amount) -> None:
        if self._at_task is not None:
            attempt = self.attempts[self._at_task]
            attempt.amount = attempt.amount.plus(amount)
        elif any(amount):
            self._plain[self._at_use] = self._plain.get(self._at_use, NOTHING).plus(amount)

    def _turn_to(self, status: Status | None) -> None:
        """See what it is at now."""
        task = status.task if status is not None else None
        self._at_task = task if task in self.attempts else None
        if self._at_task is not None:
            self._begin(self.attempts[self._at_task])
        self._at_use = "boot" if status is None or status.phase == "booting" else "idle"

    def _begin(self, attempt: Attempt) -> None:
        if not attempt.begun:
            attempt.begun = True
            if attempt.came not in (None, "counts"):  # it was begun a moment before its worker heard
                self._lost.append(attempt)


def dump(book: Book) -> str:
    """Write a book down, as the ledger keeps it."""
    return json.dumps([[*heading, *amount] for heading, amount in sorted(book.items())], separators=(",", ":"))


def load(text: str | None) -> Book:
    """Read a book; what this version cannot read was seen by nobody."""
    try:
        rows = [(Heading(use, job), Amount(ms, down, up)) for use, job, ms, down, up in json.loads(text or "[]")]
    except (ValueError, TypeError):
        return {}
    return {heading: amount for heading, amount in rows if heading.use in USES}


def fitted(book: Book, whole: Amount) -> Book:
    """Let a book add up to what there was: what is missing was unseen, what is too much is cut off."""
    found = dict(book)
    seen = [sum(amount[at] for amount in found.values()) for at in range(len(whole))]
    unseen = Heading("unseen")
    missing = Amount(*(max(0, most - known) for most, known in zip(whole, seen, strict=True)))
    if any(missing) or not found:
        found[unseen] = found.get(unseen, NOTHING).plus(missing)
    surplus = [max(0, known - most) for most, known in zip(whole, seen, strict=True)]
    for heading in sorted(found, key=lambda one: (CUT.index(one.use), one.job)):
        cut = [min(most, amount) for most, amount in zip(surplus, found[heading], strict=True)]
        found[heading] = Amount(*(amount - less for amount, less in zip(found[heading], cut, strict=True)))
        surplus = [most - less for most, less in zip(surplus, cut, strict=True)]
    return found


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a lease was for, in time and in money; both add up to the lease."""

    book: Book
    usd: Mapping[Heading, Decimal]

    def use_s(self) -> dict[Use, float]:
        """Give the seconds of each use."""
        ms = dict.fromkeys(USES, 0)
        for heading, amount in self.book.items():
            ms[heading.use] += amount.ms
        return {use: each / 1000 for use, each in ms.items()}

    def use_usd(self) -> dict[Use, Decimal]:
        """Give the money for each use."""
        usd = dict.fromkeys(USES, Decimal(0))
        for heading, each in self.usd.items():
            usd[heading.use] += each
        return usd


def held_ms(row: LeaseRow, now: datetime) -> int:
    """Give for how long a lease was held, until its end or until now."""
    return max(0, _ms((row.ended_at or now) - row.held_at)) if row.held_at else 0


def stated(row: LeaseRow, now: datetime) -> Statement:
    """Say what a lease was for and what that cost, to the micro-dollar of its cost.

    A GPU costs from when it runs; until then there is only a boot, which costs its disk.
    """
    book = fitted(load(row.use), Amount(held_ms(row, now), row.down_bytes, row.up_bytes))
    parts, amounts = budget.parts(row, now), list(book.values())
    before = max(0, _ms(row.running_at - row.held_at)) if row.running_at and row.held_at else 0
    shares = (
        _shares(parts.gpu, _running_ms(book, before)),
        _shares(parts.disk, [amount.ms for amount in amounts]),
        _shares(parts.down, [amount.down for amount in amounts]),
        _shares(parts.up, [amount.up for amount in amounts]),
    )
    exact = [sum(each, Fraction(0)) for each in zip(*shares, strict=True)]
    if today := Fraction(parts.exact - parts.before):  # what other prices made of it for a while is shared by all
        exact = [each * Fraction(parts.exact) / today for each in exact]
    usd = split(budget.cost(row, now), exact, budget.MICRO_USD)
    return Statement(book=book, usd=dict(zip(book, usd, strict=True)))


def split(total: Decimal, exact: Iterable[Fraction], unit: Decimal) -> list[Decimal]:
    """Round shares to whole units so that they add up to the total.

    Those that lose most by rounding down get a unit more; what no share explains goes to the largest.
    """
    units = [share / Fraction(unit) for share in exact]
    found = [unit * int(each) for each in units]
    left = (total - sum(found, Decimal(0))) // unit
    by_rest = sorted(range(len(found)), key=lambda at: units[at] - int(units[at]), reverse=True)
    for at in by_rest[: max(0, int(left))]:
        found[at] += unit
    if found:
        found[max(range(len(found)), key=found.__getitem__)] += total - sum(found, Decimal(0))
    return found


def _running_ms(book: Book, before: int) -> list[int]:
    """Give the milliseconds of each heading in which the GPU ran: what was `before` is taken off the boot first."""
    found = {heading: amount.ms for heading, amount in book.items()}
    for heading in sorted(found, key=lambda one: (one.use != "boot", CUT.index(one.use), one.job)):
        cut = min(before, found[heading])
        found[heading], before = found[heading] - cut, before - cut
    return list(found.values())


def _shares(total: Decimal, weights: Iterable[int]) -> list[Fraction]:
    """Share a sum out by weights; none of it, where nothing weighs."""
    known = list(weights)
    whole = sum(known)
    return [Fraction(total) * weight / whole if whole else Fraction(0) for weight in known]


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
