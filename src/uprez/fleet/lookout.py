"""Where a job's attempts are looked at, and what the source shows there. Workers cannot know the places."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Lock

from uprez.job import Index, Plan, Segment
from uprez.media import witness
from uprez.media.witness import Window

LOOKED_AT = 8
"""Frames of a segment, and of a result, that are compared with the source: the first, the last, and six by chance."""
KEPT = 3
"""The same where the source can only be read in order: those of all segments are kept from one reading."""
THREADS = max(1, min(4, os.cpu_count() or 1))


@dataclass(kw_only=True)
class Lookout:
    """Chooses frames of one job's plan and decodes the source there; for several threads."""

    url: Callable[[], str]
    """Gives a URL of the source that is valid now."""
    plan: Plan
    index: Index
    _lock: Lock = field(default_factory=Lock)
    _kept: dict[int, Window] = field(default_factory=dict)

    def places(self, part: Segment, *, more: Collection[int] = ()) -> list[int]:
        """Choose output frames of a segment to look at; `more` are some that somebody wondered at."""
        if witness.reads_in_order(self.index):
            return sorted(number for number in self._in_order() if part.first <= number < part.first + part.count)
        asked = {number for number in more if part.first <= number < part.first + part.count}
        return sorted(asked | {part.first + place for place in witness.chosen(part.count, LOOKED_AT)})

    def of_result(self) -> list[int]:
        """Choose output frames of the whole result."""
        if witness.reads_in_order(self.index):
            kept = sorted(self._in_order())
            return sorted({kept[0], kept[-1], *kept[:: max(1, len(kept) // LOOKED_AT)]})
        return list(witness.chosen(self.plan.frames, LOOKED_AT))

    def windows(self, numbers: Collection[int]) -> dict[int, Window]:
        """Decode the source around output frames. Raises InputError when it cannot be read."""
        if witness.reads_in_order(self.index):
            return {number: self._in_order()[number] for number in numbers}
        return self._read(numbers)

    def _in_order(self) -> dict[int, Window]:
        with self._lock:
            if not self._kept:
                parts = self.plan.segments
                self._kept = self._read(
                    [part.first + place for part in parts for place in witness.chosen(part.count, KEPT)]
                )
            return self._kept

    def _read(self, numbers: Collection[int]) -> dict[int, Window]:
        return witness.windows(self.url(), plan=self.plan, index=self.index, numbers=numbers, threads=THREADS)
