"""The ledger: the SQLite file that remembers batches, leases and what they cost.

Before a call that costs money it holds the intent, after it the outcome. A change of a lease's state names the states
it may come from, so a stale decision changes nothing. What is *done* is not here but in the store.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from uprez.errors import StoreError, UsageError
from uprez.fleet.labels import Label
from uprez.market.base import Offer, Rates

_RATES = ("gpu_usd_per_hour", "disk_usd_per_hour", "down_usd_per_gb", "up_usd_per_gb")
LeaseState = Literal["intent", "held", "ending", "gone", "lost"]

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, for records that people read; nothing is decided by it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class LeaseRow:
    """One lease as the ledger has it."""

    id: str
    batch: str
    market: str
    state: LeaseState
    label: str
    machine: str
    instance: str | None
    usd_per_hour: Decimal
    """By which it was chosen: with the traffic that was expected."""
    intended_at: datetime
    held_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    place: str = "local"
    """Market and account: an instance means nothing anywhere else."""
    rates: Rates = field(default_factory=Rates)
    running_at: datetime | None = None
    """First seen running."""
    down_bytes: int = 0
    up_bytes: int = 0

    @property
    def named(self) -> str:
        """Name its machine for people, also one whose number was never learnt."""
        return f"instance {self.instance}" if self.instance else f"what carries the label {self.label}"


@dataclass(frozen=True, kw_only=True)
class UploadRow:
    """One multipart upload that was not seen to end."""

    number: int
    batch: str
    store: str
    key: str
    upload: str | None
    began_at: str
    """ISO 8601, by our clock."""


class Ledger:
    """An open ledger. Its file is made when missing; one connection, one statement at a time, from any thread."""

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        self.path = path
        self.clock = clock
        """Stamps what is recorded: the market's own time, where machines are rented."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            with path.with_name(f"{path.name}.lock").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)  # the time-out does not cover the change to WAL: "database is locked"
                self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            _migrate(self._db)
        except (OSError, sqlite3.DatabaseError) as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise UsageError(
                f"the ledger {path} cannot be used: {error}", hint="set UPREZ_STATE_DIR, or move the file away"
            ) from error
        self.id = self._identity()

    def _run(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement; raises StoreError, so that a full disk reads as what it is."""
        try:
            return self._db.execute(sql, values)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # defects of ours
        except sqlite3.Error as error:
            raise StoreError(
                f"the ledger {self.path} cannot be used: {error}",
                hint="is its disk full? UPREZ_STATE_DIR names another",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @staticmethod
    def new_batch() -> str:
        """Name a run: 8 hex digits. Its lock is taken before it is recorded, so that it never looks abandoned."""
        return secrets.token_hex(4)

    def begin_batch(self, batch: str, home: str, options: dict[str, Any]) -> None:
        """Record a run."""
        self._run(
            "INSERT INTO batches (id, started_at, home, options) VALUES (?, ?, ?, ?)",
            (batch, self._now(), home, json.dumps(options, default=str, sort_keys=True)),
        )

    def end_batch(self, batch: str, exit_code: int) -> None:
        """Record how a run ended."""
        self._run("UPDATE batches SET ended_at = ?, exit_code = ? WHERE id = ?", (self._now(), exit_code, batch))

    def intend(self, *, batch: str, market: str, place: str, offer: Offer, now: datetime, life_s: float) -> LeaseRow:
        """Record that an instance is about to be created; before the call that creates it. `now`: the market's time."""
        lease = secrets.token_hex(4)
        label = Label(ledger=self.id, lease=lease, deadline=now + timedelta(seconds=life_s))
        self._run(
            "INSERT INTO leases (id, batch, market, place, state, label, machine, usd_per_hour, intended_at)"
            " VALUES (?, ?, ?, ?, 'intent', ?, ?, ?, ?)",
            (lease, batch, market, place, str(label), offer.machine, str(offer.usd_per_hour), self._now()),
        )
        self.priced(lease, offer.rates)
        return self.lease(lease)

    def priced(self, lease: str, rates: Rates) -> None:
        """Record what a machine costs."""
        values = (rates.gpu_usd_per_hour, rates.disk_usd_per_hour, rates.down_usd_per_gb, rates.up_usd_per_gb)
        self._run(
            "UPDATE leases SET gpu_usd_per_hour = ?, disk_usd_per_hour = ?, down_usd_per_gb = ?, up_usd_per_gb = ?"
            " WHERE id = ?",
            (*map(str, values), lease),
        )

    def relabelled(self, lease: str, label: str) -> None:
        """Record the label that an instance is about to get; it is found by the lease in it, old or new."""
        self._run("UPDATE leases SET label = ? WHERE id = ?", (label, lease))

    def running(self, lease: str, *, at: datetime | None = None) -> None:
        """Record that an instance was seen running, the first time; or that it may have run since then."""
        when = self._now() if at is None else at.isoformat(timespec="milliseconds")
        self._run("UPDATE leases SET running_at = coalesce(running_at, ?) WHERE id = ?", (when, lease))

    def traffic(self, lease: str, down_bytes: int, up_bytes: int) -> None:
        """Record what a worker says it has moved so far; it never becomes less."""
        self._run(
            "UPDATE leases SET down_bytes = max(down_bytes, ?), up_bytes = max(up_bytes, ?) WHERE id = ?",
            (down_bytes, up_bytes, lease),
        )

    def held(self, lease: str, instance: str) -> None:
        """Record the instance that a lease got, also when that is found out after its end began."""
        self._run(
            "UPDATE leases SET state = CASE state WHEN 'intent' THEN 'held' ELSE state END,"
            " instance = coalesce(instance, ?), held_at = coalesce(held_at, ?)"
            " WHERE id = ? AND state IN ('intent', 'ending', 'lost')",
            (instance, self._now(), lease),
        )

    def ending(self, lease: str, reason: str) -> None:
        """Record that an instance is about to be given back, and why."""
        self._run(
            "UPDATE leases SET state = 'ending', reason = coalesce(reason, ?)"
            " WHERE id = ? AND state IN ('intent', 'held', 'lost')",
            (reason, lease),
        )

    def ended(self, lease: str, state: Literal["gone", "lost"], *, at: datetime | None = None) -> None:
        """Record that an instance was seen gone, at the time of its end if that is known, or could not be."""
        when = self._now() if at is None else at.isoformat(timespec="milliseconds")
        self._run("UPDATE leases SET state = ?, ended_at = ? WHERE id = ? AND state <> 'gone'", (state, when, lease))

    def adopt(self, lease: str, batch: str) -> None:
        """Count a lease that a dead run left to the run that gives it back: it reports and pays for it."""
        self._run("UPDATE leases SET batch = ? WHERE id = ?", (batch, lease))

    def lease(self, lease: str) -> LeaseRow:
        """Give one lease."""
        return _row(self._run("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone())

    def leases(self, batch: str) -> list[LeaseRow]:
        """List the leases of a batch, oldest first."""
        found = self._run("SELECT * FROM leases WHERE batch = ? ORDER BY intended_at, rowid", (batch,))
        return [_row(row) for row in found]

    def open_leases(self) -> list[LeaseRow]:
        """List every lease whose instance was not seen gone."""
        return [_row(row) for row in self._run("SELECT * FROM leases WHERE state <> 'gone' ORDER BY rowid")]

    def gone_leases(self) -> frozenset[str]:
        """List the ids of every lease whose instance was seen gone."""
        return frozenset(str(row[0]) for row in self._run("SELECT id FROM leases WHERE state = 'gone'"))

    def intend_upload(self, batch: str, store: str, key: str) -> int:
        """Record that a multipart upload is about to begin."""
        cursor = self._run(
            "INSERT INTO uploads (batch, store, key, began_at) VALUES (?, ?, ?, ?)", (batch, store, key, self._now())
        )
        return int(cursor.lastrowid or 0)

    def upload_began(self, number: int, upload: str) -> None:
        """Record the id that an upload got."""
        self._run("UPDATE uploads SET upload = ? WHERE number = ?", (upload, number))

    def upload_ended(self, number: int) -> None:
        """Record that an upload was completed or aborted."""
        self._run("UPDATE uploads SET ended_at = ? WHERE number = ?", (self._now(), number))

    def open_uploads(self) -> list[UploadRow]:
        """List every upload that was not seen to end."""
        found = self._run("SELECT number, batch, store, key, upload, began_at FROM uploads WHERE ended_at IS NULL")
        return [UploadRow(**dict(row)) for row in found]

    def _identity(self) -> str:
        self._run("INSERT OR IGNORE INTO meta VALUES ('ledger', ?)", (secrets.token_hex(4),))
        return str(self._run("SELECT value FROM meta WHERE key = 'ledger'").fetchone()[0])

    def _now(self) -> str:
        return self.clock().isoformat(timespec="milliseconds")


class UploadLog:
    """What a store tells of the uploads that one batch begins."""

    def __init__(self, ledger: Ledger, batch: str) -> None:
        self._ledger = ledger
        self._batch = batch

    def intend(self, store: str, key: str) -> int:
        """Record that an upload is about to begin; gives its number."""
        return self._ledger.intend_upload(self._batch, store, key)

    def began(self, number: int, upload: str) -> None:
        """Record the id that it got."""
        self._ledger.upload_began(number, upload)

    def ended(self, number: int) -> None:
        """Record that it was completed or aborted."""
        self._ledger.upload_ended(number)


@contextmanager
def batch_lock(folder: Path, batch: str) -> Iterator[None]:
    """Hold a batch: while the lock file is locked, its controller lives and nobody reaps its leases."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{batch}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # at most one asks `is_controlled` at this moment: no waiting to speak of
        yield


def is_controlled(folder: Path, batch: str) -> bool:
    """Say whether the controller of a batch still lives."""
    try:
        file = (folder / f"{batch}.lock").open("r+")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _row(row: sqlite3.Row) -> LeaseRow:
    def time(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text) if text else None

    return LeaseRow(
        id=row["id"],
        batch=row["batch"],
        market=row["market"],
        state=row["state"],
        label=row["label"],
        machine=row["machine"],
        instance=row["instance"],
        usd_per_hour=Decimal(row["usd_per_hour"]),
        intended_at=datetime.fromisoformat(row["intended_at"]),
        held_at=time(row["held_at"]),
        ended_at=time(row["ended_at"]),
        reason=row["reason"],
        place=row["place"],
        rates=Rates(**{name: Decimal(row[name]) for name in _RATES}),
        running_at=time(row["running_at"]),
        down_bytes=row["down_bytes"],
        up_bytes=row["up_bytes"],
    )


def _migrate(db: sqlite3.Connection) -> None:
    """Apply the numbered files that this ledger has not seen; one transaction, so two starts at once are safe."""
    scripts = sorted(
        (entry for entry in resources.files("uprez.fleet.migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(scripts):
            raise sqlite3.DatabaseError(f"it was written by a newer uprez (schema {version}, here {len(scripts)})")
        for number, script in enumerate(scripts[version:], start=version + 1):
            for statement in _statements(script.read_text(encoding="utf-8")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    # Not executescript: it commits the open transaction first.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
