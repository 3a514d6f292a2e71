"""One request and its answer: time limits, redirects, retries, and failures in our words."""

from __future__ import annotations

import contextlib
import itertools
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from uprez.errors import BusyError, DeniedError, FetchError
from uprez.http import pools, traffic
from uprez.http.retry import MOST_WAIT_S, tried
from uprez.http.words import server_message, shown

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CONNECT_S = 10.0
"""Seconds to reach a server, and for it to take each block of a body."""
READ_S = 60.0
"""Seconds of silence after which a connection is given up; an answer's headers must be whole within them too."""
TOTAL_S = 120.0
"""Seconds for a whole request with its retries, before what `SLOWEST` adds."""
SLOWEST = 16 << 10
"""Bytes a second: each one sent or read gives a request more time at this rate, so that a trickle ends."""
TRIES = 5
MOST = 16 << 20
"""Bytes of the largest answer that is read whole, unless the caller says otherwise."""
REDIRECTS = 5
PIECE = 64 << 10
"""Bytes sent or read at a time."""

_PASSING = frozenset({429, 500, 502, 503, 504})
_DENIED = frozenset({401, 403})
_MOVED = frozenset({301, 302, 303, 307, 308})
_AGENT = "uprez"

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a request may take and how often it is tried."""

    connect_s: float = CONNECT_S
    read_s: float = READ_S
    total_s: float = TOTAL_S
    tries: int = TRIES


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of a file, to be sent as a body."""

    path: Path
    start: int = 0
    size: int


Body = bytes | Path | Part


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    """Names may be asked for in any case."""
    data: bytes


class PassingError(Exception):
    """A failure that another try may mend; `wait_s` is how long the server asked to be left alone."""

    def __init__(self, error: FetchError, wait_s: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_s = wait_s


class _Moved:
    """Bytes moved by one try, and the time they may have taken."""

    def __init__(self, total_s: float) -> None:
        self._begin = time.monotonic()
        self._total_s = total_s
        self._bytes = 0

    def add(self, *, down: int = 0, up: int = 0) -> None:
        """Count bytes; raises TimeoutError when they come too slowly."""
        size = down + up
        traffic.count(down=down, up=up)
        self._bytes += size
        if time.monotonic() - self._begin > self._total_s + self._bytes / SLOWEST:
            raise TimeoutError


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Body | None = None,
    most: int = MOST,
    accept: frozenset[int] = frozenset(),
    again: frozenset[int] = frozenset(),
    limits: Limits = LIMITS,
) -> Response:
    """Send a request and read the whole answer, of at most `most` bytes.

    `accept` names statuses from 300 on that are an answer and no failure; `again` those that are one only when a
    try before had no answer, and so may have done what was asked. Raises FetchError.
    """
    tried = 0

    def once() -> Response:
        nonlocal tried
        tried += 1
        fine = accept | again if tried > 1 else accept
        with exchange(method, url, headers=headers, body=body, accept=fine, limits=limits) as answer:
            data = b"".join(limited(answer.blocks(), url, most))
        return Response(status=answer.status, headers=answer.headers, data=data)

    return retried(once, limits, more_s=_size(body) / SLOWEST)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    raw: BaseHTTPResponse = field(repr=False)
    moved: _Moved = field(repr=False)

    def blocks(self) -> Iterator[bytes]:
        """Read the body as it comes; TimeoutError when it comes too slowly, urllib3's errors when it breaks."""
        while block := self.raw.read1(PIECE, decode_content=False):
            self.moved.add(down=len(block))
            yield block


@contextlib.contextmanager
def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Body | None = None,
    accept: frozenset[int] = frozenset(),
    limits: Limits = LIMITS,
) -> Iterator[Answer]:
    """Send one request and follow where it leads; raises FetchError, or PassingError where another try may help.

    Leaving early closes the connection: the rest of a body is never read only to keep it.
    """
    moved = _Moved(limits.total_s)
    with _named(method, url, limits):
        answer = _follow(method, url, headers or {}, body, moved, limits)
        try:
            if answer.status >= 300 and answer.status not in accept:
                raise _failure(method, url, answer)
            yield answer
        finally:
            answer.raw.close()


def _follow(
    method: str, url: str, headers: Mapping[str, str], body: Body | None, moved: _Moved, limits: Limits
) -> Answer:
    """Send a request, and a GET again to where it is redirected."""
    target = url
    for _ in range(REDIRECTS + 1):
        answer = _send(method, target, headers, body, moved, limits)
        if method != "GET" or answer.status not in _MOVED or "Location" not in answer.headers:
            return answer
        answer.raw.close()
        before, target = target, urljoin(target, answer.headers["Location"])
        headers = _allowed(before, target, headers)
    raise FetchError(f"cannot GET {shown(url)}: it is redirected more than {REDIRECTS} times")


def _allowed(before: str, after: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Give the headers that may follow a redirect; raises FetchError when it may not be followed."""
    old, new = urlsplit(before), urlsplit(after)
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise FetchError(
            f"cannot GET {shown(before)}: it is redirected to {shown(after)}, which is not encrypted or not HTTP",
            hint="use the final address itself",
        )
    if (old.scheme, old.netloc) == (new.scheme, new.netloc):
        return headers
    return {name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")}


def _send(
    method: str, url: str, headers: Mapping[str, str], body: Body | None, moved: _Moved, limits: Limits
) -> Answer:
    import urllib3

    parts = urlsplit(url)
    sent = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **pools.credentials(parts.username, parts.password)}
    sent |= headers
    if body is not None:
        sent["Content-Length"] = str(_size(body))
    if isinstance(body, bytes):
        traffic.count(up=len(body))  # sent in one go, which no time is measured of
    raw = pools.pool(pools.proxy(parts.scheme, parts.hostname or "")).urlopen(
        method,
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, "")),
        headers=sent,
        body=body if body is None or isinstance(body, bytes) else _pieces(body, moved),
        timeout=urllib3.Timeout(connect=limits.connect_s, read=limits.read_s),
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )
    return Answer(status=raw.status, headers=raw.headers, raw=raw, moved=moved)


def _pieces(body: Path | Part, moved: _Moved) -> Iterator[bytes]:
    part = body if isinstance(body, Part) else Part(path=body, size=_size(body))
    with part.path.open("rb") as file:
        file.seek(part.start)
        left = part.size
        while left:
            block = file.read(min(PIECE, left))
            if not block:
                raise FetchError(f"{part.path} became shorter while it was sent")
            left -= len(block)
            moved.add(up=len(block))
            yield block


def _size(body: Body | None) -> int:
    if body is None:
        return 0
    if isinstance(body, bytes):
        return len(body)
    return body.size if isinstance(body, Part) else body.stat().st_size


@contextlib.contextmanager
def _named(method: str, url: str, limits: Limits) -> Iterator[None]:
    """Say in our words what went wrong on the way; urllib3's own hold the whole URL."""
    import urllib3.exceptions as failed

    what = f"cannot {method} {shown(url)}"
    try:
        yield
    except failed.SSLError as error:
        if _bad_certificate(error):
            raise FetchError(f"{what}: {_bad_certificate(error)}", hint="check the address and this clock") from error
        raise PassingError(FetchError(f"{what}: the encrypted connection broke")) from error
    except failed.NameResolutionError as error:
        raise PassingError(FetchError(f"{what}: the host's name is not known", hint="check the address")) from error
    except failed.NewConnectionError as error:
        raise PassingError(FetchError(f"{what}: {_cause(error)}", hint="check the address and the proxy")) from error
    except failed.ConnectTimeoutError as error:
        raise PassingError(FetchError(f"{what}: no connection within {limits.connect_s:g} s")) from error
    except failed.ReadTimeoutError as error:
        raise PassingError(FetchError(f"{what}: silent for {limits.read_s:g} s")) from error
    except TimeoutError as error:
        raise PassingError(FetchError(f"{what}: slower than {SLOWEST >> 10} KiB/s")) from error
    except (failed.ProtocolError, failed.ProxyError, ConnectionError) as error:
        raise PassingError(FetchError(f"{what}: the connection broke")) from error
    except (failed.HTTPError, UnicodeError, ValueError) as error:
        raise FetchError(f"{what}: it is not an address that can be asked") from error


def _bad_certificate(error: Exception) -> str:
    """Say what is wrong with a certificate, "" when the failure is another."""
    for cause in (*error.args, error.__cause__, error.__context__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
    return ""


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else "no connection"


def _failure(method: str, url: str, answer: Answer) -> FetchError | PassingError:
    """Make the error for a status; reading its message must not fail it in another way."""
    import urllib3

    words = ""
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):  # whatever breaks here, the status is what counts
        words = server_message(b"".join(itertools.islice(answer.blocks(), 8)))
    if (query := urlsplit(url).query) and query in words:
        words = words.replace(query, "...")
    text = f"cannot {method} {shown(url)}: {answer.status} {words or answer.raw.reason or ''}".rstrip()
    kind = DeniedError if answer.status in _DENIED else FetchError
    error = kind(text, status=answer.status)
    return PassingError(error, _retry_after(answer)) if answer.status in _PASSING else error


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def retried(once: Callable[[], _Result], limits: Limits, *, more_s: float = 0.0) -> _Result:
    """Try until it works, fails for good, or the tries or the time are spent; raises FetchError."""

    def passing(error: Exception) -> bool | float:
        return isinstance(error, PassingError) and (min(error.wait_s, MOST_WAIT_S) or True)

    try:
        return tried(once, passing, tries=limits.tries, total_s=limits.total_s + more_s)
    except PassingError as failed:
        raise BusyError(failed.error.message, hint=failed.error.hint, status=failed.error.status) from failed


def limited(blocks: Iterator[bytes], url: str, most: int | None) -> Iterator[bytes]:
    """Pass blocks on; raises FetchError when they are more than `most` bytes."""
    size = 0
    for block in blocks:
        size += len(block)
        if most is not None and size > most:
            raise FetchError(f"{shown(url)} is larger than {most} bytes")
        yield block


def exactly(blocks: Iterator[bytes], url: str, size: int) -> bytes:
    """Read blocks of `size` bytes together; PassingError when fewer come."""
    data = b"".join(limited(blocks, url, size))
    if len(data) != size:
        raise PassingError(FetchError(f"{shown(url)} ended after {len(data)} of {size} bytes"))
    return data
