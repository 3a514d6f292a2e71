"""The foot of a terminal: rows stay below the lines, follow its size, and leave nothing behind."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen import Screen
from uprez.report import foot as foot_module
from uprez.report.foot import Foot
from uprez.report.live import JobRow, Totals, View
from uprez.report.rows import rows
from waiting import until

LINES = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=200)


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a terminal be one that can do everything, wherever the tests run."""
    monkeypatch.setattr(foot_module, "LOOK_S", 0.001)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def of_jobs(count: int, frames: int = 1) -> View:
    """Show so many jobs."""
    jobs = (
        JobRow(name=f"{number}.mp4", state="working", frames=frames, total=9, segments=1) for number in range(count)
    )
    return View(jobs=tuple(jobs), leases=(), totals=Totals(share=0.5))


class Seat:
    """A screen, its foot, and what is to be seen."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.foot = Foot(self.screen)
        self.said: list[str] = []
        self.view: View | None = None
        self.resize(80, 24)

    def resize(self, columns: int, lines: int) -> None:
        """Change the terminal's size."""
        self.screen.columns = columns
        self.size = (columns, lines)
        self.foot._terminal.size = self.size  # type: ignore[assignment]  what Rich does in that setter is make one

    def say(self, line: str) -> None:
        """Print a line."""
        self.said.append(line)
        self.foot.print(line)

    def show(self, view: View | None) -> None:
        """Show something else."""
        self.view = view
        self.foot.take(view)
        self.foot.draw()

    def check(self) -> None:
        """Look whether the lines are there, the rows below them, the cursor on an empty line, and nothing else."""
        columns, lines = self.size
        wanted = [row.plain for row in rows(self.view, columns - 1, lines)] if self.view else []
        assert self.screen.lines == [*self.said, *wanted, ""]


Act = Callable[[Seat], None]


def saying(line: str) -> Act:
    """Make the act that prints."""
    return lambda seat: seat.say(line)


def showing(view: View | None) -> Act:
    """Make the act that shows something else."""
    return lambda seat: seat.show(view)


def resizing(size: tuple[int, int]) -> Act:
    """Make the act that changes the size, and has that noticed."""

    def act(seat: Seat) -> None:
        seat.resize(*size)
        seat.foot.draw()

    return act


ACTS = st.lists(
    st.one_of(
        LINES.map(saying),
        st.builds(of_jobs, st.integers(0, 30), st.integers(0, 9)).map(showing),
        st.just(showing(None)),
        st.tuples(st.integers(20, 200), st.integers(4, 60)).map(resizing),
    ),
    max_size=12,
)


@settings(deadline=None)  # a busy machine is no failure
@given(acts=ACTS)
def test_lines_and_rows_never_mix(acts: list[Act]) -> None:
    """Whatever is printed, shown or resized in whatever order: lines stay, rows are below, and both are whole."""
    seat = Seat()
    for act in acts:
        act(seat)
        seat.check()
    seat.foot.close()
    seat.view = None
    seat.check()


def test_what_did_not_change_is_not_drawn_again() -> None:
    """The same rows once more are no bytes at all, so nothing flickers while nothing happens."""
    seat = Seat()
    seat.show(of_jobs(2))
    written: list[str] = []
    seat.screen.write = lambda text: written.append(text) or len(text)  # type: ignore[method-assign,func-returns-value]
    seat.show(of_jobs(2))
    assert written == []
    seat.show(of_jobs(2, frames=5))
    assert len(written) == 1
    assert "\x1b[2K" not in written[0], "nothing is blanked before it is drawn over"


def test_nobody_is_asked_to_draw_twice() -> None:
    """While a drawing is due, another view asks for none: a terminal that stands still collects nothing."""
    foot = Foot(Screen())
    assert foot.take(of_jobs(1))
    assert not foot.take(of_jobs(2))
    foot.draw()
    assert foot.take(of_jobs(3))


def test_a_new_size_is_noticed() -> None:
    """Nothing need happen for rows to be laid out anew; after the end nobody looks any more."""
    seat = Seat()
    seat.foot.begin()
    seat.show(of_jobs(3))
    seat.resize(40, 24)
    wanted = [row.plain for row in rows(of_jobs(3), 39, 24)]
    until(lambda: seat.screen.lines == [*wanted, ""])
    seat.foot.close()
    assert seat.screen.lines == [""]
    until(lambda: not any(thread.name == "foot" for thread in threading.enumerate()))


def test_nothing_is_drawn_while_the_size_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody drags the edge of the window: a line waits until it stands still, and rows are whole then."""
    seat = Seat()
    seat.show(of_jobs(3))
    sizes = [(60, 24), (45, 24), (30, 24), (50, 24)]

    def measured() -> tuple[int, int]:
        if sizes:
            seat.resize(*sizes.pop(0))
        return seat.size

    monkeypatch.setattr(seat.foot, "_measured", measured)
    seat.say("said meanwhile")
    assert seat.size == (50, 24)
    seat.check()


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("TERM", "unknown"), ("TTY_INTERACTIVE", "0")])
def test_a_terminal_that_cannot_or_must_not_gets_no_rows(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Where the cursor cannot be moved, or nobody wants it to, there is no foot."""
    assert Foot(Screen()).works
    monkeypatch.setenv(name, value)
    assert not Foot(Screen()).works


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes colours away, and a bar is seen all the same."""

    def written() -> str:
        stream = io.StringIO()
        stream.isatty = lambda: True  # type: ignore[method-assign]
        foot = Foot(stream)
        foot.take(of_jobs(1))
        foot.draw()
        return stream.getvalue()

    assert "\x1b[36m" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = written()
    assert "\x1b[36m" not in plain
    assert "━" in plain
    assert "─" in plain


def test_the_size_is_that_of_its_own_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of standard input, which may be another."""
    seat = Seat()
    monkeypatch.setattr(seat.screen, "fileno", lambda: 77)
    real = os.get_terminal_size
    monkeypatch.setattr(os, "get_terminal_size", lambda fd=1: os.terminal_size((50, 20)) if fd == 77 else real(fd))
    seat.show(of_jobs(1))
    assert seat.screen.lines == [*(row.plain for row in rows(of_jobs(1), 49, 20)), ""]
