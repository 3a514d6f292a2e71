"""What a controller that died left behind, on the real local market: instances here are folders without a process."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from paper import PaperMarket, intended
from uprez import wire
from uprez.errors import BillingError, StoreError
from uprez.fleet import reaper
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import batch_lock
from uprez.fleet.reaper import Reaped
from uprez.fleet.rows import LeaseRow
from uprez.market import deadman
from uprez.market.base import Instance
from uprez.market.local import LocalMarket
from uprez.report.console import Console
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

Abandon = Callable[..., LeaseRow]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of the local market's instances."""
    return tmp_path / "local"


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """Give the folder of the batches' locks."""
    return tmp_path / "batches"


@pytest.fixture
def abandon(ledger: Ledger, folder: Path) -> Abandon:
    """Record a lease of a batch of its own and make its instance, as a run does before it is killed."""

    def abandon(batch: str, *, market: str = "local", learnt: bool = True) -> LeaseRow:
        ledger.begin_batch(batch, "file:///out", {})
        row = intended(ledger, batch, market=market, usd_per_hour=Decimal(0), life_s=40)
        (folder / row.id).mkdir(parents=True)
        (folder / row.id / "launch.json").write_text(json.dumps({"label": row.label}))
        if learnt:
            ledger.held(row.id, row.id)
        return ledger.lease(row.id)

    return abandon


def reap(folder: Path, ledger: Ledger, locks: Path, console: Console) -> Reaped:
    """Reap on the local market."""
    return asyncio.run(reaper.reap(LocalMarket(folder), ledger, locks, console))


@pytest.mark.parametrize("learnt", [True, False])
def test_orphan_of_a_dead_controller_is_destroyed(
    abandon: Abandon, folder: Path, ledger: Ledger, locks: Path, console: Console, said: StringIO, learnt: bool
) -> None:
    """A lease whose controller is gone ends, by its id or, where that was never learnt, by its label; it is said."""
    row = abandon("b0000001", learnt=learnt)
    reap(folder, ledger, locks, console)
    assert not (folder / row.id).exists()
    assert (ledger.lease(row.id).state, ledger.lease(row.id).reason) == ("gone", "its controller is gone")
    assert row.id in said.getvalue()


def test_lease_of_a_living_controller_is_left_alone(
    abandon: Abandon, folder: Path, ledger: Ledger, locks: Path, console: Console, said: StringIO
) -> None:
    """While another run lives, its lease and its instance stay as they are."""
    row = abandon("b0000001")
    with batch_lock(locks, "b0000001"):
        reap(folder, ledger, locks, console)
    assert (folder / row.id).exists()
    assert ledger.lease(row.id) == row
    assert said.getvalue() == ""


def test_lease_of_another_market_is_left_to_it(
    abandon: Abandon, folder: Path, ledger: Ledger, locks: Path, console: Console
) -> None:
    """The local market does not end what was rented elsewhere."""
    row = abandon("b0000001", market="elsewhere")
    reap(folder, ledger, locks, console)
    assert ledger.lease(row.id) == row


def test_ended_instance_that_nobody_knows_is_swept_up(
    folder: Path, ledger: Ledger, locks: Path, console: Console
) -> None:
    """Folders of ended instances go, with a label that is in no ledger or with none."""
    (folder / "aaaaaaaa").mkdir(parents=True)
    (folder / "bbbbbbbb").mkdir()
    (folder / "bbbbbbbb" / "launch.json").write_text('{"label": "uprez/00000000/bbbbbbbb/1"}')
    reap(folder, ledger, locks, console)
    assert list(folder.iterdir()) == []


def test_running_instance_of_another_ledger_is_left_alone(
    folder: Path, ledger: Ledger, locks: Path, console: Console
) -> None:
    """What runs under a label that this ledger does not know may be somebody's work: its dead-man ends it, not we."""
    (folder / "cccccccc").mkdir(parents=True)
    lock = deadman.take_lock(folder / "cccccccc")
    reap(folder, ledger, locks, console)
    os.close(lock)
    assert (folder / "cccccccc").exists()


def test_instance_that_does_not_end_is_reported(
    abandon: Abandon,
    folder: Path,
    ledger: Ledger,
    locks: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be seen gone is told, keeps nothing else from being reaped, and stays open for the next start."""

    async def refuse(_: LocalMarket, instance: str) -> None:
        raise BillingError(f"{instance} does not end")

    monkeypatch.setattr(LocalMarket, "destroy", refuse)
    row = abandon("b0000001")
    other = abandon("b0000002")
    done = reap(folder, ledger, locks, console)
    assert [row.id in str(error) for row, error in zip((row, other), done.stuck, strict=True)] == [True, True]
    assert [ledger.lease(each.id).state for each in (row, other)] == ["lost", "lost"]


@pytest.mark.parametrize("made", [True, False])
def test_what_was_rented_unheard_is_paid_for_by_the_run_that_ends_it(
    ledger: Ledger, console: Console, home: Home, made: bool
) -> None:
    """A machine that its label leads to costs its GPU and traffic from its order on; one that never was, nothing."""
    for batch in ("b0000001", "b0000002"):
        ledger.begin_batch(batch, "file:///out", {})
    row = intended(ledger, "b0000001", market="paper", usd_per_hour=Decimal(1))
    market = PaperMarket()
    market.ahead = timedelta(minutes=5)
    if made:
        market.rented = {"i-9": row.label}
        status = Status(lease=row.id, beat=1, phase="working", down_bytes=7, up_bytes=3)
        home.state.write(keys.status(row.id), wire.dump(status))
    done = asyncio.run(reaper.settle(market, ledger, console, [row], batch="b0000002", home=home))
    (ended,) = ledger.leases("b0000002")
    assert done.ended == [row.id]
    assert market.rented == {}
    assert (ended.instance, ended.down_bytes, ended.up_bytes) == (("i-9", 7, 3) if made else (None, 0, 0))
    assert ended.running_at == (row.intended_at if made else None)


def test_a_full_disk_keeps_no_orphan(
    abandon: Abandon,
    folder: Path,
    ledger: Ledger,
    locks: Path,
    console: Console,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every machine that dead runs left is destroyed although nothing can be written down about it."""
    rows = [abandon("b0000001"), abandon("b0000002")]
    ledger.begin_batch("b0000003", "file:///out", {})
    run = ledger._run

    def full(sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if not sql.startswith("SELECT"):
            raise StoreError("the disk is full")
        return run(sql, values)

    monkeypatch.setattr(ledger, "_run", full)
    done = asyncio.run(reaper.reap(LocalMarket(folder), ledger, locks, console, batch="b0000003", home=home))
    assert done.ended == [row.id for row in rows]
    assert list(folder.iterdir()) == []


NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def labelled(name: str, label: str, *, age_s: float = 3600) -> Instance:
    """Give an instance of so many seconds."""
    return Instance(id=name, label=label, state="running", created_at=NOW - timedelta(seconds=age_s))


def test_orphans_are_told_by_their_labels() -> None:
    """Trap 26: ours without a lease, unless newborn; a stranger's past its deadline and the grace; nobody else's."""
    at = int(NOW.timestamp())
    found = [
        labelled("ours, wanted", f"uprez/aaaaaaaa/00000001/{at - 9999}"),
        labelled("ours, forgotten", f"uprez/aaaaaaaa/00000002/{at + 9999}"),
        labelled("ours, newborn", f"uprez/aaaaaaaa/00000003/{at + 9999}", age_s=80),
        labelled("theirs, over", f"uprez/bbbbbbbb/00000004/{at - 301}"),
        labelled("theirs, in its grace", f"uprez/bbbbbbbb/00000005/{at - 299}"),
        labelled("theirs", f"uprez/bbbbbbbb/00000006/{at + 9999}"),
        labelled("somebody's", "my training run"),
        labelled("nameless", ""),
    ]
    lasting = LeaseRow(
        id="00000001",
        batch="b0000001",
        market="vast",
        state="held",
        label="",
        machine="m",
        instance=None,
        usd_per_hour=Decimal(0),
        intended_at=NOW,
        held_at=None,
        ended_at=None,
        reason=None,
    )
    chosen = reaper.orphans(found, "aaaaaaaa", [lasting], NOW)
    assert [one.id for one, _ in chosen] == ["ours, forgotten", "theirs, over"]
