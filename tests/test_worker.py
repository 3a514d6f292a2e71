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
from uprez.errors import StoreError
from uprez.fleet import plan as plans
from uprez.job import Encoding, Index, Options, Preflight, Survey
from uprez.media.frame import Frame
from uprez.sheet import Put, Ref, Sheet, Task
from uprez.status import Done
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


def test_where_nobody_watches_a_task_is_done_once_more_and_then_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails twice is told, whatever it failed by; the others are done, and the worker leaves by itself."""
    asked: list[str] = []

    def index(url: str) -> Index:
        asked.append(url)
        if "bad" in url or len(asked) == 1:
            raise ValueError("planted")
        return plain.indexed(plain.VIDEO, 3)

    names = ("once.mp4", "bad.mp4", "good.mp4")
    tasks = tuple(
        Task(
            id=f"0000000a-{number}",
            kind="index",
            job=str(number) * 16,
            name=name,
            source_url=(tmp_path / name).as_uri(),
            source_size=1,
            put=Put(url=(tmp_path / f"survey-{number}").as_uri(), key=f"key-{number}"),
            options=Options(),
        )
        for number, name in enumerate(names)
    )
    sheet = Sheet(
        lease="0000000a",
        length_s=30,
        grace_s=1,
        watch_s=0.05,
        status_s=0.05,
        idle_s=0.0,
        detached=True,
        families=("cpu",),
        tasks=tasks,
        status_url=(tmp_path / "status.json").as_uri(),
        log_urls=((tmp_path / "log").as_uri(),),
        next_sheet_url=(tmp_path / "sheet.json").as_uri(),
    )
    (tmp_path / "sheet.json").write_bytes(wire.dump(sheet))
    monkeypatch.setattr(worker.probe, "index", index)
    ready = Preflight(
        family="cpu",
        provider="P",
        precision="f32",
        device="here",
        encoding=Encoding(codec="h264", rung="libx264", pix_fmt="yuv420p", options=(), threads=2),
        extradata_sha256="0" * 64,
        seconds_per_frame=0.5,
    )
    monkeypatch.setattr(worker._Worker, "_preflight", lambda *_: ready)
    assert worker.run(sheet.next_sheet_url, folder=tmp_path) == 1, "one of them has failed"
    status = statuses.read((tmp_path / "status.json").read_bytes())
    assert [(done.task, done.fault) for done in status.done] == [
        ("0000000a-0", None),
        ("0000000a-1", "defect"),
        ("0000000a-2", None),
    ]
    assert [url.rpartition("/")[2] for url in asked] == ["once.mp4", "once.mp4", "bad.mp4", "bad.mp4", "good.mp4"]
    assert (status.phase, status.reason) == ("left", "lease ended or nothing to do")


def test_what_was_made_here_is_joined_by_what_is_known_here(tmp_path: Path) -> None:
    """Of a detached lease's own segments the sheet has no SHA-256; one that failed leaves nothing to join."""
    ended = [Done(task="t-0", key="k0", sha256="a"), Done(task="t-1", key="k1", fault="encode", error="no")]
    reporter = SimpleNamespace(ended=lambda: tuple(ended))
    doer = worker._Worker(SimpleNamespace(), SimpleNamespace(), reporter, tmp_path)  # type: ignore[arg-type]
    refs = (
        Ref(url="counts", sha256="c", size=1),
        Ref(url="made", sha256="", size=0, task="t-0"),
        Ref(url="failed", sha256="", size=0, task="t-1"),
    )
    task = Task(
        id="t-2",
        kind="assemble",
        job="0123456789abcdef",
        name="film.mkv",
        source_url="",
        source_size=1,
        put=Put(url="", key="k"),
        options=Options(),
        inputs=refs[:2],
    )
    assert {name: done.sha256 for name, done in doer._own(task).items()} == {"t-0": "a"}
    with pytest.raises(StoreError, match=r"film\.mkv cannot be joined without its segments 3"):
        doer._own(replace(task, inputs=refs))


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
