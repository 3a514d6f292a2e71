"""The controller's loop, where it must not be stopped."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from house import located
from uprez.config.settings import Settings, Timing
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.loop import Loop
from uprez.fleet.monitor import Monitor
from uprez.job import Options
from uprez.market.local import LocalMarket
from uprez.report.console import Console
from uprez.sheet import Sheet
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

    async def logs(self, instance: str) -> str:
        """Give nothing."""
        await self._wait("logs")
        return ""

    async def destroy(self, instance: str) -> None:
        """Take note."""
        await self._wait("destroy")
        self.destroyed.append(instance)

    async def _wait(self, call: Slow) -> None:
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
    return Loop(
        home=home,
        market=market,
        ledger=ledger,
        console=console,
        settings=Settings(**settings),
        batch="b0000001",
        families=(),
        models={},
        threads=1,
        works=[],
        on_end=lambda _: None,
    )


@pytest.mark.parametrize("slow", ["logs", "destroy"])
def test_interruption_does_not_stop_a_give_back_that_began(
    home: Home, ledger: Ledger, console: Console, timing: Timing, tmp_path: Path, slow: Slow
) -> None:
    """A first Ctrl-C while a machine is given back anyway is heard only after the machine is seen gone."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = ledger.intend(batch="b0000001", market="local", machine="m", usd_per_hour=Decimal(0), life_s=9)
    ledger.held(row.id, "i-1")

    async def main() -> tuple[list[str], str]:
        market = SlowMarket(tmp_path / "local", slow)
        loop = loop_of(home, ledger, market, console, timing)
        lease = Lease(row=row, instance="i-1", monitor=Monitor(lease=row.id, timing=timing), sheet=SHEET)
        giving = asyncio.ensure_future(loop._give_back(lease, "the work is done"))
        await market.entered.wait()
        giving.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        market.go.set()
        with pytest.raises(asyncio.CancelledError):
            await giving
        return market.destroyed, ledger.lease(row.id).state

    assert asyncio.run(main()) == (["i-1"], "gone")
