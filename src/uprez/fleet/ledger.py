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
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from uprez.errors import StoreError, UsageError

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
    intended_at: datetime
    held_at: datetime | None
    ended_at: datetime | None
    reason: str | None


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
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
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
        except sqlite3.OperationalError as error:
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

    def intend(self, *, batch: str, market: str, machine: str, usd_per_hour: Decimal, life_s: float) -> LeaseRow:
        """Record that an instance is about to be created; before the call that creates it."""
        lease = secrets.token_hex(4)
        deadline = int(self._clock().timestamp() + life_s)
        self._run(
            "INSERT INTO leases (id, batch, market, state, label, machine, usd_per_hour, intended_at)"
            " VALUES (?, ?, ?, 'intent', ?, ?, ?, ?)",
            (lease, batch, market, f"uprez/{self.id}/{lease}/{deadline}", machine, str(usd_per_hour), self._now()),
        )
        return self.lease(lease)

    def held(self, lease: str, instance: str) -> None:
        """Record the instance that a lease got."""
        self._run(
            "UPDATE leases SET state = 'held', instance = ?, held_at = ? WHERE id = ? AND state = 'intent'",
            (instance, self._now(), lease),
        )

    def ending(self, lease: str, reason: str) -> None:
        """Record that an instance is about to be given back, and why."""
        self._run(
            "UPDATE leases SET state = 'ending', reason = coalesce(reason, ?)"
            " WHERE id = ? AND state IN ('intent', 'held', 'lost')",
            (reason, lease),
        )

    def ended(self, lease: str, state: Literal["gone", "lost"]) -> None:
        """Record that an instance was seen gone, or could not be."""
        self._run(
            "UPDATE leases SET state = ?, ended_at = ? WHERE id = ? AND state <> 'gone'", (state, self._now(), lease)
        )

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
        return self._clock().isoformat(timespec="milliseconds")


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
