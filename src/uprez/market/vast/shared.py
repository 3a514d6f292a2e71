"""One answer for many who ask at the same time: the list of instances has pages, and its endpoint has a rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK_S = 1.0
"""Between two looks of a thread that waits for what another makes."""


class Shared(Generic[T]):
    """Makes something for every thread that asked before it was begun: nobody gets what is older than the question."""

    def __init__(self, make: Callable[[], T], pause: Callable[[float], None]) -> None:
        self._make = make
        self._pause = pause
        self._lock = threading.Lock()
        self._begun = 0
        self._making = False
        self._last: tuple[int, T] | None = None

    def fresh(self) -> T:
        """Give one that was begun from now on. What fails raises for whoever made it; the others make another."""
        with self._lock:
            wanted = self._begun + 1
        while True:
            with self._lock:
                if self._last is not None and self._last[0] >= wanted:
                    return self._last[1]
                if not self._making:
                    self._making = True
                    self._begun += 1
                    break
            self._pause(LOOK_S)
        try:
            made = self._make()
            with self._lock:
                self._last = self._begun, made
            return made
        finally:
            self._making = False
