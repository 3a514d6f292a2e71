"""The market's time: real, faster than real, or standing still until somebody moves it."""

from __future__ import annotations

import time
from collections.abc import Callable

START_S = 1_790_000_000
"""Where virtual time begins, in seconds since 1970: fixed, so that two runs of a test see the same dates."""


class Clock:
    """Milliseconds since 1970, passing `factor` times as fast as real ones; with factor 0 only `advance` moves them."""

    def __init__(
        self, factor: float = 0.0, *, start_s: float = START_S, tick: Callable[[], float] = time.monotonic
    ) -> None:
        self._factor = factor
        self._tick = tick
        self._begin = tick()
        self._start_ms = round(start_s * 1000)

    def now_ms(self) -> int:
        """Give the time; it never goes back."""
        return self._start_ms + int((self._tick() - self._begin) * 1000 * self._factor)

    def now_s(self) -> float:
        """Give the time in seconds, as the wire has it."""
        return self.now_ms() / 1000

    def advance(self, seconds: float) -> None:
        """Move the time forward; raises ValueError for backward."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._start_ms += round(seconds * 1000)
