"""The market's HTTP connections: reads whole requests, and writes what it is told to answer."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
TICK_S = 0.05
MOST_BODY = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes
    whole: bool = True
    """False: the body is too long or cannot be read, and this is its begin."""


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


class Listener(ThreadingHTTPServer):
    """Serves each connection in a thread that ends with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, answer: Callable[[Asked], Answer | None], now_s: Callable[[], float]) -> None:
        self.answer = answer
        self.now_s = now_s
        super().__init__((HOST, port), _Handler)

    def start(self) -> None:
        """Serve, in a thread."""
        threading.Thread(target=self.serve_forever, args=(TICK_S,), daemon=True).start()

    def server_bind(self) -> None:
        """Bind without asking for this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""


def stop(server: socketserver.TCPServer, port: int) -> None:
    """End a server that runs in a thread at once, rather than at its next tick."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    with contextlib.suppress(OSError):
        socket.create_connection((HOST, port), timeout=1).close()
    ending.join()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Listener
    protocol_version = "HTTP/1.1"
    server_version = "practice"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60

    def _serve(self) -> None:
        raw, whole = self._body()
        if not whole:
            self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method=self.command, target=self.path, headers=headers, raw=raw, whole=whole)
        done = self.server.answer(asked)
        if done is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(done)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _serve  # noqa: N815  http.server's names

    def _body(self) -> tuple[bytes, bool]:
        """Read the body and say whether that is all of it."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        text = self.headers.get("Content-Length", "0")
        length = int(text) if re.fullmatch("[0-9]{1,18}", text) else -1
        raw = self.rfile.read(min(length, MOST_BODY)) if length > 0 else b""
        return raw, len(raw) == length

    def _chunks(self) -> tuple[bytes, bool]:
        raw = b""
        while len(raw) <= MOST_BODY:
            size = self.rfile.readline(1024).partition(b";")[0].strip()
            if not re.fullmatch(b"[0-9A-Fa-f]{1,8}", size):
                break
            if int(size, 16) == 0:
                while self.rfile.readline(1024).strip():
                    pass
                return raw, True
            raw += self.rfile.read(min(int(size, 16), MOST_BODY + 1))
            self.rfile.readline(1024)
        return raw[:MOST_BODY], False

    def _send(self, answer: Answer) -> None:
        data = answer.data()
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, **answer.headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Give the market's time: clients set their deadlines by the Date header."""
        now = self.server.now_s() if timestamp is None else timestamp
        return format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server calls it
        """Say nothing: `seen` remembers."""
