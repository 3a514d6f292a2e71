"""The exceptions uprez raises on purpose, and the exit code each one ends the command with.

    UprezError                    1  some job failed
    +-- UsageError                2  a flag, a path or a setting is wrong; nothing was started
    +-- InputError                1  this input cannot be enhanced (also a ValueError)
    +-- ModelError                1  a model's weights are missing, wrong or unusable
    |   +-- MemoryShortError      1  a device has too little memory for it
    |   +-- NoProviderError       1  nothing on this machine that may be used runs it
    +-- EncodeError               1  no encoder on this machine makes what was asked
    +-- StoreError                1  the store refused or lost something
    |   +-- FetchError            1  a URL could not be read or written
    |       +-- DeniedError       1  the credentials or the URL's signature are not accepted
    |       +-- BusyError         1  the server is busy, broken or out of reach, and was several times over
    +-- VerifyError               1  a file is not what the plan says it must be
    |   +-- UnlikeError           1  a segment is whole, and does not show what its source does
    +-- WorkerError               1  a worker, its sheet or its status cannot be used
    |   +-- PlanError             1  this machine cannot make segments that join the others
    |   +-- Stopped               1  the sheet told the worker to stop; never reaches a person
    +-- RentError                 4  nothing could be rented within the limits
    |   +-- MarketError           4  a market did not do what was asked
    |       +-- KeyRefused        2  the market's key is wrong, or may not do this
    |       +-- NoSuchAsk         4  the offer is taken or gone: the next one may do
    |       +-- NoSuchInstance    4  there is no such instance, or no longer
    |       +-- RateLimited       4  the call came too soon, and nothing was done
    |       +-- QuotaExceeded     4  no more searching today
    |       +-- Refused           4  any other plain no: nothing was done
    |       +-- Unclear           4  no answer, or one that cannot be read: it may have been done
    |           +-- MaybeMade     4  the same of renting: an instance may exist, and bill
    +-- BudgetError               5  the budget ended before the work did
    +-- BillingError              6  an instance may still be running; outranks every other code

An exception that is none of these is our defect and ends with exit code 3 and a log. Ctrl-C is 130.
"""

from __future__ import annotations

from decimal import Decimal

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEFECT = 3
EXIT_INTERRUPTED = 130


class UprezError(Exception):
    """Something a person can act on: `message` names the value and the place, `hint` the next step."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(UprezError):
    """A flag, a path or a setting is wrong; raised before anything is started."""

    exit_code = EXIT_USAGE


class InputError(UprezError, ValueError):
    """One input cannot be enhanced; its job fails and the batch goes on."""


class ModelError(UprezError):
    """A model's weights cannot be fetched, do not match their hash or cannot be run."""


class MemoryShortError(ModelError):
    """A device has too little memory for what was asked of it; smaller pieces may fit."""


class NoProviderError(ModelError):
    """Nothing that may be used runs a model; `ladder` is what was tried, with the reasons."""

    def __init__(self, message: str, *, hint: str | None = None, ladder: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.ladder = ladder


class EncodeError(UprezError):
    """No rung of the codec's ladder works here, or the chosen one failed in mid-run."""


class StoreError(UprezError):
    """The store refused a request or no longer holds what was written."""


class FetchError(StoreError):
    """A request failed for good: `status` is the answer's, None where there was none."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class DeniedError(FetchError):
    """The credentials or a URL's signature do not suffice, or no longer do; asking again gives the same answer."""


class BusyError(FetchError):
    """The server was busy, broken or out of reach at every try; a little later the same request may work."""


class VerifyError(UprezError):
    """A segment or a result differs from its plan: count, time, size, sound or settings."""


class UnlikeError(VerifyError):
    """A segment is whole, and does not show what its source does; `seen` is what was looked at."""

    def __init__(self, message: str, *, seen: object = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.seen = seen


class WorkerError(UprezError):
    """A sheet or a status cannot be read, or a worker broke its contract."""


class PlanError(WorkerError):
    """This machine cannot follow the job's plan: its segments would not join the others, or would look different."""


class Stopped(WorkerError):
    """The controller told the worker to stop; raised between two frames to unwind the task."""


class RentError(UprezError):
    """The market offers nothing within the limits, or every machine it gave was lost."""

    exit_code = 4


class MarketError(RentError):
    """A market did not do, or may not have done, what was asked of it."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        """Of the answer; None where there was none."""
        self.code = code
        """The market's own word for it, "" where it gave none."""


class KeyRefused(MarketError):
    """The key is not accepted, or lacks the right for this call."""

    exit_code = EXIT_USAGE


class NoSuchAsk(MarketError):
    """Somebody else was faster, or the offer ended: the next one may do."""


class NoSuchInstance(MarketError):
    """The instance does not exist, or no longer."""


class RateLimited(MarketError):
    """The call came too soon and was not carried out."""

    wait_s: float = 0.0
    """Seconds until it may be made again, at least."""


class QuotaExceeded(MarketError):
    """The day's searches are used up."""


class Refused(MarketError):
    """A plain no, by `code`."""


class Unclear(MarketError):
    """It is not known whether the call was carried out."""


class MaybeMade(Unclear):
    """Renting had no clear answer: only the list can say whether `label` exists."""

    label: str = ""


class BudgetError(UprezError):
    """The budget is spent and work is left."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str | None = None, needed_usd: Decimal | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed_usd = needed_usd
        """What the next lease takes, where it was that which could not be paid."""


class BillingError(UprezError):
    """An instance could not be confirmed as gone; the message names it and the command that removes it."""

    exit_code = 6
