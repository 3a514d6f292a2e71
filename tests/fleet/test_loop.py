"""The controller's loop, where it must not be stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pytest

from house import located
from paper import OFFER, intended, renter_of
from uprez import wire
from uprez.config.settings import Settings, Timing
from uprez.fleet import serving as serving_module
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.loop import Loop
from uprez.fleet.monitor import Monitor
from uprez.fleet.renting import Terms
from uprez.fleet.rows import LeaseRow
from uprez.fleet.serving import Serving
from uprez.fleet.work import Piece, Work
from uprez.job import Options
from uprez.market.base import Instance, InstanceState
from uprez.market.local import LocalMarket
from uprez.report.console import Console
from uprez.report.results import Loss
from uprez.sheet import Sheet
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

SHEET = Sheet(lease="", length_s=30, grace_s=10, families=(), status_url="", log_urls=(), next_sheet_url="")
Slow = Literal["logs", "destroy"]


class SlowMarket(LocalMarket):
    """A market one of whose calls takes a while: `entered` is set when it began, and it ends with `go`."""

    def __init__(self, folder: Path, slow: Slow) -> None:
        super().__init__(folder)
        self.slow = slow
        self.entered = asyncio.Event()
        self.go = threading.Event()
        self.destroyed: list[str] = []
        self.calls: list[Slow] = []

    async def logs(self, instance: str) -> str:
        """Give nothing."""
        await self._wait("logs")
        return ""

    async def destroy(self, instance: str) -> datetime | None:
        """Take note."""
        await self._wait("destroy")
        self.destroyed.append(instance)
        return None

    async def _wait(self, call: Slow) -> None:
        self.calls.append(call)
        if call == self.slow:
            self.entered.set()
            await asyncio.to_thread(self.go.wait, 10)


def loop_of(home: Home, ledger: Ledger, market: SlowMarket, console: Console, timing: Timing) -> Loop:
    """Make a loop without jobs."""
    folder = home.root
    settings: dict[str, Any] = dict.fromkeys(("input_dir", "input", "name", "segment_frames"))
    assert folder is not None
    settings |= {"output_dir": located(folder), "state_dir": folder, "cache_dir": folder, "options": Options()}
    settings |= {"exact": False, "dry_run": False, "market": "local", "local": timing, "bucket_timing": timing}
    renter = renter_of(market, ledger, home, console, Terms(timing=timing), SHEET)
    return Loop(
        renter=renter,
        settings=Settings(**settings, rented=timing),
        threads=1,
        works=[],
        on_end=lambda _: None,
    )


def served(loop: Loop, row: LeaseRow) -> Serving:
    """Give the loop a lease that it serves."""
    monitor = Monitor(lease=row.id, timing=loop.timing)
    return loop._begin(Lease(row=row, offer=OFFER, instance="i-1", monitor=monitor, sheet=SHEET))


@pytest.mark.parametrize("slow", ["logs", "destroy"])
@pytest.mark.parametrize("interruptions", [1, 2])
def test_interruption_does_not_stop_a_give_back_that_began(
    home: Home, ledger: Ledger, console: Console, timing: Timing, tmp_path: Path, slow: Slow, interruptions: int
) -> None:
    """Ctrl-C, and another one, while a machine is given back anyway are heard only after it is seen gone."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001", market="local", usd_per_hour=Decimal(0), life_s=9)
    ledger.held(row.id, "i-1")

    async def main() -> tuple[list[str], str]:
        market = SlowMarket(tmp_path / "local", slow)
        loop = loop_of(home, ledger, market, console, timing)
        served(loop, row)
        running = asyncio.ensure_future(loop.run())
        await market.entered.wait()
        for _ in range(interruptions):
            running.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        market.go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        return market.destroyed, ledger.lease(row.id).state

    assert asyncio.run(main()) == (["i-1"], "gone")


def test_the_log_is_fetched_before_its_machine_goes(
    home: Home, ledger: Ledger, console: Console, timing: Timing, tmp_path: Path
) -> None:
    """Trap 32: a market forgets the log of what is destroyed."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001", market="local", usd_per_hour=Decimal(0), life_s=9)
    ledger.held(row.id, "i-1")

    async def main() -> list[Slow]:
        market = SlowMarket(tmp_path / "local", "logs")
        market.go.set()
        loop = loop_of(home, ledger, market, console, timing)
        serving = served(loop, row)
        serving.end("the work is done", lost=False)
        assert serving.ending is not None
        await serving.ending
        return market.calls

    assert asyncio.run(main()) == ["logs", "destroy"]


class Lasting(SlowMarket):
    """A market whose one machine runs."""

    async def instances(self) -> list[Instance]:
        """List it."""
        return [Instance(id="i-1", label="", state="running")]


def test_a_worker_is_heard_out_when_it_looks_seldom(
    home: Home, ledger: Ledger, console: Console, timing: Timing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rented workers look at their sheet every 15 s: the farewell waits for that, so that the last line is shown."""
    monkeypatch.setattr(serving_module, "FAREWELL_S", 0.0)
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001", market="local", usd_per_hour=Decimal(0), life_s=9)
    ledger.held(row.id, "i-1")

    async def main() -> tuple[str, bool]:
        market = Lasting(tmp_path / "local", "logs")
        market.go.set()
        loop = loop_of(home, ledger, market, console, replace(timing, watch_s=0.5, status_s=2))
        serving = served(loop, row)
        home.state.write(keys.status(row.id), wire.dump(Status(lease=row.id, beat=1, phase="idle")))
        running = asyncio.ensure_future(loop.run())
        await asyncio.sleep(0.6)
        waits = not market.destroyed and serving.lease.sheet.stop
        said = Status(lease=row.id, beat=2, phase="left", reason="told to stop")
        home.state.write(keys.status(row.id), wire.dump(said))
        await running
        assert market.destroyed == ["i-1"]
        return serving.status.phase if serving.status else "nothing", waits

    assert asyncio.run(main()) == ("left", True)


@pytest.mark.parametrize(
    ("state", "distrusted", "loss"),
    [("stopped", False, "outbid"), ("ended", False, "killed"), (None, False, "killed"), ("running", True, "refused")],
)
def test_what_is_lost_with_a_machine_has_its_reason(
    home: Home,
    ledger: Ledger,
    said: StringIO,
    console: Console,
    timing: Timing,
    tmp_path: Path,
    work_of: Callable[[str, int], Work],
    state: InstanceState | None,
    distrusted: bool,
    loss: Loss,
) -> None:
    """The market stopped it, it went in another way, or it is trusted no more: its task is said to be lost by that."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001", market="local", usd_per_hour=Decimal(0), life_s=9)
    ledger.held(row.id, "i-1")
    work = work_of("job", 2)

    async def main() -> None:
        market = SlowMarket(tmp_path / "local", "logs")
        market.go.set()
        loop = loop_of(home, ledger, market, console, timing)
        loop._by_id[work.job.id] = work
        serving = served(loop, row)
        serving.lease.assigned = {f"{row.id}-1": (work, Piece("enhance", 1))}
        serving.lease.monitor.status = Status(lease=row.id, beat=1, phase="working", task=f"{row.id}-1")
        loop._books.look(serving.lease)
        serving.watcher.instance = None if state is None else Instance(id="i-1", label="", state=state)
        if distrusted:
            loop._distrusted[serving.machine] = "it lies"
        loop._give_back(serving, "a reason", lost=True)
        assert serving.ending is not None
        await serving.ending

    asyncio.run(main())
    assert work.discarded == {loss: 1}
    assert f"job.mkv, segment 2: 0.0 s on lease {row.id} are for nothing" in said.getvalue()


@pytest.mark.parametrize(
    ("ends", "came"),
    [
        (lambda work: work.counted.update({1: work.plan_pin}), "raced"),
        (lambda work: work.fail("no such codec"), "stopped"),
        (lambda work: work.give_up("struck"), "stopped"),
        (None, "raced"),
    ],
)
def test_what_is_taken_off_a_sheet_is_told(
    home: Home,
    ledger: Ledger,
    console: Console,
    timing: Timing,
    tmp_path: Path,
    work_of: Callable[[str, int], Work],
    ends: Callable[[Work], None] | None,
    came: str,
) -> None:
    """Another has made it, its job or its plan has come to an end, or another takes it over."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001")
    ledger.held(row.id, "i-1")
    work, piece, heard = work_of("job", 3), Piece("enhance", 1), []
    serving = served(loop_of(home, ledger, SlowMarket(tmp_path / "local", "logs"), console, timing), row)
    serving.came = lambda task, came: heard.append((task, came))
    serving.lease.assigned, serving.lease.plans = {"t": (work, piece)}, {"t": work.plan}
    serving.drop_unwanted()
    assert not heard
    if ends is None:
        serving.leave_to_another([("job", piece)])
    else:
        ends(work)
        serving.drop_unwanted()
    assert heard == [("t", came)]
