"""A stub of Vast.ai on this machine: it answers by a script, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from uprez.config.settings import Secret
from uprez.http import Limits
from uprez.market.vast.limiter import Limiter
from uprez.market.vast.wire import Vast

KEY = "c0ffee-canary-key"
OFFER: dict[str, Any] = {
    "id": 20671312,
    "machine_id": 12345,
    "host_id": 6789,
    "num_gpus": 1,
    "gpu_name": "RTX 4090",
    "gpu_ram": 24564,
    "compute_cap": 890,
    "cuda_max_good": 12.4,
    "cpu_cores_effective": 16.0,
    "cpu_ram": 128790,
    "disk_space": 350.2,
    "disk_bw": 2900.0,
    "inet_up": 812.5,
    "inet_down": 905.1,
    "inet_up_cost": 0.004,
    "inet_down_cost": 0.002,
    "dph_base": 0.33,
    "dph_total": 0.3344,
    "min_bid": 0.17,
    "is_bid": False,
    "storage_cost": 0.15,
    "dlperf": 95.3,
    "reliability": 0.9953,
    "verification": "verified",
    "vericode": 1,
    "hosting_type": 0,
    "geolocation": "Vienna, AT",
    "static_ip": True,
    "pci_gen": 4.0,
    "gpu_mem_bw": 850.0,
    "rentable": True,
    "external": False,
    "duration": 7400000.0,
}
"""As the documents show one."""


@dataclass(kw_only=True)
class Say:
    """One answer. `body`: JSON unless it is bytes; `lost`: the connection ends without it."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False


Ask = tuple[str, str, dict[str, str], Any]


class Stub(ThreadingHTTPServer):
    """Answers what `replies` gives, in order, the last one for ever; or what `answer` makes of a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Ask] = []
        self.replies: list[Say] = []
        self.answer: Callable[[str, str, Any], Say] | None = None

    @property
    def url(self) -> str:
        """Give its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, *replies: Say) -> None:
        """Set what it answers from now on."""
        self.replies = list(replies)

    def next(self, method: str, path: str, body: Any) -> Say:
        """Give the answer to a request."""
        if self.answer:
            return self.answer(method, path, body)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def methods(self) -> list[str]:
        """List what it was asked: method and path without query."""
        return [f"{method} {path.partition('?')[0]}" for method, path, _, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Stub

    def do(self) -> None:
        """Answer."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(data) if data else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        say = self.server.next(self.command, self.path, body)
        if say.lost:
            self.close_connection = True
            return
        sent = say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode()
        self.send_response(say.status)
        for name, value in {"Content-Length": str(len(sent)), **say.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_PUT = do_POST = do_DELETE = do  # noqa: N815 # http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Clock:
    """Time that passes when somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(scope="session")
def server() -> Iterator[Stub]:
    """Run the stub."""
    made = Stub()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def stub(server: Stub) -> Stub:
    """Give the stub with nothing to say."""
    server.asked, server.replies, server.answer = [], [Say(body={"success": True})], None
    return server


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def vast(stub: Stub, clock: Clock) -> Vast:
    """Give a client of the stub whose time is the clock's."""
    limiter = Limiter(clock=lambda: clock.now, sleep=clock.sleep)
    return Vast(stub.url, Secret(KEY), limiter=limiter, limits=Limits(connect_s=5, read_s=5, total_s=10, tries=1))


def listing(*ids: int, token: str | None = None, label: str = "") -> Say:
    """Make one page of a list."""
    rows: Sequence[Any] = [{"id": one, "label": label or None, "actual_status": "running"} for one in ids]
    return Say(body={"success": True, "instances": rows, "next_token": token})
