"""How long a stage worked: the table that says where the time of a segment went."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from uprez.status import Stage

T = TypeVar("T")


@dataclass(kw_only=True)
class Clock:
    """One stage's seconds and frames. Where it works at several frames at once, a second counts once."""

    name: str
    seconds: float = 0.0
    frames: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)
    _inside: int = 0
    _began: float = 0.0

    @contextmanager
    def running(self, frames: int = 1) -> Iterator[None]:
        """Count the time until the end of the block, and so many frames if it ends well; for any thread."""
        with self._lock:
            if not self._inside:
                self._began = time.perf_counter()
            self._inside += 1
        made = 0
        try:
            yield
            made = frames
        finally:
            with self._lock:
                self.frames += made
                self._inside -= 1
                if not self._inside:
                    self.seconds += time.perf_counter() - self._began

    def timed(self, items: Iterable[T]) -> Generator[T, None, None]:
        """Pass items on and count what it takes to get each."""
        source = iter(items)
        try:
            while True:
                began = time.perf_counter()
                try:
                    item = next(source)
                except StopIteration:
                    return
                finally:
                    self.seconds += time.perf_counter() - began
                self.frames += 1
                yield item
        finally:
            if isinstance(source, Generator):
                source.close()

    def counting(self, call: Callable[[T], None]) -> Callable[[T], None]:
        """Give the same call, counted."""

        def counted(item: T) -> None:
            with self.running():
                call(item)

        return counted

    def stage(self) -> Stage:
        """Give what was counted."""
        return Stage(name=self.name, seconds=self.seconds, frames=self.frames)
