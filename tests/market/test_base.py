"""The re-check of what a market's own filter promised."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.config.settings import Rental
from uprez.errors import UsageError
from uprez.market.base import Offer, OfferQuery, cheapest_first, query

PRICES = st.decimals(0, 10, places=4)


@settings(deadline=None)  # a busy machine is no failure
@given(prices=st.lists(PRICES, max_size=8), limit=st.none() | PRICES)
def test_offers_are_rechecked_and_sorted(prices: list[Decimal], limit: Decimal | None) -> None:
    """Whatever a market lists, no offer above the limit passes, none below it is lost, and the cheapest is first."""
    offers = [
        Offer(id=str(number), machine="m", description="", usd_per_hour=price) for number, price in enumerate(prices)
    ]
    found = cheapest_first(offers, OfferQuery(max_usd_per_hour=limit))
    expected = sorted(price for price in prices if limit is None or price <= limit)
    assert [offer.usd_per_hour for offer in found] == expected
    assert len({offer.id for offer in found}) == len(found)


def test_what_may_be_rented_is_said_in_a_markets_units() -> None:
    """Gigabytes become megabytes with room for what firmware keeps; a 24 GB card of 24,564 or 23,028 MB passes."""
    asked = query(Rental(min_vram_gb=Decimal(24), min_cpu_ram_gb=Decimal(16), compute_cap=860, bid=True, disk_gb=40))
    assert asked.min_gpu_ram_mb is not None
    assert Decimal(20_000) < asked.min_gpu_ram_mb <= 23_028
    assert asked.min_cpu_ram_mb == 14_880
    assert (asked.min_compute_cap, asked.bid, asked.disk_gb) == (860, True, 40)


def test_every_criterion_reaches_the_query() -> None:
    """Setting any field of what may be rented changes what is asked."""
    values = {Decimal: Decimal(1), int: 1, bool: True, tuple: ("x",), str: "value"}
    kinds = {"compute_cap": int, "disk_gb": int}
    for field in dataclasses.fields(Rental):
        if field.name == "wait":
            continue  # about the command, not the machine
        kind = kinds.get(field.name) or (Decimal if field.default is None else type(field.default))
        assert query(dataclasses.replace(Rental(), **{field.name: values[kind]})) != OfferQuery()


def test_a_blacklist_beats_a_whitelist() -> None:
    """What is in both is not rented, and a list that is emptied so does not become "any"."""
    asked = query(Rental(gpu_models=("RTX 3090", "RTX 4090"), gpu_blacklist=("rtx 3090",), gpu_priority=("RTX 3090",)))
    assert (asked.gpu_names, asked.gpu_blacklist, asked.gpu_priority) == (("RTX 4090",), ("rtx 3090",), ())
    with pytest.raises(UsageError, match=r"vast\.gpu_models is empty"):
        query(Rental(gpu_models=("L4",), gpu_blacklist=("L4",)))
    with pytest.raises(UsageError, match=r"vast\.host_whitelist is empty"):
        query(Rental(host_whitelist=("1",), host_blacklist=("1",)))
