"""The whole journey on a real S3 server, behind a proxy that refuses what B2 refuses and fails on demand."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import s3_proxy
from cloud import Cloud, Ran, check
from house import MakeClip
from uprez.fleet import checks
from uprez.fleet import lease as leases
from uprez.store import open as places
from uprez.store.bucket import BucketStore
from waiting import until

MIN_PART = 5 << 20
"""Bytes of the smallest part that the server joins to others."""


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every result one that goes in parts, up and across, so that small files go the way of large ones."""
    monkeypatch.setattr(leases, "PUT_BYTES", 1000)
    monkeypatch.setattr(leases, "PART_BYTES", MIN_PART)
    monkeypatch.setattr(leases, "SLACK_BYTES", 1000)

    class Small(BucketStore):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, copy_bytes=1000, copy_part_bytes=MIN_PART, **more)

    monkeypatch.setattr(places, "BucketStore", Small)


def test_a_bucket_is_enhanced_and_its_links_work(cloud: Cloud, clip: MakeClip, versioned: bool) -> None:
    """Found below input/, published below output/, downloaded by its link; run again, it is skipped with a new link."""
    cloud.put("input/sub/клип 1+#%🎬.mp4", clip(frames=24))
    done = cloud.run()
    assert done.code == 0, done.text
    check(cloud, "output/sub/клип 1+#%🎬.x2.mp4", 24)
    (link,) = done.links
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == cloud.get("output/sub/клип 1+#%🎬.x2.mp4")
    assert cloud.keys(".uprez/leases/") == []
    if versioned:
        found = cloud.server.client.list_object_versions(Bucket=cloud.bucket, Prefix=".uprez/leases/")
        assert not found.get("Versions"), "no version stays to be billed"
        assert not found.get("DeleteMarkers")
    again = cloud.run()
    assert again.code == 0
    assert "already done" in again.text
    assert "Created instance" not in again.text
    assert len(again.links) == 1


def test_links_give_one_right_for_one_object(cloud: Cloud, clip: MakeClip) -> None:
    """The server itself refuses a link with another signature, for another method or another object."""
    cloud.put("input/a.mp4", clip(frames=12))
    (link,) = cloud.run().links
    forged = link[:-4] + ("0000" if not link.endswith("0000") else "1111")
    other = link.replace("/output/a.x2.mp4", "/input/a.mp4")
    for url, method in ((forged, "GET"), (link, "PUT"), (link, "DELETE"), (other, "GET")):
        asked = urllib.request.Request(url, method=method, data=b"x" if method == "PUT" else None)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked)
        assert refused.value.code == 403
        refused.value.close()


def test_another_laptop_skips_what_is_done(cloud: Cloud, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done is in the bucket: without the ledger, from another folder, nothing is computed again."""
    cloud.put("input/a.mp4", clip(frames=12))
    assert cloud.run().code == 0
    monkeypatch.setenv("UPREZ_STATE_DIR", str(cloud.house.top / "laptop2"))
    again = cloud.run()
    assert again.code == 0
    assert "Created instance" not in again.text
    other = cloud.run(scale="3")
    assert other.code == 0
    assert cloud.keys("output/") == ["output/a.x2.mp4", "output/a.x3.mp4"]


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_the_users_own_names_are_inputs_and_stay(cloud: Cloud, clip: MakeClip) -> None:
    """Folders named like ours beside our prefix are the user's: enhanced like any other, never changed."""
    mine = ["jobs/a.mp4", "leases/b.mp4", "uploads/c.mp4"]
    for number, key in enumerate(mine):
        cloud.put(key, clip(f"{number}.mp4", frames=12, shade=9 * number))
    cloud.put("uploads/notes.txt", Path(__file__))
    before = {key: cloud.get(key) for key in [*mine, "uploads/notes.txt"]}
    done = cloud.run(input_dir=f"s3://{cloud.bucket}/")
    assert done.code == 0, done.text
    assert cloud.keys("output/") == ["output/jobs/a.x2.mp4", "output/leases/b.x2.mp4", "output/uploads/c.x2.mp4"]
    again = cloud.run(input_dir=f"s3://{cloud.bucket}/")
    assert "[OK] Found 3 video files" in again.text, "our own outputs are no inputs"
    assert {key: cloud.get(key) for key in before} == before


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_a_prefix_without_its_marker_is_not_used(cloud: Cloud, clip: MakeClip) -> None:
    """Somebody's own `.uprez/` is left alone, and the run says so before anything starts."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.put(".uprez/mine.txt", Path(__file__))
    with pytest.raises(Exception, match="not uprez's marker") as refused:
        cloud.run()
    assert refused.value.exit_code == 2  # type: ignore[attr-defined]
    assert cloud.keys(".uprez/") == [".uprez/mine.txt"]


def test_a_foreign_output_stays(cloud: Cloud, clip: MakeClip) -> None:
    """A name that is taken gets our job's digits; with overwrite it is replaced."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.put("output/a.x2.mp4", Path(__file__))
    done = cloud.run()
    assert done.code == 0
    assert "left as it is" in done.text
    (ours,) = [key for key in cloud.keys("output/") if key != "output/a.x2.mp4"]
    assert ours.startswith("output/a.x2-")
    assert cloud.get("output/a.x2.mp4") == Path(__file__).read_bytes()
    assert "already done" in cloud.run().text
    assert cloud.run(scale="3", name="a.x2.mp4", overwrite=True).code == 0
    assert cloud.get("output/a.x2.mp4") != Path(__file__).read_bytes()


def test_done_work_is_done_again_when_asked(cloud: Cloud, clip: MakeClip) -> None:
    """With skip_existing off a finished job is made anew and its output replaced, under the same name."""
    cloud.put("input/a.mp4", clip(frames=12))
    assert cloud.run().code == 0
    again = cloud.run(skip_existing=False)
    assert again.code == 0
    assert "Created instance" in again.text
    assert cloud.keys("output/") == ["output/a.x2.mp4"]


@pytest.mark.long("longer")
@pytest.mark.parametrize("versioned", [True], indirect=True)
@pytest.mark.usefixtures("in_parts")
def test_a_large_result_goes_in_parts(cloud: Cloud, clip: MakeClip) -> None:
    """Signed parts up, part copies across; no upload is left."""
    path = clip(frames=1)
    write_noise(path.with_suffix(".mkv"), frames=36)
    cloud.put("input/a.mkv", path.with_suffix(".mkv"))
    done = cloud.run(model="identity", scale="1", codec="ffv1", segment_frames=12)
    assert done.code == 0, done.text
    assert len(cloud.get("output/a.x1.mkv")) > 2 * MIN_PART
    assert cloud.proxy.counts["UPLOAD_PART"] > 2
    assert cloud.proxy.counts["PART_COPY"] > 2
    check(cloud, "output/a.x1.mkv", 36, sound=False)


def write_noise(path: Path, frames: int) -> None:
    """Write pictures that no codec makes small."""
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        for _ in range(frames):
            noise = random.integers(0, 256, (720, 640), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(noise, format="yuv420p")))
        container.mux(video.encode(None))


IN_PARTS = """
import sys
from uprez.cli.main import run_cli
from uprez.fleet import lease
lease.PUT_BYTES, lease.PART_BYTES, lease.SLACK_BYTES = 1000, 5 << 20, 1000
run_cli(sys.argv[1:])
"""


@pytest.mark.long("kills")
@pytest.mark.parametrize("versioned", [True], indirect=True)
def test_a_kill_in_the_middle_of_an_upload_leaves_none(cloud: Cloud, clip: MakeClip) -> None:
    """Controller and worker die while parts are sent: the upload is listed, and after the next run it is not."""
    noise = clip(frames=1).with_suffix(".mkv")
    write_noise(noise, frames=36)
    cloud.put("input/a.mkv", noise)
    flags = {"model": "identity", "scale": "1", "codec": "ffv1", "segment_frames": 12}
    cloud.proxy.fail("UPLOAD_PART", "slow", times=9)
    given = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    running = cloud.house.start("run", *given, program=("-c", IN_PARTS))
    until(lambda: cloud.proxy.counts["UPLOAD_PART"])
    running.kill()
    for pid in cloud.house.processes():
        os.kill(pid, signal.SIGKILL)
    running.communicate()
    assert len(cloud.uploads()) == 1
    cloud.proxy.reset()
    again = cloud.run(**flags)
    assert again.code == 0, again.text
    assert "Gave up an unfinished upload of an earlier run" in again.text
    check(cloud, "output/a.x1.mkv", 36, sound=False)


FAULTS = {
    ("GET", "cut"),
    ("PUT", "lost"),
    ("HEAD", "503"),
    ("LIST", "cut"),
    ("COPY", "lost"),
    ("DELETE", "503"),
    ("UPLOAD_PART", "reset"),
    ("COMPLETE", "lost"),
}
"""That the suite takes; `make faults` takes the others."""
EVERY = [
    pytest.param(kind, how, marks=() if (kind, how) in FAULTS else pytest.mark.long("faults"))
    for kind in s3_proxy.KINDS
    for how in s3_proxy.HOWS
]


@pytest.mark.parametrize("versioned", [True], indirect=True)
@pytest.mark.parametrize(("kind", "how"), EVERY)
def test_a_fault_of_the_store_costs_nothing_but_time(
    cloud: Cloud, clip: MakeClip, request: pytest.FixtureRequest, kind: str, how: Any
) -> None:
    """Each fault, twice in a row: the batch ends right, or says why and the rerun does; never twice or half."""
    if kind in ("CREATE_UPLOAD", "UPLOAD_PART", "PART_COPY", "COMPLETE", "ABORT"):
        request.getfixturevalue("in_parts")
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.proxy.fail(kind, how, times=2)
    done = tried(cloud)
    assert cloud.proxy.pending() < 2 or kind == "ABORT", "the fault was met"
    if done.code:
        assert "[ERROR]" in done.text
    cloud.proxy.reset()
    again = tried(cloud)
    assert again.code == 0, done.text + again.text
    check(cloud, "output/a.x2.mp4", 12)


def tried(cloud: Cloud, **flags: object) -> Ran:
    """Run as the command does: what is raised before a run starts is a line too."""
    from uprez.errors import UprezError

    try:
        return cloud.run(**flags)
    except UprezError as error:
        return Ran(code=error.exit_code, text=f"[ERROR] {error.message}\n[HINT] {error.hint}")


Flags = Callable[[Cloud], dict[str, str]]


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_wrong_credentials_stop_before_anything(cloud: Cloud, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses, and the line says what, where and what to check; the secret is not in it."""
    cloud.put("input/a.mp4", clip(frames=12))
    monkeypatch.setenv("B2_SECRET", "wrongwrongwrong")
    done = tried(cloud)
    assert done.code == 2
    assert "SignatureDoesNotMatch" in done.text
    assert "B2_SECRET" in done.text
    assert "wrongwrong" not in done.text
    monkeypatch.setenv("B2_KEY", "AKNOBODY")
    assert "InvalidAccessKeyId" in tried(cloud).text
    assert cloud.keys("output/") == []


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_a_wrong_clock_is_named(cloud: Cloud, clip: MakeClip) -> None:
    """Ten minutes off: a warning, and signed URLs follow the store's clock; half an hour: refused, with the minutes."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.proxy.skew_s = 600
    done = cloud.run()
    assert done.code == 0, done.text
    assert "10 minutes behind the store's" in done.text
    cloud.proxy.skew_s = -1800
    refused = tried(cloud)
    assert refused.code == 2
    assert "30 minutes" in refused.text


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_a_busy_store_costs_no_work(cloud: Cloud, clip: MakeClip) -> None:
    """What was made is offered again until the store takes it: nothing is computed twice."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.proxy.fail("PUT", "503", times=7, key="/segment-0/")
    done = cloud.run()
    assert done.code == 0, done.text
    assert "was not taken, trying again" in done.text
    assert done.text.count("Enhancing a.mp4, segment 1 of 2") == 1


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_an_end_without_the_store_still_tells_its_code(cloud: Cloud, clip: MakeClip) -> None:
    """When results.json cannot be written, the jobs' end and the exit code are told all the same."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.proxy.fail("PUT", "503", times=99, key="/batches/")
    done = cloud.run()
    assert done.code == 1
    assert "[RESULT] s3://" in done.text
    assert "cannot write s3://" in done.text
    assert done.text.rstrip().splitlines()[-1].startswith("[WARN] Batch processing complete: 1 files (1 done)")


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_checkpoints_that_may_not_be_deleted_fail_no_job(cloud: Cloud, clip: MakeClip) -> None:
    """A result that is published is done, whatever becomes of what led to it; the next run skips it."""
    cloud.put("input/a.mp4", clip(frames=12))
    cloud.proxy.fail("DELETE", "503", times=99)
    done = cloud.run()
    assert done.code == 0, done.text
    assert "its checkpoints are still there" in done.text
    assert "already done" in cloud.run().text


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_bad_inputs_fail_alone(cloud: Cloud, clip: MakeClip) -> None:
    """Text, an ffconcat script, a cut file and an empty one each get one clear line; a folder's mark is no input."""
    good = clip("good.mp4", frames=12)
    bad = {
        "text": b"this is no video\n",
        "concat": b"ffconcat version 1.0\nfile good.mp4\n",
        "cut": good.read_bytes()[:2000],
        "empty": b"",
    }
    cloud.put("input/good.mp4", good)
    for name, data in bad.items():
        cloud.server.client.put_object(Bucket=cloud.bucket, Key=f"input/{name}.mp4", Body=data)
    cloud.server.client.put_object(Bucket=cloud.bucket, Key="input/folder.mp4/", Body=b"")
    done = cloud.run()
    assert done.code == 1
    lines = done.text.splitlines()
    for name in bad:
        assert sum(line.startswith(f"[ERROR] {name}.mp4: ") for line in lines) == 1, name
    assert any("the moov atom" in line for line in lines)
    assert "folder.mp4" not in done.text
    assert cloud.keys("output/") == ["output/good.x2.mp4"]


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_a_dry_run_writes_nothing(cloud: Cloud, clip: MakeClip) -> None:
    """It only reads: no marker, no record, no signed URL on the console."""
    cloud.put("input/a.mp4", clip(frames=12))
    done = cloud.run(dry_run=True)
    assert "[OK] Dry run: 1 files would be processed" in done.text
    assert cloud.keys() == ["input/a.mp4"]
    assert cloud.run().code == 0
    assert "X-Amz" not in cloud.run(dry_run=True).text
    assert {seen.kind for seen in cloud.proxy.seen()} >= {"GET", "LIST"}


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_results_are_brought_here(cloud: Cloud, clip: MakeClip) -> None:
    """With a download folder each result lies there too, the same bytes, also on a run that skips it."""
    cloud.put("input/sub/a.mp4", clip(frames=12))
    here = cloud.house.top / "films"
    for _ in range(2):
        done = cloud.run(download=str(here))
        assert done.code == 0, done.text
        assert (here / "sub" / "a.x2.mp4").read_bytes() == cloud.get("output/sub/a.x2.mp4")
        assert list((here / "sub").iterdir()) == [here / "sub" / "a.x2.mp4"]


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_a_changed_input_stops_its_job(cloud: Cloud, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another video under the same key is noticed at the next segment, and nothing of two videos is mixed."""
    first, second = clip("1.mp4", frames=24), clip("2.mp4", frames=24, shade=90)
    cloud.put("input/a.mp4", first)
    real = checks.survey

    def change(*given: Any) -> Any:
        cloud.put("input/a.mp4", second)
        return real(*given)

    monkeypatch.setattr(checks, "survey", change)
    done = cloud.run()
    assert done.code == 1
    assert "a.mp4 changed while it was processed" in done.text
    assert "Assembling" not in done.text
    monkeypatch.undo()


@pytest.mark.parametrize("versioned", [False], indirect=True)
def test_the_state_has_a_prefix_of_its_own(cloud: Cloud, clip: MakeClip) -> None:
    """Checkpoints among inputs or results would be lost there, or be taken for them."""
    cloud.put("input/a.mp4", clip(frames=12))
    for prefix in ("output", "output/state", "input"):
        done = tried(cloud, state_prefix=prefix)
        assert done.code == 2, prefix
        assert "state_prefix" in done.text
    assert cloud.keys() == ["input/a.mp4"]
