"""`uprez resume`, `history`, `logs`, `cancel` and `status`: the real commands beside real runs."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from house import Ended, House, MakeClip
from killed import Rented
from uprez.fleet.ledger import Ledger
from waiting import until

if TYPE_CHECKING:
    from s3_server import S3Server

LONG = pytest.mark.long("fleet")
SLOWLY = ("--model", "lanczos", "--scale", "4", "--codec", "hevc", "--segment-frames", "6")


def pins(house: House) -> list[Path]:
    """List the segments that count."""
    return list((house.outputs / ".uprez").glob("jobs/*/*/segment-*.json"))


def begun(house: House, *arguments: str) -> subprocess.Popen[str]:
    """Start a run that takes a while, and wait until something of it counts."""
    run = house.start("run", *SLOWLY, *arguments)
    until(lambda: pins(house))
    return run


def killed(house: House, *arguments: str) -> int:
    """Begin a run and kill its controller; gives how many segments count."""
    run = begun(house, *arguments)
    run.kill()
    run.communicate()
    return len(pins(house))


def batches(house: House) -> list[dict[str, Any]]:
    """Ask for the history."""
    ended = house.uprez("history", "--json")
    assert ended.code == 0, ended.err
    found: list[dict[str, Any]] = json.loads(ended.out)["batches"]
    return found


def elsewhere(house: House, *arguments: str) -> Ended:
    """Run the command in another folder."""
    other = house.top / "elsewhere"
    other.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-m", "uprez", *arguments],
        cwd=other,
        env=house.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=200,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def test_a_killed_batch_goes_on_from_anywhere_with_its_options(house: House, clip: MakeClip) -> None:
    """From another folder, without a flag: the same job, nothing that counts is made again, and the chain is kept."""
    clip(frames=60)
    counted = killed(house)
    (first,) = batches(house)
    assert (first["state"], first["jobs"]["unfinished"], first["seconds"]) == ("killed", 1, None)
    ended = elsewhere(house, "resume")
    assert ended.code == 0, ended.out + ended.err
    assert f"Going on with batch {first['batch']}: 1 of 1 jobs are left" in ended.out
    assert sum(line.startswith("[OK] Segment") for line in ended.lines) <= 10 - counted
    assert (house.outputs / "clip.x4.mp4").exists()
    second, _ = batches(house)
    assert (second["continues"], second["state"], second["exit_code"]) == (first["batch"], "ended", 0)
    assert second["jobs"] == {"done": 1, "skipped": 0, "failed": 0, "unfinished": 0, "detached": 0}
    for arguments in ((), (first["batch"][:4],)):
        again = house.uprez("resume", *arguments)
        assert again.code == 0
        assert "[OK] Nothing is left of" in again.out
    assert len(batches(house)) == 2, "a batch of which nothing is left begins none"


@LONG
def test_a_living_batch_is_not_gone_on_with(house: House, clip: MakeClip) -> None:
    """While its controller lives: code 2, and its pid."""
    clip(frames=60)
    run = begun(house)
    ended = house.uprez("resume")
    assert ended.code == 2, ended.out
    assert f"still runs (pid {run.pid})" in ended.err
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=200)


@pytest.mark.long("kills")
def test_of_two_that_resume_at_once_exactly_one_works(house: House, clip: MakeClip) -> None:
    """Two real processes for one batch: one goes on, the other is refused and names it."""
    clip(frames=60)
    killed(house)
    runs = [house.start("resume") for _ in range(2)]
    ends = [(run.pid, *run.communicate(timeout=200), run.returncode) for run in runs]
    (worked,) = [end for end in ends if end[3] == 0]
    (refused,) = [end for end in ends if end[3] == 2]
    assert f"is being gone on with (pid {worked[0]})" in refused[2]
    assert "Going on with batch" in worked[1]
    assert "Going on with batch" not in refused[1]


def test_a_batch_is_cancelled(house: House, clip: MakeClip) -> None:
    """The command comes back when all is given back; what counts is kept, and resume goes on."""
    clip(frames=60)
    run = begun(house)
    ended = house.uprez("cancel")
    assert ended.code == 0, ended.out + ended.err
    assert f"(pid {run.pid}) to stop" in ended.out
    assert "is over (code 130): 1 of 1 machines given back, $0.000" in ended.out
    assert run.wait(timeout=60) == 130
    assert house.processes() == []
    (hint,) = re.findall(r"\[HINT\] uprez (resume \w+) goes on", ended.out)
    again = house.uprez(*hint.split())
    assert again.code == 0, again.out + again.err
    assert house.results(again)["jobs"][0]["segments_adopted"] >= 1


@LONG
def test_a_run_that_does_not_hear_is_killed_and_cleared_up_after(house: House, clip: MakeClip) -> None:
    """With --force a stopped process is killed after a while, and its machine given back."""
    clip(frames=60)
    run = begun(house)
    run.send_signal(signal.SIGSTOP)
    ended = house.uprez("cancel", "--force", "--after", "1s")
    assert ended.code == 0, ended.out + ended.err
    assert f"killing pid {run.pid}" in ended.out
    assert "(its controller was killed): 1 of 1 machines given back" in ended.out
    assert run.wait(timeout=60) == -signal.SIGKILL
    assert house.processes() == []


@LONG
def test_what_a_dead_run_left_is_given_back_by_cancel(house: House, clip: MakeClip) -> None:
    """Nobody is there to be asked: its machine is ended all the same, and that is said."""
    clip(frames=60)
    killed(house)
    batch = batches(house)[0]["batch"]
    ended = house.uprez("cancel", batch)
    assert ended.code == 0, ended.out + ended.err
    assert f"[OK] Nobody runs batch {batch}" in ended.out
    assert house.processes() == []
    with closing(Ledger(house.top / "state" / "ledger.sqlite")) as ledger:
        assert ledger.open_leases() == []
    assert "[OK] No batch runs on this computer" in house.uprez("cancel").out


@LONG
def test_a_running_batch_shows_how_far_it_is(house: House, clip: MakeClip) -> None:
    """Status names it, its process and its frames, in columns and as JSON; afterwards nothing runs."""
    clip(frames=60)
    clip("other.mp4", frames=60, shade=7)
    run = begun(house)

    def told() -> dict[str, Any] | None:
        (found,) = json.loads(house.uprez("status", "--json").out)["batches"]
        return found if (found["progress"] or {}).get("frames") else None

    found = until(told)
    assert (found["pid"], found["machines"], found["progress"]["total"]) == (run.pid, 1, 120)
    assert (found["progress"]["jobs"], found["progress"]["done"]) == (2, 0)
    lines = house.uprez("status").lines
    head = next(number for number, line in enumerate(lines) if line.startswith("batch     pid"))
    assert lines[head + 1].startswith(found["batch"])
    assert len(lines[head + 1]) <= 80
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=200)
    assert json.loads(house.uprez("status", "--json").out)["batches"] == []


@LONG
def test_the_log_is_followed_to_its_end_and_stays(house: House, clip: MakeClip) -> None:
    """While the run works its lines come; afterwards the same are there by lease, by job and by input's name."""
    clip(frames=60)
    run = begun(house)
    follow = house.start("logs", "--follow")
    run.communicate(timeout=200)
    out, err = follow.communicate(timeout=200)
    assert (run.returncode, follow.returncode) == (0, 0), err
    assert re.search(r"^\d{4}-\S+Z Worker ready: lease ", out, re.MULTILINE), out
    assert "VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY" in out.splitlines()[-1]
    job = json.loads(next((house.outputs / ".uprez").glob("batches/*/results.json")).read_text())["jobs"][0]["job"]
    lease = out.rpartition("lease=")[2].strip()
    for what in (lease, lease[:4], job, job[:5], "clip.mp4", batches(house)[0]["batch"]):
        ended = house.uprez("logs", what)
        assert (ended.code, ended.out) == (0, out), what


@LONG
def test_of_work_that_is_done_anew_the_rest_is(house: House, clip: MakeClip) -> None:
    """Killed after the first of two that were there already: that one is not made a third time."""
    clip("a.mp4", frames=24)
    clip("b.mp4", frames=60, shade=7)
    assert house.uprez("run", *SLOWLY).code == 0
    run = house.start("run", *SLOWLY, "--no-skip-existing")
    assert run.stdout is not None
    while "[OK] Processing completed" not in run.stdout.readline():
        pass
    run.kill()
    run.communicate()
    killed_one = next(one for one in batches(house) if one["state"] == "killed")
    jobs = {job["input"]: job["job"] for job in json.loads(results(house).read_text())["jobs"]}
    with closing(Ledger(house.top / "state" / "ledger.sqlite")) as ledger:
        assert [job.state for job in ledger.batches()[0].summary.jobs] == ["done", "unfinished"], "told when it ended"
    again = house.uprez("resume", killed_one["batch"])
    assert again.code == 0, again.out + again.err
    assert "Skipping a.mp4: already done" in again.out
    assert {job["input"]: job["state"] for job in house.results(again)["jobs"]} == {"a.mp4": "skipped", "b.mp4": "done"}
    assert set(jobs) == {"a.mp4", "b.mp4"}


def results(house: House) -> Path:
    """Find the results of the only batch that has any."""
    return next((house.outputs / ".uprez").glob("batches/*/results.json"))


@pytest.fixture
def rented(tmp_path: Path, s3_server: S3Server) -> Iterator[Rented]:
    """Give a market, a bucket, and a folder with the settings and keys of both."""
    rented = Rented(tmp_path, s3_server, limits=False)
    yield rented
    rented.close()


@LONG
@pytest.mark.skipif(sys.platform != "linux", reason="practice machines need /proc")
def test_a_rented_batch_is_cancelled_and_gone_on_with(rented: Rented) -> None:
    """Its machine is seen gone; settings come from the ledger, the keys from .env, the log from the bucket."""
    rented.show(300)
    run = rented.start()
    until(rented.counted)
    ended = rented.uprez("cancel")
    assert ended.code == 0, ended.out
    assert "machines given back" in ended.out
    assert run.wait(timeout=60) == 130
    assert rented.instances() == []
    counted = rented.counted()
    (rented.top / "config.yaml").unlink()
    again = rented.uprez("resume")
    assert again.code == 0, again.out
    assert rented.faults() == []
    job = rented.results(again)["jobs"][0]
    assert job["segments_adopted"] >= counted
    assert job["segments_adopted"] + job["segments_computed"] == 15
    shutil.rmtree(rented.top / "state" / "logs")
    first, second = (str(row["batch"]) for row in rented.leases())
    kept = rented.uprez("logs", first)
    assert kept.code == 0, kept.out
    assert f"Worker ready: lease {rented.leases()[0]['id']}" in kept.out
    gone = rented.uprez("logs", second)
    assert gone.code == 1
    assert "No line of batch" in gone.out
