"""The worker's ear, on real sheets in files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from uprez import watch as watching
from uprez import wire
from uprez.errors import Stopped, StoreError, WorkerError
from uprez.job import Options
from uprez.sheet import Put, Sheet, Task
from uprez.store import urls
from uprez.watch import Watch
from waiting import never, until

TASK = Task(
    id="0a1b2c3d-1",
    kind="index",
    job="j",
    name="clip.mkv",
    source_url="file:///in/clip.mkv",
    source_size=1,
    put=Put(url="file:///out/x", key="x"),
    options=Options(),
)
NEXT = replace(TASK, id="0a1b2c3d-2")
NOTHING_DONE: frozenset[str] = frozenset()


class Desk:
    """A controller's side: a sheet in a file, written anew at will, and watches that follow it."""

    def __init__(self, folder: Path) -> None:
        self.url = (folder / "sheet.json").as_uri()
        self.deadline = folder / "deadline"
        self.epoch: Path | None = None
        self.watches: list[Watch] = []
        self.sheet = Sheet(
            lease="0a1b2c3d",
            length_s=600,
            grace_s=10,
            watch_s=0.02,
            families=("cpu",),
            tasks=(TASK,),
            status_url="file:///none",
            log_urls=(),
            next_sheet_url=self.url,
        )

    def write(self, **changes: object) -> None:
        """Write the sheet with some fields changed."""
        self.sheet = replace(self.sheet, **changes)  # type: ignore[arg-type]
        urls.put(self.url, wire.dump(self.sheet))

    def watch(self, **changes: object) -> Watch:
        """Write the sheet and begin to follow it."""
        self.write(**changes)
        watch = Watch(self.url, deadline_file=self.deadline, deadline_epoch_file=self.epoch)
        self.watches.append(watch)
        return watch


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give a desk whose watches end with the test."""
    desk = Desk(tmp_path)
    yield desk
    for watch in desk.watches:
        watch.close()


def stopped(watch: Watch, left_s: float | None = 0.0) -> bool:
    """Say whether a check would stop the task now."""
    try:
        watch.check(TASK, left_s=left_s)
    except Stopped:
        return True
    return False


def test_boot_without_a_usable_sheet_fails(desk: Desk, tmp_path: Path) -> None:
    """A boot URL that leads nowhere, or to something else, raises what says so."""
    with pytest.raises(StoreError, match=r"sheet\.json"):
        Watch(desk.url, deadline_file=None)
    (tmp_path / "sheet.json").write_text("hello")
    with pytest.raises(WorkerError, match="the sheet"):
        Watch(desk.url, deadline_file=None)


def test_a_worker_without_work_looks_sooner(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine costs as much as one that works; while it works it looks as seldom as it is told."""
    monkeypatch.setattr(watching, "IDLE_WATCH_S", 0.05)
    watch = desk.watch(watch_s=30.0, tasks=(TASK,))
    desk.write(tasks=(TASK, NEXT))
    assert watch.next_task(NOTHING_DONE) == TASK
    assert never(lambda: len(watch.sheet.tasks) == 2, for_s=0.3)
    assert watch.next_task(frozenset({TASK.id})) == NEXT
    desk.write(stop=True)
    assert never(lambda: watch.sheet.stop, for_s=0.3)


def test_tasks_are_given_in_order_and_once(desk: Desk) -> None:
    """The next task is the first of the sheet that is not done."""
    watch = desk.watch(tasks=(TASK, NEXT))
    assert watch.next_task(NOTHING_DONE) == TASK
    assert watch.next_task(frozenset({TASK.id})) == NEXT


def test_task_that_arrives_is_taken(desk: Desk) -> None:
    """A worker that waits gets the task that a new sheet brings."""
    watch = desk.watch(tasks=(), idle_s=20)
    threading.Timer(0.1, desk.write, kwargs={"tasks": (NEXT,)}).start()
    assert watch.next_task(NOTHING_DONE) == NEXT


def test_idle_worker_leaves(desk: Desk) -> None:
    """Without work for `idle_s`, there is none."""
    watch = desk.watch(tasks=(), idle_s=0.1)
    began = time.monotonic()
    assert watch.next_task(NOTHING_DONE) is None
    assert time.monotonic() - began < 20


def test_held_worker_stays(desk: Desk) -> None:
    """Told to hold, an idle worker waits on, until work comes."""
    watch = desk.watch(tasks=(), idle_s=0.05, hold=True)
    threading.Timer(0.4, desk.write, kwargs={"tasks": (NEXT,)}).start()
    assert watch.next_task(NOTHING_DONE) == NEXT


def test_stop_is_heard_between_frames(desk: Desk) -> None:
    """A sheet that says stop raises Stopped at the next check and gives no more tasks."""
    watch = desk.watch()
    watch.check(TASK, left_s=None)
    desk.write(stop=True)
    until(lambda: stopped(watch))
    assert watch.next_task(NOTHING_DONE) is None


def test_task_that_vanished_is_abandoned(desk: Desk) -> None:
    """A task that the sheet no longer holds raises Stopped; the others go on."""
    watch = desk.watch(tasks=(TASK, NEXT))
    desk.write(tasks=(NEXT,))
    until(lambda: stopped(watch))
    watch.check(NEXT, left_s=None)


def test_lease_that_ends_leaves_its_grace_to_work_that_fits(desk: Desk) -> None:
    """After an unrenewed lease, work that fits in the grace goes on; longer or unmeasured work stops; none begins."""
    watch = desk.watch(length_s=0.6, grace_s=60)
    watch.check(TASK, left_s=None)
    watch.check(TASK, left_s=1000)
    until(lambda: stopped(watch, None))
    assert stopped(watch, 61)
    watch.check(TASK, left_s=30)
    assert watch.next_task(NOTHING_DONE) is None


def test_grace_ends_too(desk: Desk) -> None:
    """What is left of the grace counts: work that fitted at first stops when it takes longer than it said."""
    watch = desk.watch(length_s=0.1, grace_s=0.4)
    until(lambda: stopped(watch, 0.3))
    until(lambda: stopped(watch, 0.0))


def test_renewal_extends_the_lease_and_moves_the_deadline(desk: Desk) -> None:
    """When `renewal` rises the lease begins anew, and the dead-man's deadline is its end plus the grace."""
    watch = desk.watch(length_s=0.4, grace_s=10)
    assert not desk.deadline.exists()
    desk.write(length_s=100, renewal=1)
    until(desk.deadline.exists)
    until(lambda: watch.sheet.renewal == 1)
    assert float(desk.deadline.read_text()) == pytest.approx(time.monotonic() + 110, abs=9)
    time.sleep(0.5)  # past the first lease's end, which is what would stop it
    watch.check(TASK, left_s=None)


def test_renewal_moves_a_rented_machines_deadline(desk: Desk, tmp_path: Path) -> None:
    """There it is whole seconds since 1970, and a renewal that would end sooner leaves it where it is."""
    desk.epoch = tmp_path / "epoch"
    desk.epoch.write_text("1\n")
    watch = desk.watch()
    desk.write(length_s=1000, renewal=1)
    until(lambda: watch.sheet.renewal == 1)
    moved = desk.epoch.read_text()
    assert moved.rstrip("\n").isdecimal()
    assert int(moved) == pytest.approx(time.time() + 1010, abs=9)
    desk.write(length_s=1, renewal=2)
    until(lambda: watch.sheet.renewal == 2)
    assert desk.epoch.read_text() == moved


def test_sheet_that_changes_otherwise_extends_nothing(desk: Desk) -> None:
    """New tasks or a new length without a higher `renewal` leave the lease's end where it is."""
    watch = desk.watch(length_s=0.4)
    desk.write(length_s=1000, tasks=(TASK, NEXT))
    until(lambda: watch.sheet.length_s == 1000)
    until(lambda: stopped(watch, None))
    assert not desk.deadline.exists()


@pytest.mark.parametrize("spoilt", [b"", b"{", b'{"schema": 3}', None])
def test_unreadable_sheet_changes_nothing(desk: Desk, tmp_path: Path, spoilt: bytes | None) -> None:
    """A sheet that is spoilt or gone is as if not written; the next good one is heard again."""
    watch = desk.watch()
    before = watch.sheet
    sheet = tmp_path / "sheet.json"
    sheet.unlink() if spoilt is None else urls.put(desk.url, spoilt)
    time.sleep(0.1)  # five looks
    watch.check(TASK, left_s=None)
    assert watch.sheet == before
    desk.write(stop=True)
    until(lambda: stopped(watch))


def test_deadline_that_cannot_be_written_does_not_deafen(desk: Desk, tmp_path: Path) -> None:
    """With a full disk the dead-man keeps its old deadline, and the worker still hears its controller."""
    desk.deadline = tmp_path / "gone" / "deadline"
    watch = desk.watch()
    desk.write(renewal=1)
    until(lambda: watch.sheet.renewal == 1)
    desk.write(stop=True)
    until(lambda: stopped(watch))


def test_sheet_moves_to_its_next_address(desk: Desk, tmp_path: Path) -> None:
    """A sheet may name another address for its next edition."""
    watch = desk.watch()
    new = (tmp_path / "second.json").as_uri()
    desk.write(next_sheet_url=new)
    until(lambda: watch.sheet.next_sheet_url == new)
    desk.url = new
    desk.write(stop=True)
    until(lambda: stopped(watch))


@pytest.mark.parametrize(("detached", "refusals", "shut"), [(False, 2, True), (True, 2, False), (True, 15, True)])
def test_who_is_alone_believes_a_refusal_later(desk: Desk, detached: bool, refusals: int, shut: bool) -> None:
    """A store that refuses for a while must not end days of work; one that goes on to has nothing to work for."""
    watch = desk.watch(detached=detached)
    assert not watch.shut_out
    watch._denied = refusals
    assert watch.shut_out is shut


def test_watch_closes_at_once(desk: Desk) -> None:
    """Closing does not wait for the next look, and a closed watch follows no more."""
    watch = desk.watch(watch_s=60)
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 20
