"""How often each of Vast.ai's endpoints may be called: one limiter for the whole process, as the limits are per key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

Endpoint = Literal["search", "create", "show", "list", "manage", "destroy", "bid", "logs", "account"]

INTERVALS: dict[Endpoint, float] = {
    "search": 2.0,
    "create": 4.5,
    "show": 2.0,
    "list": 1.0,
    "manage": 1.0,
    "destroy": 3.0,
    "bid": 5.5,
    "logs": 2.0,  # not published
    "account": 1.0,  # not published
}
"""Seconds between two calls, as Vast.ai publishes them."""
PENALTIES: dict[Endpoint, float] = {"create": 12.0}
"""Seconds to stay away after a call that was too soon, where they are more than the interval."""
MARGIN_S = 0.25
"""Two calls may travel at different speeds and arrive closer together than they left."""
_TICK_S = 0.001


class Limiter:
    """Lets a call wait for its endpoint's turn. For any number of threads."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free: dict[Endpoint, float] = {}
        """When an endpoint may be called again, by the clock."""

    def wait(self, endpoint: Endpoint) -> None:
        """Wait until the endpoint may be called, and take the turn."""
        while (left := self._take(endpoint)) > 0:
            self._sleep(max(left, _TICK_S))

    def hold(self, endpoint: Endpoint, seconds: float) -> None:
        """Keep everybody away from an endpoint for so long from now; never for less than was already asked for."""
        with self._lock:
            self._free[endpoint] = max(self._free.get(endpoint, 0.0), self._clock() + seconds)

    def pause(self, seconds: float) -> None:
        """Sleep by the same clock."""
        self._sleep(seconds)

    def now(self) -> float:
        """Give the clock's time, in seconds since no particular moment."""
        return self._clock()

    def _take(self, endpoint: Endpoint) -> float:
        """Take the turn; or give the seconds until there may be one."""
        with self._lock:
            now = self._clock()
            left = self._free.get(endpoint, now) - now
            if left <= 0:
                self._free[endpoint] = now + INTERVALS[endpoint] + MARGIN_S
            return left


LIMITER = Limiter()
"""The process's own."""
