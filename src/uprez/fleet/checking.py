"""Checks as the loop runs them, in threads: patient with a store that fails, aware of other runs at the same job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from uprez.errors import BusyError, StoreError
from uprez.fleet import checks
from uprez.fleet.checks import Published, Surveyed
from uprez.fleet.work import Work
from uprez.job import Pin
from uprez.status import Done
from uprez.store.open import Home

Counted: TypeAlias = Pin | Surveyed | Published
"""What may count: a segment, a job's survey with its plan, a result."""

CHECK_PAUSES_S = (5.0, 30.0)
"""Between the tries of a check that a store error ended; each request has its own retries before."""


class FaultError(Exception):
    """A worker's try failed, and nobody else has finished the job."""


def patiently(home: Home, work: Work, check: Callable[[], Counted]) -> Counted:
    """Try a check again when the store fails it: the work is paid for, and it lies there safely.

    What is gone may have been cleared up by a run on another machine that finished the job: that counts too.
    """
    for pause in CHECK_PAUSES_S:
        try:
            return check()
        except BusyError:
            time.sleep(pause)
        except StoreError:
            if home.remote and (published := checks.finished(home, work)):
                return published
            raise
    return check()


def elsewhere(home: Home, work: Work, done: Done) -> Counted:
    """Give what another run made of the job; raises FaultError when none did."""
    try:
        published = checks.finished(home, work)
    except StoreError as error:
        raise FaultError(error.message) from error
    if published is None:
        raise FaultError(done.error or "")
    return published
