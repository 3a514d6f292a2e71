"""Reading one field of an answer, whatever stands there: what is odd is None, and never an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

Row = Mapping[str, object]
_DIGITS = 12
"""Numbers of more digits than this before the point mean nothing here, and would overflow a price."""


def document(data: bytes) -> object:
    """Read JSON with exact fractions; None where it is none."""
    try:
        return json.loads(data, parse_float=_fraction, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def row(value: object) -> Row | None:
    """Give a JSON object, None for anything else."""
    return value if isinstance(value, dict) else None


def number(row: Row, *names: str) -> Decimal | None:
    """Give the first of these fields that holds a number of at least 0; the server sends some as text."""
    return next((found for name in names if (found := _number(row.get(name))) is not None), None)


def balance(row: Row, name: str) -> Decimal | None:
    """Give a sum of money, below zero where it is owed; None where there is none."""
    value = row.get(name)
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and value < 0:
        owed = _number(-value)
        return None if owed is None else -owed
    return _number(value)


def whole(row: Row, *names: str) -> int | None:
    """Give the first of these fields that holds a whole number of at least 0."""
    return next((int(found) for name in names if (found := number(row, name)) is not None and found % 1 == 0), None)


def identity(row: Row, *names: str) -> int | None:
    """Give the first of these fields that holds an id."""
    return next((found for name in names if (found := whole(row, name))), None)


def text(row: Row, *names: str) -> str:
    """Give the first of these fields that holds text, "" where none does."""
    found = (value.strip() for name in names if isinstance(value := row.get(name), str))
    return next(filter(None, found), "")


def switch(row: Row, name: str) -> bool | None:
    """Give true or false; None where neither stands there."""
    value = row.get(name)
    if isinstance(value, bool):
        return value
    return {0: False, 1: True}.get(value) if isinstance(value, int) else None


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    found = _fraction(value) if isinstance(value, str) else Decimal(value)
    if not found.is_finite() or found < 0:
        return None
    if found and found.adjusted() < -_DIGITS:
        return Decimal(0)
    return None if found and found.adjusted() > _DIGITS else found + 0


def _fraction(value: str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        return Decimal("NaN")
