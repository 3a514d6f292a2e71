"""Whatever is killed while the work lies in a bucket: it goes on, what counts is not computed again, nothing stays."""

from __future__ import annotations

import os
import signal

import pytest

from cloud import Cloud, check
from house import MakeClip
from waiting import until

SLOW = ("run", "--model", "lanczos", "--scale", "4", "--codec", "hevc", "--segment-frames", "6")
pytestmark = pytest.mark.parametrize("versioned", [True], indirect=True)


def pins(cloud: Cloud) -> list[str]:
    """List the segments that count."""
    return [key for key in cloud.keys(".uprez/jobs/") if "/segment-" in key and key.endswith(".json")]


@pytest.mark.long("kills")
def test_a_killed_worker_is_replaced(cloud: Cloud, clip: MakeClip) -> None:
    """The same run rents anew and finishes; segments that counted are not computed again."""
    cloud.put("input/clip.mp4", clip(frames=60))
    run = cloud.house.start(*SLOW)
    until(lambda: len(pins(cloud)) >= 2)
    os.kill(cloud.house.worker(), signal.SIGKILL)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, out + err
    assert out.count("[OK] Created instance") == 2
    assert sum(line.startswith("[OK] Segment") for line in out.splitlines()) == 10
    check(cloud, "output/clip.x4.mp4", 60)


@pytest.mark.long("kills")
def test_a_killed_controller_loses_nothing(cloud: Cloud, clip: MakeClip) -> None:
    """The next run adopts what was published, computes only the rest, and finishes."""
    cloud.put("input/clip.mp4", clip(frames=60))
    run = cloud.house.start(*SLOW)
    until(lambda: len(pins(cloud)) >= 2)
    run.kill()
    run.communicate()
    counted = len(pins(cloud))
    again = cloud.house.uprez(*SLOW)
    assert again.code == 0, again.out + again.err
    assert f"Resuming clip.mp4: {counted}" in again.out or "segments count already" in again.out
    assert sum(line.startswith("[OK] Segment") for line in again.lines) <= 10 - counted
    check(cloud, "output/clip.x4.mp4", 60)
    assert cloud.house.processes() == []


@pytest.mark.long("kills")
def test_ctrl_c_gives_the_machine_back(cloud: Cloud, clip: MakeClip) -> None:
    """An interrupted run exits 130 with nothing left running, and no sheet with signed URLs stays in the bucket."""
    cloud.put("input/clip.mp4", clip(frames=60))
    run = cloud.house.start(*SLOW)
    until(lambda: len(pins(cloud)) >= 1)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 130, out + err
    assert "[OK] Instance destroyed" in out
    assert cloud.house.processes() == []
    assert [key for key in cloud.keys(".uprez/leases/") if key.endswith("sheet.json")] == []
    again = cloud.house.uprez(*SLOW)
    assert again.code == 0, again.out + again.err
    check(cloud, "output/clip.x4.mp4", 60)


@pytest.mark.long("longer")
def test_two_laptops_on_one_bucket_both_end_well(cloud: Cloud, clip: MakeClip) -> None:
    """Two machines at the same work may both pay; neither fails, and one result is there."""
    cloud.put("input/clip.mp4", clip(frames=60))
    state = cloud.house.environment()["UPREZ_STATE_DIR"]
    runs = [
        cloud.house.start(
            "-c",
            f"import os, sys; os.environ['UPREZ_STATE_DIR'] = {state + str(number)!r};"
            "from uprez.cli.main import run_cli; run_cli(sys.argv[1:])",
            *SLOW,
            program=(),
        )
        for number in range(2)
    ]
    ended = [run.communicate(timeout=200) for run in runs]
    for run, (out, err) in zip(runs, ended, strict=True):
        assert run.returncode == 0, out + err
    assert all(key.startswith("output/clip.x4") for key in cloud.keys("output/"))
    assert "output/clip.x4.mp4" in cloud.keys("output/")
    assert cloud.uploads() == []
