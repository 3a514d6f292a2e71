"""uprez's own client and the practice market, written apart from the same facts, agree."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from uprez.config.settings import Secret
from uprez.errors import MaybeMade, NoSuchAsk
from uprez.market.base import OfferQuery
from uprez.market.vast import create, destroy, offers
from uprez.market.vast.create import Order
from uprez.market.vast.destroy import Verdict
from uprez.market.vast.limiter import Limiter
from uprez.market.vast.wire import Vast
from uprez.practice import PracticeServer
from uprez.practice.clock import Clock
from uprez.practice.faults import Armed
from uprez.practice.market import Market
from uprez.practice.process import Idle

QUERY = OfferQuery(min_gpu_ram_mb=Decimal(16000), max_usd_per_hour=Decimal("0.40"))


@pytest.fixture
def market() -> Iterator[Market]:
    """Give a market in virtual time whose instances run nothing."""
    market = Market(Clock(), Idle())
    yield market
    market.close()


@pytest.fixture
def vast(market: Market) -> Iterator[Vast]:
    """Give our client of it; waiting moves the market's clock."""
    server = PracticeServer(market)
    limiter = Limiter(clock=market.clock.now_s, sleep=lambda seconds: market.advance(seconds + 0.01))
    yield Vast(server.url, Secret(market.key), limiter=limiter)
    server.close()


def order(label: str) -> Order:
    """Ask for something small."""
    return Order(image="python:3.11-bookworm", disk_gb=20, label=label, args=("-c", "true"))


def test_the_whole_cycle(vast: Vast, market: Market) -> None:
    """Search, rent the cheapest, see it run, give it back: the market then holds nothing and has billed little."""
    assert vast.account().practice
    choices = offers.search(vast, QUERY).choices
    assert choices
    assert all(choice.usd_per_hour <= Decimal("0.40") for choice in choices)
    made = create.rent(vast, choices[0].offer, order("uprez/0/1/2"))
    market.advance(120)
    (found,) = vast.instances()
    assert (found.id, found.label) == (made.id, "uprez/0/1/2")
    assert vast.show(made.id) is not None
    assert destroy.destroy(vast, made.id).verdict is Verdict.DESTROYED
    assert vast.show(made.id) is None
    assert market.rows() == []
    assert 0 < market.spent_usd() < Decimal("0.05")


def test_what_may_have_been_made_is_found_by_its_label(vast: Vast, market: Market) -> None:
    """An answer that is lost after the deed is neither success nor failure: the list tells, and it is given back."""
    offer = offers.search(vast, QUERY).choices[0].offer
    market.inject(Armed(name="lost", endpoint="create"))
    with pytest.raises(MaybeMade) as unclear:
        create.rent(vast, offer, order("uprez/0/1/3"))
    (found,) = create.labelled(vast, unclear.value.label)
    assert destroy.destroy(vast, found.id).is_gone
    assert market.rows() == []


@pytest.mark.parametrize("name", ["no_such_ask_404", "no_such_ask_410", "no_such_ask_400"])
def test_a_taken_offer_means_the_next(vast: Vast, market: Market, name: str) -> None:
    """Whatever the status, the body says it; nothing was made."""
    offer = offers.search(vast, QUERY).choices[0].offer
    market.inject(Armed(name=name))
    with pytest.raises(NoSuchAsk):
        create.rent(vast, offer, order("uprez/0/1/4"))
    assert market.rows() == []


def test_filters_that_the_server_ignores_are_applied_here(vast: Vast, market: Market) -> None:
    """An offer above the price is never chosen."""
    market.inject(Armed(name="ignored_filter", times=99))
    found = offers.search(vast, OfferQuery(max_usd_per_hour=Decimal("0.10")))
    assert found.choices
    assert all(choice.usd_per_hour <= Decimal("0.10") for choice in found.choices)


def test_the_time_is_the_servers(vast: Vast, market: Market) -> None:
    """Trap 30: deadlines in labels go by its Date header, which may be far from this machine's clock."""
    for _ in range(2):
        vast.account()
        assert abs(vast.now().timestamp() - market.clock.now_s()) < 3
        market.advance(30 * 3600)


def test_the_market_s_clock_is_learnt_to_a_fraction_of_a_second(vast: Vast, market: Market) -> None:
    """Its answers tell whole seconds: several of them say more than one, also when it steps."""
    for _ in range(40):
        market.advance(0.13)
        vast.account()
    assert abs(vast.now().timestamp() - market.clock.now_s()) < 0.3
    market.advance(7200)
    vast.account()
    assert abs(vast.now().timestamp() - market.clock.now_s()) <= 1
