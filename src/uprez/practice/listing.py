"""The pages of the instance list: filter, order, columns, a small default size and a token for the next page."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from uprez.practice.query import Row, conditions, invalid, number, ordered
from uprez.practice.refusal import refuse

DEFAULT_ROWS = 5
MOST_ROWS = 25
KEYS = frozenset(
    [
        "id",
        "machine_id",
        "host_id",
        "label",
        "actual_status",
        "cur_state",
        "next_state",
        "intended_status",
        "image_uuid",
        "image_runtype",
        "num_gpus",
        "gpu_name",
        "gpu_ram",
        "is_bid",
        "start_date",
        "end_date",
        "verification",
        "geolocation",
        "disk_space",
        "public_ipaddr",
    ]
)
"""What lists can be filtered and ordered by; computed fields are refused."""

K = TypeVar("K", dict[str, object], list[object])


def page(rows: Sequence[Row], query: Mapping[str, str]) -> dict[str, object]:
    """Answer one request for a page, `query` being that of the URL; raises Refusal."""
    wanted = _json(query, "select_filters", dict)
    for name in wanted:
        if name not in KEYS:
            raise invalid(f"Error in query parameters: {name} is not a valid search key")
    tests = conditions(wanted)
    found = [row for row in rows if all(test(row.get(name), operand) for name, test, operand in tests)]
    found = ordered(found, _order(query))
    limit = number(query.get("limit"))
    size = DEFAULT_ROWS if limit is None else max(1, min(MOST_ROWS, int(limit)))
    begin = _begin(found, query.get("after_token"))
    shown, more = found[begin : begin + size], begin + size < len(found)
    columns = _json(query, "select_cols", list)
    return {
        "success": True,
        "instances_found": len(shown),
        "total_instances": len(found),
        "label_counts": dict(Counter(str(row["label"]) for row in found if row["label"])),
        "next_token": _token(shown[-1], begin + size) if more else None,
        "instances": [{name: row.get(name) for name in map(str, columns)} if columns else dict(row) for row in shown],
    }


def _json(query: Mapping[str, str], name: str, kind: type[K]) -> K:
    try:
        value = json.loads(query.get(name) or json.dumps(kind()))
    except ValueError as error:
        raise invalid(f"Error in query parameters: {name} is not JSON") from error
    if not isinstance(value, kind):
        raise invalid(f"Error in query parameters: {name} must be a {kind.__name__}")
    return value


def _order(query: Mapping[str, str]) -> list[tuple[str, bool]]:
    order: list[tuple[str, bool]] = []
    for each in _json(query, "order_by", list):
        if not isinstance(each, dict) or each.get("col") not in KEYS:
            raise invalid(f"Error in query parameters: {each} is not a valid order")
        order.append((str(each["col"]), each.get("dir") == "desc"))
    return order or [("id", False)]


def _token(last: Row, place: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([last["id"], place]).encode()).decode()


def _begin(rows: Sequence[Row], token: str | None) -> int:
    """Give the place after the row that a token names, wherever it is now; the token's own place where it is gone."""
    if not token:
        return 0
    try:
        last, place = json.loads(base64.urlsafe_b64decode(token.encode()))
        begin = int(place)
    except (ValueError, TypeError) as error:
        raise refuse(400, "invalid_token", "after_token is not valid") from error
    ids = [row["id"] for row in rows]
    return ids.index(last) + 1 if last in ids else sum(1 for each in ids[:begin] if each < last)
