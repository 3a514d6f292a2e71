"""What a run that ended early says is left: in work, in money, and in the command that goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper import intended
from uprez.errors import BudgetError
from uprez.fleet import remains
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Work
from uprez.job import Pin
from uprez.report.console import Console
from uprez.report.results import Remains

MakeWork = Callable[[str, int], Work]
PIN = Pin(key="k", size=1, etag="e", sha256="a")


@pytest.fixture
def row(ledger: Ledger) -> LeaseRow:
    """Give a lease at 0.36 dollars an hour that began to run at its intent."""
    ledger.begin_batch("b0000001", "file:///out", {})
    row = intended(ledger, "b0000001", usd_per_hour=Decimal("0.36"))
    ledger.held(row.id, "i-1")
    ledger.running(row.id, at=row.intended_at)
    return ledger.lease(row.id)


def found(works: list[Work], rows: list[LeaseRow], error: BudgetError | None = None) -> Remains:
    """Sum up at an hour after the first lease."""
    now = rows[0].intended_at + timedelta(hours=1) if rows else LONG_AGO
    one = remains.of(works, rows, now, batch="b1", segment_frames=20, error=error)
    assert one is not None
    return one


LONG_AGO = datetime(2026, 1, 2, tzinfo=UTC)


def test_what_is_left_is_counted_and_priced(work_of: MakeWork, row: LeaseRow) -> None:
    """At the speed that this run's segments had, and the price of its machines."""
    begun, done = work_of("begun", 3), work_of("done", 2)
    begun.counted, begun.made_s, begun.made_frames = {0: PIN}, 30.0, 10
    done.state, done.made_s, done.made_frames = "done", 10.0, 10
    left = found([begun, done, work_of("new", 0)], [row], BudgetError("spent", needed_usd=Decimal("0.2")))
    assert (left.videos, left.segments, left.frames) == (2, 2 + 5, 20 + 100)
    assert left.seconds == 120 * 2.0, "40 seconds for 20 frames"
    assert left.usd_per_hour == Decimal("0.36")
    assert left.usd == Decimal("0.024")
    assert left.budget_usd == Decimal("0.25"), "0.024 and a half more, beside what a lease may promise, and a cent"
    assert left.command == "uprez resume b1 --budget 0.25"


def test_before_a_segment_counts_the_trial_tells_the_speed(work_of: MakeWork, row: LeaseRow) -> None:
    """Half a second a frame, as the machine tried it."""
    assert found([work_of("begun", 3)], [row]).seconds == 15.0


def test_what_nobody_knows_is_not_made_up(work_of: MakeWork) -> None:
    """Where nothing was rented: no price and no time, and a budget that pays for the first lease."""
    left = found([work_of("new", 0)], [], BudgetError("dear", needed_usd=Decimal("0.245")))
    assert (left.seconds, left.usd_per_hour, left.usd) == (None, None, None)
    assert left.command == "uprez resume b1 --budget 0.26"


def test_where_money_did_not_lack_no_budget_is_named(work_of: MakeWork, row: LeaseRow) -> None:
    """An interrupted run goes on with the one it had."""
    left = found([work_of("begun", 3)], [row])
    assert (left.budget_usd, left.command) == (None, "uprez resume b1")


def test_nothing_is_left_of_what_has_ended(work_of: MakeWork, row: LeaseRow) -> None:
    """Failed jobs are no work that a budget could do."""
    work = work_of("failed", 2)
    work.fail("no video")
    assert remains.of([work], [row], row.intended_at, batch="b1", segment_frames=None) is None


@given(counted=st.sets(st.integers(0, 5)), price=st.decimals("0.01", "9", places=3), needed=st.decimals("0", "9"))
def test_the_sum_that_would_do_is_more_than_all_of_it(
    work_of: MakeWork, counted: set[int], price: Decimal, needed: Decimal
) -> None:
    """Whatever it costs and needs; in whole cents, upwards."""
    work = work_of("begun", 6)
    work.counted = dict.fromkeys(sorted(counted), PIN)
    enough = remains._enough(price, BudgetError("spent", needed_usd=needed))
    assert enough >= price + needed
    assert enough == enough.quantize(Decimal("0.01"))
    assert found([work], []).segments == 6 - len(counted)


def test_a_person_is_told_in_three_lines(work_of: MakeWork, row: LeaseRow) -> None:
    """What, how much, and how to go on."""
    said = StringIO()
    left = found([work_of("begun", 3)], [row], BudgetError("spent", needed_usd=Decimal("0.2")))
    remains.tell(left, Console(stream=said))
    what, price, command = said.getvalue().splitlines()
    assert what == "[INFO] Left: 1 video, 3 segments, 30 frames"
    assert price.startswith("[INFO] At the speed of this run that is 0:00:15 on one machine, $0.002 at $0.360/hr;")
    assert command == "[HINT] uprez resume b1 --budget 0.22"
