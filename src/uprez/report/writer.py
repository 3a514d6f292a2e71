"""Writing where a reader may stop reading: beside the work, since a full pipe blocks whoever writes to it.

A pager, Ctrl-S or a copy mode stop reading for as long as a person likes. Leases must be renewed meanwhile, and signals
heard. What does not fit the queue is dropped, and said so once there is room.
"""

from __future__ import annotations

import atexit
import io
import os
import queue
import stat
import threading
from collections.abc import Callable
from typing import TextIO

ROOM = 10_000
"""Lines that may wait."""
LAST_S = 3.0
"""How long the end of the program may wait for a reader."""


class Descriptor(io.TextIOBase):
    """A text stream that keeps nothing: what was written is with the system, or the writer still waits."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._stream = stream
        self._number = stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own."""
        return self._stream.encoding or "utf-8"

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._number

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return os.isatty(self._number)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Write all of it; may block."""
        data = memoryview(text.encode(self.encoding, "backslashreplace"))
        while data:
            data = data[os.write(self._number, data) :]
        return len(text)


class Writer:
    """Does one thing after the other in a thread of its own that the end of the program does not wait for."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(ROOM)
        self._dropped = 0
        threading.Thread(target=self._run, name="console", daemon=True).start()
        atexit.register(self.drain)

    def do(self, act: Callable[[], None]) -> None:
        """Have something done after all that waits; not at all when too much does."""
        try:
            self._waiting.put_nowait(act)
        except queue.Full:
            self._dropped += 1

    def drain(self, within_s: float = LAST_S) -> None:
        """Wait until all that waits is done, but not for ever."""
        done = threading.Event()
        self.do(done.set)
        done.wait(within_s)

    @property
    def dropped(self) -> int:
        """Count what was dropped since the last time this was asked."""
        count, self._dropped = self._dropped, 0
        return count

    def _run(self) -> None:
        while True:
            self._waiting.get()()


def may_block(stream: TextIO) -> bool:
    """Say whether somebody reads the stream, who may stop doing so."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
