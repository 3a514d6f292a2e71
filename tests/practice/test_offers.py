"""The table of offers and the search over it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from uprez.practice import Clock, Idle, Market, Options
from uprez.practice.offers import CARDS, MOST_ROWS, driver_number
from uprez.practice.refusal import Refusal


def values(market: Market, name: str, **query: object) -> list[object]:
    """Search and give one field of what is found."""
    return [row[name] for row in market.search(query)]


def test_the_table_is_the_same_for_a_seed_and_no_other(market: Market, idle: Idle) -> None:
    """One seed gives one table; every offer has a known GPU, a price and a bid below it."""
    assert market.offer_list() == Market(Clock(), idle).offer_list()
    assert market.offer_list() != Market(Clock(), idle, Options(seed=2)).offer_list()
    assert 60 <= len(market.offer_list()) <= 200
    for offer in market.offer_list():
        assert offer.gpu_name in CARDS
        assert 0 < offer.min_bid < offer.usd_per_hour
        assert offer.card.compute_cap < 1200 or offer.cuda >= 12.8


def test_no_search_gives_more_than_64_rows(market: Market) -> None:
    """The server has its own limit, whatever the client's."""
    assert len(market.search({"limit": 3000})) == MOST_ROWS
    assert len(market.search({"limit": 3})) == 3


@pytest.mark.parametrize(
    ("query", "field", "holds"),
    [
        ({"gpu_ram": {"gte": "20000.0"}}, "gpu_ram", lambda value: value >= 20000),
        ({"num_gpus": {"eq": "1"}}, "num_gpus", lambda value: value == 1),
        ({"gpu_name": {"in": ["RTX 3090", "RTX 4090"]}}, "gpu_name", lambda value: value in ("RTX 3090", "RTX 4090")),
        ({"gpu_name": {"notin": ["RTX 3090"]}}, "gpu_name", lambda value: value != "RTX 3090"),
        ({"gpu_name": {"neq": "RTX 3090"}}, "gpu_name", lambda value: value != "RTX 3090"),
        ({"verified": {"eq": True}}, "verification", lambda value: value == "verified"),
        ({"datacenter": {"eq": "true"}}, "hosting_type", lambda value: value == 1),
        ({"reliability2": {"gt": "0.99"}}, "reliability", lambda value: value > 0.99),
        ({"dphtotal": {"lt": 0.2}}, "dph_total", lambda value: value < 0.2),
        ({"geolocation": {"in": ["AT", "SE"]}}, "geolocation", lambda value: value[-2:] in ("AT", "SE")),
        ({"driver_version": {"gte": "560.35.03"}}, "driver_vers", lambda value: value >= 560035003),
        ({"duration": {"gte": 86400.0}}, "duration", lambda value: value >= 86400),
    ],
)
def test_each_condition_holds_for_what_is_found(
    market: Market, query: Mapping[str, object], field: str, holds: object
) -> None:
    """Operators, aliases and numbers sent as text do what the real search does."""
    found = values(market, field, **query)
    assert found
    assert all(holds(value) for value in found)  # type: ignore[operator]


def test_price_includes_the_disk_that_was_asked_for(market: Market) -> None:
    """dph_total is the GPU plus storage_cost x GB / 730; a bid search prices at min_bid."""
    row = market.search({"allocated_storage": "100", "limit": 1})[0]
    offer = next(each for each in market.offer_list() if each.id == row["id"])
    disk = float(offer.storage_usd_per_gb_month) * 100 / 730
    assert row["dph_total"] == pytest.approx(float(offer.usd_per_hour) + disk)
    bid = market.search({"type": "bid", "ask_contract_id": {"eq": row["id"]}, "allocated_storage": 100})[0]
    assert (bid["is_bid"], bid["dph_total"]) == (True, pytest.approx(float(offer.min_bid) + disk))


def test_searching_by_id_finds_nothing(market: Market) -> None:
    """As on the real market, ask_contract_id is what re-checks an offer."""
    row = market.search({"limit": 1})[0]
    assert values(market, "id", id={"eq": row["id"]}) == []
    assert values(market, "id", ask_contract_id={"eq": row["id"]}) == [row["id"]]


def test_order_goes_by_several_fields(market: Market) -> None:
    """`order` is a list of field and direction; without it the best score comes first."""
    prices = values(market, "dph_total", order=[["dph_total", "asc"]])
    assert prices == sorted(prices)  # type: ignore[type-var]
    scores = values(market, "score")
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]


def test_an_unknown_operator_is_refused(market: Market) -> None:
    """`nin`, which some clients send, is no operator."""
    with pytest.raises(Refusal) as refused:
        market.search({"gpu_name": {"nin": ["RTX 3090"]}})
    assert (refused.value.status, refused.value.body["msg"]) == (400, "nin is not a valid search op")  # type: ignore[index]


def test_driver_versions_become_numbers() -> None:
    """535.86.05 is 535086005."""
    assert driver_number("535.86.05") == 535086005
