"""A forward proxy for one practice market: what instances send and fetch goes through it, and is counted.

It listens on 127.0.0.1, knows each instance by a password, and only passes on: no cache, no name of its own in what it
passes, Host and bodies as they are, so that signed URLs stay valid. TLS goes through a CONNECT tunnel unseen. Each
request gets a connection of its own to its server; a client may keep its connection for many.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import socketserver
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

from uprez.practice.forward import Line, serve
from uprez.practice.listener import HOST, TICK_S, stop


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Bytes that came into an instance and went out of it."""

    down: int = 0
    up: int = 0


class Meter:
    """The proxy, up from here until `close`. Safe to call from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passwords: dict[int, str] = {}
        self._open: dict[int, set[socket.socket]] = defaultdict(set)
        self._down: Counter[int] = Counter()
        self._up: Counter[int] = Counter()
        self._server = _Server((HOST, 0), type("_Bound", (_Handler,), {"meter": self}))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(TICK_S,), daemon=True).start()

    def admit(self, instance: int) -> str:
        """Let an instance through, by a new password, and give the proxy's URL for it."""
        password = secrets.token_hex(16)
        with self._lock:
            self._passwords[instance] = password
        return f"http://C.{instance}:{password}@{HOST}:{self.port}"

    def dismiss(self, instance: int) -> None:
        """Let an instance through no longer, and cut its connections."""
        with self._lock:
            self._passwords.pop(instance, None)
            for each in self._open.pop(instance, ()):
                with contextlib.suppress(OSError):  # closed in the meantime
                    each.shutdown(socket.SHUT_RDWR)

    def take(self, instance: int) -> Moved:
        """Give what an instance has moved since the last time that this was asked."""
        with self._lock:
            return Moved(down=self._down.pop(instance, 0), up=self._up.pop(instance, 0))

    def close(self) -> None:
        """Stop listening, and cut everything."""
        stop(self._server, self.port)
        for instance in list(self._passwords):
            self.dismiss(instance)

    def line(self, authorization: str) -> Line | None:
        """Give the line of whoever sends this Proxy-Authorization, None where it is nobody's."""
        scheme, _, text = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(text.strip()).decode().partition(":")
            instance = int(user.removeprefix("C."))
        except ValueError:
            return None
        with self._lock:
            known = self._passwords.get(instance, "")
        if scheme.lower() != "basic" or not known or not secrets.compare_digest(password.encode(), known.encode()):
            return None
        return _Line(self, instance)

    def watch(self, instance: int, sock: socket.socket) -> bool:
        """Remember a connection that is to be cut with its instance; say whether the instance is still there."""
        with self._lock:
            if instance in self._passwords:
                self._open[instance].add(sock)
            return instance in self._passwords

    def forget(self, instance: int, sock: socket.socket) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            self._open.get(instance, set()).discard(sock)

    def count(self, instance: int, *, down: int = 0, up: int = 0) -> None:
        """Add bytes."""
        with self._lock:
            self._down[instance] += down
            self._up[instance] += up


@dataclass(frozen=True)
class _Line:
    """One instance's way through the meter."""

    meter: Meter
    instance: int

    def down(self, size: int) -> None:
        self.meter.count(self.instance, down=size)

    def up(self, size: int) -> None:
        self.meter.count(self.instance, up=size)

    def watch(self, sock: socket.socket) -> bool:
        return self.meter.watch(self.instance, sock)

    def forget(self, sock: socket.socket) -> None:
        self.meter.forget(self.instance, sock)


class _Server(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread that ends with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""


class _Handler(socketserver.BaseRequestHandler):
    meter: Meter

    def handle(self) -> None:
        """Serve one connection until it ends."""
        serve(self.request, self.meter.line)
