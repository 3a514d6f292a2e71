"""The HTTP client against a server of this test that misbehaves in every way it is meant to bear."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from uprez import http
from uprez.errors import FetchError
from uprez.http import Limits, RangeFile, exchange, retry

DATA = random.Random(1).randbytes(3_000_001)  # noqa: S311 # no secret
QUICK = Limits(connect_s=2, read_s=0.5, total_s=2, tries=4)
SECRET = "X-Amz-Signature=5ec2e7"  # noqa: S105 # of nobody


class Handler(BaseHTTPRequestHandler):
    """Serves DATA with ranges and an ETag; a test puts what is to happen first into `script`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def do(self) -> None:
        """Answer by the script, or as a good server does."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        script = self.server.script
        (script.pop(0) if script else Handler.good)(self)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_CONNECT = do  # noqa: N815 # http.server's names

    def good(self) -> None:
        """Serve DATA, or the range of it that is asked for."""
        origin = self.server
        if self.headers.get("If-Match", origin.etag) != origin.etag:
            return self.say(412)
        begin, end = 0, len(origin.data)
        ranged = self.headers.get("Range") if origin.ranges else None
        if ranged:
            first, _, last = ranged.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(end, int(last) + 1 if last else end)
            if begin >= len(origin.data):
                return self.say(416, {"Content-Range": f"bytes */{len(origin.data)}"})
        headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(origin.data)}"} if ranged else {}
        return self.say(206 if ranged else 200, headers, origin.data[begin:end])

    def say(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send an answer."""
        self.send_response(status)
        etag = {"ETag": self.server.etag} if self.server.etag else {}
        for name, value in {**etag, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.server.cut_at] if status in (200, 206) else body)
        if self.server.cut_at is not None and len(body) > self.server.cut_at:
            self.server.cut_at = None
            self.reset()

    def reset(self) -> None:
        """Break the connection."""
        self.close_connection = True
        time.sleep(0.05)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.wfile.close()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Origin(ThreadingHTTPServer):
    """What the server serves, what it will do, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.ranges = DATA, '"one"', True
        self.cut_at: int | None = None
        self.script: list[Callable[[Handler], None]] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that a test breaks."""

    @property
    def url(self) -> str:
        """A URL with a secret in it."""
        return f"http://127.0.0.1:{self.server_address[1]}/video.mp4?{SECRET}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Give a server."""
    server = Origin()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def answers(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Callable[[Handler], None]:
    """Give a step of a script that answers so."""
    return lambda handler: handler.say(status, headers, body)


def silent(handler: Handler) -> None:
    """Be silent for longer than anybody waits."""
    time.sleep(1)
    handler.reset()


def drip(handler: Handler, *, headers: bool) -> None:
    """Send a byte now and then, of the headers or of the body, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " if headers else b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(200):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    handler.close_connection = True


PASSING: dict[str, Callable[[Handler], None]] = {
    **{str(status): answers(status, body=b"busy") for status in (429, 500, 502, 503, 504)},
    "reset": Handler.reset,
    "silent": silent,
    "drips headers": lambda handler: drip(handler, headers=True),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(origin: Origin, name: str) -> None:
    """A busy server, a broken connection and silence are tried again, and the answer is then whole."""
    origin.script = [PASSING[name]] * 2
    assert http.request("GET", origin.url, limits=QUICK).data == DATA
    assert len(origin.seen) == 3


@pytest.mark.parametrize("name", PASSING)
def test_tries_are_bounded(origin: Origin, name: str) -> None:
    """What does not pass ends as an error with the address and no secret."""
    origin.script = [PASSING[name]] * 9
    with pytest.raises(FetchError, match=r"cannot GET http://127\.0\.0\.1:\d+/video\.mp4: ") as caught:
        http.request("GET", origin.url, limits=QUICK)
    assert SECRET not in str(caught.value)
    assert 2 <= len(origin.seen) <= QUICK.tries
    assert caught.value.status == (int(name) if name.isdecimal() else None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 501])
def test_other_failures_are_final(origin: Origin, status: int) -> None:
    """They are not tried again, and the server's own words are told: S3's XML, or a line of text."""
    xml = f"<?xml?><Error><Code>Wrong</Code><Message>It &lt;is&gt; so: {SECRET}</Message></Error>".encode()
    for body, words in ((xml, "Wrong: It <is> so: ..."), (b"no\nmore", "no"), (b"<html>", "[A-Z]")):
        origin.script = [answers(status, body=body)]
        with pytest.raises(FetchError, match=f": {status} {words}") as caught:
            http.request("GET", origin.url)
        assert caught.value.status == status
        assert SECRET not in str(caught.value)
    assert len(origin.seen) == 3


def test_a_server_is_left_alone_as_long_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After, in seconds or as a date, is waited for, up to a limit."""
    error = FetchError("busy")
    waits = []

    def retry_context(
        *, on: Callable[[Exception], object], **_: object
    ) -> list[contextlib.AbstractContextManager[None]]:
        waits.extend(on(exchange.PassingError(error, wait_s)) for wait_s in (0, 7, 1e9))
        waits.append(on(error))
        return [contextlib.nullcontext()]

    monkeypatch.setattr("stamina.retry_context", retry_context)
    exchange.retried(lambda: None, QUICK)
    assert waits == [True, 7, retry.MOST_WAIT_S, False]


def test_trying_again_says_nothing() -> None:
    """Nobody asked for lines of a library on the console: what failed in the end is told by the error."""
    program = """
from uprez import http
try:
    http.request("GET", "http://127.0.0.1:1/", limits=http.Limits(tries=2))
except http.exchange.FetchError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "cannot GET http://127.0.0.1:1/: Connection refused\n"
    assert done.stderr == ""


def test_retry_after_is_read(origin: Origin) -> None:
    """Seconds and dates are understood, anything else is no wish."""
    found = []
    for text in ("12", "Wed, 21 Oct 2099 07:28:00 GMT", "soon"):
        origin.script = [answers(503, {"Retry-After": text})]
        with pytest.raises(exchange.PassingError) as caught, exchange.exchange("GET", origin.url):
            pytest.fail("answered")
        found.append(caught.value.wait_s)
    assert found[0] == 12
    assert found[1] > 1e9
    assert found[2] == 0


def test_a_trickle_ends(origin: Origin) -> None:
    """A body that comes byte by byte for ever is given up within the time for the whole."""
    origin.script = [lambda handler: drip(handler, headers=False)] * 9
    begin = time.monotonic()
    with pytest.raises(FetchError, match="slower than"):
        http.request("GET", origin.url, limits=Limits(read_s=0.5, total_s=0.5))
    assert time.monotonic() - begin < 8


def test_an_answer_has_a_size(origin: Origin) -> None:
    """What is larger than it may be is refused before it is read, the limit itself is not."""
    assert len(http.request("GET", origin.url, most=len(DATA)).data) == len(DATA)
    with pytest.raises(FetchError, match="larger than"):
        http.request("GET", origin.url, most=len(DATA) - 1)


def test_a_body_is_sent_whole_at_every_try(origin: Origin, tmp_path: Path) -> None:
    """Bytes, a file and a part of one arrive with their length, again after a failure."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    for body, sent in (
        (b"bytes", b"bytes"),
        (path, DATA),
        (http.Part(path=path, start=5, size=99_999), DATA[5:100_004]),
    ):
        origin.seen.clear()
        origin.script = [answers(503), answers(200)]
        http.request("PUT", origin.url, body=body)
        assert [seen[3] for seen in origin.seen] == [sent, sent]
        assert origin.seen[0][2]["content-length"] == str(len(sent))
        assert "transfer-encoding" not in origin.seen[0][2]


def test_bytes_are_counted_whatever_becomes_of_them(origin: Origin, tmp_path: Path) -> None:
    """What was read and sent counts, at each try, for all threads together."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    down, up = http.traffic()
    origin.script = [answers(503), answers(200)]
    http.request("PUT", origin.url, body=path)
    http.request("PUT", origin.url, body=b"12345")
    threads = [threading.Thread(target=http.request, args=("GET", origin.url)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    after = http.traffic()
    assert 5 * len(DATA) <= after[0] - down < 5 * len(DATA) + 1000  # the second PUT is answered with as much
    assert after[1] - up == 2 * len(DATA) + 5


def test_an_answer_that_only_a_retry_may_have(origin: Origin) -> None:
    """What was done by a try whose answer was lost is no failure in the next, and is one in the first."""
    origin.script = [answers(404)]
    with pytest.raises(FetchError):
        http.request("POST", origin.url, again=frozenset({404}))
    origin.script = [Handler.reset, answers(404)]
    assert http.request("POST", origin.url, again=frozenset({404})).status == 404


def test_redirects_are_followed(origin: Origin) -> None:
    """A GET goes where it is sent, five times at most; what was meant for one host is not told to another."""
    other = origin.url.replace("127.0.0.1", "localhost")
    origin.script = [answers(302, {"Location": "/there"}), answers(307, {"Location": other}), Handler.good]
    answer = http.request("GET", origin.url, headers={"Authorization": "Bearer x", "Range": "bytes=1-3"})
    assert answer.data == DATA[1:4]
    assert [("authorization" in seen[2], seen[1].partition("?")[0]) for seen in origin.seen] == [
        (True, "/video.mp4"),
        (True, "/there"),
        (False, "/video.mp4"),
    ]
    origin.script = [answers(302, {"Location": "/again"})] * 9
    with pytest.raises(FetchError, match="more than 5 times"):
        http.request("GET", origin.url)
    origin.script = [answers(302, {"Location": "file:///etc/passwd"})]
    with pytest.raises(FetchError, match="not encrypted or not HTTP"):
        http.request("GET", origin.url)
    with pytest.raises(FetchError, match="not encrypted"):
        exchange._allowed("https://a/b", "http://a/b", {})


def test_only_a_get_is_redirected(origin: Origin) -> None:
    """A PUT that is sent elsewhere fails with the status."""
    origin.script = [answers(307, {"Location": "/there"})]
    with pytest.raises(FetchError, match="307"):
        http.request("PUT", origin.url, body=b"x")


def test_user_and_password_are_a_header(origin: Origin) -> None:
    """Those of a URL are sent as the server expects them and never shown."""
    url = origin.url.replace("//", "//me:p%40ss@")
    http.request("GET", url)
    assert origin.seen[0][2]["authorization"] == "Basic bWU6cEBzcw=="
    assert http.shown(url) == http.shown(origin.url)
    assert "me" not in http.shown("https://me:pass@host:1/meadow?me=1").replace("meadow", "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/a", "Connection refused"),
        ("http://:80/a", "not an address"),
        ("http://[::1/a", "not an address"),
        ("ftp://127.0.0.1/a", "not an address"),
        ("http://127.0.0.1:999999/a", "not an address"),
    ],
)
def test_no_connection_is_named(url: str, words: str) -> None:
    """Who does not answer, and an address that is none, are errors of ours."""
    with pytest.raises(FetchError, match=words):
        http.request("GET", url, limits=QUICK)


def test_a_proxy_of_the_environment_is_used(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is asked for what NO_PROXY does not name."""
    port = origin.server_address[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http.request("GET", origin.url)
    http.request("GET", "http://video.invalid/a?b")
    assert [seen[1] for seen in origin.seen] == [f"/video.mp4?{SECRET}", "http://video.invalid/a?b"]


def test_a_proxy_hears_its_own_password_and_no_server_does(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password of the proxy's URL go to it, with a request as with a tunnel."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://C.7:pass%20word@127.0.0.1:{origin.server_address[1]}")
    http.request("GET", "http://video.invalid/a")
    origin.script = [answers(407)]
    with pytest.raises(FetchError):
        http.request("GET", "https://video.invalid/b", limits=Limits(tries=1))
    told = "Basic " + base64.b64encode(b"C.7:pass word").decode()
    assert [(seen[0], seen[1]) for seen in origin.seen] == [
        ("GET", "http://video.invalid/a"),
        ("CONNECT", "video.invalid:443"),
    ]
    assert [seen[2]["proxy-authorization"] for seen in origin.seen] == [told, told]
    assert "authorization" not in origin.seen[0][2]


def test_facts_come_with_one_byte(origin: Origin) -> None:
    """Size, ETag and ranges are learned by a GET, because a signed URL allows nothing else."""
    facts = http.head(origin.url)
    assert (facts.size, facts.etag, facts.ranges) == (len(DATA), '"one"', True)
    assert origin.seen[0][0] == "GET"
    origin.ranges = False
    facts = http.head(origin.url)
    assert (facts.size, facts.ranges) == (len(DATA), False)
    origin.ranges, origin.data = True, b""
    assert http.head(origin.url).size == 0


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', ""])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke(origin: Origin, tmp_path: Path, etag: str, ranges: bool) -> None:
    """The rest is asked for when an ETag proves that it belongs; else it begins again. The digest is of it all."""
    origin.etag, origin.ranges, origin.cut_at = etag, ranges, 2_000_000
    origin.script = [Handler.good, answers(503), Handler.good]
    sha256 = http.download(origin.url, tmp_path / "file", limits=QUICK)
    assert (tmp_path / "file").read_bytes() == DATA
    assert sha256 == hashlib.sha256(DATA).hexdigest()
    resumed = origin.seen[-1][2]
    assert (resumed.get("range", "").startswith("bytes="), resumed.get("if-match")) == (
        (True, etag) if etag == '"one"' else (False, None)
    )


def test_a_download_is_bounded(origin: Origin, tmp_path: Path) -> None:
    """One that does not get on ends; one that gets on is taken up more often than there are tries."""
    origin.script = [Handler.reset] * 9
    with pytest.raises(FetchError, match="broke"):
        http.download(origin.url, tmp_path / "file", limits=QUICK)
    origin.script = []
    with pytest.raises(FetchError, match="larger than"):
        http.download(origin.url, tmp_path / "file", most=1000, limits=QUICK)

    def some(handler: Handler) -> None:
        handler.server.cut_at = exchange.PIECE * 17
        handler.good()

    origin.data = DATA * 4
    origin.script = [some] * 8
    http.download(origin.url, tmp_path / "file", limits=QUICK)
    assert (tmp_path / "file").read_bytes() == DATA * 4


def test_a_download_that_changed_is_refused(origin: Origin, tmp_path: Path) -> None:
    """Half of one file and half of another are never joined, and the one that was meant can be named."""
    origin.cut_at = 2_000_000

    def other(handler: Handler) -> None:
        origin.etag = '"two"'
        handler.good()

    origin.script = [Handler.good, other]
    with pytest.raises(FetchError, match="changed while it was read"):
        http.download(origin.url, tmp_path / "file", limits=QUICK)
    with pytest.raises(FetchError, match="changed"):
        http.download(origin.url, tmp_path / "file", etag='"one"', limits=QUICK)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_range_file_is_a_file(origin: Origin, ranges: bool) -> None:
    """Every read and seek gives what the same would give of the bytes themselves."""
    origin.ranges = ranges
    chance, twin = random.Random(2), io.BytesIO(DATA)  # noqa: S311
    with RangeFile(origin.url, block=10_000, ahead=4, kept=8) as file:
        assert file.size == len(DATA)
        assert file.seekable()
        assert file.readable()
        for _ in range(300):
            if chance.random() < 0.5:
                where = (chance.randrange(len(DATA) + 99), io.SEEK_SET)
                where = chance.choice([where, (-chance.randrange(9999), io.SEEK_END)])
                assert file.seek(*where) == twin.seek(*where)
            size = chance.choice([1, 7, 9_999, 10_001, 55_000])
            data = file.read(size)
            assert data == twin.read(len(data))
            assert data or file.tell() >= len(DATA)
        file.seek(0)
        assert file.readall() == DATA
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_a_range_file_asks_for_little(origin: Origin) -> None:
    """The tail is one request, what was read is kept, and reading on in order asks for more at a time."""
    block = 50_000
    with RangeFile(origin.url, block=block, ahead=8) as file:
        file.seek(-10, io.SEEK_END)
        file.read(10)
        assert len(origin.seen) == 2
        file.seek(0)
        file.read(100)
        assert len(origin.seen) == 2
        file.seek(0)
        assert io.BufferedReader(file).read(20 * block) == DATA[: 20 * block]
    asked = [seen[2]["range"].removeprefix("bytes=").split("-") for seen in origin.seen[2:]]
    assert [(int(last) + 1 - int(first)) // block for first, last in asked] == [1, 2, 4, 8, 8]


def test_a_range_file_that_changes_is_refused(origin: Origin) -> None:
    """Pieces of two files are never mixed, with a strong ETag, a weak one, or another size."""
    for before, after, data in (('"a"', '"b"', DATA), ('W/"a"', 'W/"b"', DATA), ("", "", DATA[:-1])):
        origin.etag, origin.data = before, DATA
        with RangeFile(origin.url, block=1000) as file:
            file.read(10)
            origin.etag, origin.data = after, data
            file.seek(5000)
            with pytest.raises(FetchError, match="changed while it was read"):
                file.read(10)


def test_a_range_file_bears_faults(origin: Origin) -> None:
    """Each request is tried again by itself."""
    origin.script = [Handler.reset, answers(503), Handler.good, answers(500), Handler.reset]
    with RangeFile(origin.url, limits=QUICK) as file:
        file.seek(2_000_000)
        assert file.read(5) == DATA[2_000_000:2_000_005]


def test_an_empty_file_has_no_bytes(origin: Origin) -> None:
    """It is read like any other."""
    origin.data = b""
    with RangeFile(origin.url) as file:
        assert (file.size, file.read(5)) == (0, b"")


def test_a_file_without_ranges_has_a_size_too(origin: Origin) -> None:
    """What must be read whole is not read beyond its limit."""
    origin.ranges = False
    with pytest.raises(FetchError, match="larger than"):
        RangeFile(origin.url, most=1000)


def test_a_wrong_certificate_is_final() -> None:
    """It is named with its reason, and not tried again."""
    from urllib3.exceptions import SSLError

    reason = ssl.SSLCertVerificationError(1, "certificate verify failed")
    reason.verify_message = "self-signed certificate"
    with (
        pytest.raises(FetchError, match="its certificate is not accepted: self-signed"),
        exchange._named("GET", "https://a/b", QUICK),
    ):
        raise SSLError(reason)
