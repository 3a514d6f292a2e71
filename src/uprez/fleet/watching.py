"""Watching one lease: what the market says of its machine, the worker of its work, and both of what they cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from uprez import background
from uprez.config.settings import Timing
from uprez.errors import KeyRefused, MarketError, StoreError
from uprez.fleet import admission, budget, clock, speeds
from uprez.fleet.budget import Traffic
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.market.base import Instance, Market, Rates
from uprez.report.console import Console
from uprez.store.open import Home

LAST_LOG_S = 20.0
"""How long the last of the log may keep a machine from being given back."""
SAY_S = 10.0
"""Between two lines about a machine that boots."""
LOGS_AT_ONCE = 4
"""Logs that are asked for at the same time; each waits for its turn, since the market gives one every 2 s."""
LOG_LATER = 2.5
"""Once there is a log, it is asked for so many times more seldom."""
LIST_S = 60.0
"""How long a list may take."""
PATIENCE_S = 5.0
"""How long a pass waits for it; workers' hearts are looked at meanwhile."""
DISK_LOOKS = 3
DISK_SHARE = 0.95
"""Of the disk that was asked for must have been granted: some hosts give less without a word."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a market said of all machines at one moment."""

    asked_at: float
    """By our own clock; a machine that was rented later need not be in it."""
    instances: Mapping[str, Instance]
    """By id."""


class Lister:
    """Asks a market for its list, one call for all leases; what it said last goes on to be true while it is silent."""

    def __init__(self, market: Market, console: Console) -> None:
        self._market = market
        self._console = console
        self._asking: asyncio.Task[list[Instance]] | None = None
        self._asked_at = 0.0
        self._blind = False

    async def look(self) -> Listed | None:
        """Give what the market says now; None where it does not say, or not within `PATIENCE_S`. Raises KeyRefused."""
        if self._asking is None:
            self._asked_at = clock.now()
            self._asking = asyncio.ensure_future(asyncio.wait_for(self._market.instances(), LIST_S))
        await asyncio.wait({self._asking}, timeout=PATIENCE_S)
        if not self._asking.done():
            return None
        task, self._asking = self._asking, None
        try:
            found = task.result()
        except KeyRefused:
            raise
        except (MarketError, TimeoutError) as error:
            if not self._blind:
                what = error.message if isinstance(error, MarketError) else f"no list within {LIST_S:.0f} s"
                self._console.warn(f"The market does not answer, the worker is watched all the same: {what}")
            self._blind = True
            return None
        self._blind = False
        return Listed(asked_at=self._asked_at, instances={one.id: one for one in found})

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()


@dataclass(kw_only=True)
class Watcher:
    """Watches a lease from its beginning to its end."""

    home: Home
    market: Market
    ledger: Ledger
    console: Console
    lease: Lease
    timing: Timing
    rented: bool
    """It costs money, and what the market says of it may be wrong for a while."""
    logs: Path | None = None
    """A folder where its log is kept."""
    alone: bool = False
    """It is to be left to itself, so it must be able to end itself."""
    label: str = ""
    """Before each line of its log, where there are others."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOGS_AT_ONCE))
    """To ask for a log; shared with the others."""
    instance: Instance | None = None
    admitted: bool = False
    _looked_at: float = float("-inf")
    _known: bool = False
    _priced: bool = False
    """The market has said what it costs."""
    _said: str = ""
    _said_at: float = float("-inf")
    _fetching: asyncio.Task[str] | None = None
    _fetch_at: float = 0.0
    _lines: int = 0
    _running: bool = False
    _ended: bool = False
    _small: int = 0
    _accounted: tuple[bool, Traffic] = (False, Traffic())
    """What the ledger was told."""
    _spoke: bool = False

    async def look(
        self, listed: Listed | None, *, makes_frames: Callable[[], bool], every_s: float = 0.0
    ) -> str | None:
        """See what there is to see; gives why the lease is lost, if it is. Raises DeniedError, StoreError.

        `listed` is what the market says, None while it says nothing. A machine that is not there any more may have
        written its last status before the list was asked for, and it is read after that; that of one which is well is
        read again after `every_s`.
        """
        monitor = self.lease.monitor
        if listed is not None and listed.asked_at >= self.lease.began:
            self._find(listed)
        well = self.instance is not None and self.instance.state in ("booting", "running")
        if not well or clock.now() - self._looked_at >= every_s:
            self._looked_at = clock.now()
            await background.start(partial(monitor.look, self.home))
        self._tell_state()
        self._follow_log()
        self._account()
        self._note_ready()
        if unfit := self._unfit():
            return unfit
        found = self.instance
        if found is None and self.rented and not self._known:  # no list yet: the worker is judged by what it says
            found = Instance(id=self.lease.instance, label="", state="booting")
        sure = found.sure if found else not self.rented
        return monitor.verdict(found, sure=sure, makes_frames=makes_frames())

    async def end(self) -> None:
        """Show and keep the last of the log, if it is to be had within `LAST_LOG_S`; raises nothing of the kind.

        Once: a worker that has left prints nothing more. Then what a market's old snapshot lacks comes from the store.
        """
        if self._ended:
            return
        if self._fetching is not None:
            self._fetching.cancel()
        with contextlib.suppress(MarketError, StoreError, OSError, TimeoutError):
            self._show(await asyncio.wait_for(self._log(), LAST_LOG_S))
            self._ended = self.lease.monitor.has_left
        if self.lease.monitor.has_left:
            with contextlib.suppress(StoreError, TimeoutError):
                rest = background.start(partial(self.lease.monitor.last_of_log, self.home))
                self._show(await asyncio.wait_for(rest, LAST_LOG_S))

    def close(self) -> None:
        """Look no more; what it prints from now on is in the store."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def tell_why(self) -> None:
        """Show what the machine printed beside its log, and what its host says where it never came to print."""
        for line in self.lease.monitor.strays():
            self.console.warn(f"instance {self.lease.instance}: {line}")
        if self.rented and self.lease.monitor.status is None:
            with contextlib.suppress(MarketError, TimeoutError):
                said = await asyncio.wait_for(self.market.why(self.lease.instance), LAST_LOG_S)
                for line in said.splitlines()[-5:]:
                    self.console.warn(f"host of instance {self.lease.instance}: {line}")

    def _find(self, listed: Listed) -> None:
        """Find the instance in the list."""
        self._known = True
        self.instance = listed.instances.get(self.lease.instance)
        if self.instance is None or not self.rented:
            return
        rates = self.instance.rates
        if rates and rates != self.lease.row.rates:
            self._note(partial(self._reprice, rates))
        self._priced = self._priced or rates is not None

    def _reprice(self, rates: Rates) -> None:
        """Take up the machine's own prices: the first time they are those of all its time, later from now on."""
        row, old = self.ledger.lease(self.lease.id), self.lease.row.rates
        self.lease.row = replace(self.lease.row, rates=rates)
        if not self._priced:
            self.ledger.priced(row.id, rates)
            return
        changed = budget.repriced(row, rates, self.ledger.clock())
        self.ledger.priced(row.id, rates, before_usd=changed.before_usd)
        price = f"${rates.usd_per_hour:.3f}/hr from now on, not ${old.usd_per_hour:.3f}"
        self.console.warn(f"Instance {self.lease.instance} costs {price}")

    def _tell_state(self) -> None:
        """Say how the boot goes on, and once that it is done."""
        monitor, found = self.lease.monitor, self.instance
        begun = monitor.status is not None or (self.rented and found is not None and found.running)
        if begun and not self._running:
            self._running = True
            self.console.ok(f"Instance running: lease {self.lease.id}")
            self.console.line("MONITOR", f"Watching instance {self.lease.instance} (log, heartbeat, progress)")
        if self._running or found is None or not self.rented or clock.now() - self._said_at < SAY_S:
            return
        text = f"Instance {found.id}: {found.state}" + (f", {found.detail}" if found.detail else "")
        if text != self._said:
            self._said, self._said_at = text, clock.now()
            self.console.info(text)

    def _follow_log(self) -> None:
        """Ask for the log beside everything else, since a snapshot takes its time to come."""
        if self._fetching is not None and self._fetching.done():
            task, self._fetching = self._fetching, None
            later = LOG_LATER if self._lines else 1.0
            self._fetch_at = clock.now() + self.timing.log_s * later
            try:
                self._show(task.result())
            except (MarketError, OSError) as error:  # the next one shows it
                self.console.debug(f"No log yet: {error}")
        if self._fetching is None and self._running and clock.now() >= self._fetch_at:
            self._fetching = asyncio.ensure_future(self._log())

    async def _log(self) -> str:
        async with self.turns:
            return await self.market.logs(self.lease.instance)

    def _show(self, snapshot: str) -> None:
        fresh = self.lease.monitor.new_lines(snapshot)
        self._lines += len(fresh)
        for line in fresh:
            self.console.log(line.stamp, f"{self.label} {line.text}" if self.label else line.text)
        if self.logs is not None and fresh:
            with contextlib.suppress(OSError):  # a full disk must not stop anything
                self.logs.mkdir(parents=True, exist_ok=True)
                with (self.logs / f"{self.lease.id}.log").open("a", encoding="utf-8") as file:
                    file.writelines(f"{line.number} {line.stamp} {line.text}\n" for line in fresh)

    def _account(self) -> None:
        """Write down what the worker says it has moved."""
        if not self.rented:
            return
        # A worker runs, whatever the list says yet.
        runs = self.lease.monitor.status is not None or (self.instance is not None and self.instance.running)
        moved = self._told().capped(self.lease.traffic.at_most())
        if (runs, moved) != self._accounted:
            self._note(partial(self._write_down, runs, moved))

    def _write_down(self, runs: bool, moved: Traffic) -> None:
        if runs:
            self.ledger.running(self.lease.id)
        self.ledger.traffic(self.lease.id, moved.down_bytes, moved.up_bytes)
        self._accounted = runs, moved

    def _note_ready(self) -> None:
        """Write down once that there is a worker, and what its boot took."""
        status = self.lease.monitor.status
        if status is not None and status.beat > 0 and not self._spoke:
            self._spoke = True
            mbps = status.machine.down_mbps if status.machine else None
            self._note(partial(speeds.note_ready, self.ledger, self.lease.id, status.fetched_bytes, mbps))

    def _told(self) -> Traffic:
        """Give what the worker says it has moved; the host earns by it, so it is a claim."""
        status = self.lease.monitor.status
        if status is None:
            return Traffic()
        return Traffic(down_bytes=status.fetched_bytes, up_bytes=status.up_bytes)

    def _unfit(self) -> str | None:
        """Say what is wrong with the machine itself: what was granted, and what the worker found there."""
        if not self.rented:
            return None
        asked = self.lease.disk_gb
        granted = self.instance.disk_gb if self.instance and self.instance.running else None
        small = bool(granted) and float(granted or 0) < asked * DISK_SHARE
        self._small = self._small + 1 if small else 0
        if self._small >= DISK_LOOKS:
            return f"{granted:f} of {asked} GB of disk were granted"
        if self._told().exceeds(self.lease.traffic.at_most()):
            return "it says that it has moved far more than all its work and packages are"
        status = self.lease.monitor.status
        if self.admitted or status is None or status.machine is None:
            return None
        self.admitted = True
        for warning in admission.warnings(status.machine):
            self.console.warn(warning)
        whose = f"Machine of {self.label}" if self.label else "Machine"
        self.console.info(f"{whose}: {admission.described(status.machine)}")
        return admission.refusal(status.machine, self.lease.offer, alone=self.alone)

    def _note(self, write: Callable[[], None]) -> None:
        """A full disk here must not end a lease there."""
        with contextlib.suppress(StoreError):
            write()
