"""The HTTP side of a market: who may ask, what goes wrong on the way, and what is remembered of it."""

from __future__ import annotations

import re
import secrets
import threading
from collections import deque
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from uprez.practice.access import ENDPOINTS, check, too_frequent
from uprez.practice.call import Call, Seen, bearer, identifier, parsed
from uprez.practice.control import CONTROLS, Desk
from uprez.practice.endpoints import HANDLERS, found
from uprez.practice.kills import When
from uprez.practice.listener import HOST, TICK_S, Answer, Asked, Listener, stop
from uprez.practice.market import Market
from uprez.practice.refusal import Refusal, refuse

OnCall = Callable[[When, str, Call], None]
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class PracticeServer:
    """A market that is up from here until `close`: `url` and `market.key` are what a client needs.

    `on_call` is told of each call with its endpoint's name: "before" its work is done, and "after" it is done but
    before the answer goes out. A call that is refused first is not told of, and one whose work is refused only
    "before". What it raises closes the client's connection without an answer.
    """

    def __init__(self, market: Market, port: int = 0, *, on_call: OnCall | None = None) -> None:
        self.market = market
        self.control_key = secrets.token_hex(16)
        self._desk = Desk(market=market)
        self._on_call = on_call
        self._listener = Listener(port, self._answer, market.clock.now_s)
        self.port: int = self._listener.server_port
        self.url = f"http://{HOST}:{self.port}"
        self._over = threading.Event()
        self._listener.start()
        threading.Thread(target=self._tick, daemon=True).start()

    @property
    def seen(self) -> deque[Seen]:
        """What clients have asked."""
        return self._desk.seen

    def state(self) -> dict[str, object]:
        """Give the truth: what there is and what it has cost, money as text."""
        return self._desk.state()

    def close(self) -> None:
        """Stop listening and end everything that runs."""
        self._over.set()
        stop(self._listener, self.port)
        self.market.close()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            if self.market.busy:
                self.market.settle()

    # --- one call

    def _answer(self, asked: Asked) -> Answer | None:
        """Answer one request, None by closing the connection."""
        path = urlsplit(asked.target).path
        if path.startswith("/practice/") and self._allowed_host(asked):
            return _guarded(lambda: self._control(path, asked))
        name, answer = self._judged(path, asked)
        self._desk.note(
            Seen(
                method=asked.method,
                target=re.sub(r"(api_key=)[^&]*", r"\1...", asked.target),
                body=asked.raw.decode("utf-8", "surrogateescape"),
                whole=asked.whole,
                endpoint=name,
                status=answer.status if answer else 0,
            )
        )
        return answer

    def _judged(self, path: str, asked: Asked) -> tuple[str | None, Answer | None]:
        if not asked.whole:
            return None, _refusal(refuse(413, "too_large", ""))
        if not self._allowed_host(asked):
            return None, _refusal(refuse(421, "host", "wrong Host"))
        route = found(asked.method, path)
        if route is None:
            return None, _refusal(refuse(404, "not_found", asked.target))
        name, parts = route
        return name, self._spoilt(_guarded(lambda: self._endpoint(name, parts, asked)), name)

    def _allowed_host(self, asked: Asked) -> bool:
        """Say whether a Host header names this server: a page in a browser cannot reach it by another name."""
        return asked.headers.get("host") in {f"{name}:{self.port}" for name in (HOST, "localhost")}

    def _endpoint(self, name: str, parts: dict[str, str], asked: Asked) -> Answer:
        url = urlsplit(asked.target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        secret = bearer(asked.headers) or query.get("api_key", "")
        key = self.market.keys.get(secret)
        instance = identifier(parts["id"]) if "id" in parts else None
        check(key, name, None if name == "create" else instance)
        self._refuse_by_fault(name)
        if self.market.options.limits:
            self.market.limits.pass_or_refuse(name, secret, self.market.clock.now_ms())
        call = Call(
            method=asked.method,
            path=url.path,
            query=query,
            body=parsed(asked.raw),
            key=key,
            base=self.url,
            instance=instance,
            name=parts.get("name", ""),
        )
        self._tell("before", name, call)
        body = HANDLERS[name](self.market, call)
        self._tell("after", name, call)
        kind = "text/plain" if isinstance(body, bytes) else "application/json"
        return Answer(status=200, body=body, headers={}, kind=kind)

    def _tell(self, when: When, name: str, call: Call) -> None:
        self._desk.kills.strike(when, name)
        if self._on_call is not None:
            self._on_call(when, name, call)

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

    def _control(self, path: str, asked: Asked) -> Answer:
        if not secrets.compare_digest(bearer(asked.headers).encode(), self.control_key.encode()):
            raise refuse(401, "auth_error", "the control key is needed")
        work = CONTROLS.get((asked.method, path.removeprefix("/practice/")))
        if work is None or not asked.whole:
            raise refuse(404, "not_found", path)
        try:
            return Answer(status=200, body=work(self._desk, parsed(asked.raw)), headers={})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise refuse(400, "invalid_args", f"{type(error).__name__}: {error}") from error


def _guarded(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except Refusal as no:
        return _refusal(no)


def _refusal(no: Refusal) -> Answer:
    if isinstance(no.body, str):
        kind = "text/html" if no.body.startswith("<") else "text/plain"
        return Answer(status=no.status, body=no.body.encode(), headers=no.headers, kind=kind)
    return Answer(status=no.status, body=no.body, headers=no.headers)
