"""The controller's own clock, which all waiting and judging goes by: one place, so that a test can turn it."""

from __future__ import annotations

import time

_ASLEEP_TOO = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux's clock that goes on while a laptop sleeps; leases and machines do not sleep with it."""


def now() -> float:
    """Give the seconds since no particular moment; they never go back, and no clock is compared across machines."""
    return time.monotonic() if _ASLEEP_TOO is None else time.clock_gettime(_ASLEEP_TOO)
