"""What the live view is made of: jobs, leases and money as the loop has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from paper import BATCH, PaperMarket, renter_of
from uprez.config.settings import Timing
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.renting import Terms
from uprez.fleet.serving import Serving
from uprez.fleet.view import Views
from uprez.fleet.watching import Watcher
from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.job import Pin
from uprez.market.base import Offer, Rates
from uprez.report.console import Console
from uprez.report.live import View
from uprez.sheet import Sheet
from uprez.status import Status
from uprez.store.open import Home

SHEET = Sheet(lease="", length_s=30, grace_s=10, families=(), status_url="", log_urls=(), next_sheet_url="")
PIN = Pin(key="k", size=1, etag="e", sha256="a" * 64)
RATES = Rates(gpu_usd_per_hour=Decimal(3600))
"""A dollar a second: whatever is shown of it is more than nothing."""
LIFE_S = 100
"""For which the label of a lease is good."""
MakeWork = Callable[[str, int], Work]


class Seen(Console):
    """A console that remembers what it was shown."""

    def __init__(self, *, wants: bool = True) -> None:
        super().__init__()
        self.wants = wants
        self.views: list[View | None] = []

    @property
    def wants_view(self) -> bool:
        """Say whether a view would be seen."""
        return self.wants

    def show(self, view: View | None) -> None:
        """Take note of it."""
        self.views.append(view)


class Fleet:
    """A batch on machines that are only written down."""

    def __init__(self, home: Home, ledger: Ledger, timing: Timing, *, budget: Decimal | None, wants: bool) -> None:
        self.console = Seen(wants=wants)
        terms = Terms(timing=timing, budget_usd=budget)
        ledger.begin_batch(BATCH, home.outputs.url, {})
        self.renter = renter_of(PaperMarket(), ledger, home, self.console, terms, SHEET)
        self.servings: list[Serving] = []

    def hold(self, work: Work | None = None, piece: Piece = INDEX, *, frames: int = 0, fps: float = 0.0) -> Serving:
        """Hold one more machine: one that boots, or that is at a piece of work."""
        renter = self.renter
        offer = Offer(
            id="o", machine="m", description="a machine", usd_per_hour=Decimal(9), rates=RATES, gpu="RTX 4090"
        )
        now = renter.ledger.clock()
        row = renter.ledger.intend(batch=BATCH, market="paper", place="paper", offer=offer, now=now, life_s=LIFE_S)
        renter.ledger.held(row.id, "i-1")
        renter.ledger.running(row.id)
        monitor = Monitor(lease=row.id, timing=renter.terms.timing)
        lease = Lease(row=row, offer=offer, instance="i-1", monitor=monitor, sheet=SHEET)
        if work is not None:
            lease.assigned["t"] = (work, piece)
            task = Status(lease=row.id, beat=1, phase="working", task="t", frames=frames, fps=fps)
            monitor.status = task
        watcher = Watcher(
            home=renter.home,
            market=renter.market,
            ledger=renter.ledger,
            console=renter.console,
            lease=lease,
            timing=renter.terms.timing,
            rented=True,
        )
        serving = Serving(renter=renter, lease=lease, watcher=watcher, threads=1, came=lambda *_: None)
        serving.learn()
        self.servings.append(serving)
        return serving

    def view(self, works: Sequence[Work], checking: Sequence[tuple[str, Piece]] = ()) -> View:
        """Give what is shown now."""
        Views(renter=self.renter, works=works).show(self.servings, checking, renting=False)
        (view,) = self.console.views
        assert view is not None
        return view


@pytest.fixture
def fleet(home: Home, ledger: Ledger, timing: Timing) -> Fleet:
    """Give a batch that may spend 1000 dollars."""
    return Fleet(home, ledger, timing, budget=Decimal(1000), wants=True)


def test_a_job_tells_what_is_done_about_it(fleet: Fleet, work_of: MakeWork) -> None:
    """Waiting, read, made, begun, put together, looked at, ended: each has its word."""
    waiting, indexed, made, begun, assembled = (
        work_of(name, n) for name, n in zip("abcde", (0, 0, 3, 3, 3), strict=True)
    )
    checked, done, failed = work_of("f", 0), work_of("g", 3), work_of("h", 3)
    done.state = "done"
    failed.fail("no")
    fleet.hold(indexed)
    fleet.hold(made, Piece("enhance", 1), frames=4, fps=2.0)
    fleet.hold(assembled, ASSEMBLE)
    works = [waiting, indexed, made, begun, assembled, checked, done, failed]
    view = fleet.view(works, [(checked.job.id, INDEX)])
    assert [row.state for row in view.jobs] == [
        "waiting",
        "indexing",
        "working",
        "begun",
        "assembling",
        "checking",
        "done",
        "failed",
    ]
    assert [row.name for row in view.jobs] == [f"{name}.mkv" for name in "abcdefgh"]


def test_frames_are_counted_once(fleet: Fleet, work_of: MakeWork) -> None:
    """Segments that count, that are looked at and that are made add up; of a race the better attempt is taken."""
    work = work_of("a", 5)
    work.counted[0] = PIN
    fleet.hold(work, Piece("enhance", 2), frames=7, fps=2.5)
    fleet.hold(work, Piece("enhance", 2), frames=3, fps=1.5)
    fleet.hold(work, Piece("enhance", 0), frames=9, fps=9.0)
    (row,) = fleet.view([work], [("a", Piece("enhance", 1)), ("a", Piece("enhance", 99))]).jobs
    assert (row.frames, row.total, row.fps) == (10 + 10 + 7, 50, 2.5)
    assert (row.counted, row.segments) == (1, 5)


def test_a_lease_tells_what_it_does_and_costs(fleet: Fleet, work_of: MakeWork) -> None:
    """Its GPU, its real price without traffic, its piece of which video, its speed, and what it has cost."""
    work = work_of("a", 5)
    fleet.hold(work, Piece("enhance", 2), frames=3, fps=1.5)
    fleet.hold()
    fleet.hold(work, ASSEMBLE, fps=1.5).state = "leaving"
    fleet.hold(work, ASSEMBLE, fps=1.5)
    made, boots, leaves, assembles = fleet.view([work]).leases
    assert (made.gpu, made.usd_per_hour, made.state, made.name, made.fps) == (
        "RTX 4090",
        Decimal(3600),
        "segment 3/5",
        "a.mkv",
        1.5,
    )
    assert (boots.state, boots.name, leaves.state, assembles.state, assembles.fps) == (
        "booting",
        "",
        "leaving",
        "assembly",
        0.0,
    )
    assert made.id == fleet.servings[0].lease.id
    assert made.usd is not None
    assert boots.usd is not None


def test_money_is_that_of_the_ledger(fleet: Fleet, work_of: MakeWork) -> None:
    """Spent is what all leases have cost, those that are gone too; promised what they may come to cost."""
    gone = fleet.hold().lease.row
    fleet.servings.clear()
    fleet.renter.ledger.ended(gone.id, "gone", at=gone.intended_at + timedelta(seconds=20))
    fleet.hold()
    view = fleet.view([work_of("a", 0)])
    (held,) = view.leases
    assert held.usd is not None
    spent = view.totals.spent_usd
    assert float(spent - held.usd) == pytest.approx(20, abs=5)
    assert float(view.totals.promised_usd - spent) == pytest.approx(LIFE_S, abs=5), "at a dollar a second"
    assert view.totals.budget_usd == Decimal(1000)


def test_what_is_left_is_reckoned_by_what_was_measured(fleet: Fleet, work_of: MakeWork) -> None:
    """Half a second a frame on the plan's machine; one that is twice as fast, and one as fast, are three of it."""
    work, other, unplanned, failed = work_of("a", 10), work_of("b", 10), work_of("c", 0), work_of("d", 10)
    failed.fail("no")
    fleet.hold(work, Piece("enhance", 0), frames=5, fps=4.0)
    fleet.hold(other, Piece("enhance", 0), frames=5, fps=2.0)
    fleet.hold()  # nobody knows yet how fast it is
    view = fleet.view([work, other, unplanned, failed])
    total = view.jobs[2].total
    assert total == 100, "by its header"
    assert view.totals.left_s == pytest.approx((95 + 95 + 100) * 0.5 / 3)
    assert view.totals.share == pytest.approx(10 / 300)


def test_nobody_guesses_before_anything_is_known(fleet: Fleet, work_of: MakeWork) -> None:
    """Without a plan, or without a machine that works, no time is told."""
    fleet.hold()
    assert fleet.view([work_of("a", 3)]).totals.left_s is None
    fleet.console.views.clear()
    work = work_of("b", 0)
    fleet.hold(work)
    assert fleet.view([work]).totals.left_s is None


def test_where_nothing_costs_anything_there_is_no_money(
    home: Home, ledger: Ledger, timing: Timing, work_of: MakeWork
) -> None:
    """On this machine a lease has neither price nor cost."""
    fleet = Fleet(home, ledger, timing, budget=None, wants=True)
    fleet.hold()
    view = fleet.view([work_of("a", 3)])
    assert [(row.usd, row.usd_per_hour) for row in view.leases] == [(None, None)]
    assert view.totals.budget_usd is None


def test_nothing_is_reckoned_that_nobody_sees(home: Home, ledger: Ledger, timing: Timing, work_of: MakeWork) -> None:
    """In a pipe no view is made: the ledger is not even asked."""
    fleet = Fleet(home, ledger, timing, budget=Decimal(1), wants=False)
    ledger.close()
    Views(renter=fleet.renter, works=[work_of("a", 3)]).show([], (), renting=False)
    assert fleet.console.views == []
