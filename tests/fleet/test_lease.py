"""One lease from its intent to its end, whatever fails on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import cast

import pytest

from paper import OFFER, PaperMarket, intended, renter_of
from uprez import sheet as sheets
from uprez.config.settings import Timing
from uprez.errors import BillingError, RentError, StoreError
from uprez.fleet import clock
from uprez.fleet import lease as leases
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.renting import Terms
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.job import Pin
from uprez.market.base import Launch, Offer, OfferQuery
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.store import keys, urls
from uprez.store.open import Home

BATCH = "b0000001"
SHEET = Sheet(
    lease="", length_s=30, grace_s=10, families=("cpu",), status_url="", log_urls=(), next_sheet_url="", hold=True
)


class FullDisk:
    """A ledger none of whose writes succeeds."""

    def ending(self, lease: str, reason: str) -> None:
        """Fail."""
        raise StoreError("the ledger cannot be used: database or disk is full")

    def ended(self, lease: str, state: str, *, at: object = None) -> None:
        """Fail."""
        raise StoreError("the ledger cannot be used: database or disk is full")


@pytest.fixture
def market() -> PaperMarket:
    """Give a market with nothing rented."""
    return PaperMarket()


@pytest.fixture
def acquire(
    market: PaperMarket, ledger: Ledger, home: Home, console: Console, timing: Timing
) -> Callable[[], leases.Lease]:
    """Rent a machine."""
    ledger.begin_batch(BATCH, home.outputs.url, {})
    renter = renter_of(market, ledger, home, console, Terms(timing=timing), SHEET)
    return lambda: asyncio.run(renter.acquire())


Acquire = Callable[[], leases.Lease]


def give_back(market: PaperMarket, ledger: object, row: LeaseRow, console: Console) -> None:
    """Give a machine back."""
    asyncio.run(leases.give_back(market, cast("Ledger", ledger), row, console, "the work is done"))


def test_intent_and_sheet_exist_before_the_machine(
    acquire: Acquire, market: PaperMarket, ledger: Ledger, home: Home, timing: Timing
) -> None:
    """When the market is asked to create, the ledger holds the intent and the boot URL leads to the sheet."""
    seen: list[str] = []

    def look(launch: Launch) -> None:
        row = ledger.lease(launch.lease)
        fetched = urls.get(launch.boot_url)
        assert fetched is not None
        sheet = sheets.read(fetched.data)
        assert (row.label, sheet.lease, sheet.next_sheet_url) == (launch.label, launch.lease, launch.boot_url)
        assert urls.path_of(sheet.status_url) == home.prefix / keys.status(launch.lease)
        assert len(set(sheet.log_urls)) == len(sheet.log_urls) > 0
        seen.append(row.state)

    market.before_create = look
    lease = acquire()
    assert seen == ["intent"]
    assert (ledger.lease(lease.id).state, ledger.lease(lease.id).instance) == ("held", lease.instance)
    assert market.launched[0].life_s == timing.lease_s + timing.grace_s
    assert market.launched[0].hard_life_s == timing.hard_life_s


def test_a_lease_keeps_its_logs_addresses_packed_and_writes_them_whole(acquire: Acquire, home: Home) -> None:
    """Two hundred leases with 400 addresses each would be most of what a controller remembers."""
    lease = acquire()
    key = keys.sheet(lease.id)
    first = sheets.read(home.state.read(key) or b"")
    assert lease.sheet.log_urls == ()
    assert len(lease.log_urls) < len("".join(first.log_urls)) / 4
    asyncio.run(leases.write_sheet(home, lease, replace(lease.sheet, hold=False)))
    assert sheets.read(home.state.read(key) or b"") == replace(first, hold=False)
    leases.stop(home, lease)
    assert sheets.read(home.state.read(key) or b"") == replace(first, hold=False, stop=True, tasks=())


def test_failed_create_ends_its_lease(acquire: Acquire, market: PaperMarket, ledger: Ledger) -> None:
    """A market that refuses leaves no open lease behind."""

    def refuse(_: Launch) -> None:
        raise RentError("sold out")

    market.before_create = refuse
    with pytest.raises(RentError, match="sold out"):
        acquire()
    assert [row.state for row in ledger.leases(BATCH)] == ["gone"]


def test_market_without_offers_is_named(acquire: Acquire, market: PaperMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is offered nothing is recorded or rented."""

    async def none(_: OfferQuery) -> list[Offer]:
        return []

    monkeypatch.setattr(market, "offers", none)
    with pytest.raises(RentError, match="paper"):
        acquire()


def test_machine_is_given_back(
    acquire: Acquire, market: PaperMarket, ledger: Ledger, console: Console, said: StringIO
) -> None:
    """Giving back destroys the instance, records why, and says so in the original's words."""
    lease = acquire()
    give_back(market, ledger, ledger.lease(lease.id), console)
    assert market.rented == {}
    assert (ledger.lease(lease.id).state, ledger.lease(lease.id).reason) == ("gone", "the work is done")
    assert f"[CLEANUP] Destroying instance {lease.instance}" in said.getvalue()
    assert "[OK] Instance destroyed" in said.getvalue()


def test_full_disk_does_not_keep_a_machine(
    acquire: Acquire, market: PaperMarket, ledger: Ledger, console: Console, said: StringIO
) -> None:
    """A ledger that cannot be written is a warning; the machine goes all the same."""
    lease = acquire()
    give_back(market, FullDisk(), ledger.lease(lease.id), console)
    assert market.rented == {}
    assert "[WARN] the ledger cannot be used: database or disk is full" in said.getvalue()


def test_machine_whose_id_was_never_learnt_is_found_by_label(
    market: PaperMarket, ledger: Ledger, console: Console
) -> None:
    """A lease that stopped at its intent is ended by its label, renewed or not; another label's machine stays."""
    ledger.begin_batch(BATCH, "file:///out", {})
    row = intended(ledger, BATCH, market="paper", usd_per_hour=Decimal(1), life_s=9)
    market.rented = {"i-9": row.label, "i-8": "uprez/ffffffff/eeeeeeee/1"}
    give_back(market, ledger, row, console)
    assert list(market.rented) == ["i-8"]
    assert ledger.lease(row.id).state == "gone"


def test_intent_that_rented_nothing_just_ends(market: PaperMarket, ledger: Ledger, console: Console) -> None:
    """An intent whose label no machine carries is gone once the list cannot lag behind it any more, not before."""
    ledger.begin_batch(BATCH, "file:///out", {})
    row = intended(ledger, BATCH, market="paper", usd_per_hour=Decimal(1), life_s=9)
    with pytest.raises(leases.Unsettled):
        give_back(market, ledger, row, console)
    assert ledger.open_leases() == [row]
    market.ahead = timedelta(seconds=leases.UNSETTLED_S + 1)
    give_back(market, ledger, row, console)
    assert ledger.open_leases() == []


@pytest.mark.parametrize("full", [False, True])
def test_machine_that_does_not_go_is_never_called_gone(
    acquire: Acquire, market: PaperMarket, ledger: Ledger, console: Console, said: StringIO, full: bool
) -> None:
    """A machine that may still run raises BillingError, full disk or not, and its lease stays open."""
    lease = acquire()
    market.stuck = {lease.instance}
    with pytest.raises(BillingError, match=lease.instance):
        give_back(market, FullDisk() if full else ledger, ledger.lease(lease.id), console)
    assert [row.state for row in ledger.open_leases()] == ["held" if full else "lost"]
    assert "Instance destroyed" not in said.getvalue()


def test_lease_is_due_when_half_is_left(acquire: Acquire) -> None:
    """A lease of 30 s is renewed from its 15th second on, not before."""
    lease = acquire()
    lease.renewed = clock.now() - 14
    assert not leases.due(lease)
    lease.renewed = clock.now() - 16
    assert leases.due(lease)


def test_task_names_every_object_it_needs(
    work_of: Callable[[str, int], Work], home: Home, ledger: Ledger, timing: Timing
) -> None:
    """An attempt has a key of its own; plan, survey and the segments that count come by URL and hash, in order."""
    ledger.begin_batch(BATCH, home.outputs.url, {})
    row = intended(ledger, BATCH, market="paper", usd_per_hour=Decimal(1), life_s=9)
    lease = leases.Lease(row=row, offer=OFFER, instance="i", monitor=Monitor(lease=row.id, timing=timing), sheet=SHEET)
    bare, planned = work_of("0123456789abcdef", 0), work_of("fedcba9876543210", 3)
    planned.counted = {
        number: Pin(key=f"k{number}", size=number, etag="e", sha256=f"{number}" * 64) for number in (2, 0, 1)
    }
    index = leases.task(home, lease, bare, INDEX, 2, seconds=60)
    enhance = [leases.task(home, lease, planned, Piece("enhance", 1), 2, seconds=60) for _ in range(2)]
    assemble = leases.task(home, lease, planned, ASSEMBLE, 2, seconds=60)
    tasks = [index, *enhance, assemble]
    assert len({task.id for task in tasks}) == len({task.put.key for task in tasks}) == 4
    assert all(task.put.url == (home.prefix / task.put.key).as_uri() for task in tasks)
    shapes = [getattr(keys.parse(task.put.key), "shape", None) for task in tasks]
    assert shapes == ["index", "segment", "segment", "assembly"], json.dumps([task.put.key for task in tasks])
    assert (index.plan, index.survey, index.inputs) == (None, None, ())
    assert enhance[0].segment == 1
    assert enhance[0].plan is not None
    assert [ref.size for ref in assemble.inputs] == [0, 1, 2]
    assert Path(urls.path_of(assemble.inputs[2].url)) == home.prefix / "k2"
