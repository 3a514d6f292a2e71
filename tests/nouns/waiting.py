"""Waiting for what comes: looked at again and again, with patience for a machine that is busy with other tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

PATIENCE_S = 150.0
"""Far more than anything takes that comes at all."""
PAUSE_S = 0.02


def until(look: Callable[[], Found], within_s: float = PATIENCE_S) -> Found:
    """Look until something true is seen, and give it.

    Raises:
        AssertionError: There was nothing within `within_s` seconds.
    """
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, f"nothing came within {within_s:g} s"
        time.sleep(PAUSE_S)
    return found


def never(look: Callable[[], object], for_s: float) -> bool:
    """Tell whether nothing true is seen for so many seconds."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        if look():
            return False
        time.sleep(PAUSE_S)
    return True
