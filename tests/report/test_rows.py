"""The live view in rows: one line each at any size, whatever names and numbers are in it."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from uprez.report.live import JobRow, JobState, LeaseRow, Totals, View
from uprez.report.rows import rows, shortened

MONEY = st.decimals(0, 10**9, places=6)
COUNTS = st.integers(-5, 2**53)
NAMES = st.text(max_size=300) | st.text("漢e\u0301\ufe0f\u200d\t\x1b👩/.", max_size=300)
JOBS = st.builds(
    JobRow,
    name=NAMES,
    state=st.sampled_from(get_args(JobState)),
    frames=COUNTS,
    total=st.none() | COUNTS,
    fps=st.floats(),
    counted=COUNTS,
    segments=COUNTS,
)
LEASES = st.builds(
    LeaseRow,
    id=NAMES,
    gpu=NAMES,
    state=NAMES,
    name=NAMES,
    fps=st.floats(),
    usd_per_hour=st.none() | MONEY,
    usd=st.none() | MONEY,
)
TOTALS = st.builds(
    Totals,
    share=st.floats(),
    left_s=st.none() | st.floats(),
    renting=st.booleans(),
    spent_usd=MONEY,
    promised_usd=MONEY,
    budget_usd=st.none() | MONEY,
)
VIEWS = st.builds(
    View, jobs=st.lists(JOBS, max_size=12).map(tuple), leases=st.lists(LEASES, max_size=8).map(tuple), totals=TOTALS
)
SIZES = st.sampled_from([(80, 24), (120, 24), (80, 50), (120, 50)]) | st.tuples(st.integers(1, 200), st.integers(1, 60))


def job(number: int, state: JobState = "waiting", *, frames: int = 0, fps: float = 0.0, counted: int = 0) -> JobRow:
    """Make one of 500 frames; one that has begun has ten segments."""
    segments = 0 if state in {"waiting", "indexing"} else 10
    name = f"holiday/{number:02}-beach.mp4"
    return JobRow(name=name, state=state, frames=frames, total=500, fps=fps, counted=counted, segments=segments)


def lease(
    number: int, *, state: str = "segment 4/10", name: str = "holiday/00-beach.mp4", fps: float = 0.0
) -> LeaseRow:
    """Make one that costs something."""
    price, cost = Decimal("0.312") + number, Decimal("0.041") * number
    return LeaseRow(
        id=f"a1b2c3{number:02}", gpu="RTX 4090", state=state, name=name, fps=fps, usd_per_hour=price, usd=cost
    )


def money(share: float = 0.434) -> Totals:
    """Sum up a batch that costs something."""
    return Totals(
        share=share,
        left_s=42,
        spent_usd=Decimal("0.41"),
        promised_usd=Decimal("1.2"),
        budget_usd=Decimal(5),
    )


def plain(view: View, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    """Give the rows without colours."""
    return [row.plain for row in rows(view, width, height, encoding)]


SMALL = View(
    jobs=(
        job(0, "working", frames=190, fps=12.5, counted=3),
        job(1, "indexing"),
        job(2),
        job(3, "done", frames=500, counted=10),
    ),
    leases=(lease(1, fps=12.5), lease(2, state="booting", name="")),
    totals=money(),
)


def test_a_small_batch_at_80_columns() -> None:
    """A row for each job with its bar, one for each lease, and the sum; numbers stand below numbers."""
    assert plain(SMALL, 80, 24) == [
        "holiday/00-beach.mp4  ━━━━━━──────────   38 %  190/500  12.50 fps  3/10 segments",
        "holiday/01-beach.mp4  ────────────────                             indexing",
        "holiday/02-beach.mp4  ────────────────                             waiting",
        "holiday/03-beach.mp4  ━━━━━━━━━━━━━━━━  100 %                      done",
        "a1b2c301  RTX 4090  $1.312/h  segment 4/10  holiday...ach.mp4  12.50 fps  $0.041",
        "a1b2c302  RTX 4090  $2.312/h  booting                                     $0.082",
        "1 of 4 videos, 43 % | 2 machines | $0.41 of $5.00 (up to $1.20) | ~0:42 left",
    ]


def test_a_small_batch_at_120_columns() -> None:
    """With more room, names are whole, bars are longer, and the sum says more."""
    assert plain(SMALL, 120, 24) == [
        "holiday/00-beach.mp4  ━━━━━━━━━━━━━━━─────────────────────────   38 %  190/500  12.50 fps  3/10 segments",
        "holiday/01-beach.mp4  ────────────────────────────────────────                             indexing",
        "holiday/02-beach.mp4  ────────────────────────────────────────                             waiting",
        "holiday/03-beach.mp4  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  100 %                      done",
        "a1b2c301  RTX 4090  $1.312/h  segment 4/10  holiday/00-beach.mp4  12.50 fps  $0.041",
        "a1b2c302  RTX 4090  $2.312/h  booting                                        $0.082",
        "1 of 4 videos, 43 % | 2 machines | $0.41 of $5.00 (up to $1.20 promised) | ~0:42 left",
    ]


@pytest.mark.parametrize(("width", "height", "most"), [(80, 24, 16), (120, 50, 33)])
def test_a_large_batch_is_summed_up(width: int, height: int, most: int) -> None:
    """Of 40 jobs and 20 leases those that work are shown, in their order; the rest is counted, and none is lost."""
    jobs = [job(number, "done" if number < 8 else "waiting") for number in range(40)]
    jobs[35], jobs[9] = job(35, "working", frames=100, fps=3.0), job(9, "indexing")
    leases = [lease(number, state="booting", name="") for number in range(19)] + [lease(19, fps=3.0)]
    found = plain(View(jobs=tuple(jobs), leases=tuple(leases), totals=money()), width, height)
    assert len(found) == most
    shown = [line.split()[0] for line in found if line.startswith("holiday")]
    assert shown[0] == "holiday/08-beach.mp4"
    assert {"holiday/09-beach.mp4", "holiday/35-beach.mp4"} <= set(shown)
    assert shown == sorted(shown)
    assert f"and {40 - 8 - len(shown)} more waiting, 8 done" in found
    machines = [line for line in found if line.startswith("a1b2c3")]
    assert machines[-1].startswith("a1b2c319")
    assert f"and {20 - len(machines)} more machines" in found
    assert found[-1].startswith("8 of 40")


def test_what_there_is_no_room_for_is_never_silently_gone() -> None:
    """On a few lines there are counts instead of rows, on two the sum alone."""
    view = View(jobs=SMALL.jobs * 5, leases=SMALL.leases * 5, totals=money())
    total = "5 of 20 videos, 43 % | 10 machines | $0.41 of $5.00 (up to $1.20) | ~0:42 left"
    assert plain(view, 80, 5) == ["5 working, 5 indexing, 5 waiting, 5 done", "10 machines", total]
    assert plain(view, 80, 2) == [total]


@pytest.mark.parametrize("left_s", [None, float("inf"), float("nan"), -5.0, 0.2])
def test_a_time_that_means_nothing_is_not_told(left_s: float | None) -> None:
    """Nor is one of less than a second."""
    assert plain(View(jobs=SMALL.jobs, leases=(), totals=Totals(share=0.5, left_s=left_s)), 80, 24)[-1] == (
        "1 of 4 videos, 50 %"
    )


@settings(deadline=None)  # a busy machine is no failure
@given(view=VIEWS, size=SIZES, encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_a_row_is_a_line(view: View, size: tuple[int, int], encoding: str) -> None:
    """No row is wider than the terminal, holds what would steer it, or what its encoding lacks; they fit its height."""
    found = rows(view, *size, encoding)
    assert 1 <= len(found) <= max(1, size[1])
    for row in found:
        assert row.cell_len <= size[0]
        assert row.plain.isprintable()
        assert row.plain.encode(encoding).decode(encoding) == row.plain


@given(text=st.text("ab漢e\u0301👩/."), width=st.integers(0, 30))
def test_a_name_is_shortened_in_its_middle(text: str, width: int) -> None:
    """What is left fits, begins and ends as the name does, and is the name itself where that fits."""
    found = shortened(text, width)
    assert cell_len(found) <= width
    if cell_len(text) <= width:
        assert found == text
    elif "..." in found and "." not in text:
        head, _, tail = found.partition("...")
        assert text.startswith(head)
        assert text.endswith(tail)


def test_nothing_is_said_of_money_where_nothing_costs_anything() -> None:
    """On this machine there are no prices, no machines to count and no budget."""
    here = LeaseRow(id="a1b2c301", gpu="this machine (2 CPU cores)", state="segment 4/10", name="a.mp4", fps=2.0)
    found = plain(
        View(jobs=(job(0, "working", frames=1),), leases=(here,), totals=Totals(share=0.5, left_s=3700)), 80, 24
    )
    assert found[1:] == [
        "a1b2c301  this machine (2 CPU cores)  segment 4/10  a.mp4  2.00 fps",
        "0 of 1 videos, 50 % | ~1:01:40 left",
    ]


def test_an_ascii_terminal_has_ascii_bars() -> None:
    """Where the encoding has no lines, bars are made of other characters, and names are escaped before they are cut."""
    one = JobRow(name="Fête " * 9, state="working", frames=1, total=2, segments=1)
    (row, _) = plain(View(jobs=(one,), leases=(), totals=Totals()), 80, 24, "ascii")
    assert row == r"F\xeate F\xeat...\xeate F\xeate   ###########...........  50 %  1/2  0/1 segment"
