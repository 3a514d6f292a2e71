"""What a lease is seen to do: lines without repeats, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez import wire
from uprez.config.layers import load
from uprez.config.settings import Timing
from uprez.fleet import clock
from uprez.fleet.monitor import Monitor
from uprez.market.base import Instance
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

LEASE, OTHER = "0a1b2c3d", "ffffffff"
Wait = Callable[[float], None]


RUNNING = Instance(id="i-1", label="", state="running")
ENDED = Instance(id="i-1", label="", state="ended")


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Let so many seconds pass on the monotonic clock, at once."""
    real, passed = clock.now, [0.0]
    monkeypatch.setattr(clock, "now", lambda: real() + passed[0])

    def wait(seconds: float) -> None:
        passed[0] += seconds

    return wait


@pytest.fixture
def monitor(timing: Timing) -> Monitor:
    """Give a monitor that has seen nothing yet."""
    return Monitor(lease=LEASE, timing=timing)


def tell(home: Home, **fields: object) -> None:
    """Write a status as the worker does."""
    status = Status(**{"lease": LEASE, "beat": 1, "phase": "idle", **fields})  # type: ignore[arg-type]
    home.state.write(keys.status(LEASE), wire.dump(status))


def line(number: int, lease: str = LEASE) -> str:
    """Give a worker's line as it is printed."""
    return f"{lease}:{number} 2026-01-02T03:04:05Z step {number}\n"


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data(), count=st.integers(0, 20))
def test_snapshots_give_each_line_once_in_order(timing: Timing, data: st.DataObject, count: int) -> None:
    """However often and at whatever byte a log is cut, each of its whole lines is given once, in order."""
    text = "".join(line(number) for number in range(1, count + 1))
    monitor = Monitor(lease=LEASE, timing=timing)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    given_lines = [fresh for cut in [*cuts, len(text), len(text)] for fresh in monitor.new_lines(text[:cut])]
    assert [fresh.number for fresh in given_lines] == list(range(1, count + 1))
    assert [fresh.text for fresh in given_lines] == [f"step {number}" for number in range(1, count + 1)]
    assert all(fresh.stamp == "2026-01-02T03:04:05Z" for fresh in given_lines)


def test_log_that_lost_its_beginning_goes_on(monitor: Monitor) -> None:
    """Markets truncate logs: a snapshot that begins later repeats nothing and skips nothing it holds."""
    monitor.new_lines(line(1) + line(2))
    assert [fresh.number for fresh in monitor.new_lines(line(2) + line(3))] == [3]
    assert [fresh.number for fresh in monitor.new_lines(line(7))] == [7]


def test_only_whole_lines_of_this_lease_count(monitor: Monitor) -> None:
    """Another lease's lines, noise, tracebacks and a half line are left out; the half line comes when it is whole."""
    noise = "Traceback (most recent call last):\n" + line(9, OTHER) + "x" + line(8) + f"{LEASE}:x now text\n\n\x00\n"
    half = line(2)[:-1]
    assert [fresh.number for fresh in monitor.new_lines(noise + line(1) + half)] == [1]
    assert [fresh.number for fresh in monitor.new_lines(noise + line(1) + line(2))] == [2]
    assert "Traceback (most recent call last):" in monitor.strays()


def test_windows_line_ends_are_no_part_of_the_text(monitor: Monitor) -> None:
    """A log that came through a terminal has carriage returns; they are not shown."""
    assert monitor.new_lines(line(1).replace("\n", "\r\n"))[0].text == "step 1"


def test_working_lease_is_well(monitor: Monitor, home: Home, wait: Wait) -> None:
    """A heart that beats and frames that come keep a lease for ever."""
    for beat in range(1, 100):
        tell(home, beat=beat, phase="working", task="t", frames=beat)
        wait(15)
        monitor.look(home)
        assert monitor.verdict(RUNNING) is None


def test_silence_ends_a_lease(monitor: Monitor, home: Home, wait: Wait) -> None:
    """A heart that stands still for longer than `silence_s` by our clock is given up; it was well until then."""
    tell(home, beat=3)
    monitor.look(home)
    wait(19)
    monitor.look(home)
    assert monitor.verdict(RUNNING) is None
    wait(2)
    monitor.look(home)
    assert "no heartbeat" in (monitor.verdict(RUNNING) or "")


def test_restarted_worker_is_alive(monitor: Monitor, home: Home, wait: Wait) -> None:
    """A counter that began again has moved: only a counter that stands still is silence."""
    tell(home, beat=50)
    monitor.look(home)
    wait(15)
    tell(home, beat=1)
    monitor.look(home)
    wait(15)
    monitor.look(home)
    assert monitor.verdict(RUNNING) is None


def test_standing_work_ends_a_lease(monitor: Monitor, home: Home, wait: Wait) -> None:
    """A heart that beats while no frame gets finished for `stall_s` is given up, but an idle worker is not."""
    for phase, verdict in (("idle", False), ("working", True)):
        for beat in range(1, 14):
            tell(home, beat=beat, phase=phase, task="t", frames=7)
            monitor.look(home)
            wait(10)
        monitor.look(home)
        assert ("no frame finished" in (monitor.verdict(RUNNING) or "")) is verdict


def test_an_index_that_stands_still_ends_a_lease_in_the_end(monitor: Monitor, home: Home, wait: Wait) -> None:
    """What makes no frames may take an hour without a sign, and no more: an encoder that never ends its trial bills."""
    for beat, verdict in ((1, False), (2, False), (3, True)):
        tell(home, beat=beat, phase="working", task="t")
        monitor.look(home)
        found = monitor.verdict(RUNNING, makes_frames=False) or ""
        assert ("nothing done for" in found) is verdict
        wait(1900)


def test_boot_has_its_own_time(monitor: Monitor, home: Home, wait: Wait) -> None:
    """Before the first status a lease has `boot_s`, as long as its instance runs."""
    wait(59)
    monitor.look(home)
    assert monitor.verdict(RUNNING) is None
    assert "no worker began, and its container ended" in (monitor.verdict(ENDED) or "")
    wait(2)
    monitor.look(home)
    assert monitor.verdict(RUNNING) == "no worker within 60 s"


def test_a_boot_that_beats_refutes_the_host_and_does_not_last_for_ever(
    monitor: Monitor, home: Home, wait: Wait
) -> None:
    """An installation that hangs may beat for hours: it has `boot_s`, and as much again once it was a worker."""
    for beat in range(7):
        tell(home, beat=beat - 100, phase="booting")
        monitor.look(home)
        assert monitor.verdict(ENDED, sure=False) is None
        wait(9.5)
    tell(home, beat=-50, phase="booting")
    monitor.look(home)
    assert monitor.verdict(RUNNING) == "no worker within 60 s"
    for beat, phase in ((1, "idle"), (-100, "booting")):
        tell(home, beat=beat, phase=phase)
        monitor.look(home)
        assert monitor.verdict(RUNNING) is None


def test_worker_that_left_or_died_is_told_apart(monitor: Monitor, home: Home) -> None:
    """A last status gives the worker's own reason; an instance that ended without one is gone."""
    tell(home, beat=1)
    monitor.look(home)
    assert monitor.verdict(ENDED) == "the worker is gone: its container ended"
    tell(home, beat=2, phase="left", reason="told to stop")
    monitor.look(home)
    assert monitor.verdict(ENDED) == monitor.verdict(RUNNING) == "the worker left: told to stop"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"schema":99}', wire.dump(Status(lease=OTHER, beat=2, phase="idle")), b"\xff" * 100],
)
def test_unusable_status_is_silence(monitor: Monitor, home: Home, wait: Wait, data: bytes) -> None:
    """A status that is malformed, of another schema or another lease's neither raises nor counts as a beat."""
    tell(home, beat=1)
    monitor.look(home)
    wait(21)
    home.state.write(keys.status(LEASE), data)
    monitor.look(home)
    assert monitor.status is not None
    assert monitor.status.beat == 1
    assert "no heartbeat" in (monitor.verdict(RUNNING) or "")


def test_a_pull_that_stands_still_for_ten_minutes_is_no_failure(home: Home, wait: Wait) -> None:
    """Trap 17: a host that unpacks an image says the same for minutes; only the whole boot has a limit."""
    monitor = Monitor(lease=LEASE, timing=load({}).rented)
    pulling = Instance(id="i-1", label="", state="booting", detail="5a9f2e1d0c3b: Pull complete")
    for _ in range(10):
        wait(60)
        monitor.look(home)
        assert monitor.verdict(pulling) is None
    wait(700)
    monitor.look(home)
    assert monitor.verdict(pulling) == "no worker within 1200 s"


def test_a_machine_that_was_paused_is_lost(monitor: Monitor, home: Home) -> None:
    """Trap 19: it is not waited for and not started again, which could fire and bill much later."""
    tell(home, beat=1, phase="working", task="t")
    monitor.look(home)
    paused = Instance(id="i-1", label="", state="stopped")
    assert (monitor.verdict(paused) or "").startswith("the worker is gone: it was stopped")
