"""What is seen of a rented machine, and what is made of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from paper import OFFER, PaperMarket, intended
from uprez import wire
from uprez.config.settings import Timing
from uprez.errors import KeyRefused, MarketError, Unclear
from uprez.fleet import budget, clock, watching
from uprez.fleet.budget import SMALL_CHANGE
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.watching import Lister, Watcher
from uprez.machine import Machine
from uprez.market.base import Instance, InstanceState, Rates
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SHEET = Sheet(lease="", length_s=30, grace_s=10, families=(), status_url="", log_urls=(), next_sheet_url="")
MACHINE = Machine(gpu="NVIDIA GeForce RTX 4090", vram_mb=24564, vram_free_mb=24200, disk_free_gb=30.0, down_bytes=70)


class Shown(PaperMarket):
    """A market that shows one instance as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Instance | None = Instance(id="7", label="", state="running", disk_gb=Decimal(16))
        self.error: MarketError | None = None
        self.printed = ""

    async def instances(self) -> list[Instance]:
        """Give it, or fail."""
        if self.error:
            raise self.error
        return [self.shown] if self.shown else []

    async def logs(self, instance: str) -> str:
        """Give what was printed."""
        assert instance == "7"
        return self.printed

    async def why(self, instance: str) -> str:
        """Say what the host says."""
        return f"C.{instance}: no such device"

    def be(self, state: InstanceState, *, sure: bool = True, detail: str = "") -> None:
        """Show it in another state."""
        self.shown = Instance(id="7", label="", state=state, sure=sure, detail=detail)


@pytest.fixture
def market() -> Shown:
    """Give a market with a machine that runs."""
    return Shown()


@dataclass(kw_only=True)
class OneWatcher(Watcher):
    """A watcher for which the list is asked alone."""

    lister: Lister


@pytest.fixture
def watcher(market: Shown, ledger: Ledger, home: Home, console: Console, timing: Timing, tmp_path: Path) -> OneWatcher:
    """Watch a lease of that machine."""
    ledger.begin_batch("b0000001", "", {})
    row = intended(ledger, "b0000001", market="paper")
    ledger.held(row.id, "7")
    offer = replace(OFFER, gpu="RTX 4090", gpu_ram_mb=Decimal(24564))
    lease = Lease(
        row=ledger.lease(row.id),
        offer=offer,
        instance="7",
        monitor=Monitor(lease=row.id, timing=timing),
        sheet=SHEET,
        disk_gb=16,
        began=0.0,
    )
    return OneWatcher(
        lister=Lister(market, console),
        home=home,
        market=market,
        ledger=ledger,
        console=console,
        lease=lease,
        timing=timing,
        rented=True,
        logs=tmp_path / "logs",
    )


def test_a_status_is_read_again_after_its_time_but_at_once_when_its_machine_is_gone(
    watcher: OneWatcher, market: Shown, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of statuses are not all read at each look; a last word must not be missed."""
    read: list[str] = []
    monkeypatch.setattr(type(home.state), "read", lambda _, key: read.append(key))

    async def looks(times: int) -> None:
        for _ in range(times):
            await watcher.look(await watcher.lister.look(), makes_frames=lambda: False, every_s=60.0)

    asyncio.run(looks(3))
    assert len(read) == 1
    market.shown = None
    asyncio.run(looks(2))
    assert len(read) == 3


def test_logs_are_asked_for_a_few_at_a_time(watcher: OneWatcher, market: Shown) -> None:
    """A market that gives one log every 2 s is not asked for two hundred at once."""
    market.printed = "".join(f"{watcher.lease.id}:1 2026-01-01T00:00:00Z said\n")

    async def ends() -> list[bool]:
        watcher.turns = asyncio.Semaphore(1)
        async with watcher.turns:
            log = asyncio.ensure_future(watcher.end())
            await asyncio.sleep(0)
            waits = not log.done() and watcher._lines == 0
        await log
        return [waits, watcher._lines == 1]

    assert asyncio.run(ends()) == [True, True]


def look(watcher: OneWatcher) -> str | None:
    """Look once, and let what it began end."""

    async def once() -> str | None:
        lost = await watcher.look(await watcher.lister.look(), makes_frames=lambda: False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return lost

    return asyncio.run(once())


def tell(watcher: OneWatcher, **status: object) -> None:
    """Write a status as the worker does."""
    given: dict[str, object] = {"lease": watcher.lease.id, "beat": 1, "phase": "idle", **status}
    watcher.home.state.write(keys.status(watcher.lease.id), wire.dump(Status(**given)))  # type: ignore[arg-type]


def test_a_market_that_does_not_answer_loses_nothing(watcher: OneWatcher, market: Shown, said: StringIO) -> None:
    """The worker's heart decides meanwhile; it is said once."""
    tell(watcher)
    assert look(watcher) is None
    market.error = Unclear("502")
    assert look(watcher) is look(watcher) is None
    assert said.getvalue().count("The market does not answer") == 1
    market.error = None
    assert look(watcher) is None


def test_a_key_that_is_refused_ends_the_watch(watcher: OneWatcher, market: Shown) -> None:
    """Nothing can be done with it."""
    market.error = KeyRefused("no such key")
    with pytest.raises(KeyRefused):
        look(watcher)


def test_less_disk_than_was_asked_for_loses_the_machine(watcher: OneWatcher, market: Shown) -> None:
    """Before an hour of work fails on it."""
    market.shown = Instance(id="7", label="", state="running", disk_gb=Decimal(8))
    assert look(watcher) is look(watcher) is None, "two looks may err"
    assert look(watcher) == "8 of 16 GB of disk were granted"


def test_a_machine_that_is_not_the_one_that_was_rented_is_lost(watcher: OneWatcher, said: StringIO) -> None:
    """As soon as the worker has looked at it; one that is, is described once."""
    tell(watcher, machine=MACHINE)
    assert look(watcher) is look(watcher) is None
    assert said.getvalue().count("Machine: NVIDIA GeForce RTX 4090") == 1
    watcher.admitted = False
    tell(watcher, beat=2, machine=replace(MACHINE, gpu="NVIDIA GeForce GTX 1650"))
    assert "a RTX 4090 was rented" in (look(watcher) or "")


def test_a_heart_that_beats_refutes_the_host(
    watcher: OneWatcher, market: Shown, timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three beats may be missed before "exited" is believed; that a contract was stopped is certain."""
    tell(watcher)
    market.be("ended", sure=False)
    assert look(watcher) is None
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + 3 * timing.status_s + 1)
    assert look(watcher) == "the worker is gone: its container ended"
    monkeypatch.setattr(clock, "now", real)
    tell(watcher, beat=2)
    market.be("stopped")
    assert "outbid" in (look(watcher) or "")


def test_a_machine_that_cannot_start_is_lost_at_once_and_says_why(
    watcher: OneWatcher, market: Shown, said: StringIO
) -> None:
    """With its host's own words."""
    market.be("failed", detail="OCI runtime create failed")
    assert look(watcher) == "no worker began, and it could not start"
    asyncio.run(watcher.tell_why())
    assert "host of instance 7: C.7: no such device" in said.getvalue()
    assert "OCI runtime create failed" in said.getvalue()


def test_lines_are_shown_once_and_kept(watcher: OneWatcher, market: Shown, said: StringIO, tmp_path: Path) -> None:
    """Whatever snapshot comes: an old one, an overlapping one, one of another lease."""
    lease = watcher.lease.id
    lines = [f"{lease}:{n} 2026-11-25T12:00:0{n}Z line {n}\n" for n in range(1, 5)]
    for printed in (lines[:2], lines[:1], lines[1:4], ["ffffffff:9 2026-11-25T12:00:00Z not ours\n"]):
        market.printed = "".join(printed)
        asyncio.run(watcher.end())
    tell(watcher, phase="left")
    look(watcher)
    asyncio.run(watcher.end())
    market.printed = "".join(lines) + f"{lease}:9 2026-11-25T12:00:09Z too late\n"
    asyncio.run(watcher.end())
    shown = [line for line in said.getvalue().splitlines() if "[LOG]" in line]
    assert shown == [f"  [LOG] 12:00:0{n} line {n}" for n in range(1, 5)]
    kept = (tmp_path / "logs" / f"{lease}.log").read_text().splitlines()
    assert kept == [f"{n} 2026-11-25T12:00:0{n}Z line {n}" for n in range(1, 5)]


def test_what_an_old_snapshot_lacks_comes_from_the_store(watcher: OneWatcher, market: Shown, said: StringIO) -> None:
    """The last words of a worker that has left are there; the parts that were shown already are not read."""
    lease = watcher.lease.id
    lines = [f"{lease}:{n} 2026-11-25T12:00:0{n}Z line {n}\n" for n in range(1, 7)]
    market.printed = "".join(lines[:3])
    watcher.home.state.write(keys.log(lease, 0), f"{lease}:9 2026-11-25T12:00:09Z must not be read\n".encode())
    for part, begin in ((1, 0), (2, 3), (10, 5)):
        watcher.home.state.write(keys.log(lease, part), "".join(lines[begin:][: 3 if part < 10 else 1]).encode())
    asyncio.run(watcher.end())
    assert "line 4" not in said.getvalue(), "it has not left: more is to come"
    tell(watcher, phase="left")
    look(watcher)
    asyncio.run(watcher.end())
    shown = [line for line in said.getvalue().splitlines() if "[LOG]" in line]
    assert shown == [f"  [LOG] 12:00:0{n} line {n}" for n in range(1, 7)]


def test_the_boot_is_told_as_it_goes_on(
    watcher: OneWatcher, market: Shown, said: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new word of the market, not more often than every 10 s, until it runs."""
    times = iter(range(0, 1000, 11))
    monkeypatch.setattr(clock, "now", lambda: float(next(times)))
    for detail in ("", "ad1c: Pull complete", "ad1c: Pull complete", "Successfully loaded x"):
        market.be("booting", detail=detail)
        look(watcher)
    market.be("running")
    look(watcher)
    lines = [line for line in said.getvalue().splitlines() if "Instance" in line]
    assert lines == [
        "[INFO] Instance 7: booting",
        "[INFO] Instance 7: booting, ad1c: Pull complete",
        "[INFO] Instance 7: booting, Successfully loaded x",
        f"[OK] Instance running: lease {watcher.lease.id}",
    ]


def test_what_it_costs_is_written_down(watcher: OneWatcher, market: Shown, ledger: Ledger) -> None:
    """Its own rates, since when it runs, and what it has moved: packages too."""
    rates = Rates(gpu_usd_per_hour=Decimal("0.2"), disk_usd_per_hour=Decimal("0.01"))
    market.shown = Instance(id="7", label="", state="running", rates=rates)
    tell(watcher, machine=MACHINE, down_bytes=30, up_bytes=5)
    look(watcher)
    row = ledger.lease(watcher.lease.id)
    assert row.rates == rates
    assert row.running_at is not None
    assert (row.down_bytes, row.up_bytes) == (100, 5)


def test_prices_are_read_again_while_it_runs(
    watcher: OneWatcher, market: Shown, ledger: Ledger, said: StringIO
) -> None:
    """The first are those of all its time; later ones count from then on, are said, and bind the next renewal."""
    watcher.ledger.clock = lambda: START + timedelta(hours=hours)
    row = watcher.lease.row
    ledger._run("UPDATE leases SET intended_at = ?, running_at = ? WHERE id = ?", (str(START), str(START), row.id))
    for hours, price in enumerate(("0.4", "0.4", "0.6", "0.1")):
        rates = Rates(gpu_usd_per_hour=Decimal(price))
        market.shown = Instance(id="7", label="", state="running", rates=rates)
        tell(watcher, beat=hours + 1)
        look(watcher)
        assert ledger.lease(row.id).rates == watcher.lease.row.rates == rates
    hours = 5
    cost = budget.cost(ledger.lease(row.id), ledger.clock())
    assert cost == 2 * Decimal("0.4") + Decimal("0.6") + 2 * Decimal("0.1")
    told = [line for line in said.getvalue().splitlines() if "from now on" in line]
    assert told == [
        "[WARN] Instance 7 costs $0.600/hr from now on, not $0.400",
        "[WARN] Instance 7 costs $0.100/hr from now on, not $0.600",
    ]


def test_the_log_is_asked_for_once_in_a_while(
    watcher: OneWatcher, market: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 13: one question at a time, `log_s` apart, however often the controller looks."""
    asked: list[str] = []

    async def logs(instance: str) -> str:
        asked.append(instance)
        return ""

    monkeypatch.setattr(market, "logs", logs)
    watcher.timing = replace(watcher.timing, log_s=60)
    for _ in range(20):
        look(watcher)
    assert asked == ["7"]


def test_a_log_that_does_not_come_keeps_no_machine(
    watcher: OneWatcher, market: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time, and no more."""

    async def never(instance: str) -> str:
        await asyncio.sleep(3600)
        return instance

    monkeypatch.setattr(market, "logs", never)
    monkeypatch.setattr(watching, "LAST_LOG_S", 0.01)
    asyncio.run(asyncio.wait_for(watcher.end(), 5))


def test_a_claim_beyond_all_reason_loses_the_machine(watcher: OneWatcher, ledger: Ledger) -> None:
    """The host earns by traffic: what its worker says of it is believed within reason, and billed no further."""
    tell(watcher, down_bytes=SMALL_CHANGE, up_bytes=SMALL_CHANGE)
    assert look(watcher) is None
    tell(watcher, beat=2, up_bytes=10**15)
    assert "moved far more" in (look(watcher) or "")
    assert ledger.lease(watcher.lease.id).up_bytes == SMALL_CHANGE


def test_a_worker_that_runs_is_billed_whatever_the_list_says(
    watcher: OneWatcher, market: Shown, ledger: Ledger
) -> None:
    """A list that lags behind a worker must not make its GPU free."""
    market.be("booting")
    tell(watcher, phase="working")
    look(watcher)
    assert ledger.lease(watcher.lease.id).running_at is not None


def test_without_any_list_the_worker_is_judged_by_itself(watcher: OneWatcher, market: Shown) -> None:
    """A market that never answers keeps no machine whose worker has left."""
    market.error = Unclear("502")
    tell(watcher)
    assert look(watcher) is None
    tell(watcher, beat=2, phase="left", reason="nothing to do")
    assert "the worker left" in (look(watcher) or "")


def test_a_line_with_a_time_that_cannot_be_stops_nothing(watcher: OneWatcher, market: Shown) -> None:
    """Whatever a host prints in the runner's name."""
    market.printed = f"uprez-boot {watcher.lease.id} 9999999999999999999 x\n"
    asyncio.run(watcher.end())
    market.printed = f"uprez-boot {watcher.lease.id} 9999999999999999 x\n"
    asyncio.run(watcher.end())


def test_a_list_that_was_asked_for_before_says_nothing_of_a_machine(watcher: OneWatcher, market: Shown) -> None:
    """One that is rented while a list is on its way is not in it, and is not gone for that."""
    tell(watcher)
    assert look(watcher) is None
    market.shown = None
    watcher.lease.began = clock.now() + 60
    assert look(watcher) is None
    assert watcher.instance is not None
    watcher.lease.began = 0.0
    look(watcher)
    assert watcher.instance is None


def test_a_slow_list_keeps_no_pass_waiting(market: Shown, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once, and comes when it comes."""
    monkeypatch.setattr(watching, "PATIENCE_S", 0.01)
    asked: list[asyncio.Event] = []

    async def slow() -> list[Instance]:
        asked.append(asyncio.Event())
        await asked[-1].wait()
        return [Instance(id="7", label="", state="running")]

    monkeypatch.setattr(market, "instances", slow)

    async def main() -> None:
        lister = Lister(market, console)
        assert await lister.look() is None
        assert await lister.look() is None
        asked[0].set()
        await asyncio.sleep(0)
        listed = await lister.look()
        assert listed is not None
        assert list(listed.instances) == ["7"]
        assert len(asked) == 1

    asyncio.run(main())
