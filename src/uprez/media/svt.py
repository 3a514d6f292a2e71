"""What libsvtav1 does to the process that uses it, undone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NARROW, _WIDE = 30, 64
"""Pictures with a side below the first and one above the second make libsvtav1 4.1 wait for ever (260x18, 16x1000);
16x16, 62x14 and 640x30 do not."""


def hangs(encoder: str, width: int, height: int) -> bool:
    """Say whether an encoder would never end at this size."""
    return encoder == "libsvtav1" and min(width, height) < _NARROW and max(width, height) > _WIDE


@contextmanager
def tamed() -> Iterator[None]:
    """Open an encoder without its words on stderr, and leave this thread and its new ones the scheduling they have.

    As root, libsvtav1 makes its threads and the one that opens it real-time ones of the highest priority, and so all
    that these start later: nothing else on the machine gets a turn while they work.
    """
    os.environ.setdefault("SVT_LOG", "0")  # it is read once, at the first use, and there is no other way to say it
    if sys.platform != "linux":
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    others = _threads() - {threading.get_native_id()}
    try:
        yield
    finally:
        for thread in _threads() - others:
            with suppress(ProcessLookupError):
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, param)


def _threads() -> frozenset[int]:
    return frozenset(int(entry.name) for entry in Path("/proc/self/task").iterdir())
