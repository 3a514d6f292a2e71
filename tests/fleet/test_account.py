"""What a lease was for: whatever is seen of it, time and money add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.fleet import account, bill, budget
from uprez.fleet.account import CUT, Account, Amount, Came, Heading
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import ASSEMBLE, INDEX, Piece
from uprez.market.base import Rates
from uprez.report.results import USES, JobResult, Use
from uprez.status import Done, Phase, Status

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SEGMENT = Piece("enhance", 0)
ROW = LeaseRow(
    id="a",
    batch="b",
    market="vast",
    state="gone",
    label="",
    machine="m",
    instance="7",
    usd_per_hour=Decimal("0.5"),
    intended_at=START - timedelta(seconds=2),
    held_at=START,
    ended_at=START + timedelta(seconds=100),
    reason=None,
    rates=Rates(
        gpu_usd_per_hour=Decimal("0.36"),
        disk_usd_per_hour=Decimal("0.036"),
        down_usd_per_gb=Decimal("0.01"),
        up_usd_per_gb=Decimal("0.02"),
    ),
    running_at=START + timedelta(seconds=20),
)


def at(seconds: float) -> datetime:
    """Give a time of the lease."""
    return START + timedelta(seconds=seconds)


def says(phase: Phase = "working", task: str | None = None, *done: Done, down: int = 0, up: int = 0) -> Status:
    """Give what a worker says."""
    return Status(lease="a", beat=1, phase=phase, task=task, done=done, down_bytes=down, up_bytes=up)


def ended(task: str, seconds: float = 0.0) -> Done:
    """Give the end of a task."""
    return Done(task=task, key="k", seconds=seconds)


def seconds(books: Account) -> Mapping[tuple[str, str], float]:
    """Give what is booked, in seconds."""
    return {tuple(heading): amount.ms / 1000 for heading, amount in books.book().items() if amount.ms}


def test_a_lease_from_boot_to_end() -> None:
    """Boot, index, a segment, a wait, an assembly and the give-back each have their time, traffic where it came."""
    books = Account(at=START)
    tasks = {"a-1": ("j", INDEX), "a-2": ("j", SEGMENT), "a-3": ("j", ASSEMBLE)}
    books.look(at(20), None, {})
    books.look(at(30), says("idle", down=500), tasks)
    books.look(at(32), says(task="a-1", down=500), tasks)
    books.look(at(40), says("working", "a-2", ended("a-1", 8.0), down=600), tasks)
    books.look(at(60), says("working", "a-2", ended("a-1", 8.0), down=600), tasks)
    books.look(at(65), says("idle", None, ended("a-1", 8.0), ended("a-2", 24.0), down=600, up=40), tasks)
    books.look(at(70), says(task="a-3", down=600, up=40), tasks)
    books.look(at(90), says("idle", None, ended("a-3", 20.0), down=600, up=80), tasks)
    books.close(at(95))
    for task in tasks:
        books.end(task, "counts")
    assert seconds(books) == {
        ("boot", ""): 30,
        ("index", "j"): 8,
        ("made", "j"): 24,
        ("idle", ""): 13,
        ("assembly", "j"): 20,
    }
    found = books.book()
    assert [found[Heading("boot")].down, found[Heading("index", "j")].down] == [500, 100]
    assert [found[Heading("made", "j")].up, found[Heading("assembly", "j")].up] == [40, 40]


def test_tasks_that_are_shorter_than_a_look_have_their_time() -> None:
    """Three that began and ended between two looks get what their worker says, as far as there was so much time."""
    books = Account(at=START)
    tasks = {f"a-{number}": ("j", Piece("enhance", number)) for number in range(3)}
    books.look(START, says("idle"), tasks)
    books.look(at(10), says("idle", None, ended("a-0", 3), ended("a-1", 4), ended("a-2", 5000)), tasks)
    for task in tasks:
        books.end(task, "counts")
    assert seconds(books) == {("made", "j"): 10}
    assert [one.amount.ms for one in books.attempts.values()] == [3000, 4000, 3000]


@pytest.mark.parametrize("came", ["killed", "outbid", "refused", "raced", "failed", "stopped"])
def test_what_is_lost_is_known_once(came: Came) -> None:
    """An attempt that was begun is named when it is lost, with its time so far; one that was not begun is no loss."""
    books = Account(at=START)
    books.look(START, says("idle"), {"a-1": ("j", SEGMENT), "a-2": ("j", Piece("enhance", 1))})
    books.look(at(1), says(task="a-1"), {})
    books.look(at(9), says(task="a-1"), {})
    books.end("a-1", came)
    books.end("a-2", "raced")
    (lost,) = books.take_lost()
    assert (lost.task, lost.came, lost.amount.ms) == ("a-1", came, 8000)
    books.end("a-1", "counts")
    assert books.take_lost() == []
    assert seconds(books) == {("idle", ""): 1, ("discarded", "j"): 8}


def test_an_attempt_may_begin_before_its_worker_hears_that_nobody_wants_it() -> None:
    """It is lost from then on."""
    books = Account(at=START)
    books.look(START, says("idle"), {"a-1": ("j", SEGMENT)})
    books.end("a-1", "raced")
    assert books.take_lost() == []
    books.look(at(1), says(task="a-1"), {})
    assert [one.task for one in books.take_lost()] == ["a-1"]


def test_a_machine_that_goes_takes_what_was_on_it() -> None:
    """What it published and is looked at may count still."""
    books = Account(at=START)
    tasks = {f"a-{number}": ("j", Piece("enhance", number)) for number in range(4)}
    books.look(START, says(task="a-0"), tasks)
    books.look(at(4), says("working", "a-2", ended("a-0", 2), ended("a-1", 2)), tasks)
    books.look(at(5), says("working", "a-2"), {})
    books.give_up("killed", ["a-1", "a-3"])
    assert [one.task for one in books.take_lost()] == ["a-1", "a-2"], "what it was at may be off its sheet already"
    books.end("a-0", "counts")
    books.close(at(9))
    assert seconds(books) == {("made", "j"): 2, ("discarded", "j"): 3, ("idle", ""): 4}


def test_what_counted_may_be_thrown_away() -> None:
    """Its time was for nothing, though it is no attempt that never counted."""
    books = Account(at=START)
    books.look(START, says(task="a-1"), {"a-1": ("j", SEGMENT)})
    books.look(at(5), says("idle", None, ended("a-1", 5)), {})
    books.end("a-1", "counts")
    books.end("a-1", "refused")
    assert books.take_lost() == []
    assert seconds(books) == {("discarded", "j"): 5}


@pytest.mark.parametrize("text", [None, "", "{}", "[[1]]", "[[", '[["made","j","x"]]', '[["mining","",1,1,1]]'])
def test_what_cannot_be_read_was_seen_by_nobody(text: str | None) -> None:
    """A ledger of another version ends no report: all of it is unseen."""
    assert account.stated(replace(ROW, use=text), at(0)).use_s() == {**dict.fromkeys(USES, 0.0), "unseen": 100.0}


def test_a_gpu_costs_only_while_it_runs() -> None:
    """A boot of 30 s, of which 20 s loaded an image, costs its disk and 10 s of the GPU."""
    row = replace(ROW, intended_at=START, use=account.dump({Heading("boot"): Amount(30000)}))
    usd = account.stated(row, at(0)).use_usd()
    assert usd["boot"] == Decimal("0.0013"), "30 s at 0.036 and 10 s at 0.36 $/h"
    assert usd["unseen"] == Decimal("0.0077"), "70 s of both"


def test_other_prices_are_shared_by_all() -> None:
    """Where half of what it costs is due to what it had cost before, each use has its half of that."""
    use = account.dump({Heading("boot"): Amount(40000), Heading("made", "j"): Amount(60000)})
    row = replace(ROW, intended_at=START, running_at=START, rates=Rates(gpu_usd_per_hour=Decimal(18)), use=use)
    usd = account.stated(replace(row, before_usd=Decimal("0.5")), at(0)).use_usd()
    assert (usd["boot"], usd["made"]) == (Decimal("0.4"), Decimal("0.6"))


def test_a_bill_is_told_in_a_line() -> None:
    """Its parts add up as they stand there, the largest first; a job has what its own pieces cost."""
    headings = {Heading("made", "j"): 50000, Heading("made", "k"): 20000, Heading("boot"): 25000, Heading("idle"): 5000}
    use = account.dump({heading: Amount(ms) for heading, ms in headings.items()})
    rates = Rates(gpu_usd_per_hour=Decimal(18))
    row = replace(ROW, rates=rates, running_at=START, use=use)
    made = bill.of([row, replace(row, id="c")], at(0))
    assert made.line(Decimal(5)) == "Cost: $1.000 of $5.00 (made $0.700, boots $0.250, idle $0.050)"
    jobs = [JobResult(job=job, input=f"{job}.mp4", state="done") for job in ("j", "k", "k", "other")]
    assert [job.cost_usd for job in bill.charged(jobs, made)] == [Decimal("0.5"), Decimal("0.2"), 0, 0]


def test_nothing_has_cost_nothing() -> None:
    """A run that rented nothing, and a lease that came to nothing."""
    assert bill.of([], at(0)).line(None) == "Cost: $0.0000"
    row = replace(ROW, held_at=None, running_at=None, instance=None, ended_at=at(1))
    assert bill.of([row], at(0)).usd == 0


TASKS = [f"a-{number}" for number in range(4)]
PIECES = {"a-0": ("j", INDEX), "a-1": ("j", SEGMENT), "a-2": ("k", SEGMENT), "a-3": ("k", ASSEMBLE)}
STATUS = st.none() | st.builds(
    says,
    st.sampled_from(["booting", "idle", "working", "left"]),
    st.none() | st.sampled_from([*TASKS, "a-9"]),
    st.builds(ended, st.sampled_from(TASKS), st.floats(-1e6, 1e6)),
    down=st.integers(0, 10**10),
    up=st.integers(0, 10**10),
)
SEEN = st.tuples(
    st.integers(-5000, 600_000),
    STATUS,
    st.lists(st.sampled_from(TASKS)),
    st.none() | st.tuples(st.sampled_from(TASKS), st.sampled_from(["counts", "killed", "refused", "raced", "failed"])),
)
PRICES = st.decimals(min_value=0, max_value=10, places=4)


@given(
    passes=st.lists(SEEN, max_size=12),
    gone=st.booleans(),
    prices=st.tuples(PRICES, PRICES, PRICES, PRICES),
    more=st.integers(-60_000, 600_000),
    boot=st.none() | st.integers(0, 10**6),
    moved=st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)),
    earlier=st.none() | st.tuples(PRICES, PRICES, st.integers(0, 10**6)),
)
def test_whatever_is_seen_time_and_money_add_up(
    passes: list[tuple[int, Status | None, list[str], tuple[str, Came] | None]],
    gone: bool,
    prices: tuple[Decimal, Decimal, Decimal, Decimal],
    more: int,
    boot: int | None,
    moved: tuple[int, int],
    earlier: tuple[Decimal, Decimal, int] | None,
) -> None:
    """For any passes the uses of a lease add up to the time it was held, to its traffic and to what it cost."""
    books, now = Account(at=START), START
    for ms, status, assigned, came in passes:
        now += timedelta(milliseconds=ms)
        books.look(now, status, {task: PIECES[task] for task in assigned})
        if came is not None:
            books.end(*came)
    if gone:
        books.give_up("killed", TASKS)
        books.close(now)
        total = sum(amount.ms for amount in books.book().values())
        pending = sum(one.amount.ms for one in books.attempts.values() if one.came is None)
        assert total + pending == round((books.at - START).total_seconds() * 1000), "no moment is lost, none is twice"
    end = max(START, now + timedelta(milliseconds=more))
    row = replace(
        ROW,
        ended_at=end,
        running_at=None if boot is None else min(end, START + timedelta(milliseconds=boot)),
        rates=Rates(
            gpu_usd_per_hour=prices[0], disk_usd_per_hour=prices[1], down_usd_per_gb=prices[2], up_usd_per_gb=prices[3]
        ),
        down_bytes=moved[0],
        up_bytes=moved[1],
        use=account.dump(books.book()),
    )
    if earlier is not None:
        gpu, disk, ms = earlier
        changed = min(end, START + timedelta(milliseconds=ms))
        before = replace(row, state="held", ended_at=None, rates=Rates(gpu_usd_per_hour=gpu, disk_usd_per_hour=disk))
        row = replace(row, before_usd=budget.repriced(before, row.rates, changed).before_usd)
    found = account.stated(row, end)
    whole = (account.held_ms(row, end), *moved)
    assert tuple(map(sum, zip(*found.book.values(), strict=True))) == whole
    assert sum(found.use_usd().values(), Decimal(0)) == sum(found.usd.values(), Decimal(0)) == budget.cost(row, end)
    assert all(usd >= 0 for usd in found.usd.values())
    assert all(part >= 0 for amount in found.book.values() for part in amount)


@given(
    total=st.decimals(0, 100, places=6),
    weights=st.lists(st.integers(0, 1000), min_size=1, max_size=9),
    unit=st.sampled_from([Decimal("0.000001"), Decimal("0.001")]),
)
def test_a_split_adds_up(total: Decimal, weights: list[int], unit: Decimal) -> None:
    """Each share is within a few units of its exact value, and all are the total."""
    total = total.quantize(unit)
    exact = [Fraction(total) * weight / max(1, sum(weights)) for weight in weights]
    found = account.split(total, exact, unit)
    assert sum(found, Decimal(0)) == total
    if sum(weights):
        assert all(
            abs(Fraction(one) - share) <= len(weights) * Fraction(unit) for one, share in zip(found, exact, strict=True)
        )


def test_every_use_can_be_cut() -> None:
    """A use that comes later cannot be forgotten where a book is too long."""
    uses: tuple[Use, ...] = tuple(sorted(CUT))
    assert uses == tuple(sorted(USES))
