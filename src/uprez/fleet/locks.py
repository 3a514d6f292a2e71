"""What a lock file says: which process holds it, and how far that is with its batch."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from uprez import wire
from uprez.errors import WorkerError


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    jobs: int
    done: int
    failed: int
    frames: int
    """That count, of all its jobs."""
    total: int | None
    """Of how many; None where a header does not say."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A process that holds a lock."""

    pid: int | None = None
    """None: it does not say, as earlier versions did not."""
    host: str = ""
    """On which the pid means something."""
    progress: Progress | None = None

    @property
    def is_here(self) -> bool:
        """Say whether it can be signalled from here."""
        return self.pid is not None and self.host == platform.node()

    @property
    def named(self) -> str:
        """Name it for people."""
        if self.pid is None:
            return "a process that does not give its number"
        return f"pid {self.pid}" if self.is_here else f"pid {self.pid} on {self.host}"


def sign(folder: Path, batch: str, progress: Progress | None = None) -> None:
    """Write who holds a lock, and how far it is, into the file that this process has locked."""
    data = wire.dump(Controller(pid=os.getpid(), host=platform.node(), progress=progress))
    with contextlib.suppress(OSError):  # a full disk must not end a run
        file = os.open(path(folder, batch), os.O_WRONLY)
        try:
            os.pwrite(file, data, 0)
            os.ftruncate(file, len(data))
        finally:
            os.close(file)


def read(folder: Path, name: str) -> Controller | None:
    """Read who holds a lock; None while that is being written. It is only true while the lock is held."""
    with contextlib.suppress(OSError, WorkerError):
        return wire.load(Controller, path(folder, name).read_bytes(), where="the lock file")
    return None


def path(folder: Path, name: str) -> Path:
    """Give the lock file of that name."""
    return folder / f"{name}.lock"
