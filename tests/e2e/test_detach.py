"""Batches that are left to their machines: they end by themselves, and the next start verifies and publishes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from cloud import Ran
from house import REPO, write_clip
from rented import Rented, rented, versioned
from waiting import until

__all__ = ["rented", "versioned"]  # fixtures: pytest finds them by name

FRAMES, SEGMENT = 40, 10
FAKETIME = next((str(path) for path in sorted(Path("/usr/lib").glob("*-linux-gnu/faketime/libfaketime.so.1"))), "")
COMMAND = """
import os, select, sys, time
if "FAKETIME" in os.environ:  # libfaketime 0.9.10 refuses clock_nanosleep, which time.sleep is
    time.sleep = lambda seconds: select.select([], [], [], seconds)
from uprez.cli.main import run_cli
run_cli(sys.argv[1:])
"""
TIMING = {
    "boot_s": 90,
    "lease_s": 60,
    "grace_s": 20,
    "watch_s": 0.5,
    "status_s": 0.5,
    "poll_s": 0.25,
    "log_s": 0.3,
    "silence_s": 60,
    "stall_s": 120,
    "hard_life_s": 600,
}


def put(rented: Rented, names: tuple[str, ...], frames: int = FRAMES) -> None:
    """Put videos into the bucket, and here; and let whoever runs in this folder know how quick these machines are."""
    for seed, name in enumerate(names):
        path = rented.cloud.house.inputs / f"{name}.mp4"
        write_clip(path, frames, (96, 64), seed)
        rented.cloud.put(f"input/{name}.mp4", path)
    text = json.dumps({"rented": TIMING})  # JSON is YAML
    (rented.cloud.house.top / "config.yaml").write_text(text)


def uprez(*arguments: str, off: str = "") -> Ran:
    """Run the command as people do, in a process of its own; `off`: by how much its clock is wrong, as "+2h"."""
    wrong: Mapping[str, str] = (
        {"LD_PRELOAD": FAKETIME, "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if off else {}
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPO / "src"), **wrong},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return Ran(code=done.returncode, text=done.stdout)


def detach(rented: Rented, *arguments: str, off: str = "") -> Ran:
    """Begin a batch that is left to its machines."""
    return uprez(
        *("run", "--detach", "--market", "vast", "--model", "lanczos", "--codec", "ffv1"),
        *("--segment-frames", str(SEGMENT), *arguments),
        off=off,
    )


def check_bill(rented: Rented, ended: Ran) -> None:
    """Check that nothing is left, and that what is told is never less than what is billed, and hardly more.

    When a machine that nobody watched ended is known to half a minute.
    """
    assert rented.leases() == [], "a lease is left in the ledger"
    assert not [key for key in rented.cloud.keys(".uprez/leases/") if key.endswith("sheet.json")]
    told = rented.results(ended)
    billed = sum((one.usd() for one in rented.market.bills.values()), Decimal(0))
    hourly = sum((Decimal(lease["usd_per_hour"]) for lease in told["leases"]), Decimal(0))
    assert 0 <= Decimal(told["cost_usd"]) - billed < hourly * 45 / 3600, (told, billed)
    assert {job["state"] for job in told["jobs"]} == {"done"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("off", ["+2h" if FAKETIME else ""])
def test_a_detached_batch_ends_by_itself(rented: Rented, off: str) -> None:
    """The command returns, its machines work on and end themselves; the next status verifies, publishes, reports.

    Both by a clock that is two hours off, each another way, where libfaketime is installed.
    """
    put(rented, ("one", "two", "three"))
    rented.cloud.proxy.delay_s = 1.0
    rented.cloud.proxy.fail("PUT", "slow", times=12, key="/segment-")
    begun = detach(rented, "--max-machines", "2", off=off)
    assert begun.code == 0, begun.text
    assert "3 detached" in begun.text, begun.text
    assert "may go on billing" not in begun.text, "they are meant to"
    assert not rented.cloud.keys("output/"), begun.text
    assert rented.market.rows(), f"its machines go on\n{begun.text}"
    until(lambda: not rented.market.rows())
    back = off.translate(str.maketrans("+-", "-+"))
    ended = uprez("status", off=back)
    assert ended.code == 0, ended.text
    assert [Path(key).name for key in rented.cloud.keys("output/")] == [
        f"{name}.x2.mkv" for name in ("one", "three", "two")
    ]
    check_bill(rented, ended)
    again = uprez("status")
    assert again.code == 0, again.text
    assert "Nothing is rented" in again.text


@pytest.mark.long("fleet")
@pytest.mark.timeout(300)
def test_a_detached_batch_is_cancelled_and_gone_on_with(rented: Rented) -> None:
    """The only one needs no number; its machine goes, what it published counts, and resuming it does the rest."""
    put(rented, ("one", "two"))
    rented.cloud.proxy.delay_s = 3.0
    rented.cloud.proxy.fail("PUT", "slow", times=100, key="/segment-")
    begun = detach(rented)
    assert begun.code == 0, begun.text
    told = uprez("run", "--market", "vast", "--model", "lanczos", "--codec", "ffv1")
    assert told.code == 2, told.text
    assert "was detached and still works for this place" in told.text
    ended = uprez("cancel")
    assert ended.code == 0, ended.text
    assert not rented.market.rows(), ended.text
    assert re.search(r"\[HINT\] uprez resume [0-9a-f]{8}", ended.text), ended.text
    rented.cloud.proxy.reset()
    resumed = uprez("resume", "--wait")
    assert resumed.code == 0, resumed.text
    assert [Path(key).name for key in rented.cloud.keys("output/")] == ["one.x2.mkv", "two.x2.mkv"]
    assert not rented.market.rows()
    assert "Nothing is left" in uprez("resume").text
