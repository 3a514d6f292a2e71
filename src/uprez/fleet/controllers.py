"""Who controls a batch, and who goes on with one: at most one process each."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from uprez.errors import UsageError
from uprez.fleet import locks
from uprez.fleet.locks import Controller, is_controlled

TRIES = 20
"""For a moment a lock may be held by somebody who only looks, and a file be half written."""
TRY_S = 0.05


def holder(folder: Path, batch: str) -> Controller | None:
    """Give the process that controls a batch; None where nobody does."""
    for _ in range(TRIES):
        if not is_controlled(folder, batch):
            return None
        if (found := locks.read(folder, batch)) is not None:
            return found
        time.sleep(TRY_S)  # it is being written
    return Controller()


@contextlib.contextmanager
def continuing(folder: Path, batch: str) -> Iterator[None]:
    """Hold the work that is left of a batch, whose controller is gone: two runs at once would do it twice.

    It has a lock of its own: with the controller's, its leases would look as if somebody cared for them. Raises
    UsageError that names whoever holds either.
    """
    name = f"{batch}.continued"
    folder.mkdir(parents=True, exist_ok=True)
    with locks.path(folder, name).open("a") as file:
        for attempt in range(TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == TRIES - 1:
                    raise _held(folder, batch, name, "is being gone on with") from None
                time.sleep(TRY_S)
        locks.sign(folder, name)
        if is_controlled(folder, batch):
            raise _held(folder, batch, batch, "still runs")
        yield


def _held(folder: Path, batch: str, name: str, does: str) -> UsageError:
    found = holder(folder, name)
    by = f" ({found.named})" if found else ""
    return UsageError(f"batch {batch} {does}{by}", hint="uprez status shows how far it is, uprez cancel ends it")
