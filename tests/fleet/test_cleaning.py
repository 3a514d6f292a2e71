"""What may go and what may not: by what it is, by the store's clock, and by who is at work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import places
from house import located
from paper import intended
from s3_proxy import Proxy
from s3_server import S3Server
from uprez.errors import StoreError
from uprez.fleet import cleaning
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import batch_lock
from uprez.fleet.rows import LeaseRow
from uprez.market import deadman
from uprez.store import keys
from uprez.store.open import Home, open_home

DAY = 86400.0
DONE, OPEN = "00112233aabbccdd", "4455667788990011"
LEASE = "0a0b0c0d"
PLAN = "1-0a0b0c0d"


def leave(home: Home) -> None:
    """Leave all that runs leave: a done job and one that was given up, a lease, a run, a probe."""
    places.publish(home, DONE, "cat.x2.mp4")
    for job in (DONE, OPEN):
        for key in (
            keys.plan(job, "1-01234567"),
            keys.index(job, f"{LEASE}-1"),
            keys.index_pin(job),
            keys.segment(job, PLAN, 0, f"{LEASE}-2"),
            keys.segment_pin(job, PLAN, 0),
        ):
            home.state.write(key, b"1234")
    for key in (keys.log(LEASE, 0), keys.status(LEASE), keys.results("0" * 8), keys.probe("1" * 8)):
        home.state.write(key, b"1234")


def listed(home: Home) -> set[str]:
    """List every object of the state."""
    return {meta.key for meta in home.state.listing()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give a folder with all that runs leave."""
    home = open_home(located(tmp_path / "out"), None)
    leave(home)
    return home


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass for whoever cleans."""

    def move(seconds: float) -> None:
        monkeypatch.setattr(cleaning, "utc_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))

    return move


def found(home: Home, locks: Path, *, older_s: float = 7 * DAY, rows: tuple[LeaseRow, ...] = ()) -> cleaning.Found:
    """Look through a place."""
    return cleaning.in_store(home, rows, locks, older_s=older_s)


def test_after_the_limit_only_what_is_done_stays(home: Home, tmp_path: Path, later: Callable[[float], None]) -> None:
    """Marker, manifest and output stay; so does what is not ours, in the prefix and beside it."""
    assert home.root is not None
    assert home.prefix is not None
    for path in ("uploads/mine.bin", "jobs/mine.txt", "leases/mine.txt", ".uprez/jobs/mine.txt", ".uprez/notes.txt"):
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).write_bytes(b"mine")
    later(8 * DAY)
    leftovers = found(home, tmp_path).leftovers
    assert {(leftover.kind, leftover.name, len(leftover.keys), leftover.size) for leftover in leftovers} == {
        ("done job", DONE, 5, 20),
        ("unfinished job", OPEN, 5, 20),
        ("lease", LEASE, 2, 8),
        ("record of a run", "0" * 8, 1, 4),
        ("probe", "1" * 8, 1, 4),
    }
    assert all(8 * DAY <= leftover.age_s < 8 * DAY + 60 for leftover in leftovers)
    cleaning.remove(home, leftovers)
    assert listed(home) == {keys.MARKER, keys.manifest(DONE), "jobs/mine.txt", "notes.txt"}
    mine = {str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file()}
    assert mine >= {"cat.x2.mp4", "uploads/mine.bin", "jobs/mine.txt", "leases/mine.txt"}
    assert found(home, tmp_path).leftovers == ()


def test_what_is_young_stays(home: Home, tmp_path: Path, later: Callable[[float], None]) -> None:
    """Before the limit only a done job's leftovers go, and those not while they are fresh."""
    assert found(home, tmp_path).leftovers == ()
    assert found(home, tmp_path).young == 5
    later(DAY)
    assert [leftover.name for leftover in found(home, tmp_path).leftovers] == [DONE]


def test_one_new_object_keeps_its_job(home: Home, tmp_path: Path, later: Callable[[float], None]) -> None:
    """A job is as old as its newest object."""
    assert home.prefix is not None
    for path in home.prefix.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 30 * DAY,) * 2)
    home.state.write(keys.segment(OPEN, PLAN, 1, f"{LEASE}-3"), b"new")
    assert OPEN not in {leftover.name for leftover in found(home, tmp_path).leftovers}
    later(8 * DAY)
    assert OPEN in {leftover.name for leftover in found(home, tmp_path).leftovers}


def test_supplies_of_rented_machines_go_when_nobody_works(
    home: Home, tmp_path: Path, later: Callable[[float], None]
) -> None:
    """Networks and wheels, which the next run brings again; while a run lives its machines may be reading them."""
    home.state.write(keys.wheel("a" * 64), b"wheel")
    home.state.write(keys.network("b" * 64), b"network")
    later(8 * DAY)
    names = {leftover.name for leftover in found(home, tmp_path).leftovers if leftover.kind == "supply"}
    assert names == {"a" * 12, "b" * 12}
    ledger = Ledger(tmp_path / "ledger.sqlite")
    batch = ledger.new_batch()
    ledger.begin_batch(batch, home.outputs.url, {})
    row = intended(ledger, batch)
    ledger.close()
    home.state.write(keys.status(row.id), b"1")
    later(0)
    with cleaning.ledger_of(tmp_path) as again, batch_lock(tmp_path / "batches", batch):
        assert again is not None
        result = found(home, tmp_path / "batches", older_s=0, rows=tuple(again.open_leases()))
    assert "supply" not in {leftover.kind for leftover in result.leftovers}


def test_a_place_that_lost_its_marker_is_left_alone(home: Home, tmp_path: Path, later: Callable[[float], None]) -> None:
    """Without the marker nothing is deleted."""
    assert home.prefix is not None
    later(8 * DAY)
    leftovers = found(home, tmp_path).leftovers
    (home.prefix / keys.MARKER).unlink()
    before = listed(home)
    with pytest.raises(StoreError, match="lost marker"):
        cleaning.remove(home, leftovers)
    assert listed(home) == before


def test_a_living_controllers_lease_and_jobs_stay(home: Home, tmp_path: Path, later: Callable[[float], None]) -> None:
    """While the batch of a lease is controlled, its lease and every job stay; afterwards they go."""
    locks = tmp_path / "batches"
    with cleaning.ledger_of(tmp_path) as none:
        assert none is None
    ledger = Ledger(tmp_path / "ledger.sqlite")
    batch = ledger.new_batch()
    ledger.begin_batch(batch, home.outputs.url, {})
    row = intended(ledger, batch, market="local", usd_per_hour=Decimal(0), life_s=60)
    ledger.close()
    home.state.write(keys.status(row.id), b"1")
    with cleaning.ledger_of(tmp_path) as again, batch_lock(locks, batch):
        assert again is not None
        rows = tuple(again.open_leases())
        result = found(home, locks, older_s=0, rows=rows)
        assert result.living == (row.id,)
        assert {leftover.kind for leftover in result.leftovers} == {"lease", "record of a run", "probe"}
        assert row.id not in {leftover.name for leftover in result.leftovers}
    later(2 * DAY)
    assert {DONE, OPEN, row.id} <= {leftover.name for leftover in found(home, locks, older_s=0, rows=rows).leftovers}


def test_a_bucket_is_cleaned_by_its_own_clock(s3_server: S3Server, s3_proxy: Proxy, tmp_path: Path) -> None:
    """Ten minutes ahead of us, an object is ten minutes old; versions and unfinished uploads go too."""
    bucket = s3_server.bucket(versioned=True)
    home = places.bucket_home(s3_server.access_to(s3_proxy.port), bucket)
    leave(home)
    home.state.write(keys.status(LEASE), b"again")
    for key in ("output/mine.mp4", f".uprez/{keys.assembly(OPEN, PLAN, f'{LEASE}-4')}"):
        s3_server.client.create_multipart_upload(Bucket=bucket, Key=key)
    s3_server.client.put_object(Bucket=bucket, Key="jobs/mine.txt", Body=b"mine")
    assert found(home, tmp_path, older_s=300).leftovers == ()
    s3_proxy.skew_s = 600
    leftovers = found(home, tmp_path, older_s=300).leftovers
    kinds = sorted(leftover.kind for leftover in leftovers)
    assert kinds == ["lease", "probe", "record of a run", "unfinished job", "upload"]
    cleaning.remove(home, leftovers)
    left = s3_server.client.list_object_versions(Bucket=bucket)
    lost = {entry["Key"] for entry in (*left.get("Versions", ()), *left.get("DeleteMarkers", ()))}
    assert not any(OPEN in key or LEASE in key.split("/") for key in lost)
    assert {"jobs/mine.txt", "output/cat.x2.mp4", f".uprez/{keys.manifest(DONE)}"} <= lost
    uploads = s3_server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    assert [upload["Key"] for upload in uploads] == ["output/mine.mp4"]


def test_a_run_of_another_machine_keeps_its_jobs(s3_server: S3Server, tmp_path: Path) -> None:
    """A sheet that was written just now means that somebody works: no job and no upload is touched."""
    home = places.bucket_home(s3_server.access, s3_server.bucket())
    leave(home)
    home.state.write(keys.sheet("0f0f0f0f"), b"{}")
    home.state.begin_upload(keys.assembly(OPEN, PLAN, f"{LEASE}-4"), Remembers())  # type: ignore[attr-defined]
    result = found(home, tmp_path, older_s=0)
    assert result.living == ("0f0f0f0f",)
    assert {leftover.name for leftover in result.leftovers} == {LEASE, "0" * 8, "1" * 8}


class Remembers:
    """Forgets every upload."""

    def intend(self, store: str, key: str) -> int:
        """Give a number."""
        return 1

    def began(self, number: int, upload: str) -> None:
        """Forget it."""

    def ended(self, number: int) -> None:
        """Forget it."""


def test_this_machines_leftovers_go_and_what_lives_stays(tmp_path: Path, later: Callable[[float], None]) -> None:
    """Ended instances, logs and free locks go when they are old; ledger, bucket locks and strangers never."""
    locks = tmp_path / "batches"
    locks.mkdir()
    (tmp_path / "logs").mkdir()
    for name in (
        *("batches/00000001.lock", "batches/00000003.continued.lock", "batches/bucket-0123456789abcdef.lock"),
        *("crash-20260101T000000000000.log", "logs/0c0c0c0c.log", "logs/mine.log"),
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "ledger.sqlite").write_text("x")
    for name in ("0a0a0a0a", "0b0b0b0b", "mine"):
        (tmp_path / "local" / name).mkdir(parents=True)
        (tmp_path / "local" / name / "stdout.log").write_text("x")
    held = deadman.take_lock(tmp_path / "local" / "0b0b0b0b")
    with batch_lock(locks, "00000002"):
        assert cleaning.on_machine(tmp_path, (), older_s=7 * DAY) == ()
        later(8 * DAY)
        leftovers = cleaning.on_machine(tmp_path, (), older_s=7 * DAY)
        assert {Path(leftover.name).name for leftover in leftovers} == {
            *("0a0a0a0a", "00000001.lock", "00000003.continued.lock"),
            *("crash-20260101T000000000000.log", "0c0c0c0c.log"),
        }
        cleaning.remove_here(leftovers, locks)
    os.close(held)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        *("batches/bucket-0123456789abcdef.lock", "batches/00000002.lock", "ledger.sqlite"),
        *("local/0b0b0b0b/stdout.log", "local/0b0b0b0b/lock", "local/mine/stdout.log", "logs/mine.log"),
    }


def test_the_log_of_a_lease_at_work_stays(tmp_path: Path, ledger: Ledger, later: Callable[[float], None]) -> None:
    """However long it has said nothing."""
    (tmp_path / "logs").mkdir()
    ledger.begin_batch("00000001", "", {})
    row = intended(ledger, "00000001")
    (tmp_path / "logs" / f"{row.id}.log").touch()
    later(8 * DAY)
    with batch_lock(tmp_path / "batches", "00000001"):
        assert cleaning.on_machine(tmp_path, [row], older_s=7 * DAY) == ()
    assert {one.kind for one in cleaning.on_machine(tmp_path, [row], older_s=7 * DAY)} == {"lock", "log"}


def test_what_came_to_life_is_not_removed(tmp_path: Path) -> None:
    """Between looking and removing a folder may have become an instance's, a lock a run's."""
    folder, locks = tmp_path / "local" / "0a0a0a0a", tmp_path / "batches"
    folder.mkdir(parents=True)
    locks.mkdir()
    (locks / "00000001.lock").touch()
    leftovers = cleaning.on_machine(tmp_path, (), older_s=0)
    assert len(leftovers) == 2
    held = deadman.take_lock(folder)
    with batch_lock(locks, "00000001"):
        cleaning.remove_here(leftovers, locks)
    os.close(held)
    assert folder.is_dir()
    assert (locks / "00000001.lock").exists()


def test_the_checkpoints_of_single_files_are_found(tmp_path: Path) -> None:
    """Every marked folder of `uprez enhance` is a place; others are not."""
    folder = tmp_path / "enhance" / ("0" * 16)
    open_home(located(tmp_path / "out"), None, state=folder)
    (tmp_path / "enhance" / ("1" * 16)).mkdir()
    assert [home.prefix for home in cleaning.enhanced(tmp_path)] == [folder]
