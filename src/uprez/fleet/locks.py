"""The lock of each batch: who holds it, and how far that is, stands in its file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from uprez import wire
from uprez.errors import WorkerError
from uprez.fleet.rows import LeaseRow


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


@contextlib.contextmanager
def batch_lock(folder: Path, batch: str) -> Iterator[None]:
    """Hold a batch: while the lock file is locked, its controller lives and nobody reaps its leases."""
    folder.mkdir(parents=True, exist_ok=True)
    with path(folder, batch).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # at most one asks `is_controlled` at this moment: no waiting to speak of
        sign(folder, batch)
        yield


def is_looked_after(folder: Path, row: LeaseRow, now: datetime) -> bool:
    """Say whether a lease is somebody's: of a controller that lives, or left to itself until its deadline."""
    return row.is_left_alone(now) or is_controlled(folder, row.batch)


def is_controlled(folder: Path, batch: str) -> bool:
    """Say whether the controller of a batch still lives."""
    try:
        file = (folder / f"{batch}.lock").open("r+")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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
