"""A proxy on this machine before the S3 server: it refuses what Backblaze B2 refuses, and fails on demand.

    proxy.fail("COPY", "lost", times=1, key="output/")     the next copy to a key with that in it loses its answer
    proxy.skew_s = 600                                      the store's clock is ten minutes ahead of ours
    proxy.counts["PUT"], proxy.seen("PUT")                  what has been asked since the last reset()

Kinds: those of KINDS, and BUCKET for a bucket's settings.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

How = Literal["503", "slow", "reset", "cut", "lost"]
HOWS: tuple[How, ...] = ("503", "slow", "reset", "cut", "lost")
"""Busy; late by `delay_s`; broken before it is read; broken in the middle of the answer; done but not answered."""
KINDS = (
    "GET",
    "PUT",
    "HEAD",
    "LIST",
    "COPY",
    "CREATE_UPLOAD",
    "UPLOAD_PART",
    "PART_COPY",
    "COMPLETE",
    "ABORT",
    "DELETE",
)
REFUSED = re.compile(r"x-amz-(checksum-.*|sdk-checksum-algorithm|trailer|tagging|acl|grant-.*)", re.IGNORECASE)
"""Headers that B2 does not take."""
SKEW_S = 900.0
"""A request dated further from the store's clock is refused."""
HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request, and how it was answered (0: not at all)."""

    kind: str
    key: str
    """Path after the bucket, decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    status: int
    signed: bool
    """By its URL, not by a header."""


@dataclass(kw_only=True)
class Rule:
    """What to do to the next requests of a kind."""

    kind: str
    how: How
    times: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server, or the proxy in its place, says."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Proxy:
    """A proxy that is up until `close`; `port` is where to reach it."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.delay_s = 2.5
        self._lock = threading.Lock()
        self.reset()
        self._server = _Server(("127.0.0.1", 0), type("_Bound", (_Handler,), {"proxy": self}))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, kind: str, how: How, *, times: int = 1, key: str = "") -> None:
        """Fail the next `times` requests of a kind (or of any: "*") whose key holds `key`."""
        with self._lock:
            self._rules.append(Rule(kind=kind, how=how, times=times, key=key))

    def reset(self) -> None:
        """Forget rules, skew and what was seen."""
        with self._lock:
            self._rules: list[Rule] = []
            self._seen: deque[Seen] = deque(maxlen=5000)
            self.counts: Counter[str] = Counter()
            self.skew_s = 0.0
            self.b2 = True
            """Refuse what B2 refuses."""

    def seen(self, kind: str | None = None) -> list[Seen]:
        """Give the last requests (of a kind), oldest first."""
        with self._lock:
            return [seen for seen in self._seen if kind in (None, seen.kind)]

    def pending(self) -> int:
        """Give how many requests the rules would still fail."""
        with self._lock:
            return sum(rule.times for rule in self._rules)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, kind: str, key: str) -> How | None:
        """Use up one failure that is meant for this request."""
        with self._lock:
            for rule in self._rules:
                if rule.times and rule.kind in ("*", kind) and rule.key in key:
                    rule.times -= 1
                    return rule.how
        return None

    def note(self, seen: Seen) -> None:
        """Remember a request."""
        with self._lock:
            self._seen.append(seen)
            self.counts[seen.kind] += 1

    def now(self) -> datetime:
        """Give the time by the store's clock."""
        return datetime.now(UTC) + timedelta(seconds=self.skew_s)


class _Server(ThreadingHTTPServer):
    """Serves each connection in a thread that ends with the process."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that did not wait for their answer."""


class _Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # 40 ms for each answer

    def handle_any(self) -> None:
        """Refuse, fail or forward one request."""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        del bucket
        kind = kind_of(self.command, key, query, copies="x-amz-copy-source" in self.headers)
        body = self._body()
        how = self.proxy.take(kind, key)
        answer = self._answer(how, query, body)
        if how == "cut" and answer and (self.command == "HEAD" or len(answer.body) < 2):
            answer = None  # there is no middle to cut it in
        headers = {name.lower(): value for name, value in self.headers.items()}
        signed = "X-Amz-Signature" in query
        status = answer.status if answer else 0
        self.proxy.note(Seen(kind=kind, key=key, query=query, headers=headers, status=status, signed=signed))
        if answer:
            self._send(answer, whole=how != "cut")
        else:
            self._break()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 # http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Give the time by the store's clock."""
        del timestamp
        return format_datetime(self.proxy.now(), usegmt=True)

    def _answer(self, how: How | None, query: Mapping[str, str], body: bytes) -> Answer | None:
        """Do what is asked, or fail as a rule says; None: it gets no answer."""
        if how == "503":
            return _error(503, "SlowDown", "Please reduce your request rate.")
        if how == "reset":
            return None
        if how == "slow":
            time.sleep(self.proxy.delay_s)
        answer = self._refusal(query) or self._forward(body)
        return None if how == "lost" else answer

    def _refusal(self, query: Mapping[str, str]) -> Answer | None:
        """Refuse as B2 does, and what is dated too far from the store's clock; None: it may pass."""
        dated = self.headers.get("x-amz-date", "")
        if dated and abs(_time(dated) - self.proxy.now()) > timedelta(seconds=SKEW_S):
            return _error(
                403, "RequestTimeTooSkewed", "The difference between the request time and the server is large."
            )
        if not self.proxy.b2:
            return None
        for name, value in self.headers.items():
            streaming = name.lower() == "x-amz-content-sha256" and value.startswith("STREAMING-")
            if REFUSED.fullmatch(name) or streaming:
                return _error(400, "InvalidArgument", f"Unsupported header '{name}' received for this API call.")
        if self.command == "PUT" and "if-none-match" in self.headers:
            return _error(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
        if self.headers.get("authorization", "").startswith("AWS ") or "AWSAccessKeyId" in query:
            return _error(400, "InvalidRequest", "The V2 signature version is not supported.")
        if "acl" in query:
            return _error(501, "NotImplemented", "Object ACLs are not implemented.")
        return None

    def _forward(self, body: bytes) -> Answer:
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # with the client's Host, which is part of its signature
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "expect"):
                    upstream.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            got = upstream.getresponse()
            headers = [(name, value) for name, value in got.getheaders() if name.lower() not in HOP]
            if self.command == "HEAD" and got.getheader("Content-Length"):
                headers.append(("Content-Length", str(got.getheader("Content-Length"))))
            return Answer(status=got.status, headers=headers, body=got.read())

    def _send(self, answer: Answer, *, whole: bool = True) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if whole else answer.body[: len(answer.body) // 2])
        if not whole:
            self.wfile.flush()
            time.sleep(0.05)  # let the half arrive before the end does
            self._break()

    def _break(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.wfile.close()
        self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


def kind_of(method: str, key: str, query: Mapping[str, str], *, copies: bool) -> str:
    """Name what a request asks for."""
    if not key:
        if method == "POST" and "delete" in query:
            return "DELETE"
        return "LIST" if method == "GET" and not {"versioning", "lifecycle", "location"} & set(query) else "BUCKET"
    if "uploadId" in query:
        part = "PART_COPY" if copies else "UPLOAD_PART"
        return {"PUT": part, "POST": "COMPLETE", "DELETE": "ABORT"}.get(method, "LIST")
    if "uploads" in query:
        return "CREATE_UPLOAD"
    return "COPY" if copies else method


def _error(status: int, code: str, message: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
    return Answer(status=status, headers=[("Content-Type", "application/xml")], body=body)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
