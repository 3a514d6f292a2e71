"""Whatever is killed, whenever: the work goes on, what counts is not computed again, nothing stays behind."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import av
import pytest

from house import House, MakeClip
from paper import intended
from uprez.fleet.ledger import Ledger
from waiting import until


def pins(house: House) -> list[str]:
    """List the segments that count."""
    return sorted(path.name for path in (house.outputs / ".uprez").glob("jobs/*/*/segment-*.json"))


def slow() -> tuple[str, ...]:
    """Arguments that make some seconds of work in many segments."""
    return ("run", "--model", "lanczos", "--scale", "4", "--codec", "hevc", "--segment-frames", "6")


def count(path: Path) -> int:
    """Count the frames that can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_killed_worker_is_replaced(house: House, clip: MakeClip) -> None:
    """The same run rents anew and finishes; segments that counted are not computed again."""
    clip(frames=60)
    run = house.start(*slow())
    until(lambda: len(pins(house)) >= 2)
    os.kill(house.worker(), signal.SIGKILL)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, out + err
    assert "Lease lost: the worker is gone" in out
    assert out.count("[OK] Created instance") == 2
    assert sum(line.startswith("[OK] Segment") for line in out.splitlines()) == 10
    assert count(house.outputs / "clip.x4.mp4") == 60


@pytest.mark.long("kills")
def test_a_killed_controller_loses_nothing(house: House, clip: MakeClip) -> None:
    """The next run ends the orphan, adopts what was published, computes only the rest, and finishes."""
    clip(frames=60)
    run = house.start(*slow())
    until(lambda: len(pins(house)) >= 2)
    run.kill()
    run.communicate()
    counted = len(pins(house))
    again = house.uprez(*slow())
    assert again.code == 0, again.out + again.err
    job = house.results(again)["jobs"][0]
    assert job["segments_adopted"] >= counted
    assert job["segments_adopted"] + job["segments_computed"] == 10
    assert count(house.outputs / "clip.x4.mp4") == 60
    assert house.processes() == []


def test_ctrl_c_gives_the_machine_back(house: House, clip: MakeClip) -> None:
    """An interrupted run exits 130 with nothing left running, and the same command goes on from there."""
    clip(frames=60)
    run = house.start(*slow())
    until(lambda: len(pins(house)) >= 1)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 130, out + err
    assert "[OK] Instance destroyed" in out
    assert house.processes() == []
    again = house.uprez(*slow())
    assert again.code == 0, again.out + again.err
    assert house.results(again)["jobs"][0]["segments_adopted"] >= 1


@pytest.mark.long("longer")
def test_a_closed_console_does_not_stop_the_work(house: House, clip: MakeClip) -> None:
    """When the reader of its output goes away, the run still finishes and gives the machine back."""
    clip(frames=60)
    run = house.start(*slow())
    until(lambda: len(pins(house)) >= 1)
    run.stdout.close()
    assert run.wait(timeout=200) == 0
    assert count(house.outputs / "clip.x4.mp4") == 60
    assert house.processes() == []


def test_a_run_without_work_still_ends_what_a_dead_one_left(house: House) -> None:
    """An empty folder is no reason to leave a lease open; without one the ledger is not even made."""
    house.inputs.mkdir(parents=True, exist_ok=True)
    path = house.top / "state" / "ledger.sqlite"
    assert house.enhance().code == 0
    assert not path.exists()
    with closing(Ledger(path)) as ledger:
        ledger.begin_batch("b0000001", house.outputs.as_uri(), {})
        row = intended(ledger, "b0000001")
        ledger.held(row.id, row.id)
        ended = house.enhance()
        assert ended.code == 0, ended.out + ended.err
        assert ledger.lease(row.id).state == "gone"
    assert f"without giving instance {row.id} back" in ended.out
