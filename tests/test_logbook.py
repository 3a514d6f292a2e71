"""The worker's mouth: lines, parts and heartbeats, on real files."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez import logbook as logbooks
from uprez import status as statuses
from uprez.logbook import PART_LINES, Logbook, Reporter
from uprez.machine import Machine
from uprez.sheet import Sheet
from uprez.status import Done, Status
from waiting import until

LEASE = "0a1b2c3d"
LINE = re.compile(rf"{LEASE}:([0-9]+) [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z (.*)\n")


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    """Give a sheet with room for five parts and a heartbeat every 20 ms."""
    return Sheet(
        lease=LEASE,
        length_s=60,
        grace_s=10,
        status_s=0.02,
        families=("cpu",),
        status_url=(tmp_path / "status.json").as_uri(),
        log_urls=tuple((tmp_path / f"log-{number}.txt").as_uri() for number in range(5)),
        next_sheet_url="file:///none",
    )


def numbers(text: str) -> list[int]:
    """Give the numbers of a log's lines; every line must be one."""
    matches = [LINE.fullmatch(line) for line in text.splitlines(keepends=True)]
    assert all(matches)
    return [int(match[1]) for match in matches if match]


def read(tmp_path: Path) -> Status | None:
    """Read the status as a controller does, None before the first."""
    path = tmp_path / "status.json"
    return statuses.read(path.read_bytes()) if path.exists() else None


def parts(tmp_path: Path) -> list[str]:
    """Read the published parts, in order."""
    return [path.read_text() for path in sorted(tmp_path.glob("log-?.txt"))]


@settings(deadline=None)  # a busy machine is no failure
@given(texts=st.lists(st.text(max_size=30), max_size=20))
def test_lines_are_numbered_stamped_and_one_each(texts: list[str]) -> None:
    """Whatever is said becomes exactly one line with lease, number and time."""
    stream = StringIO()
    log = Logbook(LEASE, stream)
    for text in texts:
        log.say(text)
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(texts)
    assert numbers(stream.getvalue()) == list(range(1, len(texts) + 1))
    for text, line in zip(texts, lines, strict=True):
        assert line.endswith(" " + " ".join(text.splitlines()))


def test_threads_do_not_mix_their_lines() -> None:
    """Lines of several threads come whole, with rising numbers."""
    stream = StringIO()
    log = Logbook(LEASE, stream)

    def talk() -> None:
        for _ in range(100):
            log.say("word " * 20)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(stream.getvalue()) == list(range(1, 401))


def test_parts_are_published_once_and_lose_nothing(sheet: Sheet, tmp_path: Path) -> None:
    """A part goes out when it is full, each once; the parts together are the log, its last line included."""
    stream = StringIO()
    log = Logbook(LEASE, stream)
    log.say("first")
    log.publish(sheet)
    assert parts(tmp_path) == []
    for number in range(2 * PART_LINES):
        log.say(f"line {number}")
        log.publish(sheet)
    assert [len(numbers(part)) for part in parts(tmp_path)] == [PART_LINES, PART_LINES]
    log.say("last")
    log.publish(sheet, last=True)
    log.publish(sheet, last=True)
    assert [len(numbers(part)) for part in parts(tmp_path)] == [PART_LINES, PART_LINES, 2]
    assert "".join(parts(tmp_path)) == stream.getvalue()


def test_old_part_is_published_though_short(sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line waits no longer than `PART_S` for its part."""
    log = Logbook(LEASE, StringIO())
    log.say("only")
    log.publish(sheet)
    assert parts(tmp_path) == []
    monkeypatch.setattr(logbooks, "PART_S", 0.0)
    log.publish(sheet)
    assert len(parts(tmp_path)) == 1


def test_status_beats_and_tells_what_is_done(sheet: Sheet, tmp_path: Path) -> None:
    """The beat rises by itself; task, frames, machine and ends are in the status as they were told."""
    reporter = Reporter(lambda: sheet, Logbook(LEASE, StringIO()))
    reporter.machine("a CPU", "CPUExecutionProvider", ("gpu: none",))
    reporter.doing("working", "t-1")
    reporter.frames(7, 2.5)
    until(lambda: (found := read(tmp_path)) is not None and found.frames == 7)
    first = read(tmp_path)
    assert first is not None
    assert (first.lease, first.phase, first.task, first.fps, first.device) == (LEASE, "working", "t-1", 2.5, "a CPU")
    until(lambda: (found := read(tmp_path)) is not None and found.beat >= first.beat + 3)
    reporter.done(Done(task="t-1", key="k", frames=7))
    assert reporter.finished() == {"t-1"}
    reporter.doing("working", "t-2")
    reporter.done(Done(task="t-2", key="l", fault="input", error="broken"))
    reporter.close("told to stop")
    last = read(tmp_path)
    assert last is not None
    assert (last.phase, last.task, last.reason) == ("left", None, "told to stop")
    assert [(done.task, done.fault) for done in last.done] == [("t-1", None), ("t-2", "input")]


def test_status_tells_the_machine_and_its_traffic(
    sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first beat on: what was rented, and how many bytes have moved."""
    monkeypatch.setattr(logbooks.http, "traffic", lambda: (3, 4))
    rented = Machine(gpu="NVIDIA L4", gpus=1, own_key_works=True)
    reporter = Reporter(lambda: sheet, Logbook(LEASE, StringIO()), rented)
    until(lambda: read(tmp_path) is not None)
    found = read(tmp_path)
    reporter.close("over")
    assert found is not None
    assert (found.machine, found.down_bytes, found.up_bytes) == (rented, 3, 4)


def test_traffic_of_earlier_starts_is_counted_in(sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is started again on its disk has a new process, and the bill goes on; a spoilt file is none."""
    monkeypatch.setattr(logbooks.http, "traffic", lambda: (3, 4))
    seen = []
    for spoil in (False, False, True):
        if spoil:
            (tmp_path / "moved").write_text("nonsense")
        Reporter(lambda: sheet, Logbook(LEASE, StringIO()), moved=tmp_path / "moved").close("over")
        found = read(tmp_path)
        assert found is not None
        seen.append((found.down_bytes, found.up_bytes))
    assert seen == [(3, 4), (6, 8), (3, 4)]


def test_new_task_begins_without_frames(sheet: Sheet, tmp_path: Path) -> None:
    """Frames of the task before are not counted for the next."""
    reporter = Reporter(lambda: sheet, Logbook(LEASE, StringIO()))
    reporter.frames(7, 2.5)
    reporter.doing("working", "t-2")
    reporter.close("done")
    found = read(tmp_path)
    assert found is not None
    assert (found.frames, found.fps) == (0, 0.0)


def test_news_do_not_wait_for_the_beat(sheet: Sheet, tmp_path: Path) -> None:
    """What begins or ends is told at once, however slow the heart beats."""
    reporter = Reporter(lambda: replace(sheet, status_s=600), Logbook(LEASE, StringIO()))
    reporter.doing("working", "t-1")
    until(lambda: (found := read(tmp_path)) is not None and found.task == "t-1")
    reporter.done(Done(task="t-1", key="k"))
    until(lambda: (found := read(tmp_path)) is not None and len(found.done) == 1)
    reporter.close("done")


def test_last_line_is_published_when_the_worker_leaves(sheet: Sheet, tmp_path: Path) -> None:
    """Whatever was said before closing is in the parts, to the last line."""
    stream = StringIO()
    log = Logbook(LEASE, stream)
    reporter = Reporter(lambda: sheet, log)
    log.say("one")
    log.say("the last line")
    reporter.close("done")
    assert "".join(parts(tmp_path)) == stream.getvalue()
    assert stream.getvalue().endswith("the last line\n")


def test_store_that_fails_does_not_end_the_work(sheet: Sheet, tmp_path: Path) -> None:
    """While the store refuses, the work goes on and it is said; afterwards beats arrive again and nothing is lost."""
    store = tmp_path / "store"
    store.write_text("in the way")
    broken = replace(sheet, status_url=(store / "status.json").as_uri(), log_urls=((store / "log-0.txt").as_uri(),))
    stream = StringIO()
    log = Logbook(LEASE, stream)
    reporter = Reporter(lambda: broken, log)
    log.say("before")
    reporter.doing("working", "t-1")
    until(lambda: "[WARN] status not written" in stream.getvalue())
    reporter.frames(3, 1.0)
    store.unlink()
    until(lambda: (found := read(store)) is not None and found.frames == 3)
    reporter.close("done")
    found = read(store)
    assert found is not None
    assert found.reason == "done"
    assert parts(store)[0] == stream.getvalue()


def test_store_that_never_works_still_lets_the_worker_leave(sheet: Sheet, tmp_path: Path) -> None:
    """Closing ends although not a word could be published."""
    (tmp_path / "store").write_text("in the way")
    broken = replace(sheet, status_url=(tmp_path / "store" / "status.json").as_uri())
    reporter = Reporter(lambda: broken, Logbook(LEASE, StringIO()))
    reporter.close("done")
    assert (tmp_path / "store").read_text() == "in the way"


@pytest.mark.parametrize("detached", [True, False])
def test_a_worker_that_hangs_ends_where_nobody_watches(
    sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detached: bool
) -> None:
    """A GPU that hangs must not bill until the lease ends: the process does, and says why; a watched one is judged."""
    monkeypatch.setattr(logbooks, "ALONE_STALL_S", 0.2)
    given_up = threading.Event()
    alone = replace(sheet, detached=detached)
    reporter = Reporter(lambda: alone, Logbook(LEASE, StringIO()), give_up=lambda _: given_up.set())
    reporter.doing("working", "t-1")
    for _ in range(30):
        reporter.frames(1, 1.0)
        time.sleep(0.01)
    assert not given_up.is_set(), "while it gets on with its work it goes on"
    assert given_up.wait(60.0 if detached else 0.5) is detached
    assert ("nothing moved" in "".join(parts(tmp_path))) is detached
    reporter.close("test")
