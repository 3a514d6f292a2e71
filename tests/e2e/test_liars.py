"""Workers that return what is not the source's, and encoders that die: each is caught, and the job ends right."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from house import House, MakeClip
from uprez import batch
from uprez.config.layers import load
from uprez.market import local
from uprez.media import ladders
from uprez.report.console import Console

LONG = pytest.mark.long("longer")
LIAR = Path(__file__).parent / "liar"
Run = Callable[..., tuple[int, str]]
MakeRun = Callable[..., Run]


@pytest.fixture
def run(house: House, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Run a batch of one clip, 36 frames in three segments, on workers that tell a lie."""
    clip(frames=36)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(house.top / "state"))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(house.top / "cache"))
    honest = local._base_environment
    flags: dict[str, Any] = {"model": "lanczos", "segment_frames": 12, "codec": "ffv1"}

    def run(lie: str, *, always: bool = False, **more: Any) -> tuple[int, str]:
        told = {"PYTHONPATH": str(LIAR), "UPREZ_LIE": lie, "UPREZ_LIE_ONCE": str(house.top / "told")}
        told |= {"UPREZ_LIE_ALWAYS": "1"} if always else {}
        told |= {name: value for name, value in more.items() if name.isupper()}
        monkeypatch.setattr(local, "_base_environment", lambda folder: {**honest(folder), **told})
        console = io.StringIO()
        asked = {name: value for name, value in more.items() if not name.isupper()}
        settings = load({**flags, **asked, "input_dir": house.inputs, "output_dir": house.outputs})
        code = asyncio.run(batch.run(settings, Console(stream=console)))
        return code, console.getvalue()

    return run


def pictures(path: Path) -> list[tuple[int, bytes]]:
    """Decode a video: time and samples of each frame."""
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


def evidence(house: House) -> list[Path]:
    """List what was kept of refused attempts."""
    return sorted((house.outputs / ".uprez").glob("jobs/*/evidence/*/*"))


def chess(path: Path) -> Path:
    """Make another video: a board of squares that moves."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        rows, columns = np.mgrid[:90, :160]
        for number in range(36):
            board = ((rows // 15 + (columns + 3 * number) // 20) % 2 * 200 + 25).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(board, "gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def due(house: House, run: Run) -> list[tuple[int, bytes]]:
    """Give the pictures of an honest run, and put it out of the way."""
    code, out = run("")
    assert code == 0, out
    made = pictures(house.outputs / "clip.x2.mkv")
    house.outputs.rename(house.top / "honest")
    return made


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("black", "black"),
        ("shifted", "shows the source's frame 1 earlier"),
        pytest.param("swapped", "has its two chroma planes swapped|has red and blue swapped", marks=LONG),
        pytest.param("another", "does not look like|shows the frame", marks=LONG),
        pytest.param("truncated", "packets, the plan says 12|cannot be read|damaged", marks=LONG),
    ],
)
def test_pictures_that_are_not_the_sources_do_not_count(
    house: House, run: Run, due: list[tuple[int, bytes]], lie: str, said: str
) -> None:
    """A segment of other pictures is refused, its evidence kept, and made again: the result is an honest one."""
    code, out = run(lie, UPREZ_LIE_FILE=chess(house.top / "other.mkv").as_uri())
    assert code == 0, out
    (refused,) = [line for line in out.splitlines() if "does not count" in line]
    assert any(each in refused for each in said.split("|")), refused
    assert pictures(house.outputs / "clip.x2.mkv") == due
    kept = evidence(house)
    assert {path.suffix for path in kept} == ({".json"} if lie == "truncated" else {".json", ".png"})
    why = json.loads(next(path for path in kept if path.suffix == ".json").read_bytes())["refused"]
    assert why in " ".join(refused.split())


def test_a_worker_that_never_shows_the_source_fails_its_job(house: House, run: Run) -> None:
    """Two attempts that agree about black pictures do not make them right: nothing is published."""
    code, out = run("black", always=True)
    assert code == 1, out
    assert [path.name for path in house.outputs.iterdir() if path.name != ".uprez"] == []
    assert len(evidence(house)) >= 6


def test_a_segment_that_is_overwritten_after_it_counted_is_made_again(
    house: House, run: Run, due: list[tuple[int, bytes]]
) -> None:
    """Whoever still holds the URL of a segment and changes it is found out at assembly, and the job ends right."""
    code, out = run("overwritten")
    assert code == 0, out
    assert "segment 1 has changed since it counted (again)" in out
    (kept,) = evidence(house)
    assert "and has other bytes now" in json.loads(kept.read_bytes())["refused"]
    assert pictures(house.outputs / "clip.x2.mkv") == due


def test_an_encoder_that_fails_once_is_tried_once_more(house: House, run: Run, due: list[tuple[int, bytes]]) -> None:
    """One failure costs a segment and no more."""
    code, out = run("dies")
    assert code == 0, out
    assert "the encoder was struck by the test (again)" in out
    assert out.count("Plan ") == 1
    assert pictures(house.outputs / "clip.x2.mkv") == due


def test_an_encoder_that_always_fails_gives_way_to_the_next(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second failure leads to a plan on the next encoder; results.json says so and what it cost."""
    first = ladders.LADDERS["prores"][0]
    ladder = (replace(first, encoder="prores_aw", presets=None, settings=()), first)
    monkeypatch.setitem(ladders.LADDERS, "prores", ladder)
    code, out = run("dies", always=True, codec="prores", UPREZ_LIE_LADDER="1")
    assert code == 0, out
    assert "prores_aw failed (the encoder was struck by the test): all is made anew by the next encoder" in out
    results = json.loads(next((house.outputs / ".uprez").glob("batches/*/results.json")).read_bytes())
    (job,) = results["jobs"]
    assert job["made"]["encoder"] == "prores_ks"
    assert job["made"]["given_up"] == [
        {"plan": 1, "rung": "prores_aw", "reason": "the encoder was struck by the test", "frames": 0}
    ]
    assert len(pictures(house.outputs / "clip.x2.mov")) == 36


def test_an_encoder_without_another_behind_it_fails_its_job(house: House, run: Run) -> None:
    """Where there is no other rung, the third failure ends the job, and says why."""
    code, out = run("dies", always=True)
    assert code == 1, out
    assert "the encoder was struck by the test" in out
    assert [path.name for path in house.outputs.iterdir() if path.name != ".uprez"] == []
