"""The remote config, over a real loopback server: what it may set, and every way in which it can be wrong."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uprez import batch
from uprez.cli.main import run_cli
from uprez.config import remote
from uprez.config.layers import gather, load
from uprez.config.settings import Settings
from uprez.errors import UsageError

Write = Callable[[str], None]
LOCAL = """
vast:
  max_price: 0.5
  min_price: 0.1
  min_reliability: 0.95
  min_vram: 12
  verified: true
  gpu_models: [RTX_3090, RTX_4090]
  gpu_blacklist: [RTX_3060]
presets:
  mine:
    max_price: 0.4
    min_vram: 16
"""


@dataclass(frozen=True)
class Answer:
    """A remote config that needs no server."""

    data: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Server:
    """A loopback server with one remote config."""

    url: str = ""
    body: bytes = b""
    etag: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None
    """Before it answers."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """The headers of every request."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked.append({name.lower(): value for name, value in handler.headers.items()})
        if self.wait:
            self.wait.wait(30)
        current = self.etag is not None and handler.headers.get("If-None-Match") == self.etag
        handler.send_response(304 if current else self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", "0" if current else str(len(self.body)))
        handler.end_headers()
        if not current:
            handler.wfile.write(self.body)


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve a remote config on this machine."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            with contextlib.suppress(OSError):  # whoever asked had enough
                state.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}/config.yaml"
        yield state
        if state.wait:
            state.wait.set()
        http.shutdown()
        thread.join()


@pytest.fixture
def local(config: Write, server: Server) -> Callable[[str], None]:
    """Write config.yaml with the server's address in it."""

    def write(text: str = "") -> None:
        config(f"config_url: {server.url}\n{text}")

    return write


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask once, and not for long."""
    monkeypatch.setattr(remote, "SILENCE_S", 0.5)
    monkeypatch.setattr(remote, "TOTAL_S", 2.0)
    monkeypatch.setattr(remote, "TRIES", 1)


@pytest.mark.parametrize(
    "body", ['{\n\t"video": {"scale": 3, "crf": 18}\n}', "video: {scale: 3, crf: 18}", "{video: {scale: 3, crf: 18}}"]
)
def test_it_wins_over_the_local_file_and_says_what_it_sets(body: str, local: Write, server: Server) -> None:
    """JSON or YAML by content; what it does not name stays; each line of the console is there."""
    local("video: {scale: 2, codec: hevc, crf: 30}")
    server.body = body.encode()
    settings = load({})
    assert (settings.options.scale, settings.options.crf, settings.options.codec) == (3, 18, "hevc")
    assert settings.notes == (
        "[+] Downloading remote config...",
        "[OK] Remote config merged: ['video']",
        "[INFO] Remote config sets: video.scale=3, video.crf=18",
    )
    assert settings.origins["video.scale"].layer == "remote"
    assert settings.origins["video.scale"].place.startswith(server.url)
    assert load({"scale": "4"}).options.scale == 4


def test_it_is_fetched_at_every_run_and_sent_only_when_it_changed(local: Write, server: Server) -> None:
    """The second run sends the ETag and uses its copy on 304; a failure never does."""
    local()
    server.body, server.etag = b"video: {scale: 3}", '"one"'
    assert load({}).options.scale == 3
    assert load({}).options.scale == 3
    assert [asked.get("if-none-match") for asked in server.asked] == [None, '"one"']
    server.body, server.etag = b"video: {scale: 4}", '"two"'
    assert load({}).options.scale == 4
    server.status, server.etag = 404, None
    with pytest.raises(UsageError, match="404"):
        load({})


def test_a_copy_that_was_cut_short_is_fetched_again(folder: Path, local: Write, server: Server) -> None:
    """Half a copy is no copy."""
    local()
    server.body, server.etag = b"video: {scale: 3}", '"one"'
    load({})
    (copy,) = (folder / "state" / "remote").iterdir()
    copy.write_text(copy.read_text(encoding="utf-8")[:20], encoding="utf-8")
    assert load({}).options.scale == 3
    assert server.asked[-1].get("if-none-match") is None


def broken(server: Server, how: str) -> None:
    """Break the server in one way."""
    server.body = b"video: {scale: 3}"
    if how == "down":
        server.url = "http://127.0.0.1:9/config.yaml"
    elif how == "slow":
        server.wait = threading.Event()
    elif how == "error":
        server.status = 500
    elif how == "large":
        server.body = b"#" * (20 << 20)
    elif how == "moved":
        server.status, server.headers = 302, {"Location": "ftp://example.org/"}


FAILED = [
    ("down", "cannot GET"),
    ("slow", "cannot GET"),
    ("error", "500"),
    ("large", "is larger than 1048576 bytes"),
    ("moved", "redirected"),
]


@pytest.mark.parametrize(("how", "line"), FAILED)
@pytest.mark.parametrize("optional", [False, True])
def test_one_that_cannot_be_had_stops_the_run_unless_it_is_optional(
    how: str, line: str, optional: bool, config: Write, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Down, slow, broken, 20 MB or moved away: its own line and code 2; with config_optional a warning."""
    broken(server, how)
    config(f"config_url: {server.url}\nconfig_optional: {optional}\n")
    if optional:
        notes = load({}).notes
        assert any(note.startswith("[WARN] The remote config was left out: ") and line in note for note in notes)
        return
    with pytest.raises(SystemExit, match="2"):
        run_cli(["run"])
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("[ERROR] the remote config cannot be had: ")
    assert line in error
    assert "config_optional" in hint


WRONG = [
    ("<html>no</html>", "holds no settings by name"),
    ("[1, 2]", "holds no settings by name"),
    ('{"video": ', "is neither YAML nor JSON"),
    ('"text"', "holds no settings by name"),
    ("video: 3", "video is not a section"),
    ("video: {scale: 9}", "video.scale 9 cannot be done"),
    ("video: {scal: 2}", "video.scal is not a setting: did you mean 'video.scale'?"),
    ("video: {input_dir: /home}", "video.input_dir /home is no prefix of the bucket"),
    ("batch: {input_dir: ../x}", "batch.input_dir ../x is no prefix of the bucket"),
    ("video: {input_dir: s3://other/x}", "video.input_dir s3://other/x is no prefix of the bucket"),
    ("video: {input_dir: 'https://example.org/?k=CANARY'}", "video.input_dir https://example.org/ is no prefix"),
    ("video: {input_dir: a/../../b}", "video.input_dir a/../../b leads out of its place"),
    ("budget: 6", "budget 6 may only fall in a remote config: it is 5 without the remote config"),
    ("max_machines: 2", "max_machines 2 may only fall in a remote config: it is 1"),
    ("batch: {preset: high}", "would loosen vast.max_price from 0.5 to 1.2"),
    ("batch: {preset: nothing}", "batch.preset 'nothing' is not a preset"),
    ("vast: {max_price: 0.1}", "vast.max_price may not be set by a remote config"),
    ("output_dir: x", "output_dir may not be set"),
    ("market: vast", "market may not be set"),
    ("config_url: https://example.org/", "config_url may not be set"),
    ("input: x", "input may not be set"),
    ("vast: {preset: high}", "vast.preset may not be set"),
]
FORBIDDEN = [
    ("git_repo: https://example.org/x.git", "git_repo may not be set by a remote config"),
    ("image: python", "image may not be set by a remote config"),
    ("b2: {bucket: other}", "b2.bucket may not be set by a remote config"),
    ("b2: {secret: CANARY}", "b2.secret is a secret"),
    ("webhook_url: https://example.org/CANARY", "webhook_url may not be set by a remote config"),
    ("video: {input_dir: /home}", "video.input_dir /home is no prefix of the bucket"),
    ("vast: {download: /tmp}", "vast.download may not be set by a remote config"),
    ("vast: {allocated_storage: 900}", "vast.allocated_storage may not be set"),
]
LOOSER = [
    ("max_price: 0.6", "max_price 0.6 may only fall in a remote config: it is 0.5 without"),
    ("min_reliability: 0.9", "min_reliability 0.9 may only rise in a remote config: it is 0.95 without"),
    ("min_price: 0.05", "min_price 0.05 may only rise"),
    ("verified: false", "verified false may only become true"),
    ("gpu_models: [RTX_3090, L4]", "gpu_models RTX_3090, L4 may only narrow"),
    ("gpu_models: []", "gpu_models empty may only narrow"),
    ("gpu_whitelist: [L4]", "gpu_whitelist L4 may only narrow a list that is there, in a remote config: nothing is"),
    ("gpu_blacklist: [L4]", "gpu_blacklist L4 may only grow in a remote config: it is RTX_3060"),
    ("budget: 6", "budget 6 may only fall"),
]


def inside(text: str, name: str = "x") -> str:
    """Put a setting into a preset."""
    return f"presets: {{{name}: {{{text}}}}}"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        *WRONG,
        *FORBIDDEN,
        *((inside(body), f"presets.x.{line}") for body, line in FORBIDDEN),
        *((inside(body), "presets.x.") for body, _ in LOOSER),
        *((inside(body), line) for body, line in LOOSER),
        (inside("preset: nothing"), "presets.x.preset 'nothing' is not a preset"),
        (inside("preset: x"), "goes round in a circle: x -> x"),
        (inside("max_price: 0.6", "'mine.x'"), "presets.mine.x.vast.max_price 0.6 may only fall"),
        (inside("max_price: 0.45", "mine"), "max_price 0.45 may only fall in a remote config: it is 0.4 without"),
        (inside("vast: {max_price: 0.6}"), "presets.x.vast.max_price 0.6 may only fall"),
        (inside("preset: high, video: {scale: 2}") + "\nbatch: {preset: x}", "would loosen vast.max_price"),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_wrong_content_always_stops_the_run(
    body: str, line: str, optional: bool, local: Write, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is forbidden, looser or no settings at all: a line with its path, code 2, and nothing was started."""
    local(f"config_optional: {optional}\nb2: {{bucket: films}}\n{LOCAL}")
    server.body = body.encode()
    with pytest.raises(SystemExit, match="2"):
        run_cli(["run"])
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err.splitlines()[0]
    assert server.url in err
    assert "CANARY" not in err


def test_it_may_make_renting_stricter(local: Write, server: Server) -> None:
    """Inside presets the rental filters may tighten, with or without their section, and a budget may fall."""
    local(LOCAL)
    server.body = json.dumps(
        {
            "budget": 3,
            "batch": {"preset": "mine"},
            "presets": {
                "mine": {
                    "max_price": 0.3,
                    "vast": {"gpu_models": ["RTX_4090"], "gpu_blacklist": ["RTX_3060", "L4"], "static_ip": True},
                    "video": {"scale": 3},
                }
            },
        }
    ).encode()
    settings = load({})
    rental = settings.rental
    assert (settings.budget_usd, settings.options.scale) == (3, 3)
    assert (rental.max_usd_per_hour, rental.min_vram_gb, rental.static_ip) == (Decimal("0.3"), 16, True)
    assert (rental.gpu_models, rental.gpu_blacklist) == (("RTX 4090",), ("RTX 3060", "L4"))
    assert load({"max_price": "9"}).rental.max_usd_per_hour == 9


def test_it_may_leave_less_memory_and_never_more(local: Write, server: Server) -> None:
    """How much of this machine is used is a limit like the budget."""
    local(f"memory: 4GiB\n{LOCAL}")
    server.body = b"memory: 2GiB"
    assert load({}).memory_bytes == 2 << 30
    server.body = b"memory: 5G"
    with pytest.raises(UsageError, match="memory 5G may only fall in a remote config: it is 4GiB without"):
        load({})


def test_an_input_dir_is_a_prefix_of_the_bucket(local: Write, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bare word lies below input/; without a bucket there is nothing that it could name."""
    monkeypatch.setenv("B2_KEY", "id")
    monkeypatch.setenv("B2_SECRET", "secret")
    server.body = b"batch: {input_dir: urgent}"
    local("b2: {bucket: films, endpoint: s3.us-west-004.backblazeb2.com}")
    found = load({}).input_dir
    assert found is not None
    assert (found.bucket, found.key) == ("films", "input/urgent/")
    local()
    with pytest.raises(UsageError, match=r"batch\.input_dir urgent names a prefix of the bucket, and none is set"):
        load({})


RULES = {
    "max_price": "falls",
    "min_vram": "rises",
    "verified": "true",
    "gpu_models": "narrows",
    "gpu_blacklist": "grows",
}
PRICE = st.integers(1, 9)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "max_price": PRICE,
        "min_vram": PRICE,
        "verified": st.booleans(),
        "gpu_models": st.lists(st.sampled_from("ABC"), max_size=3),
        "gpu_blacklist": st.lists(st.sampled_from("ABC"), max_size=3),
    },
)
NAMES = st.none() | st.sampled_from(["x", "y"])


def looser(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Say whether any machine is allowed now that was not allowed before."""
    falls = after.get("max_price", 99) > before.get("max_price", 99)
    rises = after.get("min_vram", 0) < before.get("min_vram", 0)
    opened = before.get("verified", False) and not after.get("verified", False)
    models, left = set(before.get("gpu_models", "")), set(after.get("gpu_models", ""))
    more = bool(models) and (not left or not left <= models)
    return bool(
        falls or rises or opened or more or set(before.get("gpu_blacklist", "")) - set(after.get("gpu_blacklist", ""))
    )


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    here=FILTERS,
    mine=st.dictionaries(st.sampled_from("xy"), FILTERS),
    theirs=st.dictionaries(st.sampled_from("xy"), FILTERS),
    named=NAMES,
    their_name=NAMES,
    base=NAMES,
    flag=NAMES,
)
def test_no_remote_config_can_loosen_a_bound(
    here: dict[str, Any],
    mine: dict[str, dict[str, Any]],
    theirs: dict[str, dict[str, Any]],
    named: str | None,
    their_name: str | None,
    base: str | None,
    flag: str | None,
    folder: Path,
) -> None:
    """Whatever it says and whichever presets are named, it is refused, or every bound is as tight as before."""
    local: dict[str, Any] = {"vast": here, "presets": mine, **({"batch": {"preset": named}} if named else {})}
    above: dict[str, Any] = {"presets": theirs, **({"batch": {"preset": their_name}} if their_name else {})}
    if base and "x" in theirs:
        theirs["x"]["preset"] = base
    path = folder / "config.yaml"

    def bounds() -> dict[str, Any]:
        values = gather({}, preset=flag, fetch=lambda url, headers: Answer(json.dumps(above).encode())).values
        return {name: values[f"vast.{name}"].value for name in RULES if f"vast.{name}" in values}

    path.write_text(json.dumps(local), encoding="utf-8")
    with contextlib.suppress(UsageError):
        before = bounds()
        path.write_text(json.dumps({**local, "config_url": "https://example.org/c"}), encoding="utf-8")
        assert not looser(before, bounds())


USAGE = [
    ((), "input/urgent/", None, False),
    (("--input-dir", "input/today"), "input/today/", None, False),
    (("--dry-run",), "input/urgent/", None, True),
    (("--preset", "high"), "input/urgent/", 16, False),
    (("--input", "http://films.example.org/a.mp4"), None, None, False),
]


@pytest.mark.parametrize(("arguments", "key", "crf", "dry_run"), USAGE)
def test_every_old_command_line_works_with_all_layers(
    arguments: tuple[str, ...],
    key: str | None,
    crf: int | None,
    dry_run: bool,
    folder: Path,
    config: Write,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """config.yaml, a remote config and .env together make the settings that the run is started with."""
    config(f"config_url: {server.url}\nb2:\n  bucket: films\nvideo:\n  scale: 2\n")
    lines = ("B2_KEY=id", "B2_SECRET=CANARY", "B2_ENDPOINT=https://s3.us-west-004.backblazeb2.com")
    (folder / ".env").write_text("\n".join(lines), encoding="utf-8")
    server.body = json.dumps({"video": {"scale": 4}, "batch": {"input_dir": "urgent"}}).encode()
    started: list[Settings] = []

    async def run(settings: Settings, console: object) -> int:
        started.append(settings)
        return 0

    monkeypatch.setattr(batch, "run", run)
    with pytest.raises(SystemExit, match="0"):
        run_cli(["run", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("[+] Downloading remote config...\n[OK] Remote config merged: [")
    assert "CANARY" not in out
    (found,) = started
    assert (found.options.scale, found.options.crf, found.dry_run) == (4, crf, dry_run)
    assert (found.output_dir.bucket, found.output_dir.key) == ("films", "output/")
    assert found.access is not None
    assert found.access.region == "us-west-004"
    if key is None:
        assert found.input is not None
        assert found.input.url == "http://films.example.org/a.mp4"
    else:
        assert found.input_dir is not None
        assert (found.input_dir.bucket, found.input_dir.key) == ("films", key)
