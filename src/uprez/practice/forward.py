"""Passing on what one client of the meter asks: requests with a whole URL, and CONNECT tunnels."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from uprez.practice.framing import (
    Body,
    Endless,
    Head,
    MalformedError,
    Stream,
    answer_body,
    copy,
    request_body,
)

CONNECT_S = 10.0
LINGER_S = 1.0
"""How long what a client still sends is thrown away, so that it can read the answer."""
SENT_S = 0.1
"""How long an answer waits for the end of its request: with the request unfinished the connection cannot be kept."""


class Line(Protocol):
    """One instance's way: counts what passes, and is told of connections, which may be cut."""

    def down(self, size: int) -> None:
        """Count bytes that came for the instance."""

    def up(self, size: int) -> None:
        """Count bytes that went out from it."""

    def watch(self, sock: socket.socket) -> bool:
        """Be told of a new connection; False: there must be none."""

    def forget(self, sock: socket.socket) -> None:
        """Be told that it is closed."""


class BlockedError(Exception):
    """There is no way to where a request is to go; the text goes to the client."""


class _GoneError(Exception):
    """The server takes no more of a request; it may have answered."""


def serve(sock: socket.socket, allowed: Callable[[str], Line | None]) -> None:
    """Serve one client until it or the proxy has enough; `allowed` judges its Proxy-Authorization."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = Stream(sock, got=_nothing, sent=_nothing)
    line: Line | None = None
    try:
        while True:
            head = client.head()
            if head is None:
                return
            line = allowed("".join(head.values("proxy-authorization")[:1]))
            if line is None or not line.watch(sock):
                _refuse(client, "407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="meter"')
                return
            if not (_tunnel if head.start[0] == "CONNECT" else _pass)(client, head, line):
                return
    except MalformedError as error:
        _refuse(client, "400 Bad Request", text=str(error))
    except BlockedError as error:
        _refuse(client, "502 Bad Gateway", text=str(error))
    except OSError:
        return  # somebody has gone, or was cut
    finally:
        if line is not None:
            line.forget(sock)


def _nothing(size: int) -> None:
    """Count nothing: bytes are counted on the server's side."""


def _refuse(client: Stream, status: str, more: str = "", *, text: str = "") -> None:
    body = f"{text or status}\n".encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/plain", f"Content-Length: {len(body)}", "Connection: close"]
    with contextlib.suppress(OSError):
        client.sock.sendall("\r\n".join([*lines, *([more] if more else []), "", ""]).encode() + body)
        _linger(client.sock)


def _linger(sock: socket.socket) -> None:
    """Close without losing the answer: a reset would take it back from a client that is still sending."""
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(LINGER_S)
    deadline = time.monotonic() + LINGER_S
    while sock.recv(1 << 16) and time.monotonic() < deadline:
        pass


@contextlib.contextmanager
def _connected(host: str, port: int, line: Line) -> Iterator[Stream]:
    try:
        sock = socket.create_connection((host, port), timeout=CONNECT_S)
    except (OSError, UnicodeError) as error:
        raise BlockedError(f"cannot reach {host}:{port}: {error}") from error
    with sock:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if not line.watch(sock):
                raise BlockedError("the instance is gone")
            yield Stream(sock, got=line.down, sent=line.up)
        finally:
            line.forget(sock)


def _place(authority: str, usual: int | None) -> tuple[str, int]:
    found = re.fullmatch(r"(?:[^@]*@)?(\[[0-9A-Fa-f:.]+\]|[^:\[\]/?#]+)(?::([0-9]{1,5}))?", authority)
    port = int(found[2]) if found and found[2] else usual
    if found is None or port is None or not 0 < port < 1 << 16:
        raise MalformedError(f"{authority} is no host with a port")
    return found[1].strip("[]"), port


def _tunnel(client: Stream, head: Head, line: Line) -> bool:
    with _connected(*_place(head.start[1], None), line) as server:
        client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        other = threading.Thread(target=_pour, args=(client, server), daemon=True)
        other.start()
        _pour(server, client)
        other.join()
    return False


def _pour(source: Stream, sink: Stream) -> None:
    """Pass on everything, then the end."""
    try:
        copy(Endless(), source, sink.send)
        sink.sock.shutdown(socket.SHUT_WR)
    except OSError:
        _cut(source.sock)
        _cut(sink.sock)


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _pass(client: Stream, head: Head, line: Line) -> bool:
    """Pass on one request and its answer; say whether the client's connection can be used again."""
    method, target, version = head.start
    found = re.match(r"(?i)http://([^/?#]+)", target)
    if found is None:
        raise MalformedError("this is a proxy: ask for http://HOST/PATH, or CONNECT")
    rest = target[found.end() :]
    path = rest if rest.startswith("/") else f"/{rest}"
    body = request_body(head)
    with _connected(*_place(found[1], 80), line) as server:
        server.send(head.passed_on((method, path, version), [b"Connection: close"]))
        sent = _sending(client, server, body)
        kept = _answer(client, server, head, sent)
        if not kept:
            with contextlib.suppress(OSError):
                _linger(client.sock)
        return kept


def _sending(client: Stream, server: Stream, body: Body) -> Callable[[], bool]:
    """Begin to pass on a request's body, while its answer may come; what is given says whether that is done."""
    if body.done:
        return lambda: True
    whole = threading.Event()

    def send(data: bytes) -> None:
        try:
            server.send(data)
        except OSError as error:
            raise _GoneError from error

    def work() -> None:
        try:
            if copy(body, client, send):
                whole.set()
                return
        except _GoneError:
            return
        except (OSError, MalformedError):
            pass
        _cut(server.sock)  # the rest will never come

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def sent() -> bool:
        thread.join(SENT_S)
        return whole.is_set()

    return sent


def _answer(client: Stream, server: Stream, head: Head, sent: Callable[[], bool]) -> bool:
    """Pass on the answer, those before it too (100 Continue); say whether the connection can be kept."""
    while True:
        try:
            answer = server.head()
            if answer is None:
                raise MalformedError("it closed the connection")
            body = answer_body(head.start[0], answer)
        except (OSError, MalformedError) as error:
            raise BlockedError(f"no answer: {error}") from error
        if not answer.start[1].startswith("1"):
            break
        client.send(answer.passed_on(answer.start))
    wanted = head.start[2] == "HTTP/1.1" and "close" not in head.tokens("connection") | head.tokens("proxy-connection")
    kept = wanted and not isinstance(body, Endless) and sent()
    client.send(answer.passed_on(answer.start, [] if kept else [b"Connection: close"]))
    try:
        return copy(body, server, client.send) and kept
    except MalformedError as error:
        raise ConnectionError from error  # too late to say so
