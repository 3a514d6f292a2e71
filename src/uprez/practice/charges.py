"""What `GET /charges/` answers: one row for each instance and UTC day, with its parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby

from uprez.practice.billing import Bill, priced
from uprez.practice.query import Row, conditions, invalid, number
from uprez.practice.refusal import refuse

SECONDS_A_DAY = 86400
DEFAULT_ROWS = 20
MOST_ROWS = 100
TYPES = {"gpu": "gpu", "disk": "disk", "down": "bwd", "up": "bwu"}
"""What the wire calls the parts of a bill."""


def page(bills: Iterable[Bill], query: Mapping[str, str]) -> dict[str, object]:
    """Answer one request for a page, `query` being that of the URL; raises Refusal."""
    try:
        wanted = json.loads(query.get("select_filters") or "{}")
    except ValueError as error:
        raise invalid("Error in query parameters: select_filters is not JSON") from error
    if not isinstance(wanted, dict):
        raise invalid("Error in query parameters: select_filters must be a dict")
    tests = conditions(wanted)
    rows = [row for bill in bills for row in _rows(bill)]
    rows = [row for row in rows if all(test(row.get(name), operand) for name, test, operand in tests)]
    rows.sort(key=lambda row: str(row["day"]), reverse=query.get("latest_first", "").lower() == "true")
    limit, begin = number(query.get("limit")), number(query.get("after_token") or 0)
    if begin is None or not 0 <= begin <= len(rows):
        raise refuse(400, "invalid_token", "after_token is not valid")
    size = DEFAULT_ROWS if limit is None else max(1, min(MOST_ROWS, int(limit)))
    shown, end = rows[int(begin) : int(begin) + size], int(begin) + size
    token = str(end) if end < len(rows) else None
    return {"success": True, "results": shown, "count": len(shown), "total": len(rows), "next_token": token}


def _rows(bill: Bill) -> Iterable[Row]:
    source = f"instance-{bill.instance}"
    for day, uses in groupby(bill.uses, key=lambda use: use.day):
        items = priced(uses)
        start = day * SECONDS_A_DAY
        yield {
            **_row("instance", source, start, sum(items.values(), Decimal(0)), bill.label or ""),
            "day": start,
            "items": [_row(TYPES[name], None, start, usd, TYPES[name]) for name, usd in items.items()],
        }


def _row(kind: str, source: str | None, start: int, usd: Decimal, text: str) -> dict[str, object]:
    return {
        "type": kind,
        "source": source,
        "start": start,
        "end": start + SECONDS_A_DAY,
        "amount": float(usd),
        "description": text,
        "metadata": {},
        "items": [],
    }
