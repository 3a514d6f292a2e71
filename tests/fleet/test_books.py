"""The books of a run's leases: what is said, what the ledger keeps, and what a killed controller leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from paper import OFFER, intended
from uprez.config.settings import Timing
from uprez.errors import StoreError
from uprez.fleet import account, books, clock
from uprez.fleet.books import Books
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.work import INDEX, Piece, Work
from uprez.report.console import Console
from uprez.sheet import Sheet
from uprez.status import Done, Status

MakeWork = Callable[[str, int], Work]
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SHEET = Sheet(lease="", length_s=30, grace_s=10, families=(), status_url="", log_urls=(), next_sheet_url="")


class Lived:
    """A lease of one job, and a clock that the test moves."""

    def __init__(self, ledger: Ledger, console: Console, timing: Timing, work: Work, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.ledger, self.work = ledger, work
        ledger.clock = lambda: START + timedelta(seconds=self.now_s)
        patch.setattr(clock, "now", lambda: self.now_s)
        ledger.begin_batch("b0000001", "", {})
        row = intended(ledger, "b0000001", market="paper")
        ledger.held(row.id, "7")
        ledger.running(row.id)
        monitor = Monitor(lease=row.id, timing=timing)
        self.lease = Lease(row=ledger.lease(row.id), offer=OFFER, instance="7", monitor=monitor, sheet=SHEET)
        self.books = Books(ledger=ledger, console=console, works={work.job.id: work})
        self.books.open(row.id)

    def give(self, *pieces: Piece) -> None:
        """Put pieces on its sheet: tasks 1, 2, 3 and so on."""
        for number, piece in enumerate(pieces, start=1):
            self.lease.assigned[self.task(number)] = (self.work, piece)

    def task(self, number: int) -> str:
        """Name a task."""
        return f"{self.lease.id}-{number}"

    def see(self, at_s: float, number: int | None, *ended: int) -> None:
        """Look at a certain time, when it works on a task, and has ended others."""
        self.now_s = at_s
        done = tuple(Done(task=self.task(one), key="k", seconds=10) for one in ended)
        task = None if number is None else self.task(number)
        self.lease.monitor.status = Status(lease=self.lease.id, beat=1, phase="working", task=task, done=done)
        self.books.look(self.lease)

    def use_s(self) -> dict[str, float]:
        """Give what the ledger says that its time was for, were it to end now."""
        self.ledger.ended(self.lease.id, "gone")
        statement = account.stated(self.ledger.lease(self.lease.id), START)
        return {use: seconds for use, seconds in statement.use_s().items() if seconds}


@pytest.fixture
def lived(
    ledger: Ledger, console: Console, timing: Timing, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> Lived:
    """Give a lease that was rented a moment ago."""
    return Lived(ledger, console, timing, work_of("job", 3), monkeypatch)


def test_what_is_discarded_is_said_once_and_counted(lived: Lived, said: StringIO) -> None:
    """Each attempt by its segment, with its time, its lease and why; an index is no segment, and is said too."""
    lived.give(INDEX, Piece("enhance", 0), Piece("enhance", 1), Piece("enhance", 2))
    lived.see(5, 1)
    lived.see(15, 2, 1)
    lived.books.end(lived.task(1), "refused")
    lived.see(27, 3, 1, 2)
    lived.books.end(lived.task(2), "counts")
    lived.see(30, 3)
    lived.books.give_up(lived.lease, "outbid")
    lived.books.give_up(lived.lease, "killed")
    of = f"on lease {lived.lease.id} are for nothing"
    assert said.getvalue().splitlines() == [
        f"[INFO] job.mkv, index: 10.0 s {of}: it is not right, or its machine is trusted no more (refused)",
        f"[INFO] job.mkv, segment 2: 5.0 s {of}: its machine was taken away (outbid)",
    ]
    assert lived.work.discarded == {"outbid": 1}


def test_an_attempt_of_an_earlier_run_is_not_ours_to_book(lived: Lived) -> None:
    """A segment of it may turn out spoilt."""
    lived.books.end("ffffffff-1", "refused")
    assert not lived.work.discarded


def test_the_ledger_has_it_all_in_the_end(lived: Lived) -> None:
    """Also what is found out after the machine has gone."""
    lived.give(Piece("enhance", 0))
    lived.see(20, 1)
    lived.see(30, None, 1)
    lived.now_s = 33
    lived.books.close(lived.lease.id)
    lived.books.end(lived.task(1), "counts")
    lived.books.settle()
    assert lived.use_s() == {"boot": 20, "made": 10, "idle": 3}


def test_a_killed_controller_leaves_what_it_had_seen(lived: Lived) -> None:
    """Up to its last entry, which is a minute old at most; the rest was seen by nobody."""
    lived.give(Piece("enhance", 0), Piece("enhance", 1))
    lived.see(50, 1)
    lived.see(60, 2, 1)
    lived.books.end(lived.task(1), "counts")
    lived.see(65, 2)
    lived.see(119, 2)
    lived.now_s = 200
    assert lived.use_s() == {"boot": 50, "unseen": 150}, "at 60 s nobody knew yet that the first would count"


def test_entries_are_seldom(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a minute at most while it lasts, none where nothing has changed, and one at its end."""
    written: list[float] = []
    used = Ledger.used
    monkeypatch.setattr(
        Ledger, "used", lambda self, lease, use: (written.append(lived.now_s), used(self, lease, use))[1]
    )
    for second in range(0, 300, 5):
        lived.see(second, None)
    lived.now_s = 301
    lived.books.close(lived.lease.id)
    lived.books.settle()
    assert written == [60, 120, 180, 240, 301]
    assert books.KEEP_S == 60


def test_a_disk_that_is_full_ends_nothing(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease goes on without an entry, and the next one has it all."""

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "used", full)
        lived.see(70, None)
    lived.see(140, None)
    assert lived.use_s() == {"boot": 70, "idle": 70}
