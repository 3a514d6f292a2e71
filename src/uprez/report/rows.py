"""A view in rows. Pure: a view and a size in, rows out.

Jobs first, then leases, then the sum. A row is one line at any width: columns that do not fit are left out, names are
shortened in the middle. What is not shown for want of lines is counted in a row of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias, get_args

from rich.cells import cell_len, get_character_cell_size
from rich.text import Text

from uprez.report.console import printable
from uprez.report.live import JobRow, JobState, LeaseRow, View

ORDER: tuple[JobState, ...] = get_args(JobState)
"""Which jobs are shown where not all can be, and how the others are counted."""
GAP = 2
"""Cells between two columns."""
NAME_LEAST, BAR_LEAST, BAR_MOST, FIXED_MOST = 8, 8, 40, 26
"""Cells of columns whose width depends on the terminal's, and the most of any other."""
DOTS = "..."
_STYLES = {"failed": "red", "done": "green", "waiting": "dim"}
"""Of a job's state."""


@dataclass(frozen=True, kw_only=True)
class _Column:
    """How a column is laid out."""

    right: bool = False
    """Numbers are aligned at their end."""
    flexible: bool = False
    """It is a name, and takes what the others leave."""
    rank: int = 9
    """Those of a low one are left out first."""
    state: bool = False
    """It has the colour of its word."""


_Line: TypeAlias = Sequence[str]
_JOB = (
    _Column(flexible=True),
    _Column(right=True, rank=4),
    _Column(right=True, rank=1),
    _Column(right=True, rank=2),
    _Column(rank=3, state=True),
)
_LEASE = (
    _Column(rank=6),
    _Column(rank=4),
    _Column(right=True, rank=2),
    _Column(rank=5),
    _Column(flexible=True),
    _Column(right=True, rank=1),
    _Column(right=True, rank=3),
)


def rows(view: View, width: int, height: int, encoding: str = "utf-8") -> list[Text]:
    """Give the rows of a view for a terminal of so many columns and lines; a third of the lines stays free.

    What `encoding` has no character for is shown as its escape, and bars are ASCII where it has none for them.
    """
    room = max(0, height * 2 // 3 - 1)
    leases = min(len(view.leases), max(room // 2, room - len(view.jobs)))
    jobs = min(len(view.jobs), room - leases)
    show = _Shown(encoding)
    found = [*_job_rows(view.jobs, jobs, width, show), *_lease_rows(view.leases, leases, width, show)]
    found.append(Text(_totals(view, width), style="bold"))
    for row in found:
        row.rstrip()
        row.truncate(max(0, width), overflow="crop")
    return found


# --- jobs


def _job_rows(jobs: Sequence[JobRow], room: int, width: int, show: _Shown) -> list[Text]:
    shown, rest = _chosen(jobs, room)
    lines = [_job_line(job, show) for job in shown]
    bar = BAR_LEAST if any(job.total for job in shown) else 0
    widths = _widths(lines, _JOB, width - (bar + GAP if bar else 0))
    if bar:
        free = widths[0] + width - sum(widths) - GAP * sum(each > 0 for each in widths)
        widths[0] = min(widths[0], max(NAME_LEAST, free * 3 // 5))
        bar = min(BAR_MOST, max(bar, free - widths[0]))
    found = []
    for job, line in zip(shown, lines, strict=True):
        cells = _cells(line, _JOB, widths)
        found.append(_joined([*cells[:1], show.bar(_share(job), bar, job.state), *cells[1:]] if bar else cells))
    if rest:
        found.append(Text(_counted(rest, more=bool(shown)), style="dim"))
    return found


def _counted(jobs: Sequence[JobRow], *, more: bool) -> str:
    """Count jobs by their states; there are `more` above."""
    counts = Counter(job.state for job in jobs)
    number, state = next((counts[state], state) for state in ORDER if counts[state])
    others = [f"{counts[each]} {each}" for each in ORDER if counts[each] and each != state]
    return ", ".join([f"and {number} more {state}" if more else f"{number} {state}", *others])


def _chosen(jobs: Sequence[JobRow], room: int) -> tuple[list[JobRow], list[JobRow]]:
    """Choose which jobs are shown, in the batch's order; one line is kept for the others where there are any."""
    if len(jobs) <= room:
        return list(jobs), []
    if not room:
        return [], []
    ranked = sorted(range(len(jobs)), key=lambda number: (ORDER.index(jobs[number].state), number))
    shown = set(ranked[: room - 1])
    return [jobs[number] for number in sorted(shown)], [jobs[number] for number in ranked[room - 1 :]]


def _share(job: JobRow) -> float:
    return 1.0 if job.state == "done" else min(1.0, max(0.0, job.frames / job.total)) if job.total else 0.0


def _job_line(job: JobRow, show: _Shown) -> _Line:
    begun = bool(job.total) and (job.frames > 0 or job.segments > 0) and job.state != "failed"
    frames = f"{job.frames}/{job.total}" if begun and job.state != "done" else ""
    going = job.segments and job.state in {"working", "begun"}
    state = f"{job.counted}/{job.segments} segment{'s' if job.segments != 1 else ''}" if going else job.state
    return show(job.name), _percent(_share(job)) if begun else "", frames, _rate(job.fps), state


# --- leases


def _lease_rows(leases: Sequence[LeaseRow], room: int, width: int, show: _Shown) -> list[Text]:
    if not room:
        return []
    count = len(leases) if len(leases) <= room else room - 1
    by_speed = sorted(range(len(leases)), key=lambda number: (-leases[number].fps, number))
    shown = [leases[number] for number in sorted(by_speed[:count])]
    lines = [_lease_line(lease, show) for lease in shown]
    widths = _widths(lines, _LEASE, width)
    found = [_joined(_cells(line, _LEASE, widths)) for line in lines]
    if rest := len(leases) - count:
        found.append(Text(f"and {rest} more machines" if shown else f"{rest} machines", style="dim"))
    return found


def _lease_line(lease: LeaseRow, show: _Shown) -> _Line:
    price = "" if lease.usd_per_hour is None else f"${lease.usd_per_hour:.3f}/h"
    cost = "" if lease.usd is None else f"${lease.usd:.3f}"
    return show(lease.id), show(lease.gpu), price, show(lease.state), show(lease.name), _rate(lease.fps), cost


def _rate(fps: float) -> str:
    if fps <= 0:
        return ""
    return f"{fps:.2f} fps" if fps < 1000 else f"{fps:.0f} fps"


# --- the sum


def _totals(view: View, width: int) -> str:
    """Sum up: in as many words as fit."""
    ways = [_said(view, brevity) for brevity in range(6)]
    return next((way for way in ways if len(way) <= width), ways[-1])


def _said(view: View, brevity: int) -> str:
    """Say the sum; what matters least is left out first."""
    totals, states = view.totals, Counter(job.state for job in view.jobs)
    videos = f"{states['done']} of {len(view.jobs)}{' videos' if brevity < 3 else ''}"
    failed = f", {states['failed']} failed" if states["failed"] else ""
    parts = [f"{videos}, {_percent(totals.share)}{failed}"]
    if totals.budget_usd is not None:
        held = len(view.leases)
        if brevity < 4:
            renting = ", renting" if totals.renting and brevity < 2 else ""
            parts.append(f"{held} machine{'s' if held != 1 else ''}{renting}")
        promised = f" (up to {_usd(totals.promised_usd)}{' promised' if brevity < 1 else ''})" if brevity < 5 else ""
        parts.append(f"{_usd(totals.spent_usd)} of {_usd(totals.budget_usd)}{promised}")
    if totals.left_s is not None and math.isfinite(totals.left_s) and totals.left_s >= 1:
        parts.append(f"~{_length(totals.left_s)} left")
    return " | ".join(parts)


def _usd(value: Decimal) -> str:
    """Say a sum; a short run costs less than a cent."""
    return f"${value:.3f}" if 0 < value < Decimal("0.1") else f"${value:.2f}"


def _percent(share: float) -> str:
    return f"{int(100 * min(1.0, max(0.0, share)))} %"


def _length(seconds: float) -> str:
    whole = round(max(0.0, seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 100:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


# --- layout


class _Shown:
    """How text and bars are shown in an encoding."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        whole, half, rest = ("━", "╸", "─") if self("━╸─") == "━╸─" else ("#", "", ".")
        self._whole, self._half, self._rest = whole, half, rest

    def __call__(self, text: str) -> str:
        """Give text that does nothing to a terminal, and is as wide as it seems."""
        text = printable(text).replace("\ufe0f", "")  # it makes a character wider on some terminals
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def bar(self, share: float, width: int, state: JobState) -> Text:
        """Draw a bar."""
        halves = int(share * width * (2 if self._half else 1))
        whole, half = divmod(halves, 2) if self._half else (halves, 0)
        done = self._whole * whole + self._half * half
        style = {"failed": "red", "done": "green"}.get(state, "cyan")
        return Text.assemble((done, style), (self._rest * (width - len(done)), "dim"))


def _widths(lines: Sequence[_Line], columns: Sequence[_Column], width: int) -> list[int]:
    """Give each column's width; 0 for those that are empty or have to be left out."""
    natural = [max((cell_len(line[at]) for line in lines), default=0) for at in range(len(columns))]
    found = [0 if column.flexible else min(FIXED_MOST, natural[at]) for at, column in enumerate(columns)]
    (name,) = (at for at, column in enumerate(columns) if column.flexible)
    for at in sorted(range(len(columns)), key=lambda at: columns[at].rank):
        left = width - sum(found) - GAP * sum(each > 0 for each in found)
        if left >= min(natural[name], NAME_LEAST):
            break
        found[at] = 0
    left = width - sum(found) - GAP * sum(each > 0 for each in found)
    found[name] = max(0, min(natural[name], left))
    return found


def _cells(line: _Line, columns: Sequence[_Column], widths: Sequence[int]) -> list[Text]:
    found = []
    for text, column, width in zip(line, columns, widths, strict=True):
        if width:
            fitted = shortened(text, width)
            space = " " * (width - cell_len(fitted))
            found.append(
                Text(
                    space + fitted if column.right else fitted + space,
                    style=_STYLES.get(text, "") if column.state else "",
                )
            )
    return found


def _joined(cells: Sequence[Text]) -> Text:
    return Text(" " * GAP).join(cells)


def shortened(text: str, width: int) -> str:
    """Take out of the middle what does not fit so many cells: names differ at their ends."""
    if cell_len(text) <= width:
        return text
    if width <= len(DOTS):
        return _first(text, width)
    head = (width - len(DOTS)) // 2
    return _first(text, head) + DOTS + _first(text[::-1], width - len(DOTS) - head)[::-1]


def _first(text: str, width: int) -> str:
    """Give as much of a text's beginning as fits."""
    for at, char in enumerate(text):
        width -= get_character_cell_size(char)
        if width < 0:
            return text[:at]
    return text
