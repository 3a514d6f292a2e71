"""A loopback server for what boots: objects to GET and PUT, and instances to ask about and to DELETE."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from uprez import wire
from uprez.packing import Packed
from uprez.sheet import Install, Ref, Sheet

LEASE = "0123abcd"


class Desk:
    """The server: `objects` by path; `answers` are statuses by method and path that come before anything else."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.answers: dict[tuple[str, str], list[int]] = {}
        self.seen: list[tuple[str, str, str]] = []
        """Method, path, Authorization."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def deletes(self) -> list[str]:
        """Give the Authorization of each DELETE so far."""
        return [key for method, _, key in self.seen if method == "DELETE"]

    def lay(self, packed: Packed, **changes: object) -> str:
        """Lay out a wheel and a sheet without work; gives the sheet's signed address."""
        self.objects["/wheel"] = packed.data
        wheel = Ref(url=f"{self.url}/wheel?X-Amz-Signature=c0ffee", sha256=packed.sha256, size=len(packed.data))
        given: dict[str, object] = {
            "lease": LEASE,
            "length_s": 60.0,
            "grace_s": 10.0,
            "watch_s": 0.2,
            "status_s": 0.2,
            "idle_s": 0.2,
            "families": ("cpu",),
            "install": Install(wheel=wheel, wheel_name=packed.name),
            "status_url": f"{self.url}/status?X-Amz-Signature=c0ffee",
            "log_urls": (f"{self.url}/log?X-Amz-Signature=c0ffee",),
            "next_sheet_url": f"{self.url}/sheet?X-Amz-Signature=c0ffee",
        }
        self.objects["/sheet"] = wire.dump(Sheet(**{**given, **changes}))  # type: ignore[arg-type]
        return f"{self.url}/sheet?X-Amz-Signature=c0ffee"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(desk: Desk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers, and prints nothing."""

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            desk.seen.append((self.command, path, self.headers.get("Authorization", "")))
            waiting = desk.answers.get((self.command, path))
            status, data = 200, b""
            if waiting:
                status = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            elif self.command == "PUT":
                desk.objects[path] = body
            elif self.command == "GET" and path not in desk.objects:
                status = 404
            elif self.command == "GET":
                data = desk.objects[path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_DELETE = answer  # noqa: N815 # http.server's names

    return Handler
