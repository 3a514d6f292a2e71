"""HTTP/1.1 as a proxy sees it: heads that pass with few lines changed, and bodies whose end must be found."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

PIECE = 128 << 10
"""Bytes read at a time: all that is ever held of a body."""
MOST_HEAD = 64 << 10
MOST_LINE = 4 << 10
"""Bytes of one line between chunks."""
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "upgrade"}
)
"""Lines for the next machine only. Transfer-Encoding stays: bodies pass as they are."""


class MalformedError(Exception):
    """What came is no HTTP/1.1."""


class Stream:
    """One end of a connection, with what has been read of it too far."""

    def __init__(self, sock: socket.socket, *, got: Callable[[int], None], sent: Callable[[int], None]) -> None:
        self.sock = sock
        self._got = got
        self._sent = sent
        self._ahead = b""

    def read(self) -> bytes:
        """Give what comes next, b"" at the end."""
        data, self._ahead = self._ahead, b""
        if not data:
            data = self.sock.recv(PIECE)
            self._got(len(data))
        return data

    def back(self, data: bytes) -> None:
        """Let this be read again."""
        self._ahead = data + self._ahead

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)
        self._sent(len(data))

    def head(self) -> Head | None:
        """Read one head, None when the connection ends before it; raises MalformedError."""
        data = b""
        while (end := _head_ends(data)) < 0:
            if len(data) > MOST_HEAD:
                raise MalformedError("the head is too long")
            more = self.read()
            if not more:
                if data:
                    raise MalformedError("the head breaks off")
                return None
            data = (data + more).lstrip(b"\r\n") if not data else data + more
        self.back(data[end:])
        return parse(data[:end])


def _head_ends(data: bytes) -> int:
    found = re.search(rb"\n\r?\n", data)
    return found.end() if found else -1


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of a request or of an answer, its lines as they came."""

    start: tuple[str, str, str]
    """Method, target, version; or version, status, reason."""
    lines: tuple[tuple[str, bytes], ...]
    """Each with its name in lower case."""

    def values(self, name: str) -> list[str]:
        """Give the values of all lines of that name."""
        return [line.partition(b":")[2].strip().decode("latin-1") for each, line in self.lines if each == name]

    def tokens(self, name: str) -> set[str]:
        """Give the words of a list, in lower case."""
        return {word.strip().lower() for value in self.values(name) for word in value.split(",")}

    def passed_on(self, start: tuple[str, str, str], more: Collection[bytes] = ()) -> bytes:
        """Write it for the next machine."""
        dropped = HOP_BY_HOP | (self.tokens("connection") - {"host", "content-length", "transfer-encoding"})
        kept = [line for name, line in self.lines if name not in dropped]
        return b"\r\n".join([" ".join(start).encode("latin-1").rstrip(), *kept, *more, b"", b""])


def parse(data: bytes) -> Head:
    """Take a head apart; raises MalformedError."""
    first, *rest = re.split(rb"\r?\n", data.rstrip(b"\r\n"))
    words = first.decode("latin-1").split(" ", 2)
    if len(words) < 2 or "HTTP/" not in f"{words[0]} {words[-1]}":
        raise MalformedError("the first line is no HTTP")
    lines = []
    for line in rest:
        name = line.partition(b":")[0]
        if b":" not in line or not re.fullmatch(rb"[!-9;-~]+", name):
            raise MalformedError("a line of the head has no name")
        lines.append((name.decode().lower(), line))
    return Head(start=(words[0], words[1], words[2] if len(words) > 2 else ""), lines=tuple(lines))


class Body(Protocol):
    """Follows a body that passes, to know where it ends."""

    done: bool

    def take(self, data: bytes) -> int:
        """Give how many of these bytes belong to it; raises MalformedError."""


class Sized:
    """A body of so many bytes."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.done = size == 0

    def take(self, data: bytes) -> int:
        """Count them."""
        taken = min(self._left, len(data))
        self._left -= taken
        self.done = self._left == 0
        return taken


class Endless:
    """A body that ends with its connection."""

    done = False

    def take(self, data: bytes) -> int:
        """All belong to it."""
        return len(data)


class Chunked:
    """A body in chunks, with its trailer."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._trailer = False

    def take(self, data: bytes) -> int:
        """Read from chunk to chunk."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                end = data.find(b"\n", at)
                step = (end + 1 if end >= 0 else len(data)) - at
                self._line += data[at : at + step]
                if len(self._line) > MOST_LINE:
                    raise MalformedError("a line between chunks is too long")
                if end >= 0:
                    self._turn(self._line.strip())
                    self._line = b""
            at += step
        return at

    def _turn(self, line: bytes) -> None:
        if self._trailer:
            self.done = not line
            return
        size = line.partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            raise MalformedError("the size of a chunk is none")
        self._trailer = int(size, 16) == 0
        self._left = 0 if self._trailer else int(size, 16) + len("\r\n")


def request_body(head: Head) -> Body:
    """Give the body that follows a request; raises MalformedError."""
    if head.values("transfer-encoding"):
        if head.values("content-length") or "chunked" not in head.tokens("transfer-encoding"):
            raise MalformedError("the end of the body cannot be found")
        return Chunked()
    return Sized(_length(head) or 0)


def answer_body(method: str, head: Head) -> Body:
    """Give the body that follows an answer; raises MalformedError."""
    status = head.start[1]
    if method == "HEAD" or status.startswith("1") or status in ("204", "304"):
        return Sized(0)
    if head.values("transfer-encoding"):
        return Chunked() if "chunked" in head.tokens("transfer-encoding") else Endless()
    length = _length(head)
    return Endless() if length is None else Sized(length)


def _length(head: Head) -> int | None:
    found = set(head.values("content-length"))
    if not found:
        return None
    if len(found) > 1 or not re.fullmatch("[0-9]{1,18}", next(iter(found))):
        raise MalformedError("Content-Length is none")
    return int(found.pop())


def copy(body: Body, source: Stream, sink: Callable[[bytes], None]) -> bool:
    """Pass a body on piece by piece; say whether all of it came."""
    while not body.done:
        data = source.read()
        if not data:
            return isinstance(body, Endless)
        taken = body.take(data)
        if taken < len(data):
            source.back(data[taken:])
        sink(data[:taken])
    return True
