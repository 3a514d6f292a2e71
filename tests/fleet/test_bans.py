"""Which machines are shunned: for how long, in which places, and who hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.fleet import bans
from uprez.fleet.bans import DAY, MONTH, NONE, WEEK
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import Ban
from uprez.market.base import Instance, InstanceState
from uprez.status import Phase, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def ban_of(machine: str, began: datetime, lasts: timedelta) -> Ban:
    """Give a fault of a machine."""
    return Ban(
        place="paper",
        machine=machine,
        batch="b",
        reason="no heartbeat",
        evidence=None,
        banned_at=began,
        until=began + lasts,
    )


@pytest.fixture
def clocked(ledger: Ledger) -> list[datetime]:
    """Let the ledger's clock show the one time in this list."""
    times = [NOW]
    ledger.clock = lambda: times[0]
    return times


@pytest.mark.parametrize(
    ("lied", "earlier", "lasts"),
    [
        (False, [], NONE),
        (False, [NONE], DAY),
        (False, [NONE, DAY], MONTH),
        (False, [NONE, DAY, MONTH], MONTH),
        (True, [], WEEK),
        (True, [NONE], WEEK),
        (True, [WEEK], MONTH),
        (False, [WEEK], DAY),
        (True, [NONE, NONE], MONTH),
    ],
)
def test_a_lie_costs_a_week_and_a_fault_only_what_repeats(
    lied: bool, earlier: list[timedelta], lasts: timedelta
) -> None:
    """A machine that failed once may have had bad luck; the third fault costs a month."""
    assert bans.length(lied=lied, earlier=earlier) == lasts


@given(lied=st.booleans(), earlier=st.lists(st.sampled_from([NONE, DAY, WEEK, MONTH]), max_size=5), more=st.booleans())
def test_what_was_worse_never_lasts_shorter(lied: bool, earlier: list[timedelta], more: bool) -> None:
    """Neither by another fault before it nor by a lie in place of a fault."""
    now = bans.length(lied=lied, earlier=earlier)
    assert bans.length(lied=lied, earlier=[*earlier, NONE if more else WEEK]) >= now
    assert bans.length(lied=True, earlier=earlier) >= now


def test_faults_are_forgotten_a_week_after_they_kept_a_machine_away(ledger: Ledger, clocked: list[datetime]) -> None:
    """Six days on, a second fault counts; eight days after a ban has ended, nothing does."""

    def fault() -> timedelta:
        ban = bans.note(ledger, "paper", "m", "b", "no heartbeat", lied=False)
        return ban.until - ban.banned_at

    assert fault() == NONE
    clocked[0] += timedelta(days=6)
    assert fault() == DAY
    clocked[0] += timedelta(days=9)
    assert fault() == NONE


def test_the_ledger_keeps_what_was_found(ledger: Ledger, clocked: list[datetime]) -> None:
    """Reason, evidence and times, by place; what is forgiven is gone."""
    first = bans.note(ledger, "paper", "m1", "b1", "black", lied=True, evidence="s3://films/x.json")
    other = bans.note(ledger, "elsewhere", "m1", "b1", "silent", lied=False)
    assert ledger.bans("paper") == [first]
    assert ledger.bans() == [first, other]
    assert (first.until - NOW, first.evidence) == (WEEK, "s3://films/x.json")
    assert bans.everywhere(ledger.bans(), NOW) == [first]
    assert ledger.pardon("m2") == 0
    assert ledger.pardon("m1") == 2
    assert ledger.bans() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.sampled_from([NONE, DAY, WEEK, MONTH]))))
def test_who_is_shunned_is_who_has_a_ban_that_lasts(drawn: list[tuple[str, int, timedelta]]) -> None:
    """By its longest; those that end first come first."""
    faults = [ban_of(machine, NOW - timedelta(days=ago), lasts) for machine, ago, lasts in drawn]
    found = bans.current(faults, NOW)
    for machine in "abc":
        lasting = [ban.until for ban in faults if ban.machine == machine and ban.until > NOW]
        assert (found[machine].until if machine in found else None) == max(lasting, default=None)
    ends = [ban.until for ban in found.values()]
    assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("state", "phase", "fault"),
    [
        ("running", "working", True),
        ("ended", "working", True),
        ("failed", None, True),
        ("lost", "working", True),
        ("booting", None, True),
        ("stopped", "working", False),
        (None, "working", False),
        ("running", "left", False),
    ],
)
def test_a_machine_is_blamed_for_what_it_did_alone(
    state: InstanceState | None, phase: Phase | None, fault: bool
) -> None:
    """Not where it was outbid, its contract ended, somebody destroyed it, or its worker left as it was told."""
    instance = Instance(id="i", label="", state=state) if state else None
    status = Status(lease="l", beat=1, phase=phase) if phase else None
    assert bans.is_its_fault(instance, status) == fault


def test_a_few_are_named_and_the_rest_counted() -> None:
    """A run is no list of the past."""
    many = [ban_of(f"m{number}", NOW, WEEK) for number in range(5)]
    assert bans.told([]) == []
    assert bans.told(many)[0].startswith("5 machines are not rented")
    assert bans.told(many)[-1] == "and 2 more: uprez bans shows them all"
    assert len(bans.told(many)) == 5
