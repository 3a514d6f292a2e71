"""The query language of searches and lists: `{field: {op: value}}`, with order and limit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from uprez.practice.refusal import Refusal

Row = Mapping[str, object]
Test = Callable[[object, object], bool]
R = TypeVar("R", bound=Row)


def number(value: object) -> float | None:
    """Read a number: clients send many as text; None for what is none."""
    if isinstance(value, int | float):
        return float(value)
    with contextlib.suppress(TypeError, ValueError):
        return float(str(value))
    return None


def _same(have: object, want: object) -> bool:
    if isinstance(have, bool) or isinstance(want, bool):
        return _truth(have) == _truth(want)
    if isinstance(have, int | float):
        return number(have) == number(want)
    return str(have) == str(want) if have is not None else want is None


def _truth(value: object) -> bool:
    return value.lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def _ordered(compare: Callable[[float, float], bool]) -> Test:
    def test(have: object, want: object) -> bool:
        mine, theirs = number(have), number(want)
        return mine is not None and theirs is not None and compare(mine, theirs)

    return test


def _any(have: object, want: object) -> bool:
    return isinstance(want, list) and any(_same(have, each) for each in want)


OPS: dict[str, Test] = {
    "eq": _same,
    "neq": lambda have, want: not _same(have, want),
    "gt": _ordered(lambda have, want: have > want),
    "gte": _ordered(lambda have, want: have >= want),
    "lt": _ordered(lambda have, want: have < want),
    "lte": _ordered(lambda have, want: have <= want),
    "in": _any,
    "notin": lambda have, want: isinstance(want, list) and not _any(have, want),
}
"""There is no `nin`, though some clients send it."""


def invalid(msg: str) -> Refusal:
    """Refuse a query."""
    return Refusal(400, {"error": "invalid_request", "msg": msg})


def conditions(query: Mapping[str, object]) -> list[tuple[str, Test, object]]:
    """Take a query apart into field, test and operand; a bare value means `eq`. Raises Refusal."""
    found: list[tuple[str, Test, object]] = []
    for field, wanted in query.items():
        for op, operand in (wanted if isinstance(wanted, dict) else {"eq": wanted}).items():
            if op not in OPS:
                raise invalid(f"{op} is not a valid search op")
            found.append((field, OPS[op], operand))
    return found


def ordered(rows: Iterable[R], order: Iterable[tuple[str, bool]]) -> list[R]:
    """Sort rows by several fields, each with whether it goes down; rows without a value come last."""
    result = list(rows)
    for field, down in reversed(list(order)):
        known = [row for row in result if row.get(field) is not None]
        known.sort(key=lambda row: _sort_key(row[field]), reverse=down)
        result = known + [row for row in result if row.get(field) is None]
    return result


def _sort_key(value: object) -> tuple[float, str]:
    as_number = number(value)
    return (0.0, str(value)) if as_number is None else (as_number, "")
