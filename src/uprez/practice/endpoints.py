"""The endpoints of the market's API: their paths, and what each does."""

from __future__ import annotations

import re
from collections.abc import Callable

from uprez.practice.call import Call, identifier, parsed
from uprez.practice.market import Market
from uprez.practice.offers import CARDS
from uprez.practice.query import invalid
from uprez.practice.refusal import Refusal, refuse

Route = tuple[str, re.Pattern[str], str]
ROUTES: tuple[Route, ...] = tuple(
    (method, re.compile(f"^{path}$"), name)
    for method, path, name in (
        ("POST", "/api/v0/bundles/?", "search"),
        ("GET", "/api/v0/bundles/?", "search"),
        ("PUT", "/api/v0/search/asks/?", "search"),
        ("PUT", "/api/v0/asks/(?P<id>[^/]+)/", "create"),
        ("GET", "/api/v1/instances/?", "list"),
        ("GET", "/api/v0/instances/?", "list_v0"),
        ("PUT", "/api/v0/instances/", "manage_many"),
        ("DELETE", "/api/v0/instances/", "destroy_many"),
        ("GET", "/api/v0/instances/filters/", "filters"),
        ("PUT", "/api/v0/instances/request_logs/(?P<id>[^/]+)/", "logs"),
        ("PUT", "/api/v0/instances/bid_price/(?P<id>[^/]+)/", "bid"),
        ("PUT", "/api/v0/instances/reboot/(?P<id>[^/]+)/", "reboot"),
        ("PUT", "/api/v0/instances/recycle/(?P<id>[^/]+)/", "recycle"),
        ("GET", "/api/v0/instances/(?P<id>[^/]+)/", "show"),
        ("PUT", "/api/v0/instances/(?P<id>[^/]+)/", "manage"),
        ("DELETE", "/api/v0/instances/(?P<id>[^/]+)/", "destroy"),
        ("GET", "/api/v0/gpu_names/unique/", "gpu_names"),
        ("GET", "/api/v0/users/current/?", "user"),
        ("GET", "/api/v0/charges/?", "charges"),
        ("GET", "/instance_logs/(?P<name>[0-9a-f]{32})[.]log", "log_file"),
    )
)
"""Method, path and name of every endpoint; the first that fits is meant."""


def found(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Give an endpoint's name and the parts of the path."""
    for each, pattern, name in ROUTES:
        if each == method and (match := pattern.match(path)):
            return name, match.groupdict()
    return None


def _search(market: Market, call: Call) -> object:
    query: object = call.body
    if call.path.startswith("/api/v0/search/"):
        query = call.body.get("q", {})
    elif call.method == "GET":
        query = parsed(call.query.get("q", "{}").encode())
    if not isinstance(query, dict):
        raise invalid("Invalid query: must be dict of conditions")
    return {"offers": market.search(query)}


def _destroy(market: Market, call: Call) -> object:
    market.destroy(call.number, own=call.own)
    return {"success": True}


def _destroy_many(market: Market, call: Call) -> object:
    for instance in _ids(call, "instance_ids"):
        market.destroy(instance)
    return {"success": True}


def _manage(market: Market, call: Call) -> object:
    market.manage(call.number, call.body, own=call.own)
    return {"success": True}


def _manage_many(market: Market, call: Call) -> object:
    for instance in _ids(call, "ids"):
        market.manage(instance, {"state": call.body.get("state")})
    return {"success": True}


def _ids(call: Call, name: str) -> list[int]:
    ids = call.body.get(name)
    if not isinstance(ids, list):
        raise refuse(400, "invalid_args", f"{name} must be a list of ids")
    return [identifier(str(each)) for each in ids]


def _bid(market: Market, call: Call) -> object:
    market.change_bid(call.number, call.body.get("price"))
    return {"success": True}


def _reboot(market: Market, call: Call) -> object:
    market.reboot(call.number)
    return {"success": True}


def _recycle(market: Market, call: Call) -> object:
    market.recycle(call.number)
    return {"success": True}


def _logs(market: Market, call: Call) -> object:
    url = f"{call.base}/instance_logs/{market.request_logs(call.number, call.body)}.log"
    return {"success": True, "result_url": url, "temp_download_url": url, "msg": ""}


def _log_file(market: Market, call: Call) -> object:
    text = market.log_file(call.name)
    if text is None:
        raise Refusal(404, "Not Found")
    return text


def _user(market: Market, call: Call) -> object:
    del call
    credit = float(market.credit_usd())
    return {"id": 1, "email": "practice@localhost", "credit": credit, "balance": 0, "ssh_key": None, "practice": True}


def _filters(market: Market, call: Call) -> object:
    del call
    names = ("actual_status", "verification", "gpu_name")
    return {"filters": [{name: row[name] for name in names} for row in market.rows()]}


HANDLERS: dict[str, Callable[[Market, Call], object]] = {
    "search": _search,
    "create": lambda market, call: market.create(call.number, call.body),
    "list": lambda market, call: market.page(call.query),
    "list_v0": lambda market, call: market.list_v0(),
    "show": lambda market, call: {"instances": market.show(call.number)},
    "manage": _manage,
    "manage_many": _manage_many,
    "destroy": _destroy,
    "destroy_many": _destroy_many,
    "logs": _logs,
    "log_file": _log_file,
    "bid": _bid,
    "reboot": _reboot,
    "recycle": _recycle,
    "filters": _filters,
    "gpu_names": lambda market, call: {"gpu_names": sorted(CARDS)},
    "user": _user,
    "charges": lambda market, call: market.charges(call.query),
}
"""What each endpoint does, by name; all raise Refusal."""
