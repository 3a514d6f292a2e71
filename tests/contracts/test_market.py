"""What every market does, over every implementation."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import uprez.market
from uprez.market import local
from uprez.market.base import Instance, Launch, Market, Offer, OfferQuery
from uprez.market.deadman import Orders
from uprez.market.local import LocalMarket

PROGRAM = "import time; print('worker is up', flush=True); time.sleep(60)"
MARKETS: dict[type[Market], Callable[[Path], Market]] = {LocalMarket: lambda folder: LocalMarket(folder / "local")}
"""How each implementation is made for a test; its instances run PROGRAM."""


def until(condition: Callable[[], bool], within_s: float = 6.0) -> bool:
    """Wait for a condition; gives whether it came true."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(params=MARKETS, ids=lambda kind: kind.__name__)
def market(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    """Give a market; what a test rents is given back."""
    real = local._orders

    def orders(launch: Launch, folder: Path) -> Orders:
        return {**real(launch, folder), "command": [sys.executable, "-P", "-c", PROGRAM]}

    monkeypatch.setattr(local, "_orders", orders)
    market = MARKETS[request.param](tmp_path)
    yield market
    for instance in listed(market):
        asyncio.run(market.destroy(instance.id))
    if isinstance(market, LocalMarket):
        assert until(lambda: listed(market) == [] and not market._children), "a dead-man was left"


def listed(market: Market) -> list[Instance]:
    """List the instances."""
    return asyncio.run(market.instances())


def rent(market: Market, *, life_s: float = 60) -> Instance:
    """Rent the first offer."""
    lease = secrets.token_hex(4)
    launch = Launch(
        label=f"uprez/00000000/{lease}/1", lease=lease, boot_url="file:///none", life_s=life_s, hard_life_s=60
    )

    async def first() -> Instance:
        return await market.create((await market.offers(OfferQuery()))[0], launch)

    return asyncio.run(first())


def test_every_market_is_in_the_suite() -> None:
    """Each class below uprez.market that has the protocol's methods is tested here."""
    methods = [name for name, member in vars(Market).items() if inspect.iscoroutinefunction(member)]
    assert len(methods) == 5
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
    assert made.running
    assert made.label.startswith("uprez/00000000/")
    assert listed(market) == [made]
    assert until(lambda: "worker is up" in asyncio.run(market.logs(made.id)))
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
    made = rent(market, life_s=4)
    end = time.monotonic() + 4
    assert until(lambda: "worker is up" in asyncio.run(market.logs(made.id)), 4)
    assert until(lambda: [found.running for found in listed(market) if found.id == made.id] in ([False], []))
    assert time.monotonic() < end + 1
