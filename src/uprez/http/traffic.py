"""Bytes of bodies that this process has moved, whatever became of the requests: they are paid for all the same."""

from __future__ import annotations

import threading


class _Traffic:
    """Two sums, for any number of threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.down = self.up = 0


_TRAFFIC = _Traffic()


def count(*, down: int = 0, up: int = 0) -> None:
    """Add bytes that were read or sent."""
    with _TRAFFIC.lock:
        _TRAFFIC.down += down
        _TRAFFIC.up += up


def so_far() -> tuple[int, int]:
    """Give the bytes that this process has read (answers) and sent (requests) by HTTP so far, bodies only."""
    with _TRAFFIC.lock:
        return _TRAFFIC.down, _TRAFFIC.up
