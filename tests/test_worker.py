"""The worker, where what it runs goes wrong."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

import plain
from house import write_clip
from uprez import status as statuses
from uprez import wire, worker
from uprez.fleet import plan as plans
from uprez.job import Options, Survey
from uprez.media.frame import Frame
from uprez.sheet import Put, Ref, Sheet, Task
from uprez.store import urls


def test_a_defect_names_the_task_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies of a defect of ours says first which task it was, so that the other jobs are not blamed."""
    task = Task(
        id="0000000a-1",
        kind="index",
        job="0123456789abcdef",
        name="clip.mp4",
        source_url=(tmp_path / "clip.mp4").as_uri(),
        source_size=1,
        put=Put(url=(tmp_path / "survey").as_uri(), key="jobs/0123456789abcdef/index/0000000a-1"),
        options=Options(),
    )
    sheet = Sheet(
        lease="0000000a",
        length_s=30,
        grace_s=1,
        watch_s=0.05,
        status_s=0.05,
        families=("cpu",),
        tasks=(task,),
        status_url=(tmp_path / "status.json").as_uri(),
        log_urls=((tmp_path / "log").as_uri(),),
        next_sheet_url=(tmp_path / "sheet.json").as_uri(),
    )
    (tmp_path / "sheet.json").write_bytes(wire.dump(sheet))

    def defect(url: str) -> None:
        raise ValueError(f"planted for {url}")

    monkeypatch.setattr(worker.probe, "index", defect)
    with pytest.raises(ValueError, match="planted"):
        worker.run(sheet.next_sheet_url, folder=tmp_path, deadline_file=None)
    status = statuses.read((tmp_path / "status.json").read_bytes())
    assert (status.phase, status.reason) == ("left", "defect")
    assert [(done.task, done.fault) for done in status.done] == [(task.id, "defect")]
    assert "planted" in (status.done[0].error or "")
    assert not list(tmp_path.glob("scratch-*"))


def test_a_third_of_an_input_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that need little of a film do not fetch it; once they have asked for more, it is fetched, one time."""
    fetched: list[str] = []

    def fetch(url: str, path: Path, **_: object) -> None:
        fetched.append(url)
        path.write_bytes(b"film")

    monkeypatch.setattr(worker.urls, "fetch_source", fetch)
    url = "http://127.0.0.1:9/film.mkv?signed"
    task = Task(
        id="0000000a-1",
        kind="enhance",
        job="0123456789abcdef",
        name="film.mkv",
        source_url=url,
        source_size=4,
        put=Put(url="", key="k"),
        options=Options(),
    )
    watch = SimpleNamespace(current=lambda task: task, check=lambda task, left_s: None)
    log = SimpleNamespace(say=lambda text: None)
    doer = worker._Worker(watch, log, SimpleNamespace(), tmp_path)  # type: ignore[arg-type]
    assert [doer._source(task, Fraction(1, 6)) for _ in range(2)] == [url, url]
    assert fetched == []
    here = (tmp_path / "source-0123456789abcdef.mkv").as_uri()
    assert [doer._source(task, Fraction(1, 6)) for _ in range(3)] == [here] * 3
    assert fetched == [url]
    assert doer._source(replace(task, job="f" * 16)) == (tmp_path / f"source-{'f' * 16}.mkv").as_uri()


@pytest.mark.parametrize("seconds", [0.0, 50.0])
def test_segments_are_cut_by_what_takes_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Where encoding is slower than inference, its time for a frame is the one that a plan is made by."""
    task = Task(
        id="0000000a-1",
        kind="index",
        job="0123456789abcdef",
        name="film.mkv",
        source_url=(tmp_path / "film.mkv").as_uri(),
        source_size=4,
        put=Put(url="", key="k"),
        options=Options(codec="h264", encoder_preset="slow", crf=30),
    )
    watch = SimpleNamespace(sheet=SimpleNamespace(families=("cpu",)))
    doer = worker._Worker(watch, SimpleNamespace(), SimpleNamespace(), tmp_path)  # type: ignore[arg-type]
    session = SimpleNamespace(family="cpu", provider="P", precision="f32", device="here", ladder=())
    engine = SimpleNamespace(session=session, ladder=(), begin=lambda: None, frame=lambda moment: moment.left)
    monkeypatch.setattr(doer, "_open", lambda *_: engine)
    monkeypatch.setattr(worker.decode, "frames", lambda *_, **__: iter([Frame(planes=(), pts=0)]))
    choose = worker.encode.choose
    monkeypatch.setattr(
        worker.encode, "choose", lambda *args, **asked: replace(choose(*args, **asked), seconds_per_frame=seconds)
    )
    ready = doer._preflight(task, plain.indexed(plain.VIDEO, 3), 0)
    assert (ready.seconds_per_frame == seconds) == (seconds > 0)
    assert {("preset", "slow"), ("crf", "30")} <= set(ready.encoding.options)


def test_a_segment_is_all_that_lies_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames go from decoder to encoder in memory: at each of them the only file is the segment that is written."""
    source, scratch = tmp_path / "film.mp4", tmp_path / "scratch"
    write_clip(source, 24, (64, 48), 0)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    here = SimpleNamespace(
        sheet=SimpleNamespace(families=("cpu",), models={}, memory_bytes=None),
        current=lambda task: task,
        check=lambda *_, **__: None,
    )
    reporter = SimpleNamespace(machine=lambda *_: None, frames=lambda *_: None)
    doer = worker._Worker(here, SimpleNamespace(say=lambda _: None), reporter, scratch)  # type: ignore[arg-type]
    options = Options(model="lanczos", codec="h264")
    task = Task(
        id="0000000a-1",
        kind="index",
        job="0123456789abcdef",
        name=source.name,
        source_url=source.as_uri(),
        source_size=source.stat().st_size,
        put=Put(url="", key="k"),
        options=options,
    )
    doer._index(task, tmp_path / "survey.json")
    survey = wire.load(Survey, (tmp_path / "survey.json").read_bytes(), where="the survey")
    (tmp_path / "plan.json").write_bytes(
        wire.dump(plans.make(task.job, 1, options, survey, container="mp4", segment_frames=12))
    )
    refs = {name: _ref(tmp_path / f"{name}.json") for name in ("plan", "survey")}
    lying: list[set[str]] = []
    frame = worker.Progress.frame

    def looked(self: worker.Progress, frames: int) -> None:
        lying.append({path.name for path in scratch.rglob("*")})
        frame(self, frames)

    monkeypatch.setattr(worker.Progress, "frame", looked)
    enhance = replace(task, kind="enhance", segment=1, **refs)  # type: ignore[arg-type]
    assert doer._enhance(enhance, scratch / "segment.part") == 12
    assert lying == [{"segment.part"}] * 12
    assert [path.name for path in scratch.iterdir()] == ["segment.part"]


def _ref(path: Path) -> Ref:
    return Ref(url=path.as_uri(), sha256=urls.digest(path), size=path.stat().st_size)
