"""Signals that strike a client at a chosen moment of one of its calls. For tests on one's own machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

When = Literal["before", "after"]
WHENS: tuple[When, ...] = ("before", "after")
DEAD_S = 2.0
"""How long an answer waits for a client that SIGKILL has struck to be dead."""


@dataclass(kw_only=True)
class Kill:
    """A signal that waits for its moment."""

    pid: int
    signal: int = signal.SIGKILL
    endpoint: str
    when: When
    times: int = 1
    struck: int = 0


class Kills:
    """The signals that wait, and how often each has struck."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Kill] = []

    def arm(self, kill: Kill) -> None:
        """Let a signal strike; raises ValueError for what must not be killed."""
        if kill.pid <= 1 or kill.pid == os.getpid():
            raise ValueError(f"pid {kill.pid} is not a client's")
        if kill.signal not in signal.valid_signals():
            raise ValueError(f"there is no signal {kill.signal}")
        with self._lock:
            self._all.append(kill)

    def waiting(self) -> list[Kill]:
        """Give all that were ever armed."""
        with self._lock:
            return list(self._all)

    def strike(self, when: When, endpoint: str) -> None:
        """Send what waits for this moment; a client that is gone already counts as struck."""
        with self._lock:
            due = [one for one in self._all if (one.when, one.endpoint) == (when, endpoint) and one.struck < one.times]
            for one in due:
                one.struck += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, one.signal)
        for one in due:
            if one.signal == signal.SIGKILL:
                _wait(one.pid)


def _wait(pid: int) -> None:
    """Wait until a process is dead: it would otherwise see the answer now and then."""
    deadline = time.monotonic() + DEAD_S
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except OSError:
        return not Path("/proc/self").exists()  # where there is no /proc, as long as the pid is known
