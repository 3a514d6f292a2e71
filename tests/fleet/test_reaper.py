"""What a controller that died left behind, on the real local market: instances here are folders without a process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from uprez.errors import BillingError
from uprez.fleet import reaper
from uprez.fleet.ledger import LeaseRow, Ledger, batch_lock
from uprez.market import deadman
from uprez.market.local import LocalMarket
from uprez.report.console import Console

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
        row = ledger.intend(batch=batch, market=market, machine="here", usd_per_hour=Decimal(0), life_s=40)
        (folder / row.id).mkdir(parents=True)
        (folder / row.id / "launch.json").write_text(json.dumps({"label": row.label}))
        if learnt:
            ledger.held(row.id, row.id)
        return ledger.lease(row.id)

    return abandon


def reap(folder: Path, ledger: Ledger, locks: Path, console: Console) -> None:
    """Reap on the local market."""
    asyncio.run(reaper.reap(LocalMarket(folder), ledger, locks, console))


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
    """What cannot be seen gone raises BillingError and stays open for the next start."""

    async def refuse(_: LocalMarket, instance: str) -> None:
        raise BillingError(f"{instance} does not end")

    monkeypatch.setattr(LocalMarket, "destroy", refuse)
    row = abandon("b0000001")
    with pytest.raises(BillingError, match=row.id):
        reap(folder, ledger, locks, console)
    assert ledger.lease(row.id).state == "lost"
