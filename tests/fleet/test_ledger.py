"""The ledger: what it remembers, which changes it refuses, who may open it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from paper import intended
from uprez.errors import UsageError
from uprez.fleet.batches import JobLine, Summary
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

OPENER = """
import sys
from pathlib import Path
from uprez.fleet.ledger import Ledger
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    print(Ledger(Path(sys.argv[1]) / f"{number}.sqlite").id, flush=True)
"""


def intend(ledger: Ledger, batch: str = "b0000001") -> LeaseRow:
    """Record the intent of one lease of a batch that is recorded when it is new."""
    if not ledger.leases(batch):
        ledger.begin_batch(batch, "file:///out", {"scale": 2})
    return intended(ledger, batch, usd_per_hour=Decimal("0.125"), now=NOW)


def test_intent_is_on_disk_before_anything_is_created(ledger: Ledger) -> None:
    """An intent is there for the next process at once, with price and label but no instance."""
    row = intend(ledger)
    with closing(Ledger(ledger.path)) as other:
        assert other.open_leases() == [row]
    assert (row.state, row.instance, row.usd_per_hour) == ("intent", None, Decimal("0.125"))


def test_label_names_ledger_lease_and_deadline(tmp_path: Path) -> None:
    """A label is uprez/<ledger>/<lease>/<deadline in Unix seconds by the market's clock>."""
    with closing(Ledger(tmp_path / "ledger.sqlite", clock=lambda: NOW)) as ledger:
        row = intend(ledger)
        assert row.label == f"uprez/{ledger.id}/{row.id}/{int((NOW + timedelta(seconds=40)).timestamp())}"
        assert row.intended_at == NOW


def test_leases_and_labels_are_unique(ledger: Ledger) -> None:
    """No two leases share an id or a label."""
    rows = [intend(ledger) for _ in range(50)]
    assert len({row.id for row in rows}) == len({row.label for row in rows}) == 50
    assert ledger.leases("b0000001") == rows


def test_lease_goes_from_intent_to_gone(ledger: Ledger) -> None:
    """Each step of a lease is remembered with its time and reason; a lease that is gone is no longer open."""
    lease = intend(ledger).id
    ledger.held(lease, "i-1")
    assert (ledger.lease(lease).state, ledger.lease(lease).instance) == ("held", "i-1")
    ledger.ending(lease, "the work is done")
    assert [row.state for row in ledger.open_leases()] == ["ending"]
    ledger.ended(lease, "gone")
    row = ledger.lease(lease)
    assert (row.state, row.reason, row.instance) == ("gone", "the work is done", "i-1")
    assert row.held_at is not None
    assert row.ended_at is not None
    assert ledger.open_leases() == []


def test_stale_decisions_change_nothing(ledger: Ledger) -> None:
    """A lease that is gone stays gone; one that is being given back takes its instance's id but is not held again."""
    lease = intend(ledger).id
    ledger.ending(lease, "first")
    ledger.held(lease, "i-late")
    assert (ledger.lease(lease).state, ledger.lease(lease).instance) == ("ending", "i-late")
    ledger.ended(lease, "gone")
    gone = ledger.lease(lease)
    ledger.held(lease, "i-late")
    ledger.ending(lease, "second")
    ledger.ended(lease, "lost")
    assert ledger.lease(lease) == gone


def test_lost_lease_stays_open_and_can_still_end(ledger: Ledger) -> None:
    """A lease that could not be seen gone is tried again, and keeps its first reason."""
    lease = intend(ledger).id
    ledger.held(lease, "i-1")
    ledger.ending(lease, "first")
    ledger.ended(lease, "lost")
    assert [row.state for row in ledger.open_leases()] == ["lost"]
    ledger.ending(lease, "again")
    ledger.ended(lease, "gone")
    assert (ledger.lease(lease).state, ledger.lease(lease).reason) == ("gone", "first")


def test_lease_needs_its_batch(ledger: Ledger) -> None:
    """A lease of a batch that was never recorded is refused."""
    with pytest.raises(sqlite3.IntegrityError):
        intended(ledger, "nobody")


def test_batch_is_remembered_with_its_end(ledger: Ledger) -> None:
    """A run's place, options and exit code are in the file."""
    ledger.begin_batch("b0000001", "file:///out", {"scale": "2"})
    ledger.end_batch("b0000001", 5)
    with closing(sqlite3.connect(ledger.path)) as db:
        found = db.execute("SELECT home, options, exit_code, ended_at IS NULL FROM batches").fetchall()
    assert found == [("file:///out", '{"scale": "2"}', 5, 0)]


def test_runs_are_listed_with_what_they_had_to_do(ledger: Ledger) -> None:
    """The newest first; the settings of one are there for the next process, and what it sums up takes the old place."""
    ledger.begin_batch("b0000002", "file:///out", {})
    ledger.begin_batch("b0000001", "s3://films", {}, saved={"folder": "/home/me"})
    for state in ("unfinished", "done"):
        line = JobLine(job="0" * 16, input="naïve 😀.mp4", state=state)
        ledger.summarise("b0000001", Summary(jobs=(line,), continues="b0000002"))
    ledger.end_batch("b0000001", 130)
    with closing(Ledger(ledger.path)) as other:
        last, first = other.batches()
        assert other.saved("b0000001") == {"folder": "/home/me"}
        assert other.saved("b0000002") is None
    assert (last.id, last.home, last.is_saved, last.exit_code) == ("b0000001", "s3://films", True, 130)
    assert (last.count("done"), last.count("unfinished"), last.summary.continues) == (1, 0, "b0000002")
    assert (first.is_saved, first.ended_at, first.summary) == (False, None, Summary())


def test_reopened_ledger_keeps_its_id(tmp_path: Path) -> None:
    """The id is made with the file, and two files have two."""
    ids = []
    for name in ("one", "one", "two"):
        with closing(Ledger(tmp_path / name)) as ledger:
            ids.append(ledger.id)
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 8


def test_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """Of several first starts at the same moment none fails, and all see the same id."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    found = {tuple(child.communicate(timeout=30)[0].splitlines()) for child in children}
    assert [child.returncode for child in children] == [0] * 4
    assert [len(ids) for ids in found] == [20]


def test_newer_ledger_is_refused(tmp_path: Path) -> None:
    """A file of a newer schema is left as it is: the message names the file, both schemas and the next step."""
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(UsageError, match="newer uprez") as caught:
        Ledger(path)
    assert str(path) in caught.value.message
    assert "999" in caught.value.message
    assert caught.value.hint
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)


def test_file_that_is_no_ledger_is_refused_and_kept(tmp_path: Path) -> None:
    """Something else under the ledger's name is a usage error, not a traceback, and is not written to."""
    path = tmp_path / "ledger.sqlite"
    path.write_text("my notes\n" * 200)
    with pytest.raises(UsageError, match="cannot be used"):
        Ledger(path)
    assert path.read_text() == "my notes\n" * 200
