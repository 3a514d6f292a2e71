"""The one rule for trying again: by stamina, bounded in tries and in time, and switched off by tests in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

FIRST_WAIT_S = 0.5
"""Before the second try; doubled each time."""
MOST_WAIT_S = 30.0
"""The longest wait before another try, whatever a server asks for."""

_Result = TypeVar("_Result")


def tried(
    once: Callable[[], _Result], again: Callable[[Exception], bool | float], *, tries: int, total_s: float
) -> _Result:
    """Try until it works, fails for good, or the tries or the time are spent; then the last failure is raised.

    `again` says whether another try may help, or how many seconds to wait before it.
    """
    import stamina  # 70 ms, for what most verbs of the command never do

    _silence()
    attempts = stamina.retry_context(
        on=again, attempts=tries, timeout=total_s, wait_initial=FIRST_WAIT_S, wait_max=MOST_WAIT_S
    )
    for attempt in attempts:
        with attempt:
            return once()
    raise AssertionError("stamina gave no attempt")


@cache
def _silence() -> None:
    """Keep stamina from writing a line on the console at each retry: it names neither what nor why."""
    import stamina.instrumentation

    stamina.instrumentation.set_on_retry_hooks(())
