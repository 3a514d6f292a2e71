"""The ledger: the SQLite file that remembers batches, leases and what they cost.

Before a call that costs money it holds the intent, after it the outcome. A change of a lease's state names the states
it may come from, so a stale decision changes nothing. What is *done* is not here but in the store.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from uprez import wire
from uprez.errors import StoreError, UsageError
from uprez.fleet.batches import BatchRow, Summary
from uprez.fleet.labels import Label
from uprez.fleet.rows import Ban, DetachedRow, LeaseRow, Measured, UploadRow
from uprez.market.base import Line, Offer, Rates

_LEASES = (
    "SELECT *, (SELECT detached_at IS NOT NULL AND collected_at IS NULL FROM batches WHERE id = leases.batch)"
    " AS detached FROM leases"
)
_LINE = ("line_down", "line_up")
_RATES = ("gpu_usd_per_hour", "disk_usd_per_hour", "down_usd_per_gb", "up_usd_per_gb")

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, for records that people read; nothing is decided by it."""
    return datetime.now(UTC)


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

    def begin_batch(
        self, batch: str, home: str, options: dict[str, Any], *, saved: Mapping[str, Any] | None = None
    ) -> None:
        """Record a run, with its settings if it is to go on by them (`config.saved`)."""
        self._run(
            "INSERT INTO batches (id, started_at, home, options, saved) VALUES (?, ?, ?, ?, ?)",
            (batch, self._now(), home, json.dumps(options, default=str, sort_keys=True), saved and json.dumps(saved)),
        )

    def summarise(self, batch: str, summary: Summary) -> None:
        """Record what a run has to do, and later what came of it."""
        self._run("UPDATE batches SET summary = ? WHERE id = ?", (wire.dump(summary).decode(), batch))

    def batches(self) -> list[BatchRow]:
        """List every run, the newest first."""
        found = self._run(
            "SELECT id, started_at, ended_at, exit_code, home, saved IS NOT NULL AS is_saved, summary, detached_at,"
            " collected_at FROM batches ORDER BY rowid DESC"
        )
        return [_batch(row) for row in found]

    def saved(self, batch: str) -> dict[str, Any] | None:
        """Give the settings that were kept of a run."""
        row = self._run("SELECT saved FROM batches WHERE id = ?", (batch,)).fetchone()
        kept: dict[str, Any] | None = json.loads(row[0]) if row and row[0] else None
        return kept

    def end_batch(self, batch: str, exit_code: int) -> None:
        """Record how a run ended."""
        self._run("UPDATE batches SET ended_at = ?, exit_code = ? WHERE id = ?", (self._now(), exit_code, batch))

    def detach(self, batch: str, jobs: Collection[str]) -> None:
        """Record that the leases of a run are about to be left to themselves, with these jobs; before their sheets."""
        values = (self._now(), json.dumps(sorted(jobs)), batch)
        self._run("UPDATE batches SET detached_at = coalesce(detached_at, ?), jobs = ? WHERE id = ?", values)

    def collected(self, batch: str) -> None:
        """Record that what a detached run's leases made was verified."""
        self._run("UPDATE batches SET collected_at = ? WHERE id = ?", (self._now(), batch))

    def detached(self) -> list[DetachedRow]:
        """List the runs that were left to themselves and not collected yet, oldest first."""
        found = self._run(
            "SELECT id, home, jobs FROM batches"
            " WHERE detached_at IS NOT NULL AND collected_at IS NULL ORDER BY started_at, rowid"
        )
        return [DetachedRow(id=row["id"], home=row["home"], jobs=frozenset(json.loads(row["jobs"]))) for row in found]

    def intend(self, *, batch: str, market: str, place: str, offer: Offer, now: datetime, life_s: float) -> LeaseRow:
        """Record that an instance is about to be created; before the call that creates it. `now`: the market's time."""
        lease = secrets.token_hex(4)
        label = Label(ledger=self.id, lease=lease, deadline=now + timedelta(seconds=life_s))
        self._run(
            "INSERT INTO leases (id, batch, market, place, state, label, machine, usd_per_hour, gpu,"
            " line_down, line_up, intended_at) VALUES (?, ?, ?, ?, 'intent', ?, ?, ?, ?, ?, ?, ?)",
            (
                *(lease, batch, market, place, str(label), offer.machine, str(offer.usd_per_hour), offer.gpu),
                *((offer.line.down, offer.line.up) if offer.line else (None, None)),
                self._now(),
            ),
        )
        self.priced(lease, offer.rates)
        return self.lease(lease)

    def priced(self, lease: str, rates: Rates, *, before_usd: Decimal = Decimal(0)) -> None:
        """Record what a machine costs, and what its time at other prices cost more than at these."""
        values = (
            rates.gpu_usd_per_hour,
            rates.disk_usd_per_hour,
            rates.down_usd_per_gb,
            rates.up_usd_per_gb,
            before_usd,
        )
        self._run(
            "UPDATE leases SET gpu_usd_per_hour = ?, disk_usd_per_hour = ?, down_usd_per_gb = ?, up_usd_per_gb = ?,"
            " before_usd = ? WHERE id = ?",
            (*map(str, values), lease),
        )

    def relabelled(self, lease: str, label: str) -> None:
        """Record the label that an instance is about to get; it is found by the lease in it, old or new."""
        self._run("UPDATE leases SET label = ? WHERE id = ?", (label, lease))

    def running(self, lease: str, *, at: datetime | None = None) -> None:
        """Record that an instance was seen running, the first time; or that it may have run since then."""
        when = self._now() if at is None else at.isoformat(timespec="milliseconds")
        self._run("UPDATE leases SET running_at = coalesce(running_at, ?) WHERE id = ?", (when, lease))

    def ready(self, lease: str) -> None:
        """Record that a worker said its first word."""
        self._run("UPDATE leases SET ready_at = coalesce(ready_at, ?) WHERE id = ?", (self._now(), lease))

    def measured(self, one: Measured) -> None:
        """Record what a task took."""
        self._run(
            "INSERT INTO speeds (lease, job, gpu, work, gmac, frames, pixels, bytes, seconds, measured_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(one.lease, one.job, one.gpu, one.work, one.gmac, one.frames, one.pixels, one.bytes, one.seconds),
                self._now(),
            ),
        )

    def measurements(
        self, work: str, gpu: str | None = None, *, by: Literal["lease", "job"] = "lease", most: int
    ) -> list[Measured]:
        """Sum up a kind of work, on one GPU or on all, the latest first: one record for each lease, or for each job."""
        found = self._run(
            "SELECT lease, job, gpu, work, sum(gmac) AS gmac, sum(frames) AS frames, sum(pixels) AS pixels,"
            " sum(bytes) AS bytes, sum(seconds) AS seconds, count(*) AS tasks,"
            " line_down, line_up FROM speeds LEFT JOIN (SELECT id, line_down, line_up FROM leases) ON id = lease"
            " WHERE work = ? AND gpu = coalesce(?, gpu)"
            " GROUP BY CASE ? WHEN 'job' THEN job ELSE lease END ORDER BY max(number) DESC LIMIT ?",
            (work, gpu, by, most),
        )
        return [Measured(**{k: v for k, v in dict(row).items() if k not in _LINE}, line=_line(row)) for row in found]

    def gpus(self, work: str) -> list[str]:
        """List the GPUs that a kind of work was measured on."""
        found = self._run("SELECT DISTINCT gpu FROM speeds WHERE work = ? ORDER BY gpu", (work,))
        return [str(row[0]) for row in found]

    def loads_s(self, *, rented: bool, most: int) -> list[float]:
        """List the seconds from order to start of the latest machines that came to work."""
        found = self._run(
            "SELECT (julianday(running_at) - julianday(intended_at)) * 86400 FROM leases"
            " WHERE (place <> 'local') = ? AND ready_at IS NOT NULL ORDER BY rowid DESC LIMIT ?",
            (rented, most),
        )
        return [float(row[0]) for row in found if row[0]]

    def traffic(self, lease: str, down_bytes: int, up_bytes: int) -> None:
        """Record what a worker says it has moved so far; it never becomes less."""
        self._run(
            "UPDATE leases SET down_bytes = max(down_bytes, ?), up_bytes = max(up_bytes, ?) WHERE id = ?",
            (down_bytes, up_bytes, lease),
        )

    def used(self, lease: str, use: str) -> None:
        """Record what is known of what a lease's time was for."""
        self._run("UPDATE leases SET use = ? WHERE id = ?", (use, lease))

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
        return _row(self._run(f"{_LEASES} WHERE id = ?", (lease,)).fetchone())

    def leases(self, batch: str) -> list[LeaseRow]:
        """List the leases of a batch, oldest first."""
        found = self._run(f"{_LEASES} WHERE batch = ? ORDER BY intended_at, rowid", (batch,))
        return [_row(row) for row in found]

    def all_leases(self) -> list[LeaseRow]:
        """List every lease there ever was, oldest first."""
        return [_row(row) for row in self._run(f"{_LEASES} ORDER BY rowid")]

    def open_leases(self) -> list[LeaseRow]:
        """List every lease whose instance was not seen gone."""
        return [_row(row) for row in self._run(f"{_LEASES} WHERE state <> 'gone' ORDER BY rowid")]

    def gone_leases(self) -> frozenset[str]:
        """List the ids of every lease whose instance was seen gone."""
        return frozenset(str(row[0]) for row in self._run("SELECT id FROM leases WHERE state = 'gone'"))

    def ban(self, ban: Ban) -> None:
        """Record a machine's fault."""
        self._run(
            "INSERT INTO bans (place, machine, batch, reason, evidence, banned_at, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (ban.place, ban.machine, ban.batch, ban.reason, ban.evidence, _iso(ban.banned_at), _iso(ban.until)),
        )

    def bans(self, place: str | None = None) -> list[Ban]:
        """List the faults of a place's machines, or of all, oldest first; those that are over too."""
        found = self._run(
            "SELECT place, machine, batch, reason, evidence, banned_at, until FROM bans"
            " WHERE ? IS NULL OR place = ? ORDER BY number",
            (place, place),
        )
        times = ("banned_at", "until")
        return [Ban(**{**dict(row), **{name: datetime.fromisoformat(row[name]) for name in times}}) for row in found]

    def pardon(self, machine: str | None = None) -> int:
        """Forget every fault of a machine, or of all; gives how many there were."""
        return self._run("DELETE FROM bans WHERE ? IS NULL OR machine = ?", (machine, machine)).rowcount

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
        return _iso(self.clock())


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


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


def _batch(row: sqlite3.Row) -> BatchRow:
    text = row["summary"]
    return BatchRow(
        id=row["id"],
        started_at=datetime.fromisoformat(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        exit_code=row["exit_code"],
        home=row["home"],
        is_saved=bool(row["is_saved"]),
        summary=wire.load(Summary, text.encode(), where="the ledger's summary") if text else Summary(),
        detached_at=_time(row["detached_at"]),
        collected_at=_time(row["collected_at"]),
    )


def _line(row: sqlite3.Row) -> Line | None:
    down, up = (row[name] for name in _LINE)
    return None if down is None or up is None else Line(down=down, up=up)


def _row(row: sqlite3.Row) -> LeaseRow:
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
        held_at=_time(row["held_at"]),
        ended_at=_time(row["ended_at"]),
        reason=row["reason"],
        place=row["place"],
        rates=Rates(**{name: Decimal(row[name]) for name in _RATES}),
        running_at=_time(row["running_at"]),
        down_bytes=row["down_bytes"],
        up_bytes=row["up_bytes"],
        detached=bool(row["detached"]),
        before_usd=Decimal(row["before_usd"]),
        use=row["use"],
        gpu=row["gpu"],
        line=_line(row),
        ready_at=_time(row["ready_at"]),
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
