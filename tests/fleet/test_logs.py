"""The logs of leases: what is read of them, in which order, and whose are meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paper import intended
from uprez.errors import UsageError
from uprez.fleet import logs
from uprez.fleet.batches import JobLine, Summary
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow
from uprez.store import keys
from uprez.store.open import Home

FIRST, SECOND = "b0000001", "b0000002"


@pytest.fixture
def leases(ledger: Ledger) -> list[LeaseRow]:
    """Write down two batches: one of two leases and two jobs, then one of one lease and the first job again."""
    for batch, names in ((FIRST, ("a.mp4", "films/b.mp4")), (SECOND, ("a.mp4",))):
        ledger.begin_batch(batch, "file:///out", {})
        jobs = tuple(JobLine(job=name[-5] * 16, input=name, state="done") for name in names)
        ledger.summarise(batch, Summary(jobs=jobs))
    return [intended(ledger, batch) for batch in (FIRST, FIRST, SECOND)]


def line(lease: str, number: int, second: int, text: str) -> str:
    """Write a line as a worker does."""
    return f"{lease}:{number} 2026-01-02T03:04:{second:02}Z {text}\n"


def reader(home: Home, tmp_path: Path) -> logs.Reader:
    """Read logs of both batches in one place."""
    return logs.Reader(folder=tmp_path / "logs", homes={FIRST: (home,), SECOND: (home,)})


def test_the_lines_of_several_leases_are_in_the_order_of_time(
    ledger: Ledger, home: Home, leases: list[LeaseRow], tmp_path: Path
) -> None:
    """Parts in their own order (10 after 9), leases by time, each line once, however often is looked."""
    one, other, _ = (row.id for row in leases)
    for number in range(12):
        home.state.write(keys.log(one, number), line(one, number + 1, 2 * number, f"one {number}").encode())
    home.state.write(keys.log(other, 0), line(other, 1, 7, "other").encode())
    found, choice = reader(home, tmp_path), logs.choose(ledger, FIRST)
    texts = [each.text for _, each in found.fresh(choice)]
    assert texts == [*(f"one {n}" for n in range(4)), "other", *(f"one {n}" for n in range(4, 12))]
    assert found.fresh(choice) == []
    home.state.write(keys.log(other, 1), line(other, 2, 30, "more").encode())
    assert [(lease, each.text) for lease, each in found.fresh(choice)] == [(other, "more")]


def test_what_a_machine_wrote_that_is_no_line_of_its_lease_is_left_out(
    ledger: Ledger, home: Home, leases: list[LeaseRow], tmp_path: Path
) -> None:
    """A rented host may write anything: lines of another lease, bytes that are no text, half a line."""
    one, other, _ = (row.id for row in leases)
    data = line(one, 1, 1, "right") + line(other, 2, 2, "of another") + "\x1b[2J no line\n" + f"{one}:3 "
    home.state.write(keys.log(one, 0), b"\xff\xfe\n" + data.encode())
    assert [each.text for _, each in reader(home, tmp_path).fresh(logs.choose(ledger, one))] == ["right"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(here=st.sets(st.integers(1, 12)), there=st.sets(st.integers(1, 12)))
def test_this_computers_copy_and_the_published_one_make_one_log(
    here: set[int], there: set[int], ledger: Ledger, home: Home, leases: list[LeaseRow], tmp_path: Path
) -> None:
    """Whatever each of the two lacks: every line once, in the order of their numbers, the boot's first."""
    lease = leases[0].id
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    boot = "0 2026-01-02T03:04:00Z boot\n" * 2
    kept = "".join(line(lease, number, number, f"line {number}").partition(":")[2] for number in sorted(here))
    (folder / f"{lease}.log").write_text(boot + kept)
    text = "".join(line(lease, number, number, f"line {number}") for number in sorted(there))
    home.state.write(keys.log(lease, 0), text.encode())
    found = [each.text for _, each in reader(home, tmp_path).fresh(logs.choose(ledger, lease))]
    assert found == ["boot", *(f"line {number}" for number in sorted(here | there))]


def test_a_copy_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It has no numbers, and may hold what is no line."""
    (tmp_path / "01234567.log").write_text("2026-01-02T03:04:05Z an old line\nnothing\n")
    assert [each.text for each in logs.seen(tmp_path, "01234567")] == ["an old line"]
    assert logs.seen(tmp_path, "89abcdef") == []


def test_a_name_means_a_lease_a_batch_or_a_job(ledger: Ledger, leases: list[LeaseRow]) -> None:
    """By the whole of it or its beginning; an input also by its name, with suffix or without; nothing: the last one."""
    one, other, last = (row.id for row in leases)

    def meant(what: str | None) -> list[str]:
        return [row.id for row in logs.choose(ledger, what).leases]

    assert meant(one) == meant(one[:7]) == [one]
    assert meant(FIRST) == [one, other]
    assert meant(None) == [last]
    assert meant("a" * 16) == meant("aaaaa") == meant("a.mp4") == [one, other, last]
    assert meant("b" * 16) == meant("films/b.mp4") == meant("b.mp4") == meant("b") == [one, other]
    with pytest.raises(UsageError, match="b000 may be b0000002 or b0000001"):
        meant("b000")
    with pytest.raises(UsageError, match=r"c\.mp4 is no lease, batch, job or input"):
        meant("c.mp4")


def test_of_a_job_only_those_leases_are_shown_that_worked_on_it(
    ledger: Ledger, home: Home, leases: list[LeaseRow], tmp_path: Path
) -> None:
    """From their first line on, though the name comes later."""
    one, other, _ = (row.id for row in leases)
    for lease, name in ((one, "a.mp4"), (other, "films/b.mp4")):
        home.state.write(keys.log(lease, 0), line(lease, 1, 1, "ready").encode())
        home.state.write(keys.log(lease, 1), line(lease, 2, 2, f"Enhancing {name}").encode())
    found, choice = reader(home, tmp_path), logs.choose(ledger, "b.mp4")
    assert [(lease, each.text) for lease, each in found.fresh(choice)] == [
        (other, "ready"),
        (other, "Enhancing films/b.mp4"),
    ]
    home.state.write(keys.log(one, 2), line(one, 3, 3, "Enhancing films/b.mp4 too").encode())
    assert [each.text for _, each in found.fresh(choice)] == ["ready", "Enhancing a.mp4", "Enhancing films/b.mp4 too"]


def test_a_computer_without_batches_says_so(ledger: Ledger) -> None:
    """There is nothing to choose from."""
    with pytest.raises(UsageError, match="no batch has run on this computer so far"):
        logs.choose(ledger, None)
