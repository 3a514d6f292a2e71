"""Who is left with what, and what becomes of a lease that nobody watches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper import intended
from uprez.fleet import detached, detaching, labels
from uprez.fleet.dispatch import Hand
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import batch_lock, is_looked_after
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Piece
from uprez.market.base import Instance, InstanceState
from uprez.status import Phase, Status

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SECONDS = st.floats(1.0, 10_000.0)


@given(needs=st.lists(SECONDS, max_size=12), speeds=st.lists(st.floats(0.25, 4.0), min_size=1, max_size=5))
def test_every_job_goes_to_one_lease_and_none_has_far_too_much(needs: list[float], speeds: list[float]) -> None:
    """The last job of a lease would not have ended sooner on any other: Graham's bound follows from that."""
    hands = [Hand(lease=f"lease{number}", slowness=slowness) for number, slowness in enumerate(speeds)]
    needed = {f"job{number}": seconds for number, seconds in enumerate(needs)}
    shares = detaching.share_out(needed, hands, {job: [hand.lease for hand in hands] for job in needed})
    assert sorted(job for jobs in shares.values() for job in jobs) == sorted(needed)
    load = {hand.lease: sum(needed[job] for job in shares[hand.lease]) * hand.slowness for hand in hands}
    for hand in hands:
        if shares[hand.lease]:
            last = needed[shares[hand.lease][-1]]
            assert all(load[hand.lease] <= load[other.lease] + last * other.slowness + 1e-6 for other in hands)


@given(data=st.data())
def test_a_job_goes_only_where_it_can_be_done(data: st.DataObject) -> None:
    """Whatever is busy with what; and what is being made somewhere that can go on with it stays there."""
    names = [f"lease{number}" for number in range(data.draw(st.integers(1, 4)))]
    needed = data.draw(st.dictionaries(st.sampled_from([f"job{number}" for number in range(6)]), SECONDS, max_size=6))
    may = {job: data.draw(st.sets(st.sampled_from(names), min_size=1)) for job in needed}
    current = {name: data.draw(st.sampled_from([None, *needed])) for name in names}
    hands = [Hand(lease=name, current=(job, Piece("enhance", 0)) if (job := current[name]) else None) for name in names]
    shares = detaching.share_out(needed, hands, may)
    where = {job: lease for lease, jobs in shares.items() for job in jobs}
    assert all(where[job] in may[job] for job in needed)
    for job in needed:
        at_work = [name for name in names if current[name] == job and name in may[job]]
        assert not at_work or where[job] in at_work


def row(*, left_s: float = 3600.0, detached: bool = True) -> LeaseRow:
    """Give a lease whose deadline is that far away."""
    label = labels.Label(ledger="0a1b2c3d", lease="11111111", deadline=NOW + timedelta(seconds=left_s))
    return LeaseRow(
        id="11111111",
        batch="b",
        market="vast",
        state="held",
        label=str(label),
        machine="m",
        instance="7",
        usd_per_hour=detaching.CENT,
        intended_at=NOW - timedelta(hours=1),
        held_at=NOW - timedelta(hours=1),
        ended_at=None,
        reason=None,
        detached=detached,
    )


def said(phase: Phase = "working") -> Status:
    """Give a worker's word."""
    return Status(lease="11111111", beat=1, phase=phase, reason="lease ended or nothing to do")


@pytest.mark.parametrize(
    ("state", "phase", "silent_s", "left_s", "over"),
    [
        ("running", "working", 60, 3600, None),
        ("running", "working", None, 3600, None),
        ("lost", "working", 7200, 3600, None),  # it may come back, and its time is bounded
        ("stopped", "working", 60, 3600, None),  # a host's word, and a heart that beats
        ("stopped", "working", 7200, 3600, "stopped"),
        ("failed", "working", None, 3600, "could not start"),
        ("running", "left", 60, 3600, "its worker left"),
        ("running", "working", 60, -1, "its time is over"),
        (None, "working", 60, 3600, "its machine is gone"),
    ],
)
def test_a_lease_is_over_when_nothing_more_comes_of_it(
    state: InstanceState | None, phase: Phase, silent_s: float | None, left_s: float, over: str | None
) -> None:
    """Its machine is gone or stopped, its worker has left, or its time has come."""
    instance = None if state is None else Instance(id="7", label="", state=state)
    silence = None if silent_s is None else timedelta(seconds=silent_s)
    found = detached.verdict(row(left_s=left_s), instance, said(phase), silence, NOW)
    assert found is None if over is None else over in (found or "")


def test_a_lease_that_is_left_alone_is_nobody_s_prey(ledger: Ledger, tmp_path: Path) -> None:
    """No reaper takes it before its deadline, though no controller lives; afterwards any does."""
    ledger.begin_batch("b", "s3://place/", {})
    lease = intended(ledger, "b", life_s=600)
    now = ledger.clock()
    assert not is_looked_after(tmp_path, ledger.lease(lease.id), now)
    ledger.detach("b", ["job1", "job0"])
    assert is_looked_after(tmp_path, ledger.lease(lease.id), now)
    assert not is_looked_after(tmp_path, ledger.lease(lease.id), now + timedelta(seconds=601))
    (found,) = ledger.detached()
    assert (found.id, found.home, found.jobs) == ("b", "s3://place/", {"job0", "job1"})
    assert detached.is_working(ledger, "b")
    ledger.ended(lease.id, "gone")
    assert not detached.is_working(ledger, "b")
    ledger.collected("b")
    assert ledger.detached() == []
    assert not is_looked_after(tmp_path, ledger.lease(lease.id), now), "what was collected is left to nobody"


def test_a_lease_of_a_run_that_lives_is_its_own(ledger: Ledger, tmp_path: Path) -> None:
    """Detached or not."""
    ledger.begin_batch("b", "s3://place/", {})
    lease = intended(ledger, "b", life_s=-5)
    with batch_lock(tmp_path, "b"):
        assert is_looked_after(tmp_path, ledger.lease(lease.id), ledger.clock())
