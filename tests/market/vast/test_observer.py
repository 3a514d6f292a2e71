"""What an instance is, from looks that lag and err."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from uprez.market.base import Instance
from uprez.market.vast import records
from uprez.market.vast.observer import ABSENT, AGREE, YOUNG_S, Observer, state_of
from uprez.market.vast.records import VastInstance

RUNNING = records.instance(
    {
        "id": 7,
        "label": "uprez/00000000/11111111/5",
        "actual_status": "running",
        "cur_state": "running",
        "next_state": "running",
        "intended_status": "running",
        "status_msg": "success, running x",
        "disk_space": Decimal(32),
        "dph_base": Decimal("0.2"),
        "storage_cost": Decimal("0.15"),
        "inet_down_cost": Decimal("0.01"),
        "inet_up_cost": Decimal("0.02"),
        "start_date": Decimal("1790000000.5"),
    }
)
assert RUNNING is not None
NOW = datetime(2026, 11, 25, tzinfo=UTC)
PULLING = replace(RUNNING, actual_status="loading", cur_state="unloaded", status_msg="Pull complete")
EXITED = replace(RUNNING, actual_status="exited")
PAUSED = replace(EXITED, cur_state="stopped", next_state="stopped", intended_status="stopped")


@pytest.fixture
def now() -> list[float]:
    """Give a clock's time, to be moved."""
    return [1000.0]


@pytest.fixture
def observer(now: list[float]) -> Observer:
    """Give an observer that has seen nothing."""
    return Observer(lambda: now[0])


def states(observer: Observer, *looks: VastInstance | None) -> list[str | None]:
    """Look so often, and give what was shown each time."""
    shown = (observer.look([one] if one else [], NOW) for one in looks)
    return [found[0].state if found else None for found in shown]


@pytest.mark.parametrize(
    ("one", "ran", "state"),
    [
        (replace(PULLING, actual_status=""), False, "booting"),
        (replace(PULLING, actual_status="created"), False, "booting"),
        (PULLING, False, "booting"),
        (RUNNING, False, "running"),
        (EXITED, True, "ended"),
        (PAUSED, True, "stopped"),
        (replace(RUNNING, actual_status="frozen"), True, "stopped"),
        (replace(RUNNING, actual_status="offline"), True, "lost"),
        (replace(RUNNING, actual_status="unknown"), True, "lost"),
        (replace(RUNNING, actual_status="something new"), True, "lost"),
        (replace(PULLING, cur_state="stopped", intended_status="stopped"), False, "failed"),
        (replace(PULLING, actual_status="created", cur_state="stopped", intended_status="stopped"), False, "failed"),
        (replace(RUNNING, actual_status="rebooting"), True, "booting"),
    ],
)
def test_a_look_means(one: VastInstance, ran: bool, state: str) -> None:
    """By the states of container and contract together; what is unheard of is no good sign."""
    assert state_of(one, ran=ran) == state


@pytest.mark.parametrize("text", ["success, running x", "error: 0 errors", "", "failed to inject CDI devices"])
def test_the_message_never_decides(text: str) -> None:
    """It is for people."""
    assert state_of(replace(RUNNING, status_msg=text), ran=True) == "running"


def test_one_bad_look_condemns_nothing(observer: Observer) -> None:
    """Nor two; a good one in between begins anew."""
    assert AGREE == 3
    assert states(observer, RUNNING, EXITED, EXITED, RUNNING, EXITED, EXITED) == ["running"] * 6
    assert states(observer, EXITED) == ["ended"]


def test_bad_looks_need_not_agree(observer: Observer) -> None:
    """A host that says now this, now that is not well."""
    offline = replace(RUNNING, actual_status="offline")
    assert states(observer, RUNNING, EXITED, offline, EXITED)[-1] == "ended"


def test_an_instance_is_missed_in_two_lists_before_it_is_gone(observer: Observer) -> None:
    """One list alone may lag."""
    assert ABSENT == 2
    states(observer, RUNNING)
    assert states(observer, None, RUNNING, None, None) == ["running", "running", "running", None]
    assert observer.gone == {"7": NOW}


def test_what_was_rented_a_moment_ago_is_there_before_the_list_shows_it(observer: Observer, now: list[float]) -> None:
    """For a minute and a half; then it is not."""
    observer.made(Instance(id="7", label="x", state="booting"))
    assert states(observer, None, None, None) == ["booting"] * 3
    assert observer.is_young("7")
    now[0] += YOUNG_S
    assert not observer.is_young("7")
    assert states(observer, None) == [None]


def test_price_disk_and_birth_are_read(observer: Observer) -> None:
    """By the instance's own row; where a price is missing there is none."""
    (found,) = observer.look([RUNNING] if RUNNING else [], NOW)
    assert found.rates is not None
    assert found.rates.gpu_usd_per_hour == Decimal("0.2")
    assert found.rates.disk_usd_per_hour == Decimal("0.15") * 32 / 730
    assert found.created_at is not None
    assert found.created_at.timestamp() == 1_790_000_000.5
    assert found.disk_gb == 32
    (bare,) = observer.look([replace(RUNNING, down_usd_per_gb=None)] if RUNNING else [], NOW)
    assert bare.rates is None


@pytest.mark.parametrize(
    ("looks", "sure"), [([RUNNING], True), ([EXITED] * 3, False), ([RUNNING, PAUSED, PAUSED, PAUSED], True)]
)
def test_a_host_s_word_is_not_the_market_s(observer: Observer, looks: list[VastInstance], sure: bool) -> None:
    """That a contract is stopped is certain; that a container ended is what its host says."""
    found: list[Instance] = []
    for look in looks:
        found = observer.look([look], NOW)
    assert found[0].sure is sure
