"""The same work is the same job: on every run, from every copy, ledger and laptop."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from house import House, MakeClip
from uprez import batch
from uprez.config.layers import load
from uprez.config.settings import Secret
from uprez.report.console import Console

LONG = pytest.mark.long("longer")
Run = Callable[..., str]


@pytest.fixture
def run(house: House, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a batch over one clip, in this process; gives what it said."""
    clip(frames=12)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(house.top / "state"))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(house.top / "cache"))
    monkeypatch.chdir(house.top)

    def run(webhook: str | None = None, **flags: Any) -> str:
        said = io.StringIO()
        settings = load({"model": "lanczos", "input_dir": str(house.inputs), "output_dir": str(house.outputs), **flags})
        settings = replace(settings, webhook=Secret(webhook) if webhook else None)
        assert asyncio.run(batch.run(settings, Console(stream=said))) == 0, said.getvalue()
        return said.getvalue()

    assert "Created instance" in run()
    return run


def test_a_copied_folder_is_the_same_work(run: Run, house: House) -> None:
    """Other inodes and times, the same bytes: skipped."""
    shutil.copytree(house.inputs, house.top / "copy")
    shutil.rmtree(house.inputs)
    shutil.copytree(house.top / "copy", house.inputs, copy_function=shutil.copyfile)
    assert "Skipping clip.mp4: already done" in run()


def test_a_lost_ledger_loses_no_work(run: Run, house: House) -> None:
    """What is done is in the store, the ledger is a cache."""
    (house.top / "state" / "ledger.sqlite").rename(house.top / "ledger.old")
    assert "Skipping clip.mp4: already done" in run()


def test_another_laptop_loses_no_work(run: Run, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is done is known by this machine's state alone."""
    monkeypatch.setenv("UPREZ_STATE_DIR", str(house.top / "other"))
    assert "Skipping clip.mp4: already done" in run()


@pytest.mark.parametrize(
    "change",
    [
        {"scale": "3"},
        pytest.param({"model": "identity", "scale": "1"}, marks=LONG),
        pytest.param({"crf": 30}, marks=LONG),
    ],
)
def test_other_pictures_are_another_job(run: Run, change: dict[str, Any]) -> None:
    """Scale, model and quality make another output, so they make another job."""
    assert "Created instance" in run(**change)


def test_what_makes_no_other_picture_makes_no_other_job(run: Run) -> None:
    """The webhook, the budget and the cuts change nothing that is seen."""
    assert "Skipping clip.mp4: already done" in run(webhook="http://127.0.0.1:9/hook")
    assert "Skipping clip.mp4: already done" in run(budget="1", segment_frames=5)


def test_twins_are_done_again_together(run: Run, house: House) -> None:
    """The same video under two names: done again, both outputs are replaced and both stay ours."""
    shutil.copy(house.inputs / "clip.mp4", house.inputs / "copy.mp4")
    run()
    said = run(skip_existing=False)
    assert said.count("Created instance") == 1
    assert "copy.mp4 is the same video as clip.mp4" in said
    assert sorted(path.name for path in house.outputs.glob("*.mp4")) == ["clip.x2.mp4", "copy.x2.mp4"]
    assert "Created instance" not in run()


def test_max_files_counts_what_can_be_done(run: Run, house: House, clip: MakeClip) -> None:
    """Neither finished nor unreadable videos use the limit up, so the next run goes on."""
    (house.inputs / "a-broken.mp4").write_text("no video")
    clip("second.mp4", frames=12, shade=3)
    clip("third.mp4", frames=12, shade=6)
    for name in ("second.mp4", "third.mp4"):
        with pytest.raises(AssertionError, match="1 failed"):  # the broken one
            run(max_files=1)
        assert (house.outputs / name.replace(".mp4", ".x2.mp4")).exists()
    assert not (house.outputs / "a-broken.x2.mp4").exists()


def test_results_in_another_folder_are_no_inputs(run: Run, house: House) -> None:
    """What uprez made in a folder among the inputs is known for its own, whatever the outputs' folder is now."""
    run(output_dir=str(house.inputs / "made"))
    assert (house.inputs / "made" / "clip.x2.mp4").exists()
    said = run(output_dir=str(house.top / "elsewhere"), scale="3")
    assert "[OK] Found 1 video files" in said


class _Receiver(http.server.BaseHTTPRequestHandler):
    """A webhook's other end."""

    events: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Keep what was sent."""
        self.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_webhook_is_told_and_a_dead_one_harms_nothing(run: Run) -> None:
    """Each job that ended and the run are reported; without a receiver there is a warning, and the run is as good."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    run(webhook=f"http://127.0.0.1:{server.server_address[1]}/secret", crf=31)
    server.shutdown()
    server.server_close()
    assert [event["event"] for event in _Receiver.events] == ["job.done", "batch.done"]
    said = run(webhook=f"http://127.0.0.1:{server.server_address[1]}/secret", crf=32)
    assert "[WARN]" in said
    assert "secret" not in said
