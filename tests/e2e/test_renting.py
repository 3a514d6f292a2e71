"""The whole cycle on rented machines, and whatever may go wrong with one, against a market that runs what it rents."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cloud import Cloud, Ran, check
from house import REPO, write_clip
from rented import QUICK, Rented, opened, rented, versioned
from uprez import sheet
from uprez.market.base import OfferQuery
from uprez.practice import Options
from uprez.practice.offers import Offer

__all__ = ["rented", "versioned"]  # fixtures: pytest finds them by name

STEPS = (
    r"\[OK\] Market: vast",
    r"\[LIST\] Listing videos in s3://",
    r"\[OK\] Found 1 video files",
    r"\[RUN\] Processing file 1/1: clip\.mp4",
    r"\[INFO\] Searching offers: .*max_price=\$0\.20/hr",
    r"\[INFO\] Found \d+ matching offers \(after filtering\)",
    r"\[INFO\] Cheapest: \$0\.\d+/hr",
    r"\[OK\] Created instance \d+",
    r"\[OK\] Instance running",
    r"\[MONITOR\] ",
    r"  \[LOG\] ",
    r"\[OK\] Processing completed successfully!",
    r"\[RESULT\] Download URL",
    r"\[CLEANUP\] Destroying instance \d+",
    r"\[OK\] Instance destroyed",
    r"\[OK\] Batch processing complete",
)
"""What the system that uprez supersedes shows, in its order."""
LONG = pytest.mark.long("longer")
NOTHING = "nothing was rented"
LIAR = Path(__file__).parent / "liar"


@pytest.fixture
def clip(rented: Rented) -> Path:
    """Put a clip of two seconds into the bucket's input."""
    return put(rented, 50)


def put(rented: Rented, frames: int, size: tuple[int, int] = (96, 64)) -> Path:
    """Put a clip into the bucket's input."""
    path = rented.cloud.house.top / "clip.mp4"
    write_clip(path, frames, size, 0)
    rented.cloud.put("input/clip.mp4", path)
    return path


def in_order(text: str) -> None:
    """Check that each step shows after the one before it."""
    lines, at = text.splitlines(), -1
    for step in STEPS:
        found = next((number for number, line in enumerate(lines) if re.match(step, line)), None)
        assert found is not None, step
        assert found > at, f"{step} comes too early"
        at = found


def test_the_whole_cycle_from_a_bucket(rented: Rented, clip: Path) -> None:
    """Each step shows in its order; the result is whole; the bill is what is told; nothing is left anywhere."""
    ran = rented.run(max_price="0.20")
    assert ran.code == 0, ran.text
    in_order(ran.text)
    check(rented.cloud, "output/clip.x2.mp4", 50)
    (lease,) = rented.settled(ran)
    assert lease["down_bytes"] > 0, lease
    assert lease["up_bytes"] > 0, lease
    kept = (rented.cloud.house.top / "state" / "logs" / f"{lease['lease']}.log").read_text()
    shown = [line.split(" ", 4)[4] for line in ran.text.splitlines() if line.startswith("  [LOG]")]
    assert [line.split(" ", 2)[2] for line in kept.splitlines()] == shown, "what was shown is what was kept"


def test_an_input_of_this_machine_is_sent_first_and_its_copy_removed(rented: Rented) -> None:
    """A machine elsewhere cannot read this disk."""
    write_clip(rented.cloud.house.inputs / "clip.mp4", 20, (96, 64), 0)
    ran = rented.run(input_dir=str(rented.cloud.house.inputs), market="vast")
    assert ran.code == 0, ran.text
    assert ran.text.index("[INFO] Uploading clip.mp4") < ran.text.index("[INFO] Searching offers")
    check(rented.cloud, "output/clip.x2.mp4", 20)
    rented.settled(ran)


def test_an_input_at_a_url_is_read_there(rented: Rented) -> None:
    """Without a copy anywhere."""
    put(rented, 20)
    given = {"Bucket": rented.cloud.bucket, "Key": "input/clip.mp4"}
    client = rented.cloud.server.client
    url = client.generate_presigned_url("get_object", Params=given, ExpiresIn=600)
    ran = rented.run(input=url, name="by-url.mp4")
    assert ran.code == 0, ran.text
    assert "[INFO] Uploading" not in ran.text
    check(rented.cloud, "output/by-url.mp4", 20)
    rented.settled(ran)


# --- the code that machines run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a bare repository whose branch `machines` is this code with a word of its own; `main` is another project."""
    tree, bare = tmp_path / "tree", tmp_path / "uprez.git"
    tree.mkdir()
    (tree / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n')
    git(tree, "init", "--quiet", "--initial-branch", "main")
    commit(tree)
    git(tree, "checkout", "--quiet", "-b", "machines")
    shutil.copy(REPO / "pyproject.toml", tree)
    shutil.copytree(REPO / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    preflight = tree / "src" / "uprez" / "market" / "preflight.py"
    spoken = preflight.read_text().replace("installing uprez", "installing the branch's uprez")
    assert spoken != preflight.read_text()
    preflight.write_text(spoken)
    commit(tree)
    git(tree, "checkout", "--quiet", "-b", "older")
    old = tree / "src" / "uprez" / "sheet.py"
    old.write_text(re.sub(rf"^SCHEMA\b(.*)= {sheet.SCHEMA}$", r"SCHEMA\1= 1", old.read_text(), flags=re.MULTILINE))
    commit(tree)
    git(tmp_path, "clone", "--quiet", "--bare", str(tree), str(bare))
    return bare


def commit(tree: Path) -> None:
    """Commit all that is there."""
    git(tree, "add", "--all")
    git(tree, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "a")


def git(folder: Path, *arguments: str) -> None:
    """Run git, without anybody's settings."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def test_machines_run_the_code_of_a_branch(rented: Rented, repository: Path) -> None:
    """`git_repo` and `git_branch`: the commit is named, and it is what the machine installs."""
    put(rented, 20)
    ran = rented.run(git_repo=str(repository), git_branch="machines")
    assert ran.code == 0, ran.text
    assert re.search(r"\[INFO\] Machines run commit [0-9a-f]{12} of machines", ran.text)
    assert "installing the branch's uprez for cpu" in ran.text
    rented.settled(ran)


@pytest.mark.parametrize(
    ("branch", "said"),
    [("main", "the project is 'other'"), ("older", "reads sheets of schema 1"), ("none", "cannot be cloned")],
)
def test_code_that_does_not_fit_is_refused_before_anything_is_rented(
    rented: Rented, repository: Path, branch: str, said: str
) -> None:
    """Another project, another schema of sheets, a branch that is not there: exit code 2, and no order."""
    put(rented, 6)
    ran = rented.run(git_repo=str(repository), git_branch=branch)
    assert ran.code == 2, ran.text
    assert said in ran.text
    assert rented.orders() == [], NOTHING
    rented.settled(ran)


# --- machines that are no good

UNFIT = {
    "wrong_gpu": r"its GPU is a NVIDIA GeForce GTX 1650, a .* was rented",
    "vram_taken": r"only \d+ MB of its GPU's \d+ MB are free",
    "capped_disk": r"\d+ of 16 GB of disk were granted",
}
DEAD = {"boot_cdi": "it could not start", "boot_bad_image": "it could not start"}


@pytest.mark.parametrize(
    ("faults", "said"),
    [pytest.param(UNFIT, (), marks=LONG), (DEAD, ("failed to inject CDI devices", "manifest unknown"))],
    ids=["unfit", "dead"],
)
def test_machines_that_are_not_what_was_rented_are_given_back(
    rented: Rented, faults: dict[str, str], said: tuple[str, ...]
) -> None:
    """Another one does the work; why is told, in the host's own words where the machine never came to speak."""
    put(rented, 20)
    first, *later = faults
    rented.arm(first)()
    on = [(rf"Lease lost: .*{faults[last]}", rented.arm(fault)) for last, fault in zip(faults, later, strict=False)]
    ran = rented.run(on=on)
    assert ran.code == 0, ran.text
    check(rented.cloud, "output/clip.x2.mp4", 20)
    moved_on(rented, ran, tuple(faults.values()))
    assert all(words in ran.text for words in said), ran.text


def moved_on(rented: Rented, ran: Ran, reasons: tuple[str, ...]) -> None:
    """Check that machines were given up for these reasons, one after the other, and that another one did the rest."""
    leases = rented.settled(ran)
    *lost, last = leases
    assert len(lost) == len(reasons), ran.text
    for lease, reason in zip(lost, reasons, strict=True):
        assert re.search(reason, str(lease["reason"])), ran.text
        assert re.search(rf"\[WARN\] Lease lost: .*{reason}", ran.text), ran.text
    assert last["reason"] == "the work is done"
    assert len({lease["machine"] for lease in leases}) == len(leases), "each is banned for the rest of the run"
    assert len(rented.orders()) == len(leases)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("shifted", "it gets no more work: segment 1: frame .* shows the source's frame 1 earlier"),
        pytest.param("dies", "it gets no more work: the encoder was struck by the test", marks=LONG),
    ],
)
def test_a_machine_that_does_not_do_its_work_right_gets_no_more(
    rented: Rented, clip: Path, lie: str, reason: str
) -> None:
    """Pictures that are not the source's, or an encoder that fails, end a lease: another machine goes on."""
    image = rented.machines._image
    told = {"UPREZ_LIE": lie, "UPREZ_LIE_ONCE": str(rented.cloud.house.top / "told")}
    rented.machines._image = {**image, **told, "PYTHONPATH": os.pathsep.join((str(LIAR), image["PYTHONPATH"]))}
    ran = rented.run(container="mkv", codec="ffv1")
    assert ran.code == 0, ran.text
    check(rented.cloud, "output/clip.x2.mkv", 50)
    moved_on(rented, ran, (reason,))
    kept = [key.rpartition(".")[2] for key in rented.cloud.keys(".uprez/jobs/") if "/evidence/" in key]
    assert sorted(kept) == ([] if lie == "dies" else ["json", "png"])


def slowly(rented: Rented) -> None:
    """Let each segment take its time on the way, so that a run lasts long enough for things to happen."""
    rented.cloud.proxy.delay_s = 1.5
    rented.cloud.proxy.fail("PUT", "slow", times=9, key="/segment-")


@LONG
def test_machines_that_go_away_are_replaced(rented: Rented, clip: Path) -> None:
    """A container that dies, a host that is gone: what counts is kept, another machine does the rest."""
    slowly(rented)
    on = (
        ("Segment 1 of 4 .* counts", rented.arm("exited")),
        ("Lease lost", lambda: None),
        ("Worker ready", lambda: None),  # what the first one sent last may count before there is another
        (r"Segment \d of 4 .* counts", rented.arm("offline")),
    )
    ran = rented.run(on=on, segment_frames=13)
    assert ran.code == 0, ran.text
    check(rented.cloud, "output/clip.x2.mp4", 50)
    moved_on(rented, ran, ("its container ended", "its host does not answer"))


def test_a_bid_survives_a_restart_and_gives_way_to_a_higher_one(rented: Rented, clip: Path) -> None:
    """A container that starts again in its folder goes on; an outbid machine, which bills its disk, is replaced."""
    slowly(rented)
    whole_s = QUICK.boot_s + QUICK.lease_s + QUICK.grace_s
    on = (
        ("Segment 1 of 5 .* counts", rented.arm("restart")),
        (rf"ends itself within (?!{whole_s:.0f} )\d+ s", lambda: None),  # it has no more time than before
        ("Worker ready", lambda: None),
        (r"Segment \d of 5 .* counts", rented.arm("outbid")),
    )
    ran = rented.run(type="bid", on=on, segment_frames=10)
    assert ran.code == 0, ran.text
    check(rented.cloud, "output/clip.x2.mp4", 50)
    moved_on(rented, ran, ("it was stopped: outbid",))
    assert all("price" in order for _, order in rented.orders())
    assert ran.text.count("Worker ready") == 3, ran.text  # twice on the first machine
    assert ran.text.count("VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY") == 1, ran.text


# --- price, budget, time


def test_a_market_that_ignores_every_filter_cannot_make_us_pay_more(rented: Rented) -> None:
    """Nothing above the price is ordered, and what is ordered is the cheapest that fits, by arithmetic of our own."""
    put(rented, 20)
    rented.arm("ignored_filter", times=-1)()
    ran = rented.run(max_price="0.10", min_vram=12)
    assert ran.code == 0, ran.text
    assert rented.market.faults.struck["ignored_filter"] >= 1
    assert max(hourly(one) for one in rented.offers.values()) > Decimal("0.40")
    ((ask, order),) = rented.orders()
    least_mb = 12 * 1000
    fitting = [
        one
        for one in rented.offers.values()
        if one.num_gpus == 1 and hourly(one) <= Decimal("0.10") and one.card.ram_mib >= least_mb and lasts(one)
    ]
    assert rented.offers[ask] in fitting
    assert hourly(rented.offers[ask]) == min(map(hourly, fitting))
    assert "price" not in order, "it is on demand, at the price that was looked at"
    rented.settled(ran)


def hourly(offer: Offer) -> Decimal:
    """Price an hour of an offer with the disk that is asked for and the traffic that is expected."""
    expected = OfferQuery()
    down, up = offer.down_usd_per_gb * expected.down_gb_per_hour, offer.up_usd_per_gb * expected.up_gb_per_hour
    return offer.usd_per_hour + offer.storage_usd_per_hour(16) + down + up


def lasts(offer: Offer) -> bool:
    """Say whether an offer outlives a lease."""
    return offer.end_s - time.time() > 3 * 3600


def test_a_budget_that_is_too_small_rents_nothing(rented: Rented) -> None:
    """All that a lease may cost must be there before it begins: exit code 5."""
    put(rented, 6)
    ran = rented.run(budget="0.0001")
    assert ran.code == 5, ran.text
    assert rented.orders() == [], NOTHING
    rented.settled(ran)


def test_a_budget_that_ends_on_the_way_keeps_what_counts(rented: Rented, clip: Path) -> None:
    """The machine is given back, exit code 5; with more money the next run goes on from there."""
    slowly(rented)
    on = (("Segment 1 of 3 .* counts", lambda: rented.market.advance(2.5 * 3600)),)
    ran = rented.run(budget="0.10", on=on)
    assert ran.code == 5, ran.text
    assert "the budget of $0.10 is used up, and work is left" in ran.text
    assert len(rented.settled(ran)) == 1
    rented.cloud.proxy.reset()
    again = rented.run()
    assert again.code == 0, again.text
    assert re.search(r"\[INFO\] Resuming clip\.mp4: [1-3] of 3 segments count already", again.text)
    check(rented.cloud, "output/clip.x2.mp4", 50)
    rented.settled(ran, again)


@LONG
def test_several_short_leases_finish_a_job(rented: Rented, clip: Path) -> None:
    """`max_runtime` bounds each lease; that one ends by it says nothing against its machine."""
    rented.cloud.proxy.delay_s = 2
    rented.cloud.proxy.fail("PUT", "slow", times=4, key="/segment-")
    ran = rented.run(max_runtime="5", rented=replace(QUICK, grace_s=5))
    assert ran.code == 0, ran.text
    check(rented.cloud, "output/clip.x2.mp4", 50)
    leases = rented.settled(ran)
    assert len(leases) >= 2, ran.text
    assert len({lease["machine"] for lease in leases}) == 1, "nobody was banned"


# The suite checks this with several machines: tests/e2e/test_fleet.py.
@LONG
def test_the_result_is_what_this_machine_would_make(rented: Rented, clip: Path) -> None:
    """Frame for frame, bit for bit, with a lossless codec."""
    (rented.cloud.house.inputs / "clip.mp4").write_bytes(clip.read_bytes())
    ran = rented.run(codec="ffv1")
    assert ran.code == 0, ran.text
    here = rented.run(codec="ffv1", market="local", input_dir=str(rented.cloud.house.inputs), output_dir="./output")
    assert here.code == 0, here.text
    there, mine = rented.cloud.get("output/clip.x2.mkv"), rented.cloud.house.outputs / "clip.x2.mkv"
    one, other = pictures(io.BytesIO(there)), pictures(io.BytesIO(mine.read_bytes()))
    assert len(one) == len(other) == 50
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def pictures(file: io.BytesIO) -> list[NDArray[Any]]:
    """Decode every frame as it is stored."""
    with av.open(file) as video:
        return [frame.to_ndarray() for frame in video.decode(video=0)]


# --- the real command, with the numbers that people have


@pytest.fixture
def patient(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rented]:
    """Give a market that minds how often it is called."""
    with opened(cloud, monkeypatch, Options(boot_s=(2.0, 2.0)), quick=False) as rented:
        yield rented


@LONG
def test_the_log_comes_soon_and_a_dead_run_is_reaped(patient: Rented) -> None:
    """With the usual numbers the first line shows within 10 s of the container's start.

    While the run lives `status` is content and `reap` takes nothing; after its SIGKILL both act.
    """
    put(patient, 150, (320, 180))
    house = patient.cloud.house
    run = house.start("run", "--model", "lanczos", "--scale", "4", "--segment-frames", "50")
    first = next(time.time() for line in run.stdout or () if line.startswith("  [LOG]"))
    (began,) = patient.machines.began.values()
    assert first - began < 10
    (row,) = patient.market.rows()

    status = house.uprez("status", "--json")
    assert status.code == 0, status.out + status.err
    (held,) = json.loads(status.out)["machines"]
    assert (held["instance"], held["wanted"]) == (str(row["id"]), True)
    assert Decimal(held["cost_usd"]) > 0
    alone = house.uprez("reap", "--yes")
    assert alone.code == 0, alone.out
    assert "[OK] Nothing to give back" in alone.out
    assert len(patient.market.rows()) == 1, "reap leaves what a run works on"

    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(patient.market.rows()) == 1, "the machine works on"
    assert house.uprez("status").code == 6, "nobody looks after it"
    reaped = house.uprez("reap")
    assert reaped.code == 0, reaped.out + reaped.err
    assert patient.market.rows() == []
    assert patient.leases() == []
    assert house.uprez("status").code == 0


@pytest.mark.usefixtures("clip")
def test_a_dry_run_asks_the_market_and_rents_nothing(rented: Rented, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key it looks at offers; without one it goes on and says what prices need; the ledger is not made."""
    asked = rented.run(dry_run=True)
    assert asked.code == 0
    assert "[INFO] Found " in asked.text
    assert "which would be rented, has not done such work yet" in asked.text
    monkeypatch.delenv("VAST_API_KEY")
    alone = rented.run(dry_run=True, market="vast")
    assert alone.code == 0
    assert "[INFO] Prices need VAST_API_KEY: put it into .env" in alone.text
    assert "[OK] Dry run: 1 files would be processed" in alone.text
    assert rented.orders() == []
    assert not rented.settings().state_dir.joinpath("ledger.sqlite").exists()
