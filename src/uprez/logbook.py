"""The worker's mouth: its numbered log lines, and the status that its controller judges it by."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from uprez import http, wire
from uprez.errors import UprezError
from uprez.machine import Machine
from uprez.sheet import Sheet
from uprez.status import Done, Phase, Status
from uprez.store import urls

PART_LINES = 200
PART_S = 60.0
"""A part of the log is published when it has this many lines, or is this old."""
PROGRESS_S = 5.0
"""Between two lines that say how far a task is."""
LINES_A_START = 1_000_000
PARTS_A_START = 40
ALONE_STALL_S = 3600.0
"""Without a frame, a byte or another task for so long, a worker that nobody watches ends."""
PARTS_ALIKE = 40
"""After so many parts both limits double, so that the 400 parts of a sheet last for a month."""


class Logbook:
    """Prints each line at once, numbered and stamped, and publishes the log in parts.

    A printed line is `<lease>:<n> <UTC time> <text>`: the number tells a reader of snapshots what it has seen already,
    the lease tells it whose line this is.
    """

    def __init__(self, lease: str, stream: TextIO | None = None, *, start: int = 0) -> None:
        """`start` counts the earlier starts on this machine: lines and parts go on where theirs cannot be any more."""
        self._lease = lease
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._number = start * LINES_A_START
        self._first = self._part = start * PARTS_A_START
        self._lines: list[str] = []
        self._since = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line; line breaks in it become spaces."""
        with self._lock:
            self._number += 1
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            line = f"{self._lease}:{self._number} {stamp} {' '.join(text.splitlines())}\n"
            self._lines.append(line)
            self._stream.write(line)
            self._stream.flush()

    def publish(self, sheet: Sheet, *, last: bool = False) -> None:
        """Publish a part when it is due; `last` publishes whatever is left."""
        with self._lock:
            times = 2 ** ((self._part - self._first) // PARTS_ALIKE)
            old = time.monotonic() - self._since >= PART_S * times
            due = old or len(self._lines) >= PART_LINES * times or last
            lines = list(self._lines)
        if not due or not lines or self._part >= len(sheet.log_urls):
            return
        urls.put(sheet.log_urls[self._part], "".join(lines).encode())  # not under the lock: who works must not wait
        with self._lock:
            self._part += 1
            del self._lines[: len(lines)]
            self._since = time.monotonic()


def starts(folder: Path) -> int:
    """Count the starts on this machine before this one: a container may be started again on its disk."""
    path = folder / "starts"
    try:
        count = int(path.read_text())
    except (OSError, ValueError):
        count = 0
    with contextlib.suppress(OSError):  # then lines may look alike, no more
        path.write_text(str(count + 1))
    return count


class Reporter:
    """Publishes the status every `status_s`, and at once when something happens; `sheet` gives the sheet as it is.

    `rented` is what the rented machine turned out to be. `moved` is a file that remembers the bytes of earlier starts
    on this machine: a container that is started again has a new process, and the same bill.
    """

    def __init__(
        self,
        sheet: Callable[[], Sheet],
        log: Logbook,
        rented: Machine | None = None,
        *,
        moved: Path | None = None,
        give_up: Callable[[int], object] = os._exit,
    ) -> None:
        """`give_up` ends the process: whatever hangs in it, its machine is given back then."""
        self._give_up = give_up
        self._file = moved
        self._before = _remembered(moved)
        self._sheet = sheet
        self._log = log
        self._status = Status(lease=sheet().lease, beat=0, phase="booting", machine=rented)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._got_on = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="status", daemon=True)
        self._thread.start()

    @property
    def still_s(self) -> float:
        """Seconds since anything was told that shows work going on."""
        return time.monotonic() - self._got_on

    def doing(self, phase: Phase, task: str | None = None) -> None:
        """Say what is being done now."""
        self._got_on = time.monotonic()
        with self._lock:
            self._status = replace(self._status, phase=phase, task=task, frames=0, fps=0.0)
        self._wake.set()

    def machine(self, device: str, provider: str, ladder: tuple[str, ...]) -> None:
        """Say what it is done on."""
        with self._lock:
            self._status = replace(self._status, device=device, provider=provider, ladder=ladder)

    def frames(self, frames: int, fps: float) -> None:
        """Count the finished frames of the current task; sent with the next beat."""
        self._got_on = time.monotonic()
        with self._lock:
            self._status = replace(self._status, frames=frames, fps=fps)

    def moved(self) -> None:
        """Say that work goes on though no frame is finished; sent with the next beat."""
        self._got_on = time.monotonic()
        with self._lock:
            self._status = replace(self._status, moved=self._status.moved + 1)

    def done(self, done: Done) -> None:
        """Say how a task ended."""
        with self._lock:
            self._status = replace(self._status, done=(*self._status.done, done), task=None)
        self._wake.set()

    def ended(self) -> tuple[Done, ...]:
        """Give the ends of the tasks that are on the sheet."""
        return self._status.done

    def finished(self) -> frozenset[str]:
        """Name the tasks that ended here."""
        return frozenset(done.task for done in self._status.done)

    def close(self, reason: str) -> None:
        """Send the last status and the rest of the log; the log's last line is already printed."""
        with self._lock:
            self._status = replace(self._status, phase="left", task=None, reason=reason)
            self._closing = True
        self._wake.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            self._wake.wait(self._sheet().status_s)
            self._wake.clear()
            if self._sheet().detached and self._status.phase == "working" and self.still_s > ALONE_STALL_S:
                self._log.say(f"ERROR: Pipeline failed: nothing moved for {self.still_s:.0f} s, and nobody watches")
                self._send(last=True)
                self._give_up(1)
            closing = self._closing
            self._send(last=closing)
            if closing:
                return

    def _send(self, *, last: bool) -> None:
        sheet = self._sheet()  # as it is now: its URLs are signed anew while the lease is renewed
        wanted = {task.id for task in sheet.tasks}
        with self._lock:
            # The controller takes a task off the sheet when it has seen its end: then it need not be told again.
            kept = tuple(done for done in self._status.done if done.task in wanted) if wanted else self._status.done
            down, up = (now + before for now, before in zip(http.traffic(), self._before, strict=True))
            beat = self._status.beat + 1
            self._status = replace(self._status, beat=beat, done=kept, down_bytes=down, up_bytes=up)
            status = self._status
        self._remember(down, up)
        # The controller notices a heart that stands still; here the work goes on and the next beat tries again.
        writes: list[tuple[str, Callable[[], None]]] = [
            ("status", lambda: urls.put(sheet.status_url, wire.dump(status))),
            ("log", lambda: self._log.publish(sheet, last=last)),
        ]
        for what, write in reversed(writes) if last else writes:  # who reads that it has left finds its whole log
            self._try(what, write)

    def _remember(self, down: int, up: int) -> None:
        if self._file is not None:
            beside = self._file.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk: then another start counts from here
                beside.write_text(f"{down} {up}")
                beside.replace(self._file)

    def _try(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except UprezError as error:
            self._log.say(f"[WARN] {what} not written: {error.message}")


class Progress:
    """Counts the frames of a task, says so now and then, and lets it be stopped between two of them."""

    def __init__(self, reporter: Reporter, log: Logbook, total: int, title: str, check: Callable[..., None]) -> None:
        """`check` is told how many seconds are left (`left_s`), and raises Stopped where the task should not go on."""
        self._reporter = reporter
        self._log = log
        self._total = total
        self._title = title
        self._check = check
        self._began = time.monotonic()
        self._said = self._began

    def frame(self, frames: int) -> None:
        """Take note of `frames` finished frames; raises Stopped."""
        now = time.monotonic()
        fps = self.fps(frames)
        self._reporter.frames(frames, fps)
        if now - self._said >= PROGRESS_S and frames < self._total:
            self._said = now
            self._log.say(f"{self._title}: {frames}/{self._total} frames, {fps:.2f} fps")
        self._check(left_s=(self._total - frames) / fps if fps else None)

    def fps(self, frames: int) -> float:
        """Frames a second so far."""
        return frames / max(time.monotonic() - self._began, 1e-6)


def _remembered(file: Path | None) -> tuple[int, int]:
    """Read the bytes that came and went before this start."""
    if file is None:
        return 0, 0
    try:
        down, up = map(int, file.read_text().split())
    except (OSError, ValueError):
        return 0, 0
    return down, up
