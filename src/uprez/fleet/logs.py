"""The logs of leases: what this computer saw of each, and what its worker published beside its sheet."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from uprez.errors import StoreError, UsageError
from uprez.fleet.batches import BatchRow, JobLine
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import LINE, LogLine
from uprez.fleet.rows import LeaseRow
from uprez.store import keys, objects
from uprez.store.open import Home

_SEEN = re.compile(r"(?:(?P<number>[0-9]{1,9}) )?(?P<stamp>[0-9]{4}-\S+) (?P<text>.*)")
"""A line of this computer's copy. Those of the boot have the number 0; those of earlier versions none."""
_PART = re.compile(r"[0-9a-f]{4,16}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Whose logs are meant."""

    what: str
    """For people."""
    leases: tuple[LeaseRow, ...]
    batch: str = ""
    """That batch, whose leases may become more."""
    name: str = ""
    """Only the leases that worked on an input of that name."""


@dataclass(kw_only=True)
class Reader:
    """Reads the logs of leases, each line once."""

    folder: Path
    """This computer's copies."""
    homes: dict[str, tuple[Home, ...]] = field(default_factory=dict)
    """By batch, the places that may hold what its workers published."""
    trouble: list[str] = field(default_factory=list)
    """What could not be read, and why; not said yet."""
    _told: dict[str, set[tuple[int, str, str]]] = field(default_factory=dict)
    _parts: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)
    _waiting: dict[str, list[LogLine]] = field(default_factory=dict)
    """Lines of leases that have not yet worked on the input that is asked for."""

    def fresh(self, choice: Choice) -> list[tuple[str, LogLine]]:
        """Give the lines that were not given before, in the order of their times, each with its lease."""
        found = []
        for row in choice.leases:
            lines = [*self._waiting.pop(row.id, []), *self._fresh(row)]
            if choice.name and row.id not in self._named and not any(choice.name in line.text for line in lines):
                self._waiting[row.id] = lines
                continue
            self._named.add(row.id)
            found += [(row.id, line) for line in lines]
        return sorted(found, key=lambda one: one[1].stamp)

    def _fresh(self, row: LeaseRow) -> list[LogLine]:
        told = self._told.setdefault(row.id, set())
        lines = []
        for line in sorted((*seen(self.folder, row.id), *self._published(row)), key=_order):
            # The same line may come from both: by its number, or where it has none, as it is.
            known = (line.number, "", "") if line.number else (0, line.stamp, line.text)
            if known not in told:
                told.add(known)
                lines.append(line)
        return lines

    def _published(self, row: LeaseRow) -> list[LogLine]:
        lines: list[LogLine] = []
        for home in self.homes.get(row.batch, ()):
            try:
                for key in objects.listing(home, keys.log_prefix(row.id)):
                    if key not in self._parts:
                        lines += read_part(home, row.id, key)
                        self._parts.add(key)
            except StoreError as error:
                self.trouble.append(error.message)
        return lines


def choose(ledger: Ledger, what: str | None) -> Choice:
    """Say whose logs are meant by a lease, a batch, a job or the name of an input; by nothing, the last batch's.

    Raises UsageError where it means none or several.
    """
    rows, leases = ledger.batches(), ledger.all_leases()
    if not rows:
        raise UsageError("no batch has run on this computer so far", hint="uprez run begins one")
    if what is None:
        return _of_batch(rows[0], leases)
    for exact in (True, False):
        if found := _chosen(rows, leases, what, exact=exact):
            return found
    if found := _of_job(rows, leases, what, lambda job: PurePosixPath(job.input).stem == what):
        return found
    raise UsageError(
        f"{what} is no lease, batch, job or input that this computer knows", hint="uprez history lists the batches"
    )


def seen(folder: Path, lease: str) -> list[LogLine]:
    """Read this computer's copy of a lease's log."""
    with contextlib.suppress(FileNotFoundError):
        text = (folder / f"{lease}.log").read_text(encoding="utf-8", errors="replace")
        matches = map(_SEEN.fullmatch, text.split("\n"))
        return [
            LogLine(number=int(match["number"] or 0), stamp=match["stamp"], text=match["text"])
            for match in matches
            if match
        ]
    return []


def read_part(home: Home, lease: str, key: str) -> list[LogLine]:
    """Read one part; whatever in it is no line of that lease is left out, since a rented host may write anything."""
    text = (home.state.read(key) or b"").decode("utf-8", "replace")
    matches = map(LINE.fullmatch, text.split("\n"))
    return [
        LogLine(number=int(match["number"]), stamp=match["stamp"], text=match["text"])
        for match in matches
        if match and match["lease"] == lease
    ]


def _order(line: LogLine) -> tuple[str, int]:
    return line.stamp, line.number


def _chosen(rows: Sequence[BatchRow], leases: Sequence[LeaseRow], what: str, *, exact: bool) -> Choice | None:
    """Give what a name means: a whole one, or the first digits of a number and the last parts of a path."""

    def matches(name: str) -> bool:
        return name == what if exact else bool(_PART.fullmatch(what)) and name.startswith(what)

    mine = [row for row in leases if matches(row.id)]
    runs = [row for row in rows if matches(row.id)]
    if len(mine) + len(runs) > 1:
        several = [*(row.id for row in mine), *(row.id for row in runs)]
        raise UsageError(f"{what} may be {' or '.join(several)}", hint="write more of it")
    if mine:
        return Choice(what=f"lease {mine[0].id}", leases=(mine[0],))
    if runs:
        return _of_batch(runs[0], leases)
    if exact:
        return _of_job(rows, leases, what, lambda job: what in (job.job, job.input))
    return _of_job(rows, leases, what, lambda job: matches(job.job) or job.input.endswith(f"/{what}"))


def _of_batch(row: BatchRow, leases: Sequence[LeaseRow]) -> Choice:
    return Choice(what=f"batch {row.id}", leases=tuple(one for one in leases if one.batch == row.id), batch=row.id)


def _of_job(
    rows: Sequence[BatchRow], leases: Sequence[LeaseRow], what: str, matches: Callable[[JobLine], bool]
) -> Choice | None:
    """Find a job; the leases are those of every batch that it was part of."""
    found = {job.input: job for row in rows for job in row.summary.jobs if matches(job)}
    if len(found) > 1:
        raise UsageError(f"{what} may be {' or '.join(sorted(found)[:5])}", hint="write more of it")
    for name, job in found.items():
        of = {row.id for row in rows if any(one.key == job.key for one in row.summary.jobs)}
        return Choice(what=name, leases=tuple(one for one in leases if one.batch in of), name=name)
    return None
