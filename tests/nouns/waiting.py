"""Waiting for what comes: looked at again and again, with patience for a machine that is busy with other tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

PATIENCE_S = 150.0
"""Far more than anything takes that comes; what would end a wait wrongly (a life, a lease, a beat) takes longer."""
PAUSE_S = 0.02


def until(
    look: Callable[[], Found], what: str | Callable[[], str] = "something", within_s: float = PATIENCE_S
) -> Found:
    """Look until something true is seen, and give it; `what`: it in words, or what tells more where it never came.

    Raises:
        AssertionError: There was nothing within `within_s` seconds.
    """
    end = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s:g} s: {what if isinstance(what, str) else what()}")
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
