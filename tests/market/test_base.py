"""The re-check of what a market's own filter promised."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.market.base import Offer, OfferQuery, cheapest_first

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
