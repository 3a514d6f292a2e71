"""What a lease is seen to do: its status, its heartbeat by our clock, its log lines without repeats."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from uprez import status as statuses
from uprez.config.settings import Timing
from uprez.errors import DeniedError, StoreError, WorkerError
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

BLIND_S = 300.0
"""How long a store may refuse to be read before the batch is given up; each try has its own retries."""

_LINE = re.compile(r"(?P<lease>[0-9a-f]{8}):(?P<number>[0-9]{1,9}) (?P<stamp>\S+) (?P<text>.*)")


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a worker's log."""

    number: int
    stamp: str
    """When the worker printed it: UTC, ISO 8601."""
    text: str


@dataclass(kw_only=True)
class Monitor:
    """Remembers what was seen of one lease."""

    lease: str
    timing: Timing
    now: float = field(default_factory=time.monotonic)
    """Our monotonic clock at the last look."""
    status: Status | None = None
    raw: str = ""
    blind_since: float | None = None
    """Since when the store has not let us look: then silence is not the worker's."""
    _moved: float = field(default_factory=time.monotonic)
    _worked: float = field(default_factory=time.monotonic)
    _seen: int = 0

    def look(self, home: Home) -> None:
        """Read the status; one that is missing or malformed counts as silence.

        Raises DeniedError, and StoreError when the store could not be read for `BLIND_S`.
        """
        try:
            data = home.state.read(keys.status(self.lease))
        except DeniedError:
            raise
        except StoreError:
            self.blind_since = self.blind_since or self.now
            if time.monotonic() - self.blind_since > BLIND_S:
                raise
            return
        finally:
            self.now = time.monotonic()
        if self.blind_since is not None:
            self._moved += self.now - self.blind_since
            self.blind_since = None
        if data is None:
            return
        try:
            new = statuses.read(data)
        except WorkerError:
            return
        if new.lease != self.lease:
            return
        old = self.status
        if old is None or new.beat != old.beat:
            self._moved = self.now
        if old is None or _work(new) != _work(old):
            self._worked = self.now
        self.status = new

    def new_lines(self, snapshot: str) -> list[LogLine]:
        """Give the lines of this lease that were not seen before.

        A snapshot is everything the instance printed, or a part of it. Only whole lines count, those of another lease
        or without a number do not.
        """
        self.raw = snapshot
        fresh = []
        for line in snapshot.splitlines(keepends=True):
            match = _LINE.fullmatch(line.rstrip("\r\n")) if line.endswith("\n") else None
            if match and match["lease"] == self.lease and int(match["number"]) > self._seen:
                self._seen = int(match["number"])
                fresh.append(LogLine(number=self._seen, stamp=match["stamp"], text=match["text"]))
        return fresh

    def verdict(self, *, running: bool, makes_frames: bool = True) -> str | None:
        """Say why the lease is lost, None while it is well. Only a task that makes frames can be too slow at it."""
        silent = (self.blind_since or self.now) - self._moved
        if self.status is None:
            if not running:
                return "the worker ended before its first status"
            return f"no status within {self.timing.boot_s:.0f} s" if silent > self.timing.boot_s else None
        if self.status.phase == "left":
            return f"the worker left: {self.status.reason}"
        if not running:
            return "the worker is gone"
        if silent > self.timing.silence_s:
            return f"no heartbeat for {silent:.0f} s"
        if makes_frames and self.status.phase == "working" and self.now - self._worked > self.timing.stall_s:
            return f"no frame finished for {self.now - self._worked:.0f} s"
        return None

    def strays(self, lines: int = 5) -> list[str]:
        """Give the last lines that the instance printed beside its log: what a worker that crashed had to say."""
        return [line for line in self.raw.splitlines() if line.strip() and not _LINE.fullmatch(line)][-lines:]


def _work(status: Status) -> tuple[object, ...]:
    """What changes while a worker gets on with its work."""
    return status.task, status.frames, status.moved, status.done[-1:]
