"""Money, in exact sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.fleet import budget
from uprez.fleet.budget import Traffic
from uprez.fleet.rows import LeaseRow
from uprez.market.base import Rates

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
RATES = Rates(
    gpu_usd_per_hour=Decimal("0.36"),
    disk_usd_per_hour=Decimal("0.036"),
    down_usd_per_gb=Decimal("0.01"),
    up_usd_per_gb=Decimal("0.02"),
)
ROW = LeaseRow(
    id="11111111",
    batch="b",
    market="vast",
    state="gone",
    label="",
    machine="m",
    instance="7",
    usd_per_hour=Decimal("0.5"),
    intended_at=START,
    held_at=START + timedelta(seconds=2),
    ended_at=START + timedelta(hours=1),
    reason=None,
    rates=RATES,
    running_at=START + timedelta(minutes=30),
    down_bytes=2 * 10**9,
    up_bytes=10**9,
)
PRICES = st.decimals(min_value=0, max_value=10, places=4)


def test_a_lease_costs_gpu_disk_and_traffic() -> None:
    """Half an hour of GPU, a whole one of disk, two GB in and one out."""
    assert budget.cost(ROW, START) == Decimal("0.18") + Decimal("0.036") + Decimal("0.02") + Decimal("0.02")


def test_what_never_ran_costs_its_disk_alone() -> None:
    """And what was never made costs nothing."""
    never = replace(ROW, running_at=None, down_bytes=0, up_bytes=0)
    assert budget.cost(never, START) == Decimal("0.036")
    assert budget.cost(replace(never, instance=None), START) == 0


@pytest.mark.parametrize("state", ["intent", "held", "ending", "lost"])
def test_a_lease_that_was_not_seen_gone_goes_on_costing(state: str) -> None:
    """Also one that is lost: its machine may run."""
    row = replace(ROW, state=state)  # type: ignore[arg-type]
    later = START + timedelta(hours=2)
    assert budget.cost(row, later) > budget.cost(ROW, later)


@given(gpu=PRICES, disk=PRICES, down=PRICES, up=PRICES, seconds=st.integers(1, 10**6), moved=st.integers(0, 10**12))
def test_a_commitment_is_never_less_than_the_cost(
    gpu: Decimal, disk: Decimal, down: Decimal, up: Decimal, seconds: int, moved: int
) -> None:
    """Whenever it began to run, and whatever part of the traffic came."""
    rates = Rates(gpu_usd_per_hour=gpu, disk_usd_per_hour=disk, down_usd_per_gb=down, up_usd_per_gb=up)
    most = Traffic(down_bytes=moved, up_bytes=moved)
    end = START + timedelta(seconds=seconds)
    row = replace(ROW, rates=rates, running_at=START, ended_at=end, down_bytes=moved // 2, up_bytes=moved)
    assert budget.cost(row, end) <= budget.commitment(rates, seconds, most) + budget.MICRO_USD


@given(usd=st.decimals(min_value="0.01", max_value=100, places=2), gpu=st.decimals("0.01", 10, places=3))
def test_a_sum_pays_for_its_length_and_no_more(usd: Decimal, gpu: Decimal) -> None:
    """What `life_s` gives is just affordable."""
    rates = Rates(gpu_usd_per_hour=gpu)
    life_s = budget.life_s(rates, usd, Traffic())
    assert budget.commitment(rates, life_s, Traffic()) <= usd + budget.MICRO_USD
    assert budget.commitment(rates, life_s + 60, Traffic()) > usd


@given(
    prices=st.lists(st.tuples(PRICES, PRICES, st.integers(0, 10**6)), min_size=1, max_size=5),
    ran_after=st.integers(0, 10**6),
)
def test_each_time_keeps_its_own_prices(prices: list[tuple[Decimal, Decimal, int]], ran_after: int) -> None:
    """However often they rise and fall, a lease costs what the parts of its time cost, each at its prices."""
    running_at = START + timedelta(seconds=ran_after)
    row = replace(ROW, state="held", ended_at=None, running_at=running_at, down_bytes=0, up_bytes=0)
    now, expected, row = START, Decimal(0), replace(row, rates=Rates())
    for gpu, disk, seconds in prices:
        row = budget.repriced(row, Rates(gpu_usd_per_hour=gpu, disk_usd_per_hour=disk), now)
        end = now + timedelta(seconds=seconds)
        ran = max(timedelta(), end - max(now, running_at))
        expected += gpu * Decimal(ran.total_seconds()) / 3600 + disk * seconds / 3600
        now = end
    assert abs(budget.cost(row, now) - expected) <= budget.MICRO_USD


def test_where_nothing_costs_anything_a_sum_lasts_for_ever() -> None:
    """As on this machine."""
    assert budget.life_s(Rates(), Decimal(1), Traffic()) == float("inf")
