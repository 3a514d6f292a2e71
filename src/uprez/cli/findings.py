"""What a check of `uprez doctor` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from uprez.errors import UprezError

Level = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    level: Level
    what: str
    text: str
    hint: str | None = None
    """The next step, for what is not OK."""


Check = Callable[[], Iterable[Finding]]


def ok(what: str, text: str) -> Finding:
    """Say that something works."""
    return Finding(level="OK", what=what, text=text)


def warn(what: str, text: str, hint: str) -> Finding:
    """Say that something works, but not as it should."""
    return Finding(level="WARN", what=what, text=text, hint=hint)


def fail(what: str, text: str, hint: str) -> Finding:
    """Say that something does not work."""
    return Finding(level="FAIL", what=what, text=text, hint=hint)


def examine(what: str, check: Check, *, hint: str = "see docs/guides/buckets.md") -> list[Finding]:
    """Make a check; one that fails, in whatever way, is a finding and hides no other check."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except UprezError as error:
        found.append(fail(what, error.message, error.hint or hint))
    except Exception as error:  # noqa: BLE001  a boundary of its own: the other checks are still to be made
        text = f"the check failed: {type(error).__name__}: {error}"
        found.append(fail(what, text, "report it, with this line"))
    return found
