"""The metering proxy: what passes is unchanged and counted, whoever sends it, and who is dismissed is cut off."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from uprez import http as ours
from uprez.practice import Clock, Market, Meter, Options, PracticeServer, Processes
from uprez.practice.framing import Chunked, MalformedError
from uprez.store import urls
from uprez.store.bucket import BucketStore
from waiting import until

if TYPE_CHECKING:
    from s3_server import S3Server

DATA = random.Random(1).randbytes(3_000_001)  # noqa: S311  no secret
CURL = shutil.which("curl")
HEADS = 2000
"""Bytes that heads may add."""
LAUNCH = {"image": "python:3.11-bookworm", "disk": 20, "label": "a", "onstart": "/bin/bash"}


class Handler(BaseHTTPRequestHandler):
    """Serves DATA, with ranges, in chunks under /chunked and until the end under /endless; takes bodies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def do(self) -> None:
        """Answer as the path says."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers))
        body = self.body()
        if self.path == "/empty":
            self.say(204)
        elif self.path == "/same":
            self.say(304, {"Content-Length": str(len(DATA))})
        elif self.path == "/endless":
            self.close_connection = True
            self.say(200, {"Connection": "close"}, DATA)
        elif self.path == "/chunked":
            self.say(200, {"Transfer-Encoding": "chunked"}, chunks(DATA))
        elif self.command in ("PUT", "POST"):
            text = hashlib.sha256(body).hexdigest().encode()
            self.say(200, {"Content-Length": str(len(text))}, text)
        else:
            begin, _, end = headers.get("range", f"bytes=0-{len(DATA) - 1}").removeprefix("bytes=").partition("-")
            part = DATA[int(begin) : int(end) + 1]
            self.say(206 if "range" in headers else 200, {"Content-Length": str(len(part))}, part)

    do_GET = do_PUT = do_POST = do_HEAD = do  # noqa: N815  http.server's names

    def body(self) -> bytes:
        """Read a body of either kind."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def say(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_expect_100(self) -> bool:
        """Refuse what is too long before it comes."""
        if self.path == "/refuse":
            self.close_connection = True
            self.say(413, {"Content-Length": "0", "Connection": "close"})
            return False
        return super().handle_expect_100()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Origin(ThreadingHTTPServer):
    """The server, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.place = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that a test breaks."""


def chunks(data: bytes) -> bytes:
    """Write a chunked body with an extension and a trailer."""
    parts = [data[at : at + 70_001] for at in range(0, len(data), 70_001)]
    return b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Sum: 1\r\n\r\n"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Give a server."""
    server = Origin()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def meter() -> Iterator[Meter]:
    """Give a meter."""
    with contextlib.closing(Meter()) as meter:
        yield meter


@pytest.fixture
def client(meter: Meter) -> Iterator[http.client.HTTPConnection]:
    """Give one connection to the meter."""
    connection = http.client.HTTPConnection("127.0.0.1", meter.port, timeout=20)
    yield connection
    connection.close()


def credentials(url: str) -> dict[str, str]:
    """Give the header that a proxy's URL means."""
    text = url.removeprefix("http://").rpartition("@")[0]
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_one_connection_serves_every_kind_of_message(
    meter: Meter, origin: Origin, client: http.client.HTTPConnection
) -> None:
    """Sizes, chunks, ranges, answers without a body: all pass as they are on one connection, and are counted."""
    me = credentials(meter.admit(7))
    base = f"http://{origin.place}"
    digest = hashlib.sha256(DATA).hexdigest().encode()
    ports = set()
    for method, path, body, more, status, wanted in (
        ("GET", "/whole?a=%2F&b", None, {}, 200, DATA),
        ("GET", "/part", None, {"Range": "bytes=100-299"}, 206, DATA[100:300]),
        ("HEAD", "/whole", None, {}, 200, b""),
        ("GET", "/empty", None, {}, 204, b""),
        ("GET", "/same", None, {}, 304, b""),
        ("GET", "/chunked", None, {}, 200, DATA),
        ("PUT", "/put", DATA, {"Host": "signed.example"}, 200, digest),
        ("POST", "/post", iter([DATA[:1000], DATA[1000:]]), {"Transfer-Encoding": "chunked"}, 200, digest),
        ("GET", "/", None, {}, 200, DATA),
    ):
        chunked = "Transfer-Encoding" in more
        client.request(method, base + path, body, {**me, **more}, encode_chunked=chunked)
        ports.add(client.sock.getsockname())
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (status, wanted), path
    assert len(ports) == 1
    assert origin.seen[0][1] == "/whole?a=%2F&b"
    assert origin.seen[6][2]["host"] == "signed.example"
    assert not any("proxy-authorization" in seen[2] for seen in origin.seen)
    moved = meter.take(7)
    assert 0 < moved.down - 3 * len(DATA) < HEADS * 9
    assert 0 < moved.up - 2 * len(DATA) < HEADS * 9
    assert meter.take(7).down == 0


def test_an_answer_without_an_end_closes_the_connection(
    meter: Meter, origin: Origin, client: http.client.HTTPConnection
) -> None:
    """What its server ends by closing is ended so for the client too."""
    client.request("GET", f"http://{origin.place}/endless", headers=credentials(meter.admit(7)))
    answer = client.getresponse()
    assert answer.read() == DATA
    assert answer.getheader("Connection") == "close"


@pytest.mark.parametrize("path", ["/put", "/refuse"])
def test_expect_100_continue_is_the_server_s_to_answer(meter: Meter, origin: Origin, path: str) -> None:
    """100 comes before the body is sent; a refusal comes instead of it, and the body is never sent."""
    me = credentials(meter.admit(7))["Proxy-Authorization"]
    with socket.create_connection(("127.0.0.1", meter.port), timeout=20) as sock:
        lines = [f"PUT http://{origin.place}{path} HTTP/1.1", "Host: a", f"Proxy-Authorization: {me}"]
        sock.sendall("\r\n".join([*lines, "Content-Length: 5", "Expect: 100-continue", "", ""]).encode())
        first = sock.recv(1 << 16)
        if path == "/refuse":
            assert b" 413 " in first
            assert b"Connection: close" in first
            return
        assert first.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"hello")
        answer = first.partition(b"\r\n\r\n")[2]
        while hashlib.sha256(b"hello").hexdigest().encode() not in answer:
            more = sock.recv(1 << 16)
            assert more
            answer += more


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:{port}", "http://C.7:wrong@127.0.0.1:{port}", "http://x:y@127.0.0.1:{port}"]
)
def test_nobody_else_is_let_through(meter: Meter, origin: Origin, proxy: str) -> None:
    """Without an instance's password it is 407, tunnels too, and no server hears of it."""
    meter.admit(7)
    headers = credentials(proxy) if "@" in proxy else {}
    for method, target in (("GET", f"http://{origin.place}/"), ("CONNECT", origin.place)):
        connection = http.client.HTTPConnection("127.0.0.1", meter.port, timeout=20)
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Proxy-Authenticate")) == (407, 'Basic realm="meter"')
        connection.close()
    assert origin.seen == []


def test_who_cannot_be_reached_is_a_bad_gateway(meter: Meter, client: http.client.HTTPConnection) -> None:
    """A closed port is 502 with the reason; so is a server that closes without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    me = credentials(meter.admit(7))
    client.request("GET", f"http://127.0.0.1:{closed}/", headers=me)
    answer = client.getresponse()
    assert (answer.status, b"refused" in answer.read()) == (502, True)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        threading.Thread(target=hang_up, args=(mute,), daemon=True).start()
        client.close()
        client.request("GET", f"http://127.0.0.1:{mute.getsockname()[1]}/", headers=me)
        assert client.getresponse().status == 502


def hang_up(server: socket.socket) -> None:
    """Take one connection and close it."""
    server.accept()[0].close()


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET ftp://127.0.0.1/ HTTP/1.1",
        "GET http://127.0.0.1:99999/ HTTP/1.1",
        "CONNECT 127.0.0.1 HTTP/1.1",
        "nonsense",
        "POST http://127.0.0.1:1/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "POST http://127.0.0.1:1/ HTTP/1.1\r\nContent-Length: -1",
        "GET http://127.0.0.1:1/ HTTP/1.1\r\nno name",
    ],
)
def test_what_is_no_request_is_refused(meter: Meter, request_line: str) -> None:
    """It is 400, whatever else."""
    me = credentials(meter.admit(7))["Proxy-Authorization"]
    with socket.create_connection(("127.0.0.1", meter.port), timeout=20) as sock:
        sock.sendall(f"{request_line}\r\nProxy-Authorization: {me}\r\n\r\n".encode())
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


def tunnel(meter: Meter, proxy: str, port: int) -> socket.socket:
    """Open a tunnel to a port."""
    sock = socket.create_connection(("127.0.0.1", meter.port), timeout=20)
    head = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nProxy-Authorization: {credentials(proxy)['Proxy-Authorization']}\r\n"
    sock.sendall(f"{head}\r\n".encode())
    assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    return sock


def test_a_tunnel_passes_both_ways_and_ends_side_by_side(meter: Meter) -> None:
    """Bytes pass exactly and are counted; the end of one way leaves the other open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = tunnel(meter, meter.admit(7), server.getsockname()[1])
        there, _ = server.accept()
        with sock, there:
            threading.Thread(target=lambda: (sock.sendall(DATA), sock.shutdown(socket.SHUT_WR)), daemon=True).start()
            assert b"".join(iter(lambda: there.recv(1 << 16), b"")) == DATA
            there.sendall(b"all of it")
            there.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: sock.recv(1 << 16), b"")) == b"all of it"
    moved = meter.take(7)
    assert (moved.down, moved.up) == (9, len(DATA))


def test_bytes_count_while_they_flow_and_a_dismissed_instance_is_cut(meter: Meter) -> None:
    """An open connection is counted already; dismissed, both its ends are closed and its password is nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = meter.admit(7)
        sock = tunnel(meter, proxy, server.getsockname()[1])
        there, _ = server.accept()
        with sock, there:
            there.sendall(b"x" * 1000)
            until(lambda: meter.take(7).down == 1000)
            meter.dismiss(7)
            assert there.recv(1) == b""
            assert b"".join(iter(lambda: sock.recv(1 << 16), b"")) == b"x" * 1000
    assert meter.line(credentials(proxy)["Proxy-Authorization"]) is None
    assert meter.admit(7) != proxy


def test_a_client_that_goes_away_takes_its_request_with_it(meter: Meter) -> None:
    """The server sees the end of a body that will never be whole."""
    me = credentials(meter.admit(7))["Proxy-Authorization"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(("127.0.0.1", meter.port), timeout=20)
        place = f"127.0.0.1:{server.getsockname()[1]}"
        head = f"PUT http://{place}/ HTTP/1.1\r\nProxy-Authorization: {me}\r\nContent-Length: 99\r\n\r\nbegin"
        sock.sendall(head.encode())
        there, _ = server.accept()
        there.settimeout(20)
        sock.close()
        with there:
            assert b"".join(iter(lambda: there.recv(1 << 16), b"")).endswith(b"begin")


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_chunks_end_where_they_end(size: int) -> None:
    """However a chunked body is cut in pieces, what follows it is not taken."""
    text = chunks(DATA[:200_000]) + b"HTTP/1.1 200 OK"
    if size == 1:
        text = chunks(DATA[:99]) + b"HTTP/1.1 200 OK"
    body, taken = Chunked(), 0
    for at in range(0, len(text), size):
        if body.done:
            break
        taken += body.take(text[at : at + size])
    assert text[taken:] == b"HTTP/1.1 200 OK"
    with pytest.raises(MalformedError):
        Chunked().take(b"-1\r\n")


# --- clients that find it in their environment


def through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> dict[str, str]:
    """Set the environment of an instance."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return dict(os.environ)


def test_our_own_client_goes_through_it(
    meter: Meter, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Downloads and uploads of `uprez.http` are counted."""
    through(monkeypatch, meter.admit(7))
    file = tmp_path / "data"
    file.write_bytes(DATA)
    assert ours.request("GET", f"http://{origin.place}/a").data == DATA
    sent = ours.request("PUT", f"http://{origin.place}/b", body=file)
    assert sent.data.decode() == hashlib.sha256(DATA).hexdigest()
    moved = meter.take(7)
    assert 0 < moved.down - len(DATA) < HEADS
    assert 0 < moved.up - len(DATA) < HEADS


def test_signed_urls_stay_valid(
    meter: Meter, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real store takes and gives by its signed URLs through the meter."""
    store = BucketStore(s3_server.access_to(s3_server.port), *s3_server.place())
    name = "a b#\u00e4+.bin"
    put, get = store.put_url(name, seconds=60), store.get_url(name, seconds=60)
    file = tmp_path / "data"
    file.write_bytes(DATA)
    through(monkeypatch, meter.admit(7))
    urls.put(put, file)
    urls.fetch(get, tmp_path / "copy", sha256=hashlib.sha256(DATA).hexdigest())
    moved = meter.take(7)
    assert 0 < moved.up - len(DATA) < HEADS * 2
    assert 0 < moved.down - len(DATA) < HEADS * 2


def test_urllib_goes_through_it(meter: Meter, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard library fetches is counted."""
    through(monkeypatch, meter.admit(7))
    with urllib.request.build_opener().open(f"http://{origin.place}/a", timeout=20) as answer:
        assert answer.read() == DATA
    assert 0 < meter.take(7).down - len(DATA) < HEADS


@pytest.mark.skipif(CURL is None, reason="there is no curl")
def test_curl_goes_through_it(meter: Meter, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fetching, and sending with Expect: 100-continue, are counted."""
    environment = through(monkeypatch, meter.admit(7))
    file = tmp_path / "data"
    file.write_bytes(DATA)
    base = f"http://{origin.place}"
    for arguments, wanted in (
        ([f"{base}/a", f"{base}/chunked"], DATA * 2),
        (["-T", str(file), "-H", "Expect: 100-continue", f"{base}/b"], hashlib.sha256(DATA).hexdigest().encode()),
        (["-T", "-", f"{base}/c"], hashlib.sha256(DATA).hexdigest().encode()),
    ):
        with file.open("rb") as data:
            done = subprocess.run(
                [str(CURL), "-sS", *arguments], env=environment, stdin=data, capture_output=True, timeout=60, check=True
            )
        assert done.stdout == wanted
    moved = meter.take(7)
    assert 0 < moved.down - 2 * len(DATA) < HEADS + len(chunks(DATA)) - len(DATA)
    assert 0 < moved.up - 2 * len(DATA) < HEADS * 2


def test_an_instance_s_bytes_are_on_its_bill(origin: Origin, tmp_path: Path) -> None:
    """A rented process fetches and sends; the market charges it, shows it, and goes on after a self-destruction."""
    text = (
        "import os, sys, urllib.request as u; base = sys.argv[1]; data = u.urlopen(base + '/a').read(); "
        "u.urlopen(u.Request(base + '/b', data, method='PUT')).read(); "
        "print(os.environ.get('no_proxy'), flush=True); sys.stdin.read(); import time; time.sleep(1); "
        "r = u.Request(os.environ['BASE'] + '/api/v0/instances/' + os.environ['CONTAINER_ID'] + '/', method='DELETE', "
        "headers={'Authorization': 'Bearer ' + os.environ['CONTAINER_API_KEY']}); u.urlopen(r).read(); time.sleep(99)"
    )
    with contextlib.closing(Meter()) as meter:
        options = Options(boot_s=(3.0, 3.0), limits=False)
        server = PracticeServer(Market(Clock(20.0), Processes(tmp_path / "market", meter=meter), options))
        with contextlib.closing(server):
            market = server.market
            offer = next(each for each in market.offer_list() if each.down_usd_per_gb and each.up_usd_per_gb)
            arguments = {"onstart": sys.executable, "args": ["-c", text, f"http://{origin.place}"]}
            made = market.create(offer.id, {**LAUNCH, **arguments, "env": {"BASE": server.url, "no_proxy": "*"}})
            bill = market.bills[int(str(made["new_contract"]))]
            until(lambda: bill.up > len(DATA))
            assert market.rows()
            until(lambda: not market.rows())
            state: Any = server.state()
    (shown,) = state["bills"]
    assert 0 < shown["down_bytes"] - len(DATA) < HEADS
    assert 0 < shown["up_bytes"] - len(DATA) < HEADS
    assert bill.items["down"] == pytest.approx(offer.down_usd_per_gb * bill.down / 10**9)
    assert bill.items["up"] > 0
