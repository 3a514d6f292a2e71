"""`uprez clean`: says what goes and how much, and only says it when that was asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import places
from house import located
from s3_server import S3Server
from uprez.cli import durations
from uprez.errors import UsageError
from uprez.store import keys
from uprez.store.open import Home, exclusive, open_home

JOB, OPEN = "00112233aabbccdd", "4455667788990011"
Command = Callable[..., tuple[int, str, str]]


def old_place(path: Path) -> Home:
    """Give a folder of results in which all is ten days old."""
    home = open_home(located(path), None)
    places.publish(home, JOB, "два 🐈 #1.x2.mp4")
    for key in (keys.plan(OPEN, "1-01234567"), keys.log("0a0b0c0d", 0)):
        home.state.write(key, b"x" * 20_000)
    for file in path.rglob("*"):
        os.utime(file, (time.time() - 10 * 86400 - 60,) * 2)
    return home


def test_a_dry_run_only_says(command: Command, folder: Path) -> None:
    """What, how much and how old; nothing changes on the disk."""
    old_place(folder / "output")
    before = sorted(str(path) for path in folder.rglob("*"))
    code, out, err = command("clean", "--dry-run")
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()[1:]) == [
        "[CLEAN] lease 0a0b0c0d, 1 objects, 0.02 MB, last written 10 days ago",
        f"[CLEAN] unfinished job {OPEN}, 1 objects, 0.02 MB, last written 10 days ago",
        "[OK] Dry run: would remove 2 objects, 0.04 MB",
    ]
    assert sorted(str(path) for path in folder.rglob("*")) == before


def test_what_is_old_goes(command: Command, folder: Path) -> None:
    """The result, its record and the marker stay; a second time there is nothing to do."""
    home = old_place(folder / "output")
    code, out, err = command("clean")
    assert (code, err) == (0, "")
    assert out.endswith("[OK] Removed 2 objects, 0.04 MB\n")
    assert {meta.key for meta in home.state.listing()} == {keys.MARKER, keys.manifest(JOB)}
    assert (folder / "output" / "два 🐈 #1.x2.mp4").exists()
    assert command("clean")[1].endswith("[OK] Nothing to remove\n")


def test_the_limit_is_the_flags(command: Command, folder: Path) -> None:
    """--older 20d leaves all of it."""
    old_place(folder / "output")
    _, out, _ = command("clean", "--older", "20d")
    assert "2 leases, jobs and records are younger than 20d: kept" in out
    assert out.endswith("[OK] Nothing to remove\n")


def test_a_place_that_is_worked_in_is_refused(command: Command, folder: Path) -> None:
    """While a run of this machine holds the place, cleaning is a usage error and removes nothing."""
    home = old_place(folder / "output")
    with exclusive(home, folder / "state" / "batches"):
        code, _, err = command("clean")
    assert code == 2
    assert "another uprez run is working" in err
    assert len(list(home.state.listing())) == 4


def test_checkpoints_of_single_files_and_the_machine_are_cleaned(command: Command, folder: Path) -> None:
    """Without any place of results, what `uprez enhance` and crashes left here still goes."""
    state = folder / "state"
    inside = open_home(located(folder / "x"), None, state=state / "enhance" / ("0" * 16))
    inside.state.write(keys.plan(OPEN, "1-01234567"), b"1")
    (state / "crash-20260101T000000000000.log").write_text("x")
    for file in state.rglob("*"):
        os.utime(file, (time.time() - 10 * 86400,) * 2)
    code, out, _ = command("clean")
    assert code == 0
    assert f"[INFO] uprez has made nothing in {folder / 'output'} so far" in out
    assert out.endswith("[OK] Removed 2 objects, 2 bytes\n")
    assert not (folder / "output").exists()
    assert [meta.key for meta in inside.state.listing()] == [keys.MARKER]


def test_a_bucket_is_cleaned(s3_server: S3Server, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own objects of the same names, outputs and inputs stay as they are, whatever they are called."""
    bucket = s3_server.bucket()
    home = places.bucket_home(s3_server.access, bucket)
    for variable, value in places.environment(s3_server, bucket).items():
        monkeypatch.setenv(variable, value)
    mine = {f"{folder}/{name}" for folder in ("uploads", "leases", "jobs", "input") for name in places.NAMES}
    mine.add(f"jobs/{OPEN}/plan-1-01234567.json")
    for key in mine:
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=b"mine")
    for number, name in enumerate(places.NAMES):
        places.publish(home, f"{number:x}" * 16, name)
    home.state.write(keys.plan(OPEN, "1-01234567"), b"x")
    code, out, err = command("clean", "--older", "0m")
    assert (code, err) == (0, "")
    assert out.endswith("[OK] Removed 1 object, 1 bytes\n")
    left = {entry["Key"] for entry in s3_server.client.list_objects_v2(Bucket=bucket)["Contents"]}
    records = {f".uprez/{keys.manifest(f'{number:x}' * 16)}" for number in range(len(places.NAMES))}
    assert left == {*mine, *records, *(f"output/{name}" for name in places.NAMES), f".uprez/{keys.MARKER}"}


@pytest.mark.parametrize(
    ("text", "value"), [("7d", 604800), ("12h", 43200), ("30m", 1800), ("90s", 90), (" 1D ", 86400), ("0m", 0)]
)
def test_lengths_of_time(text: str, value: float) -> None:
    """A whole number and its unit."""
    assert durations.seconds(text, "--older") == value


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1w", "7 d", "9999999d"])
def test_other_lengths_are_refused(text: str) -> None:
    """The flag and the forms that are allowed."""
    with pytest.raises(UsageError, match="--older") as caught:
        durations.seconds(text, "--older")
    assert "7d, 12h, 30m" in str(caught.value.hint)
