"""What a run finds that another one left: records without objects, objects without records, names without either."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from house import House, MakeClip
from uprez import batch
from uprez.config.layers import load
from uprez.errors import VerifyError
from uprez.fleet import checks
from uprez.media import likeness, verify
from uprez.media.likeness import Finding
from uprez.report.console import Console
from uprez.store import urls

Run = Callable[..., tuple[int, str]]


class Crash(BaseException):
    """Stands for a controller that dies at this very point."""


@pytest.fixture
def run(house: House, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a batch of one clip, 24 frames in four segments, in this process."""
    clip(frames=24)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(house.top / "state"))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(house.top / "cache"))
    flags: dict[str, Any] = {"model": "lanczos", "segment_frames": 6}

    def run(**more: Any) -> tuple[int, str]:
        console = io.StringIO()
        settings = load({**flags, **more, "input_dir": house.inputs, "output_dir": house.outputs})
        code = asyncio.run(batch.run(settings, Console(stream=console)))
        return code, console.getvalue()

    return run


def dies(*_: object) -> None:
    """Die where this is called."""
    raise Crash


def refuses(*_: object) -> None:
    """Refuse a result."""
    raise VerifyError("refused by the test")


def outputs(house: House) -> list[str]:
    """List the files beside our state."""
    return sorted(path.name for path in house.outputs.iterdir() if path.name != ".uprez")


def results_of(house: House) -> Path:
    """Find what the last run says it did."""
    found = (house.outputs / ".uprez").glob("batches/*/results.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def all_but_assembled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring a job to where all segments count and no result was accepted."""
    with monkeypatch.context() as patch:
        patch.setattr(checks, "result", refuses)
        code, out = run()
    assert code == 1, out
    assert "refused by the test" in out


@pytest.mark.parametrize("where", ["record", "clean"])
def test_a_death_while_publishing_makes_no_second_output(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Died between giving the name and recording it, or before cleaning up: the next run ends it, computing nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(checks, where, dies)
        with pytest.raises(Crash):
            run()
    assert house.processes() == []
    assert outputs(house) == ["clip.x2.mp4"]
    code, out = run()
    assert code == 0, out
    assert outputs(house) == ["clip.x2.mp4"]
    assert "Created instance" not in out
    jobs = next((house.outputs / ".uprez" / "jobs").iterdir())
    assert [path.name for path in jobs.iterdir()] == ["result.json"]


def test_a_published_segment_is_adopted_only_if_it_is_right(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two segments lost their pins: the whole one is adopted, the cut one is made again, and that is said."""
    all_but_assembled(run, monkeypatch)
    state = house.outputs / ".uprez"
    for number in (0, 3):
        next(state.glob(f"jobs/*/*/segment-{number}.json")).unlink()
    cut = next(state.glob("jobs/*/*/segment-3/*"))
    cut.write_bytes(cut.read_bytes()[:-400])
    code, out = run()
    assert code == 0, out
    assert "3 of 4 segments count already" in out
    assert "segment 4 of an earlier run is not used" in out


def test_segments_that_are_not_what_counted_are_made_again(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is gone, one has other bytes of the same number, one a lost byte and its old time: the fourth one counts."""
    all_but_assembled(run, monkeypatch)
    changed, gone, lost = (next((house.outputs / ".uprez").glob(f"jobs/*/*/segment-{n}/*")) for n in (1, 2, 3))
    changed.write_bytes(b"\0" * changed.stat().st_size)
    gone.unlink()
    stat, data = lost.stat(), bytearray(lost.read_bytes())
    data[-40] ^= 0xFF
    with lost.open("r+b") as file:
        file.write(data)
    os.utime(lost, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, out = run()
    assert code == 0, out
    assert "1 of 4 segments count already" in out
    assert out.count("[OK] Segment") == 3
    for number in (2, 4):
        assert f"segment {number} of an earlier run has changed since it counted" in out


def test_a_pin_of_an_earlier_version_is_looked_at_once_more(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that say nothing of their packets are made anew from the objects, and nothing is computed."""
    all_but_assembled(run, monkeypatch)
    for path in (house.outputs / ".uprez").glob("jobs/*/*/segment-*.json"):
        known = json.loads(path.read_bytes())
        path.write_text(json.dumps({name: value for name, value in known.items() if name not in ("packets", "delay")}))
    code, out = run()
    assert code == 0, out
    assert "[OK] Segment" not in out
    assert json.loads(results_of(house).read_bytes())["jobs"][0]["segments_adopted"] == 4


def test_a_segment_that_is_overwritten_while_it_is_checked_is_made_again(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker still has the URL of what it sent: what it changes in that moment does not count, and is no end."""
    honest, once = verify.segment, [True]

    def overwriting(url: str, **more: Any) -> verify.Walk:
        found = honest(url, **more)
        if once.pop() if once else False:
            path = urls.path_of(url)
            beside = path.with_name("other")
            beside.write_bytes(path.read_bytes()[:-1] + b"x")
            beside.replace(path)
        return found

    monkeypatch.setattr(verify, "segment", overwriting)
    code, out = run()
    assert code == 0, out
    assert "was overwritten while it was checked (again)" in out
    assert outputs(house) == ["clip.x2.mp4"]


def test_two_attempts_that_agree_and_are_merely_far_away_count(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that changes pictures much is not held against two attempts; a person is told, with a picture."""
    monkeypatch.setattr(likeness, "judge", lambda *_: Finding(text="is far from the source (9.0 dB)", soft=True))
    code, out = run(codec="ffv1")  # the same at every attempt; x264 is not quite
    assert code == 0, out
    assert out.count("does not count: segment") == 4
    results = json.loads(results_of(house).read_bytes())
    said = [warning for warning in results["jobs"][0]["warnings"] if "two attempts agree, so that it counts" in warning]
    assert len(said) == 4
    assert Path(said[0].rpartition("see ")[2]).read_bytes().startswith(b"\x89PNG")


def test_a_frame_that_only_the_result_shows_to_be_wrong_costs_its_segment(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not looked at in a segment and is in the result: that segment is made again, and no other."""
    checked, wrong = verify.result, [True]

    def judged(url: str, **more: Any) -> verify.Facts:
        facts = checked(url, **more)
        if wrong.pop() if wrong else False:
            facts.thumbs[0] = facts.thumbs[0][:, ::-1]
        return facts

    monkeypatch.setattr(verify, "result", judged)
    code, out = run()
    assert code == 0, out
    assert "segment 1 counts no longer: frame 0 is mirrored left to right" in out
    assert out.count("[OK] Segment 1 of 4") == 2
    assert out.count("[OK] Segment") == 5
    assert outputs(house) == ["clip.x2.mp4"]


def test_a_deleted_output_is_made_again(house: House, run: Run) -> None:
    """Done means that the output is there; without it the job begins anew."""
    assert run()[0] == 0
    (house.outputs / "clip.x2.mp4").unlink()
    code, out = run()
    assert code == 0, out
    assert out.count("[OK] Segment") == 4
    assert outputs(house) == ["clip.x2.mp4"]


def test_a_damaged_output_is_not_taken_for_done(house: House, run: Run) -> None:
    """An output of the same size with other bytes is foreign: it stays, and the result is made beside it."""
    assert run()[0] == 0
    output = house.outputs / "clip.x2.mp4"
    output.write_bytes(b"\0" * output.stat().st_size)
    code, out = run()
    assert code == 0, out
    assert len(outputs(house)) == 2


def test_an_input_that_changes_while_it_is_processed_fails(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of two files must not be mixed: the job fails with the next step, nothing is published."""
    checked = checks.segment

    def change(*arguments: Any) -> Any:
        source, beside = house.inputs / "clip.mp4", house.top / f"new-{threading.get_ident()}"
        beside.write_bytes(source.read_bytes() + b"\0" * 8)
        beside.replace(source)
        return checked(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checks, "segment", change)
        code, out = run()
    assert code == 1
    assert "changed while it was processed" in out
    assert outputs(house) == []


def test_state_that_cannot_be_read_is_made_again(house: House, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that is no JSON any more leads to a new plan, not to an error."""
    all_but_assembled(run, monkeypatch)
    plan: Path = next((house.outputs / ".uprez").glob("jobs/*/plan-1-*.json"))
    plan.write_text("{")
    code, out = run()
    assert code == 0, out
    assert "Plan 2 of clip.mp4: 24 frames" in out
