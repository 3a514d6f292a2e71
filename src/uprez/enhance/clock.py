"""How long a stage worked: the table that says where the time of a segment went."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from uprez.status import Stage

T = TypeVar("T")


@dataclass(kw_only=True)
class Clock:
    """One stage's seconds and frames. A stage runs on one thread, so that its clock does."""

    name: str
    seconds: float = 0.0
    frames: int = 0

    @contextmanager
    def running(self, frames: int = 1) -> Iterator[None]:
        """Count the time until the end of the block, and so many frames if it ends well."""
        began = time.perf_counter()
        try:
            yield
            self.frames += frames
        finally:
            self.seconds += time.perf_counter() - began

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
