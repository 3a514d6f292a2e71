"""Lengths of time as flags have them: 7d, 12h, 30m, 90s."""

from __future__ import annotations

import re

from uprez.errors import UsageError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str, flag: str, *, least: float = 0, most: float | None = None) -> float:
    """Read a length as seconds; raises UsageError that names the flag, and the bound it is beyond."""
    found = re.fullmatch(r"([0-9]{1,6})([dhms])", text.strip().lower())
    if not found:
        raise UsageError(f"{flag} {text} is not a length of time", hint="write 7d, 12h, 30m or 90s")
    value = int(found[1]) * _UNITS[found[2]]
    if value < least or (most is not None and value > most):
        raise UsageError(
            f"{flag} {text} is too {'short' if value < least else 'long'}",
            hint=f"at {'least' if value < least else 'most'} {words(least if value < least else most or 0)}",
        )
    return float(value)


def words(value: float) -> str:
    """Give a length for people, in its largest whole unit: 7d, 36h, 90s."""
    whole = int(value)
    for unit, size in _UNITS.items():
        if whole >= size and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def age(value: float) -> str:
    """Give an age for people, rounded down: 9 days, 5 hours, 3 minutes."""
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if value >= size:
            count = int(value // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"
