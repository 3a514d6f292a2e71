"""Search -> commit -> intent -> sheet -> create: how a lease begins. Whatever fails, nothing is left rented."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from uprez import background, wire
from uprez.config.settings import Timing
from uprez.errors import (
    BillingError,
    BudgetError,
    KeyRefused,
    MarketError,
    NoSuchAsk,
    RateLimited,
    RentError,
    StoreError,
)
from uprez.fleet import budget, clock, labels
from uprez.fleet import lease as leases
from uprez.fleet.budget import Traffic
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.rows import LeaseRow
from uprez.fleet.shunning import Shunning
from uprez.fleet.supplies import Supplies
from uprez.market.base import Instance, Launch, Market, Offer, OfferQuery, Rates
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.store import keys
from uprez.store.open import Home

NO_OFFER = "raise --max-price, or ask for less; uprez offers shows what there is under the same flags"
SHUNNED = "uprez bans shows the machines that are left out"
FUNDS_S = 60.0
"""For how long the account's credit is known, but for what is spent of it here."""
BOOT_LATER_S = 15 * 60.0
"""For how long beyond the time-out of a boot its address opens the sheet."""
PLAN_ROOM = 1.5
"""By which a lease may last longer than its plans say."""
RELABEL_S = 60.0
TRIES = 8
"""Offers that are tried one after the other: others are faster now and then."""
MAX_RUNTIME_S = 2 * 3600.0
"""Longest life of a rented lease where nobody says how long, as in the system that uprez supersedes."""
ALONE_LINGER_S = 5
"""For which a machine stays after its worker's end where nobody comes to read its log."""
LAST_S, LAST_EACH_S = 60.0, 4.0
"""What giving a machine back may take, and each further one: the market's calls have a rate."""
BROKE = frozenset({"insufficient_credit", "missing_billing", "spend_rate_limit"})
"""What a market says when it is the account that cannot rent, and no other offer would do."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What may be rented, for how long and for how much."""

    timing: Timing
    query: OfferQuery = field(default_factory=OfferQuery)
    image: str = ""
    budget_usd: Decimal | None = None
    """Of the batch; None: nothing costs anything here."""
    max_runtime_s: float | None = None
    """Of one lease, where somebody said it."""
    traffic: Traffic = field(default_factory=Traffic)
    """What one lease may come to move."""
    packages_bytes: int = 0
    """Of that, what comes before there is a worker that could tell of it."""
    detach: bool = False
    """Leases are to be left to themselves."""

    @property
    def first_s(self) -> float:
        """Seconds that a lease lasts at most when nobody renews it, its boot counted in."""
        boot_s = self.timing.boot_s if self.budget_usd is not None else 0.0
        return boot_s + self.timing.lease_s + self.timing.grace_s


class Foreseen(NamedTuple):
    """How many machines a batch was found to need, and until when they are believed to have done it."""

    machines: int
    until: float
    """By our monotonic clock."""
    pieces: Mapping[str, int] = MappingProxyType({})
    """In how many segments each job will be cut, by its id: believed until it has its plan."""


@dataclass(kw_only=True)
class Renter:
    """Rents for one batch."""

    market: Market
    ledger: Ledger
    home: Home
    console: Console
    batch: str
    sheet: Sheet
    """What every lease's sheet begins as."""
    supplies: Supplies
    terms: Terms
    poor: bool = False
    """The account has less than the budget leaves."""
    short: bool = False
    """A lease was not renewed for want of money: no other is rented beside those there are."""
    stopped: bool = False
    """Nothing more is to be rented."""
    foretell: Callable[[Sequence[Offer]], Foreseen | None] | None = None
    """Called once, with the first offers."""
    foreseen: Foreseen | None = None
    """What it said; None: as many machines as pay."""
    _purse: Decimal | None = None
    """The account's credit and what was spent by then, and when that was asked for."""
    _purse_at: float = float("-inf")

    def __post_init__(self) -> None:
        """Know the machines that are no good."""
        self.shunning = Shunning(ledger=self.ledger, place=self.market.place, batch=self.batch, console=self.console)

    async def acquire(self, *, held: Collection[str] = ()) -> Lease:
        """Rent the best machine that the terms allow; `held` are those that the batch has already.

        Raises BudgetError when none is within the budget, RentError when nothing is offered or nothing starts,
        StoreError when the sheet cannot be written, BillingError when something may have been left.
        """
        # A second lease of one machine would fail with the first, and two attempts there are no race.
        shunned = {} if self.terms.budget_usd is None else self.shunning.of_earlier()
        query = replace(self.terms.query, machines=tuple(sorted(self.shunning.banned.union(held, shunned))))
        found = await self.market.offers(query)
        if not found:
            hint = f"{NO_OFFER}; {SHUNNED}" if shunned else NO_OFFER
            raise RentError(
                f"the market {self.market.name} offers no {'other ' if held else ''}machine within the limits",
                hint=None if self.terms.budget_usd is None else hint,
            )
        if self.foretell is not None:
            foretell, self.foretell = self.foretell, None
            self.foreseen = foretell(found)
        funds = None if self.terms.budget_usd is None else await self.market.funds()
        refused: RentError | BudgetError | None = None
        for offer in found[:TRIES]:
            if self.stopped:
                raise RentError("interrupted before anything was rented")
            if offer.machine in self.shunning.banned and self.terms.budget_usd is not None:
                continue  # since it was searched
            try:
                return await self._patiently(offer, funds)
            except BudgetError as error:
                refused = refused or error  # the first is the best, mostly the cheapest
                self.console.debug(f"Offer {offer.id}: {error.message}")
            except (KeyRefused, BillingError):
                raise
            except MarketError as error:
                refused = self._passed_over(offer, error)
        if isinstance(refused, BudgetError):
            raise refused
        raise RentError(f"none of {len(found[:TRIES])} offers could be rented", hint="a little later others are there")

    def _passed_over(self, offer: Offer, error: MarketError) -> MarketError:
        """Say why an offer was not rented; raises where no other would be either."""
        if isinstance(error, NoSuchAsk):
            self.console.info(f"Offer {offer.id}: {error.message}; trying the next")
            return error
        if error.code in BROKE:
            self.poor = True
            hint = "add credit to the account"
            raise BudgetError(error.message, hint=hint, needed_usd=self.first_usd(offer.rates)) from error
        if error.code == "invalid_args":
            raise error  # it is our order that the market does not take
        self.console.warn(f"Offer {offer.id} was not rented: {error.message}; trying the next")
        return error

    async def _patiently(self, offer: Offer, funds: Decimal | None) -> Lease:
        """Rent; a call that came too soon is made once more, after the pause that the market asked for."""
        try:
            return await self._rent(offer, funds)
        except RateLimited:
            return await self._rent(offer, funds)

    async def may_renew(self, lease: Lease) -> bool:
        """Say whether a lease may last longer: time and money must be there, and its label must say so first."""
        await self._look_into_purse()
        now = await self.market.now()
        # From here to the new label in the ledger nothing waits, or two renewals could count on the same money.
        if why := self.cannot_renew(lease):
            if lease.last_words != why:
                lease.last_words = why
                self.console.info(f"Lease {lease.id} is not renewed: {why}")
            return False
        return self.terms.budget_usd is None or await self.prolonged(lease, now, self.terms.timing.lease_s)

    async def _look_into_purse(self) -> None:
        """Ask for the account's credit, unless that was done a moment ago; one that nobody tells limits nothing."""
        if self.terms.budget_usd is None or clock.now() - self._purse_at < FUNDS_S:
            return
        self._purse_at = clock.now()
        with contextlib.suppress(MarketError):
            funds = await self.market.funds()
            self._purse = None if funds is None else funds + self.spent()

    async def prolonged(self, lease: Lease, now: datetime, seconds: float) -> bool:
        """Move the deadline in the label; whoever reaps by it must not take a machine that works."""
        old = labels.parse(lease.row.label)
        if old is None:
            raise AssertionError("a lease without a label")
        seconds += self.terms.timing.grace_s
        label = str(replace(old, deadline=now + timedelta(seconds=seconds)))
        try:
            self.ledger.relabelled(lease.id, label)
            await asyncio.wait_for(self.market.relabel(lease.instance, label), RELABEL_S)
        except (MarketError, StoreError, TimeoutError) as error:
            said = str(error) or f"no answer within {RELABEL_S:.0f} s"
            if lease.last_words != said:
                lease.last_words = said
                self.console.warn(f"Lease {lease.id} is renewed a little later: {said}")
            return False
        lease.row = replace(lease.row, label=label)
        return True

    def lengthen(self, lease: Lease, seconds: float) -> None:
        """Let a lease last as long as its plans need, with some room."""
        if lease.max_runtime_s is not None and PLAN_ROOM * seconds > lease.max_runtime_s:
            lease.max_runtime_s = PLAN_ROOM * seconds
            self.say_length(lease)

    def say_length(self, lease: Lease) -> None:
        """Say how long a lease lasts at most."""
        if lease.max_runtime_s is not None:
            length = timedelta(seconds=round(lease.max_runtime_s))
            self.console.info(f"This lease lasts {length} at most (max_runtime)")

    def cannot_renew(self, lease: Lease) -> str | None:
        """Say why a lease may not last another length, None when it may."""
        terms = self.terms
        lease.unpaid = False
        if lease.max_runtime_s is not None and lease.age_s + lease.sheet.length_s > lease.max_runtime_s:
            return f"it would last longer than max_runtime ({lease.max_runtime_s:.0f} s)"
        if terms.budget_usd is None:
            return None
        more = budget.commitment(
            self.ledger.lease(lease.id).rates, terms.timing.lease_s + terms.timing.grace_s, terms.traffic
        )
        promised = self.committed(but=lease.id) + more
        self.poor = promised <= terms.budget_usd and self._purse is not None and promised > self._purse
        if promised <= terms.budget_usd and not self.poor:
            return None
        self.short = lease.unpaid = True
        return f"${more:.3f} for another {terms.timing.lease_s / 60:.1f} min would go beyond {self._limit}"

    @property
    def more_money(self) -> str:
        """Name the next step where there is too little of it."""
        return ("add credit" if self.poor else "raise --budget") + "; the same command goes on from here"

    @property
    def _limit(self) -> str:
        """Name what there is too little of."""
        return "the account's credit" if self.poor else f"the budget of ${self.terms.budget_usd:f}"

    def lacks(self, lease: Lease, seconds: float) -> str | None:
        """Say that the budget has no room for so much more work on a lease, None where it has."""
        if self.terms.budget_usd is None:
            return None
        more = budget.commitment(self.ledger.lease(lease.id).rates, seconds, Traffic())
        if self.committed(but=lease.id) + more <= self.terms.budget_usd:
            return None
        return f"${more:.3f} to make it anew would go beyond the budget of ${self.terms.budget_usd:f}"

    def lacks_for(self, lengths: Mapping[str, tuple[float, Traffic]], funds: Decimal | None) -> Decimal:
        """Give the sum that is lacking for leases to last so many seconds more, and to move so much; 0 where none is.

        By lease; the others of the batch cost what they are promised.
        """
        if self.terms.budget_usd is None:
            return Decimal(0)
        now, spent = self.ledger.clock(), self.spent()
        total = Decimal(0)
        for row in self.ledger.leases(self.batch):
            if row.id in lengths and row.state != "gone":
                seconds, traffic = lengths[row.id]
                until = now + timedelta(seconds=seconds + self.terms.timing.grace_s)
                total += self._bound(row, now, until=until, expected=traffic)
            else:
                total += self._cost(row, now) if row.state == "gone" else self._bound(row, now)
        there = self.terms.budget_usd if funds is None else min(self.terms.budget_usd, funds + spent)
        return max(Decimal(0), total - there)

    def first_usd(self, rates: Rates) -> Decimal:
        """Give what a lease may cost at most until it is renewed."""
        return budget.commitment(rates, self.terms.first_s, self.terms.traffic)

    def check_money(self) -> None:
        """Raise BudgetError when what is left does not pay for more than giving all machines back."""
        if self.terms.budget_usd is None:
            return
        rows = [row for row in self.ledger.leases(self.batch) if row.state != "gone"]
        last_s = LAST_S + LAST_EACH_S * max(0, len(rows) - 1)
        last = sum((budget.commitment(row.rates, last_s, Traffic()) for row in rows), Decimal(0))
        if self.spent() + last > self.terms.budget_usd:
            raise BudgetError(
                f"the budget of ${self.terms.budget_usd:f} is used up, and work is left",
                hint="raise --budget; the same command goes on from here",
                needed_usd=max((self.first_usd(row.rates) for row in rows), default=None),
            )

    def spent(self) -> Decimal:
        """Give what the batch has cost so far; a machine that has not told what it fetched may have fetched it all."""
        now = self.ledger.clock()
        return sum((self._cost(row, now) for row in self.ledger.leases(self.batch)), Decimal(0))

    def committed(self, *, but: str = "") -> Decimal:
        """Give what the batch may come to cost with the leases it has, each to the deadline in its label.

        Of the lease `but`, and of those that are gone, what they have cost.
        """
        now = self.ledger.clock()
        rows = self.ledger.leases(self.batch)
        return sum(
            (self._cost(row, now) if row.state == "gone" or row.id == but else self._bound(row, now) for row in rows),
            Decimal(0),
        )

    def _cost(self, row: LeaseRow, now: datetime) -> Decimal:
        untold = self.terms.packages_bytes if row.running_at and not row.down_bytes else 0
        return budget.cost(row, now, cautious=True) + Traffic(down_bytes=untold).usd(row.rates)

    def _bound(
        self, row: LeaseRow, now: datetime, *, until: datetime | None = None, expected: Traffic | None = None
    ) -> Decimal:
        """Give what a lease that lasts costs at most: all its time, and the traffic that was expected or told of."""
        label = labels.parse(row.label)
        last = until or (label.deadline if label else now)
        end = max(now + timedelta(seconds=LAST_S), last)
        expected = expected or self.terms.traffic
        moved = Traffic(
            down_bytes=max(expected.down_bytes, row.down_bytes), up_bytes=max(expected.up_bytes, row.up_bytes)
        )
        return budget.commitment(row.rates, (end - row.intended_at).total_seconds(), moved) + row.before_usd

    def _left(self, funds: Decimal | None) -> Decimal | None:
        """Give what may still be promised: of the budget and of the account; None where nothing costs anything."""
        if self.terms.budget_usd is None:
            return None
        promised = self.committed()
        left = self.terms.budget_usd - promised
        if funds is not None:
            funds -= promised - self.spent()  # of the account's credit, what is billed is gone already
        self.poor = funds is not None and funds < left
        return left if funds is None else min(left, funds)

    def _afford(self, offer: Offer, left: Decimal | None) -> None:
        """Raise BudgetError unless all that a lease may cost is there, before anything is rented."""
        if left is None:
            return
        needed, others = self.first_usd(offer.rates), self._renewals()
        if needed + others > left:
            there = f"${max(left, Decimal(0)):.3f} of {self._limit}"
            raise BudgetError(
                f"a lease of {offer.description} may cost ${needed:.3f}"
                + (f", to renew the others once ${others:.3f}" if others else "")
                + f", and {there} are left",
                hint=self.more_money,
                needed_usd=needed + others,
            )

    def _renewals(self) -> Decimal:
        """Give what it takes to renew each lease there is once: another one must not starve them."""
        seconds = self.terms.timing.lease_s
        rows = (row for row in self.ledger.leases(self.batch) if row.state == "held")
        return sum((budget.commitment(row.rates, seconds, Traffic()) for row in rows), Decimal(0))

    def hard_life_s(self, offer: Offer, funds: Decimal | None) -> float:
        """Give the longest life of a machine, whoever renews it: bounded by time and by what is left to spend.

        Others' share is not taken off, since it is free again when they leave.
        """
        most = self.terms.timing.hard_life_s
        if self.terms.budget_usd is None:
            return most
        left = self.terms.budget_usd - self.spent()
        paid = budget.life_s(offer.rates, left if funds is None else min(left, funds), self.terms.traffic)
        return max(self.terms.first_s, min(most, paid))

    async def _rent(self, offer: Offer, funds: Decimal | None) -> Lease:
        """Write the intent into the ledger and the sheet into the store, then make the call that costs money."""
        market, ledger, terms = self.market, self.ledger, self.terms
        now = await market.now()
        # From here to the intent in the ledger nothing waits, or a renewal could count on the same money.
        self._afford(offer, self._left(funds))
        hard_life_s = self.hard_life_s(offer, funds)
        row = ledger.intend(
            batch=self.batch,
            market=market.name,
            place=market.place,
            offer=offer,
            now=now,
            life_s=terms.first_s,
        )
        self.console.debug(f"Renting {offer.description}, ${offer.usd_per_hour:.4f}/hr; label {row.label}")
        length_s = min(terms.timing.lease_s, terms.max_runtime_s or terms.timing.lease_s)
        timing = terms.timing
        sheet = replace(
            self.sheet,
            lease=row.id,
            length_s=length_s,
            grace_s=timing.grace_s,
            watch_s=timing.watch_s,
            status_s=timing.status_s,
        )
        sheet = leases.addressed(sheet, self.home, self.supplies)
        try:
            await background.start(partial(self.home.state.write, keys.sheet(row.id), wire.dump(sheet)))
        except StoreError:
            ledger.ended(row.id, "gone")  # nothing was created
            raise
        launch = Launch(
            label=row.label,
            lease=row.id,
            boot_url=self._boot_url(sheet),
            life_s=terms.first_s,
            hard_life_s=hard_life_s,
            image=terms.image,
            disk_gb=terms.query.disk_gb or 0,
            environment={"UPREZ_LINGER_S": str(ALONE_LINGER_S)} if terms.detach else {},
        )
        instance = await self._create(row, offer, launch)
        price = f"{offer.usd_per_hour:.3f}" if offer.usd_per_hour else "0"
        self.console.ok(f"Created instance {instance.id} on {offer.description} (${price}/hr)")
        return Lease(
            row=replace(row, instance=instance.id),
            offer=offer,
            instance=instance.id,
            monitor=Monitor(lease=row.id, timing=terms.timing),
            sheet=sheet,
            max_runtime_s=terms.max_runtime_s,
            life_s=hard_life_s if offer.lasts_s is None else min(hard_life_s, offer.lasts_s),
            disk_gb=launch.disk_gb,
            traffic=terms.traffic,
        )

    def _boot_url(self, sheet: Sheet) -> str:
        """Give the address that a machine is told: on a rented one it opens the sheet for the boot alone."""
        if self.terms.budget_usd is None:
            return sheet.next_sheet_url
        return self.home.state.get_url(keys.sheet(sheet.lease), seconds=self.terms.timing.boot_s + BOOT_LATER_S)

    async def _create(self, row: LeaseRow, offer: Offer, launch: Launch) -> Instance:
        try:
            instance = await self.market.create(offer, launch)
        except BillingError:
            leases.note(self.console, partial(self.ledger.ended, row.id, "lost"))
            raise
        except RentError:
            leases.note(self.console, partial(self.ledger.ended, row.id, "gone"))
            raise
        try:
            self.ledger.held(row.id, instance.id)
        except StoreError as error:
            await self.market.destroy(instance.id)
            raise RentError(
                f"instance {instance.id} could not be recorded, so it was given back: {error.message}", hint=error.hint
            ) from error
        return instance
