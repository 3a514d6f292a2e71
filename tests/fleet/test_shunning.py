"""Which machines a batch leaves out, and which of them the next ones do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest

from paper import OFFER, PaperMarket, renter_of
from uprez.config.settings import Timing
from uprez.errors import RentError, StoreError
from uprez.fleet.ledger import Ledger
from uprez.fleet.renting import Renter, Terms
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.store.open import Home

SHEET = Sheet(lease="", length_s=0, grace_s=0, families=(), status_url="", log_urls=(), next_sheet_url="")


@pytest.fixture
def market() -> PaperMarket:
    """Give a market with three offers."""
    market = PaperMarket()
    market.credit = Decimal(25)
    market.listed = [replace(OFFER, id=name, machine=name) for name in ("m0", "m1", "m2")]
    return market


@pytest.fixture
def renter(market: PaperMarket, ledger: Ledger, home: Home, console: Console, timing: Timing) -> Renter:
    """Give one that may spend a dollar."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    return renter_of(market, ledger, home, console, Terms(timing=timing, budget_usd=Decimal(1)), SHEET)


def test_the_next_batch_leaves_out_who_lied_and_says_so_once(
    renter: Renter, market: PaperMarket, ledger: Ledger, home: Home, console: Console, said: StringIO
) -> None:
    """At this place, until its time is over; whoever did not suit that batch alone is rented again."""
    renter.shunning.shun("m0", "black frames", fault=True, lied=True, evidence="out/evidence.json")
    renter.shunning.shun("m0", "black frames again", fault=True, lied=True)
    renter.shunning.shun("m1", "no such encoder", fault=False)
    assert [(ban.machine, ban.reason, ban.evidence) for ban in ledger.bans()] == [
        ("m0", "black frames", "out/evidence.json")
    ]
    said.truncate(0)
    next_ = renter_of(market, ledger, home, console, renter.terms, SHEET)
    assert asyncio.run(next_.acquire()).row.machine == "m1"
    assert asyncio.run(next_.acquire(held={"m1"})).row.machine == "m2"
    assert said.getvalue().count("machine m0 until") == 1
    ledger.clock = lambda: datetime.now(UTC) + timedelta(days=8)
    late = renter_of(market, ledger, home, console, renter.terms, SHEET)
    assert asyncio.run(late.acquire()).row.machine == "m0"


def test_where_all_are_shunned_the_next_step_is_named(renter: Renter, market: PaperMarket) -> None:
    """`uprez bans` shows why nothing is offered."""
    market.listed = market.listed[:1]
    renter.shunning.shun("m0", "black frames", fault=True, lied=True)
    with pytest.raises(RentError) as failed:
        asyncio.run(renter.acquire())
    assert "uprez bans" in (failed.value.hint or "")


def test_a_machine_that_never_boots_is_blamed_once_another_did(renter: Renter, ledger: Ledger) -> None:
    """Until then the image may be what is wrong, and all machines would be blamed for it."""
    renter.shunning.shun("m0", "no worker began", fault=True, booted=False)
    assert ledger.bans() == []
    renter.shunning.came_up()
    renter.shunning.shun("m1", "no worker began", fault=True, booted=False)
    assert [ban.machine for ban in ledger.bans()] == ["m0", "m1"]


def test_a_full_disk_ends_nothing(
    renter: Renter, ledger: Ledger, said: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is left out of this batch all the same."""

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(ledger, "ban", full)
    renter.shunning.shun("m0", "black frames", fault=True, lied=True)
    assert "the disk is full" in said.getvalue()
    assert asyncio.run(renter.acquire()).row.machine == "m1"
