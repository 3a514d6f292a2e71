"""What every market does, over every implementation."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import pkgutil
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import uprez.market
from uprez import practice
from uprez.config.settings import Secret
from uprez.market import local
from uprez.market.base import Instance, Launch, Market, Offer, OfferQuery
from uprez.market.deadman import Orders
from uprez.market.local import LocalMarket
from uprez.market.vast import launch
from uprez.market.vast.limiter import Limiter
from uprez.market.vast.market import VastMarket
from uprez.market.vast.wire import Vast
from uprez.practice import Clock, Options, PracticeServer, Processes
from waiting import until

PROGRAM = "import time; print('worker is up', flush=True); time.sleep(600)"
RUNNER = """
T=$((SECONDS + UPREZ_LIFE_S))
echo 'worker is up'
while ((SECONDS < T)); do sleep 0.1; done
curl -s -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY" "$VAST_URL/api/v0/instances/$CONTAINER_ID/"
sleep 600
"""
"""What a rented machine runs here: the real one has tests of its own (tests/market/test_runner.py)."""


@contextlib.contextmanager
def local_market(folder: Path) -> Iterator[Market]:
    """Give this machine."""
    market = LocalMarket(folder / "local")
    yield market
    until(lambda: listed(market) == [] and not market._children, "no dead-man is left")


@contextlib.contextmanager
def vast_market(folder: Path) -> Iterator[Market]:
    """Give a practice market with real processes and no limits on calls."""
    options = Options(boot_s=(0.1, 0.1), limits=False, log_delay_s=0.0)
    with contextlib.closing(PracticeServer(practice.Market(Clock(1.0), Processes(folder / "vast"), options))) as server:
        limiter = Limiter(clock=time.monotonic, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))
        yield VastMarket.open(Vast(server.url, Secret(server.market.key), limiter=limiter))
        assert server.market.rows() == []


MARKETS: dict[type[Market], Callable[[Path], contextlib.AbstractContextManager[Market]]] = {
    LocalMarket: local_market,
    VastMarket: vast_market,
}
"""How each implementation is made for a test; its instances print that the worker is up, and live for their time."""


@pytest.fixture(params=MARKETS, ids=lambda kind: kind.__name__)
def market(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    """Give a market; what a test rents is given back."""
    real = local._orders

    def orders(launch: Launch, folder: Path) -> Orders:
        return {**real(launch, folder), "command": [sys.executable, "-P", "-c", PROGRAM]}

    monkeypatch.setattr(local, "_orders", orders)
    monkeypatch.setattr(launch, "runner", lambda: RUNNER)
    with MARKETS[request.param](tmp_path) as market:
        yield market
        for instance in listed(market):
            asyncio.run(market.destroy(instance.id))


def listed(market: Market) -> list[Instance]:
    """List the instances."""
    return asyncio.run(market.instances())


def rent(market: Market, *, life_s: float = 600) -> Instance:
    """Rent the first offer."""
    lease = secrets.token_hex(4)
    order = Launch(
        label=f"uprez/00000000/{lease}/1",
        lease=lease,
        boot_url="file:///none",
        life_s=life_s,
        hard_life_s=600,
        image="python:3.11-bookworm",
        disk_gb=16,
    )

    async def first() -> Instance:
        return await market.create((await market.offers(OfferQuery()))[0], order)

    return asyncio.run(first())


def test_every_market_is_in_the_suite() -> None:
    """Each class below uprez.market that has the protocol's methods is tested here."""
    methods = [name for name, member in vars(Market).items() if inspect.iscoroutinefunction(member)]
    assert len(methods) == 9
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(uprez.market.__path__, "uprez.market.")
        if not found.name.endswith("__main__")
    ]
    classes = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    markets = {kind for kind in classes if all(hasattr(kind, name) for name in methods)} - {Market}
    assert markets == set(MARKETS)


def test_offers_meet_the_query_and_are_cheapest_first(market: Market) -> None:
    """Offers are within the price, cheapest first, with distinct ids; an impossible price offers nothing."""
    offers: list[Offer] = asyncio.run(market.offers(OfferQuery()))
    assert offers
    prices = [offer.usd_per_hour for offer in offers]
    assert prices == sorted(prices)
    assert len({offer.id for offer in offers}) == len(offers)
    dearest = asyncio.run(market.offers(OfferQuery(max_usd_per_hour=prices[0])))
    assert {offer.usd_per_hour for offer in dearest} == {prices[0]}
    assert asyncio.run(market.offers(OfferQuery(max_usd_per_hour=Decimal(-1)))) == []


def test_instance_is_listed_heard_and_destroyed(market: Market) -> None:
    """What was rented is listed with its label and running, its output is heard, and destroying it twice is success."""
    assert listed(market) == []
    made = rent(market)
    assert made.label.startswith("uprez/00000000/")
    until(lambda: [(one.id, one.label, one.running) for one in listed(market)] == [(made.id, made.label, True)])
    until(lambda: "worker is up" in asyncio.run(market.logs(made.id)))
    asyncio.run(market.destroy(made.id))
    assert listed(market) == []
    asyncio.run(market.destroy(made.id))
    assert asyncio.run(market.logs(made.id)) == ""


def test_absent_instance_is_no_error(market: Market) -> None:
    """Destroying what never was is success, and it has printed nothing."""
    asyncio.run(market.destroy("00000000"))
    assert asyncio.run(market.logs("00000000")) == ""


def test_instance_ends_by_itself_at_its_deadline(market: Market) -> None:
    """Nobody has to end an instance: it stops running at the end of the life it was launched with."""
    made = rent(market, life_s=8)
    end = time.monotonic() + 8
    until(lambda: "worker is up" in asyncio.run(market.logs(made.id)))
    until(lambda: [found.running for found in listed(market) if found.id == made.id] in ([False], []))
    assert time.monotonic() < end + 10


def test_a_label_can_be_changed_and_still_names_its_instance(market: Market) -> None:
    """A renewal moves the deadline in it; an instance that is gone has none."""
    made = rent(market)
    asyncio.run(market.relabel(made.id, f"{made.label}5"))
    assert [one.label for one in listed(market)] == [f"{made.label}5"]


def test_the_end_has_a_time_by_the_market_s_clock(market: Market) -> None:
    """Where it heeded us; an instance that was gone already may have none."""
    made = rent(market)
    before = asyncio.run(market.now())
    ended = asyncio.run(market.destroy(made.id))
    assert ended is not None
    assert before - timedelta(seconds=2) <= ended <= asyncio.run(market.now()) + timedelta(seconds=2)


def test_a_market_says_how_to_end_an_instance_by_hand(market: Market) -> None:
    """And whether there is money to spend, and why a machine does not run."""
    made = rent(market)
    assert made.id in market.by_hand(made.id)
    funds = asyncio.run(market.funds())
    assert funds is None if market.place == "local" else funds is not None and 0 < funds <= 25
    assert isinstance(asyncio.run(market.why(made.id)), str)
