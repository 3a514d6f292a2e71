"""The connections of this process: kept, patient within limits, through the proxy that the environment names."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from urllib3 import HTTPResponse, PoolManager


@functools.cache
def pool(proxy: str | None) -> PoolManager:
    """Give the connections of this process, through a proxy where one is named; they are kept for the next request."""
    import urllib3  # 40 ms, and most verbs of the command send nothing
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    plain = type("_Plain", (_Patience, HTTPConnection), {})
    secure = type("_Secure", (_Patience, HTTPSConnection), {})
    manager = _through(proxy) if proxy else urllib3.PoolManager(maxsize=32)
    manager.pool_classes_by_scheme = {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return manager


def _through(proxy: str) -> PoolManager:
    """Make the connections through a proxy; `user:password@` of its URL is for it alone."""
    import urllib3

    parts = urlsplit(proxy)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    secret = None if parts.username is None else _pair(parts.username, parts.password)
    return urllib3.ProxyManager(plain, maxsize=32, proxy_headers=urllib3.make_headers(proxy_basic_auth=secret))


class _Patience:
    """Bounds the time for all of an answer's headers, which a socket's time-out, one for each byte, does not."""

    timeout: float
    sock: socket.socket

    def getresponse(self) -> HTTPResponse:
        """Wait for the headers, at most as long as for one read; a connection that is cut off then breaks."""
        sock, late = self.sock, threading.Event()

        def cut() -> None:
            late.set()
            with contextlib.suppress(OSError):  # closed in the meantime
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            answer: HTTPResponse = super().getresponse()  # type: ignore[misc] # the connection that this is mixed into
        finally:
            timer.cancel()
        if late.is_set():  # http.client takes headers that break off for complete
            answer.close()
            raise TimeoutError
        return answer


def proxy(scheme: str, host: str) -> str | None:
    """Give the proxy that the environment names for a host; the system's own convention, so not a setting of ours."""
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    return proxies.get(scheme) or proxies.get("all")


def credentials(user: str | None, password: str | None) -> dict[str, str]:
    """Turn `user:password@` of a URL into the header that it means."""
    if user is None:
        return {}
    import urllib3

    return urllib3.make_headers(basic_auth=_pair(user, password))


def _pair(user: str, password: str | None) -> str:
    return f"{unquote(user)}:{unquote(password or '')}"
