"""How a lease begins: within the budget, with an intent, and the next offer where one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest

from paper import OFFER, PaperMarket, renter_of
from uprez.config.settings import Timing
from uprez.errors import BillingError, BudgetError, KeyRefused, NoSuchAsk, RateLimited, Refused, RentError, StoreError
from uprez.fleet import clock
from uprez.fleet.budget import Traffic
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.renting import TRIES, Renter, Terms
from uprez.market.base import Launch, Offer, Rates
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.store.open import Home

SHEET = Sheet(lease="", length_s=0, grace_s=0, families=("cuda",), status_url="", log_urls=(), next_sheet_url="")
HOUR = Rates(gpu_usd_per_hour=Decimal("0.36"), up_usd_per_gb=Decimal("0.01"))
GB = Traffic(up_bytes=10**9)
Rent = Callable[[], Lease]


def offers(count: int) -> list[Offer]:
    """Give offers at 0.36 dollars an hour and more."""
    return [
        replace(
            OFFER,
            id=str(number),
            machine=f"m{number}",
            rates=replace(HOUR, gpu_usd_per_hour=HOUR.gpu_usd_per_hour + Decimal(number) / 100),
        )
        for number in range(count)
    ]


@pytest.fixture
def market() -> PaperMarket:
    """Give a market with a dozen offers."""
    market = PaperMarket()
    market.listed = offers(12)
    market.credit = Decimal(25)
    return market


@pytest.fixture
def renter(market: PaperMarket, ledger: Ledger, home: Home, console: Console, timing: Timing) -> Renter:
    """Give one that may spend a dollar; a first lease lasts 100 s at most."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    return renter_of(
        market,
        ledger,
        home,
        console,
        Terms(timing=timing, budget_usd=Decimal(1), max_runtime_s=7200, traffic=GB, image="image"),
        SHEET,
    )


def rent(renter: Renter) -> Lease:
    """Rent."""
    return asyncio.run(renter.acquire())


def test_a_lease_is_committed_before_it_is_rented(renter: Renter, market: PaperMarket) -> None:
    """Boot, lease and grace at its price, and all its traffic: a tenth of a cent less is not enough."""
    needed = Decimal("0.36") * 100 / 3600 + Decimal("0.01")
    renter.terms = replace(renter.terms, budget_usd=needed)
    rent(renter)
    assert market.launched[0].life_s == 100
    renter.terms = replace(renter.terms, budget_usd=needed - Decimal("0.001"))
    renter.batch = "b0000002"
    renter.ledger.begin_batch("b0000002", "", {})
    with pytest.raises(BudgetError, match="may cost") as failed:
        rent(renter)
    assert failed.value.needed_usd == needed
    assert len(market.launched) == 1


def test_the_account_s_credit_is_a_limit_too(renter: Renter, market: PaperMarket) -> None:
    """Whatever the budget says."""
    market.credit = Decimal("0.015")
    with pytest.raises(BudgetError, match="may cost"):
        rent(renter)
    assert market.launched == []


def test_the_hard_life_is_what_the_money_pays_for(renter: Renter, market: PaperMarket, timing: Timing) -> None:
    """So that the dead-man keeps the budget even when nobody else does; never less than the first lease."""
    rent(renter)
    paid = float((Decimal(1) - Decimal("0.01")) / Decimal("0.36") * 3600)
    assert market.launched[0].hard_life_s == pytest.approx(min(paid, timing.hard_life_s))


@pytest.mark.parametrize("kind", [NoSuchAsk, Refused, RateLimited])
def test_the_next_offer_is_tried(renter: Renter, market: PaperMarket, kind: type[RentError], said: StringIO) -> None:
    """One that is gone, refused or asked for too soon; each try has an intent of its own, ended at once."""
    seen: list[str] = []

    def refuse(launch: Launch) -> None:
        seen.append(launch.lease)
        if len(seen) < 4:
            raise kind("not this one")

    market.before_create = refuse
    lease = rent(renter)
    assert lease.id == seen[-1]
    assert [row.state for row in renter.ledger.leases("b0000001")] == ["gone", "gone", "gone", "held"]
    assert "trying the next" in said.getvalue()


def test_nobody_tries_for_ever(renter: Renter, market: PaperMarket) -> None:
    """After a few offers the run ends with code 4."""
    tries: list[str] = []

    def refuse(launch: Launch) -> None:
        tries.append(launch.lease)
        raise NoSuchAsk("gone")

    market.before_create = refuse
    with pytest.raises(RentError, match=f"none of {TRIES} offers"):
        rent(renter)
    assert len(tries) == TRIES


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyRefused("no"), KeyRefused),
        (BillingError("it is there"), BillingError),
        (Refused("broke", code="insufficient_credit"), BudgetError),
        (Refused("broke", code="spend_rate_limit"), BudgetError),
        (Refused("your order is bad", code="invalid_args"), Refused),
    ],
)
def test_what_no_other_offer_mends_ends_it(
    renter: Renter, market: PaperMarket, error: Exception, kind: type[Exception]
) -> None:
    """A wrong key, an account without money, an order that the market does not take, a machine that stays."""
    tries: list[str] = []

    def refuse(launch: Launch) -> None:
        tries.append(launch.lease)
        raise error

    market.before_create = refuse
    with pytest.raises(kind):
        rent(renter)
    assert len(tries) == 1
    assert [row.state for row in renter.ledger.leases("b0000001")] == ["lost" if kind is BillingError else "gone"]


def test_a_banned_machine_is_not_rented_again(renter: Renter, market: PaperMarket) -> None:
    """By the machine, whatever its offer is called."""
    renter.shunning.banned = {"m0", "m1"}
    assert rent(renter).row.machine == "m2"
    assert len(market.launched) == 1


def test_an_interrupted_run_tries_no_other_offer(renter: Renter, market: PaperMarket) -> None:
    """The one that is being rented is the last."""

    def refuse(_: Launch) -> None:
        renter.stopped = True
        raise NoSuchAsk("gone")

    market.before_create = refuse
    with pytest.raises(RentError, match="interrupted"):
        rent(renter)
    assert len(renter.ledger.leases("b0000001")) == 1


def test_a_renewal_is_committed_too(renter: Renter) -> None:
    """What was spent and another length must be within the budget, and within max_runtime."""
    lease = rent(renter)
    assert renter.cannot_renew(lease) is None
    renter.terms = replace(renter.terms, budget_usd=Decimal("0.012"))
    assert "beyond the budget" in (renter.cannot_renew(lease) or "")
    lease.max_runtime_s = 40
    lease.began = clock.now() - 20
    assert "max_runtime" in (renter.cannot_renew(lease) or "")


def test_a_renewal_needs_credit_too(renter: Renter, market: PaperMarket) -> None:
    """What the account has left is asked for once a minute; whoever does not say so stops nobody."""
    lease = rent(renter)
    more = Decimal("0.36") * 40 / 3600 + Decimal("0.01")
    market.credit = more - Decimal("0.0005")
    assert not asyncio.run(renter.may_renew(lease))
    assert "beyond the account's credit" in lease.last_words
    assert lease.unpaid
    assert "add credit" in renter.more_money
    market.credit = more + Decimal("0.001")
    assert not asyncio.run(renter.may_renew(lease)), "it was asked a moment ago"
    renter._purse_at = float("-inf")
    assert asyncio.run(renter.may_renew(lease))
    assert not lease.unpaid


def test_money_that_is_used_up_ends_the_work(renter: Renter) -> None:
    """By what the worker says that it moved, too."""
    lease = rent(renter)
    renter.check_money()
    renter.ledger.traffic(lease.id, 0, 200 * 10**9)
    with pytest.raises(BudgetError, match="used up"):
        renter.check_money()


def test_what_a_lease_may_cost_is_not_promised_twice(renter: Renter, market: PaperMarket) -> None:
    """A second lease needs the whole of what it may cost beside the first one's, and room to renew that once."""
    one = Decimal("0.36") * 100 / 3600 + Decimal("0.01")
    renewal = Decimal("0.36") * 30 / 3600
    renter.terms = replace(renter.terms, budget_usd=2 * one + renewal - Decimal("0.0001"))
    rent(renter)
    with pytest.raises(BudgetError, match="may cost"):
        rent(renter)
    renter.terms = replace(renter.terms, budget_usd=2 * one + renewal + Decimal("0.001"))
    rent(renter)
    assert len(market.launched) == 2


def test_the_credit_is_not_promised_twice_either(renter: Renter, market: PaperMarket) -> None:
    """What the account has pays for what is promised already, and only the rest for another lease."""
    one = Decimal("0.36") * 100 / 3600 + Decimal("0.01")
    market.credit = 2 * one
    rent(renter)
    with pytest.raises(BudgetError, match="of the account's credit"):
        rent(renter)


def test_a_renewal_leaves_the_others_theirs(renter: Renter) -> None:
    """What is promised to one lease cannot renew another; when that one is gone it can."""
    first, second = rent(renter), rent(renter)
    spare = Decimal("0.36") * 40 / 3600 + Decimal("0.01")
    renter.terms = replace(renter.terms, budget_usd=renter.committed(but=first.id) + spare + Decimal("0.0005"))
    assert renter.cannot_renew(first) is None
    renter.terms = replace(renter.terms, budget_usd=renter.committed(but=first.id) + spare - Decimal("0.0005"))
    assert "beyond the budget" in (renter.cannot_renew(first) or "")
    assert renter.short
    renter.ledger.ending(second.id, "done")
    renter.ledger.ended(second.id, "gone")
    assert renter.cannot_renew(first) is None


def test_another_machine_is_another_one(renter: Renter, market: PaperMarket) -> None:
    """One host's second GPU fails with its first."""
    first = rent(renter)
    second = asyncio.run(renter.acquire(held={first.row.machine}))
    assert second.row.machine != first.row.machine


def test_a_full_disk_does_not_hide_a_machine_that_stays(
    renter: Renter, market: PaperMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a machine may bill outranks that this could not be written down."""

    def refuse(_: Launch) -> None:
        raise BillingError("it is there")

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    market.before_create = refuse
    monkeypatch.setattr(renter.ledger, "ended", full)
    with pytest.raises(BillingError):
        rent(renter)


def test_what_a_machine_fetched_unheard_counts_as_spent(renter: Renter) -> None:
    """One that is lost before its worker began has fetched packages, and nobody told how many: all of them, then."""
    renter.terms = replace(renter.terms, packages_bytes=4 * 10**9)
    lease = rent(renter)
    renter.ledger.priced(lease.id, Rates(down_usd_per_gb=Decimal("0.02")))
    assert renter.spent() == 0
    renter.ledger.running(lease.id)
    assert renter.spent() == Decimal("0.08")
    renter.ledger.traffic(lease.id, 10**9, 0)
    assert renter.spent() == Decimal("0.02")


@pytest.mark.parametrize("price", ["3.6", "0.036"])
def test_a_price_that_changes_changes_what_is_promised(renter: Renter, price: str) -> None:
    """What was is promised at its own price, what is to come at the new one: to the deadline, and for a renewal."""
    lease = rent(renter)
    before, spent = renter.committed(), renter.spent()
    row, rates = renter.ledger.lease(lease.id), replace(HOUR, gpu_usd_per_hour=Decimal(price))
    more = Decimal("0.02")
    renter.ledger.priced(row.id, rates, before_usd=more)
    # Of the 100 s that were promised to a lease that began a moment ago, all are still to come.
    expected = before + (rates.gpu_usd_per_hour - HOUR.gpu_usd_per_hour) * 100 / 3600 + more
    assert abs(renter.committed() - expected) < Decimal("0.001")
    assert abs(renter.spent() - spent - more) < Decimal("0.001")
    renter.terms = replace(renter.terms, budget_usd=renter.committed(but=lease.id) + Decimal("0.035"))
    assert (renter.cannot_renew(lease) is None) == (price == "0.036")
