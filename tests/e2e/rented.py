"""Machines to rent in tests: a bucket, a practice market that really runs what is rented, and the command, all here."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloud import Cloud, Ran
from house import REPO
from uprez import batch
from uprez.config.layers import load
from uprez.config.settings import Settings, Timing
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow
from uprez.market.vast import limiter
from uprez.practice import Clock, Market, Meter, Options, PracticeServer, Processes, image
from uprez.practice.faults import Armed
from uprez.practice.offers import Offer
from uprez.practice.process import Container
from uprez.report.console import Console

QUICK = Timing(
    boot_s=90,
    lease_s=120,
    grace_s=20,
    watch_s=0.5,
    status_s=0.5,
    poll_s=0.25,
    log_s=0.3,
    silence_s=60,
    stall_s=120,
    hard_life_s=600,
)
"""Of machines that boot within a second, a step away."""
Act = Callable[[], None]


class Machines(Processes):
    """Processes that remember when each container was started."""

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(folder, **given)
        self.began: dict[int, float] = {}

    def start(self, container: Container) -> None:
        """Take note, and run it."""
        self.began.setdefault(container.id, time.time())
        super().start(container)


class Stream(io.StringIO):
    """What a run prints, and what is to happen when it has said something: one after the other, each once."""

    def __init__(self, on: Sequence[tuple[str, Act]]) -> None:
        super().__init__()
        self._on = list(on)

    def write(self, text: str) -> int:
        """Take what is printed, and do what it is the sign for."""
        written = super().write(text)
        if self._on and re.search(self._on[0][0], text):
            self._on.pop(0)[1]()
        return written


@dataclass(kw_only=True)
class Rented:
    """A bucket, a market and the command that rents there, in this process."""

    cloud: Cloud
    market: Market
    server: PracticeServer
    machines: Machines
    offers: dict[int, Offer]
    """Every ask as it was at the start: one that is taken is listed no more."""

    def settings(self, *, rented: Timing = QUICK, **flags: object) -> Settings:
        """Give the settings of a run, with numbers that suit machines of this one."""
        return replace(load({"model": "lanczos", "segment_frames": 20, **flags}), rented=rented)

    def run(
        self, *, on: Sequence[tuple[str, Act]] = (), rented: Timing = QUICK, verbose: bool = False, **flags: object
    ) -> Ran:
        """Run a batch; `on`: what is to happen when it has said something, in this order."""
        said = Stream(on)
        code = asyncio.run(batch.run(self.settings(rented=rented, **flags), Console(stream=said, verbose=verbose)))
        return Ran(code=code, text=said.getvalue())

    def arm(self, name: str, **more: Any) -> Act:
        """Give the act that lets something go wrong."""
        return lambda: self.market.inject(Armed(name=name, **more))

    def orders(self) -> list[tuple[int, dict[str, Any]]]:
        """List the create requests as they came over the wire: the offer and what was ordered."""
        return [
            (int(re.findall(r"/asks/(\d+)/", one.target)[0]), json.loads(one.body))
            for one in list(self.server.seen)
            if one.endpoint == "create"
        ]

    def results(self, ran: Ran) -> dict[str, Any]:
        """Read the results.json that a run named."""
        key = re.findall(r"\[INFO\] Results: s3://[^/]+/(\S+)", ran.text)[-1]
        found: dict[str, Any] = json.loads(self.cloud.get(key))
        return found

    def leases(self) -> list[LeaseRow]:
        """List the leases in the ledger that are not known to be over."""
        ledger = Ledger(self.cloud.house.top / "state" / "ledger.sqlite")
        with closing(ledger):
            return ledger.open_leases()

    def settled(self, *rans: Ran) -> list[dict[str, Any]]:
        """Check what must hold after every run: nothing left, and the bill is what was told. Gives the leases."""
        assert self.market.rows() == [], "an instance is left"
        assert self.leases() == [], "a lease is left in the ledger"
        assert not [key for key in self.cloud.keys(".uprez/leases/") if key.endswith("sheet.json")]
        told = [self.results(ran) for ran in rans]
        ours = sum((Decimal(one["cost_usd"]) for one in told), Decimal(0))
        bill = sum((one.usd() for one in self.market.bills.values()), Decimal(0))
        assert abs(ours - bill) < Decimal("1e-4"), f"told {ours}, billed {bill}"
        return [lease for one in told for lease in one["leases"]]


@contextmanager
def opened(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, options: Options, *, quick: bool = True) -> Iterator[Rented]:
    """Open a market beside a bucket; `quick`: it does not mind how often it is called."""
    if quick:
        for endpoint in limiter.INTERVALS:
            monkeypatch.setitem(limiter.INTERVALS, endpoint, 0.02)
        monkeypatch.setattr(limiter, "MARGIN_S", 0.0)
    folder = cloud.house.top / "market"
    with ExitStack() as stack:
        meter = stack.enter_context(closing(Meter()))
        machines = Machines(folder, image=image.here(REPO / ".cache" / "image"), meter=meter)
        market = Market(Clock(start_s=time.time(), factor=1.0), machines, options)
        server = stack.enter_context(closing(PracticeServer(market)))
        monkeypatch.setenv("VAST_URL", server.url)
        monkeypatch.setenv("VAST_API_KEY", market.key)
        offers = {one.id: one for one in market.offer_list()}
        yield Rented(cloud=cloud, market=market, server=server, machines=machines, offers=offers)


@pytest.fixture
def versioned() -> bool:
    """Keep versions, as B2 does; that it makes no difference is the buckets' own test."""
    return True


@pytest.fixture
def rented(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rented]:
    """Give a market whose machines boot at once, and a bucket."""
    with opened(cloud, monkeypatch, Options(boot_s=(0.3, 0.5), limits=False, log_delay_s=0.1)) as rented:
        yield rented
