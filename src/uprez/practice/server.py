"""The HTTP side: paths, statuses and bodies of the market's API, and `/practice/` for whoever runs the market.

    GET  /practice/state       clock, credit, every instance with its bill, faults that wait, how often each struck
    GET  /practice/requests    what clients have asked, with bodies and statuses (never a key)
    POST /practice/fault       {"name": ..., "times": 1, "endpoint": null, "instance": null, "seconds": null}
    POST /practice/disarm      {"name": null}: forget a fault, or all
    POST /practice/advance     {"seconds": 60}
    POST /practice/traffic     {"instance": ..., "down": bytes, "up": bytes}

All of it needs `Authorization: Bearer <control key>`; the market's own keys do not open it.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from uprez.practice.access import ENDPOINTS, Key, check, too_frequent
from uprez.practice.faults import Armed
from uprez.practice.market import Market
from uprez.practice.offers import CARDS
from uprez.practice.query import invalid, number
from uprez.practice.refusal import Refusal, refuse

HOST = "127.0.0.1"
TICK_S = 0.05
MOST_BODY = 1 << 20
MOST_SEEN = 10_000
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, taken apart."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, object]
    key: Key | None
    instance: int | None = None
    """The number in the path: an instance's, or an ask's."""
    name: str = ""
    """The text in the path."""

    @property
    def number(self) -> int:
        """The number in the path."""
        if self.instance is None:
            raise refuse(400, "invalid_args", "Invalid instance id.")
        return self.instance

    @property
    def own(self) -> bool:
        """Whether an instance asks for itself."""
        return self.key is not None and self.key.instance is not None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it came, and how it was answered (0: not at all)."""

    method: str
    target: str
    body: str
    endpoint: str | None
    status: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back: JSON, or bytes as they are."""

    status: int
    body: object
    headers: Mapping[str, str]
    kind: str = "application/json"

    def data(self) -> bytes:
        """Give the body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


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
        ("GET", "/api/v0/instances/(?P<id>[^/]+)/", "show"),
        ("PUT", "/api/v0/instances/(?P<id>[^/]+)/", "manage"),
        ("DELETE", "/api/v0/instances/(?P<id>[^/]+)/", "destroy"),
        ("GET", "/api/v0/gpu_names/unique/", "gpu_names"),
        ("GET", "/api/v0/users/current/?", "user"),
        ("GET", "/instance_logs/(?P<name>[0-9a-f]{32})[.]log", "log_file"),
    )
)


class PracticeServer:
    """A market that is up from here until `close`: `url` and `market.key` are what a client needs."""

    def __init__(self, market: Market, port: int = 0) -> None:
        self.market = market
        self.control_key = secrets.token_hex(16)
        self.seen: deque[Seen] = deque(maxlen=MOST_SEEN)
        self._server = _Server((HOST, port), type("_Bound", (_Handler,), {"practice": self}))
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        self._over = threading.Event()
        for work in (self._tick, lambda: self._server.serve_forever(TICK_S)):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Stop listening and end everything that runs."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self.market.close()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            self.market.settle()

    # --- one call

    def allowed_host(self, host: str | None) -> bool:
        """Say whether a Host header names this server: a page in a browser cannot reach it by another name."""
        return host in {f"{name}:{self.port}" for name in (HOST, "localhost")}

    def answer(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> tuple[Answer | None, str]:
        """Answer one request, None by closing the connection; give the kind of request with it."""
        parts = urlsplit(target)
        if parts.path.startswith("/practice/"):
            return self._guarded(lambda: self._control(method, parts.path, headers, raw)), "practice"
        found = next(
            ((match, name) for each, path, name in ROUTES if each == method and (match := path.match(parts.path))), None
        )
        if found is None:
            return Answer(status=404, body={"success": False, "error": "not_found", "msg": target}, headers={}), ""
        match, name = found
        done = self._guarded(lambda: self._endpoint(name, match, method, target, headers, raw))
        return self._spoilt(done, name), name

    def _guarded(self, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except Refusal as no:
            if isinstance(no.body, str):
                kind = "text/html" if no.body.startswith("<") else "text/plain"
                return Answer(status=no.status, body=no.body.encode(), headers=no.headers, kind=kind)
            return Answer(status=no.status, body=no.body, headers=no.headers)

    def _endpoint(
        self, name: str, match: re.Match[str], method: str, target: str, headers: Mapping[str, str], raw: bytes
    ) -> Answer:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bearer = _bearer(headers) or query.get("api_key", "")
        key = self.market.keys.get(bearer)
        groups = match.groupdict()
        instance = _id(groups["id"]) if "id" in groups else None
        check(key, name, None if name == "create" else instance)
        self._refuse_by_fault(name)
        if self.market.options.limits:
            self.market.limits.pass_or_refuse(name, bearer, self.market.clock.now_ms())
        call = Call(
            method=method,
            path=parts.path,
            query=query,
            body=_json(raw),
            key=key,
            instance=instance,
            name=groups.get("name", ""),
        )
        body = HANDLERS[name](self, call)
        return Answer(
            status=200, body=body, headers={}, kind="text/plain" if isinstance(body, bytes) else "application/json"
        )

    def _refuse_by_fault(self, name: str) -> None:
        faults, threshold = self.market.faults, ENDPOINTS[name].interval_s
        fault = faults.first(("429_text", "429_detail", "429_json", "500", "502"), endpoint=name)
        if fault == "500":
            raise refuse(500, "internal", "internal server error")
        if fault == "502":
            raise Refusal(502, HTML)
        if fault == "429_json":
            raise too_frequent("json", threshold, retry_after=True)
        if fault is not None:
            raise too_frequent("text" if fault == "429_text" else "detail", threshold)
        if name == "search" and faults.take("quota"):
            now = self.market.clock.now_s()
            midnight = (int(now) // 86400 + 1) * 86400
            headers = {"Retry-After": str(int(midnight - now)), "X-RateLimit-Reset": str(midnight)}
            body = {"error": "search_quota_exceeded", "msg": "Daily search row quota exhausted"}
            raise Refusal(429, body, headers=headers)

    def _spoilt(self, done: Answer, name: str) -> Answer | None:
        """Spoil an answer to what has been done."""
        if done.status != 200:
            return done
        fault = self.market.faults.first(("lost", "502_done", "garbled"), endpoint=name)
        if fault == "502_done":
            return Answer(status=502, body=HTML.encode(), headers={}, kind="text/html")
        if fault == "garbled":
            data = done.data()
            return Answer(status=200, body=data[: len(data) // 2], headers={})
        return None if fault == "lost" else done

    # --- control

    def _control(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        if not secrets.compare_digest(_bearer(headers).encode(), self.control_key.encode()):
            raise refuse(401, "auth_error", "the control key is needed")
        work = CONTROLS.get((method, path.removeprefix("/practice/")))
        if work is None:
            raise refuse(404, "not_found", path)
        try:
            return Answer(status=200, body=work(self, _json(raw)), headers={})
        except (KeyError, TypeError, ValueError) as error:
            raise refuse(400, "invalid_args", f"{type(error).__name__}: {error}") from error

    def state(self) -> dict[str, object]:
        """Give the truth: what there is and what it has cost, money as text."""
        market = self.market
        rows = market.rows()
        return {
            "now": market.clock.now_s(),
            "credit_usd": str(market.credit_usd()),
            "spent_usd": str(market.spent_usd()),
            "instances": rows,
            "bills": [
                {
                    "instance": bill.instance,
                    "label": bill.label,
                    "usd": str(bill.usd()),
                    "items": {name: str(usd) for name, usd in bill.items.items()},
                    "gpu_ms": bill.gpu_ms,
                    "disk_ms": bill.disk_ms,
                }
                for bill in market.bills.values()
            ],
            "faults": [vars(one) for one in market.faults.waiting()],
            "struck": dict(market.faults.struck),
        }

    def log_url(self, name: str) -> str:
        """Give the address of a log snapshot."""
        return f"{self.url}/instance_logs/{name}.log"


def _bearer(headers: Mapping[str, str]) -> str:
    sent = {name.lower(): value for name, value in headers.items()}
    scheme, _, key = sent.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise refuse(400, "invalid_args", f"Invalid id {text}.")
    return int(text)


def _json(raw: bytes) -> Mapping[str, object]:
    try:
        body = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise invalid("Invalid json body") from error
    if not isinstance(body, dict):
        raise invalid("Invalid query: must be dict of conditions")
    return body


# --- endpoints, by name


def _search(server: PracticeServer, call: Call) -> object:
    query: object = call.body
    if call.path.startswith("/api/v0/search/"):
        query = call.body.get("q", {})
    elif call.method == "GET":
        query = _json(call.query.get("q", "{}").encode())
    if not isinstance(query, dict):
        raise invalid("Invalid query: must be dict of conditions")
    return {"offers": server.market.search(query)}


def _destroy(server: PracticeServer, call: Call) -> object:
    server.market.destroy(call.number, own=call.own)
    return {"success": True}


def _destroy_many(server: PracticeServer, call: Call) -> object:
    for instance in _ids(call, "instance_ids"):
        server.market.destroy(instance)
    return {"success": True}


def _manage(server: PracticeServer, call: Call) -> object:
    server.market.manage(call.number, call.body, own=call.own)
    return {"success": True}


def _manage_many(server: PracticeServer, call: Call) -> object:
    for instance in _ids(call, "ids"):
        server.market.manage(instance, {"state": call.body.get("state")})
    return {"success": True}


def _ids(call: Call, name: str) -> list[int]:
    ids = call.body.get(name)
    if not isinstance(ids, list):
        raise refuse(400, "invalid_args", f"{name} must be a list of ids")
    return [_id(str(each)) for each in ids]


def _bid(server: PracticeServer, call: Call) -> object:
    server.market.change_bid(call.number, call.body.get("price"))
    return {"success": True}


def _reboot(server: PracticeServer, call: Call) -> object:
    server.market.reboot(call.number)
    return {"success": True}


def _logs(server: PracticeServer, call: Call) -> object:
    url = server.log_url(server.market.request_logs(call.number, call.body))
    return {"success": True, "result_url": url, "temp_download_url": url, "msg": ""}


def _log_file(server: PracticeServer, call: Call) -> object:
    text = server.market.log_file(call.name)
    if text is None:
        raise Refusal(404, "Not Found")
    return text


def _user(server: PracticeServer, call: Call) -> object:
    del call
    credit = float(server.market.credit_usd())
    return {"id": 1, "email": "practice@localhost", "credit": credit, "balance": 0, "ssh_key": None, "practice": True}


def _filters(server: PracticeServer, call: Call) -> object:
    del call
    names = ("actual_status", "verification", "gpu_name")
    return {"filters": [{name: row[name] for name in names} for row in server.market.rows()]}


HANDLERS: dict[str, Callable[[PracticeServer, Call], object]] = {
    "search": _search,
    "create": lambda server, call: server.market.create(call.number, call.body),
    "list": lambda server, call: server.market.page(call.query),
    "list_v0": lambda server, call: server.market.list_v0(),
    "show": lambda server, call: {"instances": server.market.show(call.number)},
    "manage": _manage,
    "manage_many": _manage_many,
    "destroy": _destroy,
    "destroy_many": _destroy_many,
    "logs": _logs,
    "log_file": _log_file,
    "bid": _bid,
    "reboot": _reboot,
    "filters": _filters,
    "gpu_names": lambda server, call: {"gpu_names": sorted(CARDS)},
    "user": _user,
}


# --- control, by name


def _arm(server: PracticeServer, body: Mapping[str, object]) -> object:
    times, instance, seconds = number(body.get("times", 1)), number(body.get("instance")), number(body.get("seconds"))
    endpoint = body.get("endpoint")
    if endpoint is not None and endpoint not in ENDPOINTS:
        raise ValueError(f"no endpoint {endpoint}; there are {', '.join(ENDPOINTS)}")
    server.market.inject(
        Armed(
            name=str(body["name"]),
            times=1 if times is None else int(times),
            endpoint=None if endpoint is None else str(endpoint),
            instance=None if instance is None else int(instance),
            seconds=seconds,
        )
    )
    return {"success": True}


def _disarm(server: PracticeServer, body: Mapping[str, object]) -> object:
    server.market.faults.disarm(None if body.get("name") is None else str(body["name"]))
    return {"success": True}


def _advance(server: PracticeServer, body: Mapping[str, object]) -> object:
    server.market.advance(number(body["seconds"]) or 0.0)
    return {"now": server.market.clock.now_s()}


def _traffic(server: PracticeServer, body: Mapping[str, object]) -> object:
    down, up = (int(number(body.get(name)) or 0) for name in ("down", "up"))
    server.market.traffic(_id(str(body["instance"])), down=down, up=up)
    return {"success": True}


CONTROLS: dict[tuple[str, str], Callable[[PracticeServer, Mapping[str, object]], object]] = {
    ("GET", "state"): lambda server, body: server.state(),
    ("GET", "requests"): lambda server, body: {"requests": [vars(one) for one in server.seen]},
    ("POST", "fault"): _arm,
    ("POST", "disarm"): _disarm,
    ("POST", "advance"): _advance,
    ("POST", "traffic"): _traffic,
}


class _Server(ThreadingHTTPServer):
    """Serves each connection in a thread that ends with the process."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    practice: PracticeServer
    protocol_version = "HTTP/1.1"
    server_version = "practice"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 60

    def _serve(self) -> None:
        length = number(self.headers.get("Content-Length", "0"))
        if length is None or not 0 <= length <= MOST_BODY:
            self.close_connection = True
            self._send(Answer(status=413, body={"success": False, "error": "too_large", "msg": ""}, headers={}))
            return
        raw = self.rfile.read(int(length))
        if not self.practice.allowed_host(self.headers.get("Host")):
            self._send(Answer(status=421, body={"success": False, "error": "host", "msg": "wrong Host"}, headers={}))
            return
        done, endpoint = self.practice.answer(self.command, self.path, dict(self.headers.items()), raw)
        if endpoint != "practice":
            target = re.sub(r"(api_key=)[^&]*", r"\1...", self.path)
            self.practice.seen.append(
                Seen(
                    method=self.command,
                    target=target,
                    body=raw.decode(errors="replace"),
                    endpoint=endpoint or None,
                    status=done.status if done else 0,
                )
            )
        if done is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(done)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815  the names that http.server calls

    def _send(self, answer: Answer) -> None:
        data = answer.data()
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, **answer.headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Give the market's time: clients set their deadlines by the Date header."""
        now = self.practice.market.clock.now_s() if timestamp is None else timestamp
        return format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server calls it
        """Say nothing: `seen` remembers."""
