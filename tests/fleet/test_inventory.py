"""What is rented now, whose it is, and whether anybody wants it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from paper import PaperMarket, intended
from uprez.errors import BillingError
from uprez.fleet import inventory, reaper
from uprez.fleet import lease as leases
from uprez.fleet.labels import Label
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import batch_lock
from uprez.fleet.reaper import GRACE, YOUNG, orphans
from uprez.market.base import Instance
from uprez.report.console import Console

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """Give the folder of the batches' locks."""
    return tmp_path / "batches"


def machine(name: str, label: str, *, age: timedelta = timedelta(hours=1), state: str = "running") -> Instance:
    """Give an instance of that age."""
    return Instance(id=name, label=label, state=state, created_at=NOW - age)  # type: ignore[arg-type]


def named(ledger: Ledger, lease: str, deadline: datetime) -> str:
    """Write a label of this ledger."""
    return str(Label(ledger=ledger.id, lease=lease, deadline=deadline))


def lost(ledger: Ledger, *found: Instance) -> list[str]:
    """Name the orphans among these."""
    rows = [row for row in ledger.open_leases() if row.place == "vast.ai#7"]
    return [one.id for one, _ in orphans(found, ledger.id, rows, NOW)]


def test_an_instance_of_an_open_lease_is_that_lease_s_matter(ledger: Ledger) -> None:
    """By its id or by the lease in its label, renewed or not."""
    ledger.begin_batch("b0000001", "", {})
    row = intended(ledger, "b0000001", market="vast.ai#7", now=NOW)
    late = named(ledger, row.id, NOW + timedelta(hours=3))
    assert lost(ledger, machine("1", row.label), machine("2", late)) == []
    ledger.held(row.id, "3")
    assert lost(ledger, machine("3", "somebody renamed it")) == []


def test_a_late_comer_of_ours_is_an_orphan_once_it_is_no_child(ledger: Ledger) -> None:
    """An order that was sent twice, or heard after we had given up; under 90 s it may be one that is being rented."""
    label = named(ledger, "0123abcd", NOW + timedelta(hours=1))
    assert lost(ledger, machine("1", label)) == ["1"]
    assert lost(ledger, machine("1", label, age=YOUNG - timedelta(seconds=1))) == []
    assert lost(ledger, machine("1", label, age=YOUNG + timedelta(seconds=1))) == ["1"]


def test_a_stranger_s_machine_is_an_orphan_after_its_deadline_and_grace(ledger: Ledger) -> None:
    """Until then somebody else's controller may renew it; what carries no label of ours is nobody's business."""
    strange = Label(ledger="ffffffff", lease="0123abcd", deadline=NOW - GRACE + timedelta(seconds=1))
    assert lost(ledger, machine("1", str(strange))) == []
    over = Label(ledger="ffffffff", lease="0123abcd", deadline=NOW - GRACE - timedelta(seconds=1))
    assert lost(ledger, machine("1", str(over))) == ["1"]
    assert lost(ledger, machine("1", "my training"), machine("2", ""), machine("3", "uprez/x")) == []


def test_what_is_rented_is_shown_with_its_run(ledger: Ledger, locks: Path) -> None:
    """A living run's, a dead run's, a stranger's, and a lease without a machine."""
    for batch in ("b0000001", "b0000002"):
        ledger.begin_batch(batch, "", {})
    alive = intended(ledger, "b0000001", market="vast.ai#7", now=NOW)
    dead = intended(ledger, "b0000002", market="vast.ai#7", now=NOW)
    elsewhere = intended(ledger, "b0000002", market="vast.ai#8", now=NOW)
    strange = Label(ledger="ffffffff", lease="0123abcd", deadline=NOW + timedelta(hours=1))
    found = [machine("1", alive.label), machine("9", str(strange))]
    with batch_lock(locks, "b0000001"):
        held = inventory.compare(found, ledger, locks, NOW, "vast.ai#7")
    assert [(one.name, one.wanted) for one in held] == [("1", True), (dead.id, False), ("9", True)]
    assert elsewhere.id not in [one.name for one in held]
    assert "gone" in held[1].why
    assert all(one.cost_usd >= Decimal(0) for one in held)


def test_reaping_ends_what_is_lost_and_nothing_else(ledger: Ledger, locks: Path, console: Console) -> None:
    """The dead run's machine and the late comer go; the living run's and the stranger's stay."""
    market = PaperMarket()
    for batch in ("b0000001", "b0000002"):
        ledger.begin_batch(batch, "", {})
    now = datetime.now(UTC)
    alive, dead = (intended(ledger, batch, market="paper", now=now) for batch in ("b0000001", "b0000002"))
    strange = Label(ledger="ffffffff", lease="0123abcd", deadline=now + timedelta(hours=1))
    late = named(ledger, "aaaaaaaa", now + timedelta(hours=1))
    market.rented = {"1": alive.label, "2": dead.label, "3": str(strange), "4": late}
    with batch_lock(locks, "b0000001"):
        done = asyncio.run(reaper.reap(market, ledger, locks, console))
    assert set(market.rented) == {"1", "3"}
    assert done.ended == [dead.id]
    assert ledger.lease(dead.id).instance == "2", "what it cost is known afterwards"


def test_what_cannot_be_known_yet_is_asked_again(
    ledger: Ledger, locks: Path, console: Console, said: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renting that was cut off a moment ago may still show: it is waited for, found and ended."""
    market = PaperMarket()
    ledger.begin_batch("b0000001", "", {})
    row = intended(ledger, "b0000001", market="paper", now=datetime.now(UTC))
    done = asyncio.run(reaper.reap(market, ledger, locks, console))
    assert ([one.id for one in done.unsettled], done.ended) == ([row.id], [])
    monkeypatch.setattr(reaper, "ASK_AGAIN_S", 0.0)
    looks = iter(range(10))
    real = market.instances

    async def later() -> list[Instance]:
        if next(looks) == 2:
            market.rented["5"] = row.label
        return await real()

    monkeypatch.setattr(market, "instances", later)
    last = asyncio.run(reaper.settle(market, ledger, console, done.unsettled))
    assert last.ended == [row.id]
    assert market.rented == {}
    assert "Looking for what a run that was killed may have rented" in said.getvalue()
    assert leases.UNSETTLED_S > 120


def test_an_orphan_that_stays_is_told(ledger: Ledger, locks: Path, console: Console, said: StringIO) -> None:
    """With its command; the others go all the same."""
    market = PaperMarket()
    now = datetime.now(UTC)
    market.rented = {str(n): named(ledger, f"aaaaaaa{n}", now + timedelta(hours=1)) for n in (1, 2)}
    market.stuck = {"1"}
    done = asyncio.run(reaper.reap(market, ledger, locks, console))
    assert set(market.rented) == {"1"}
    assert [type(error) for error in done.stuck] == [BillingError]
    assert "1 does not end" in said.getvalue()
