"""Threads in virtual time: one runs at a time, and whoever waits in one lets the clock, and all others, go on.

Without them whatever the controller does beside its loop would be done one after the other, each wait in full. They are
real threads, since the code that waits is not ours to change; a baton goes from one to the next.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Who = Literal["controller", "world"]


class Meter:
    """Whose work has taken how much of this process's CPU time."""

    def __init__(self) -> None:
        self._spent: Counter[Who] = Counter()
        self._who: Who = "controller"
        self._since = time.process_time()

    def seconds(self, who: Who) -> float:
        """Give the CPU seconds of one side so far."""
        self._switch(self._who)
        return self._spent[who]

    @contextmanager
    def of(self, who: Who) -> Iterator[None]:
        """Count what the block does as somebody's."""
        before = self._switch(who)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, who: Who) -> Who:
        now, before = time.process_time(), self._who
        self._spent[before] += now - self._since
        self._since, self._who = now, who
        return before


def _shut() -> threading.Lock:
    """Give a gate: whoever comes waits until somebody else opens it, once for each who comes."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Strand:
    """One thread, which does one thing after the other."""

    def __init__(self, strands: Strands) -> None:
        self._strands = strands
        self.go = _shut()
        self.work: Callable[[], None] | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            if self.work is None:
                return
            self.work()
            self._strands.done(self)


class Strands:
    """All threads of one world but the loop's, which has the baton while none of them has it."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None]) -> None:
        """`later` lets something happen after so many seconds."""
        self._later = later
        self._idle: list[_Strand] = []
        self._waiting: list[_Strand] = []
        self._current: _Strand | None = None
        self._back = _shut()
        self.meter = Meter()

    @property
    def inside(self) -> bool:
        """Say whether one of them is who asks."""
        return self._current is not None

    @property
    def busy(self) -> bool:
        """Say whether any waits for its time."""
        return bool(self._waiting)

    def start(self, work: Callable[[], None]) -> None:
        """Do something that may wait; comes back when it waits for the first time, or has ended."""
        strand = self._idle.pop() if self._idle else _Strand(self)
        strand.work = work
        self._turn(strand)

    def wait(self, seconds: float) -> None:
        """Let the one who asks wait."""
        strand = self._current
        assert strand is not None
        self._waiting.append(strand)
        self._later(max(seconds, 0.001), lambda: self._turn(strand))
        self._hand_back()
        strand.go.acquire()
        self._waiting.remove(strand)

    def done(self, strand: _Strand) -> None:
        """Take note that one has ended what it did."""
        self._idle.append(strand)
        self._hand_back()

    def close(self) -> None:
        """Let all that wait go on, so that they find their world dead, and end them."""
        while self._waiting:
            self._turn(self._waiting[0])
        for strand in self._idle:
            strand.work = None
            strand.go.release()
        self._idle.clear()

    def _turn(self, strand: _Strand) -> None:
        self._current = strand
        with self.meter.of("controller"):
            strand.go.release()
            self._back.acquire()

    def _hand_back(self) -> None:
        self._current = None
        self._back.release()
