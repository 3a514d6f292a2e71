"""No secret of ours reaches a rented machine, and nothing that opens more than its own work stays there."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from canary import LIVE, Canary, wait_until
from cloud import Cloud, Ran, check
from house import REPO, write_clip
from rented import QUICK, Rented, rented, versioned
from uprez.fleet import lease as leases
from uprez.fleet import renting
from uprez.market.vast import launch

__all__ = ["rented", "versioned"]  # fixtures: pytest finds them by name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
LEASE_S, VALID_S = 12.0, 14.0
"""Short, so that a test can wait until a URL is good for nothing."""


class _Silent(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[str]:
    """Give the address of a receiver, which is a secret."""
    server = HTTPServer(("127.0.0.1", 0), _Silent)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/canary-{secrets.token_hex(12)}"
    server.shutdown()
    server.server_close()


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A run that was watched."""

    ran: Ran
    canary: Canary
    began: float


def watched(rented: Rented, webhook: str, monkeypatch: pytest.MonkeyPatch, *, token: str = "") -> Watched:
    """Run with a value of its own for every secret, and look at everything meanwhile and afterwards."""
    password = f"canary-{secrets.token_hex(12)}"
    where = f"https://somebody:{password}@git.example.org/uprez.git"
    bare = bare_repository(rented.cloud.house.top)
    # What the address stands for, as a person's own git configuration may say.
    for name, value in (("COUNT", "1"), ("KEY_0", f"url.{bare}.insteadOf"), ("VALUE_0", where)):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    monkeypatch.setenv("WEBHOOK_URL", webhook)
    monkeypatch.setattr(leases, "VALID_S", VALID_S)
    monkeypatch.setattr(renting, "BOOT_LATER_S", LEASE_S + VALID_S - QUICK.boot_s)
    known = {
        "B2_SECRET": rented.cloud.server.secret,
        "VAST_API_KEY": rented.market.key,
        "WEBHOOK_URL": webhook,
        "the webhook's path": webhook.rpartition("/")[2],
        "git's password": password,
    }
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        known["AWS_SESSION_TOKEN"] = token
    write_clip(rented.cloud.house.top / "clip.mp4", 50, (96, 64), 0)
    rented.cloud.put("input/clip.mp4", rented.cloud.house.top / "clip.mp4")
    canary = Canary(machines=rented.machines, folder=rented.cloud.house.top / "market", secrets=known)
    bucket = BucketLogs(rented.cloud)
    canary.start()
    bucket.start()
    began = time.time()
    try:
        ran = rented.run(git_repo=where, git_branch="main", rented=replace(QUICK, lease_s=LEASE_S), verbose=True)
    finally:
        bucket.stop()
        canary.allowed |= {str(order["env"]["UPREZ_BOOT_URL"]) for _, order in rented.orders()}
        canary.stop()
    afterwards(rented, canary, ran, bucket)
    return Watched(ran=ran, canary=canary, began=began)


def bare_repository(top: Path) -> Path:
    """Make a bare repository of this code, as it is here."""
    tree, bare = top / "tree", top / "uprez.git"
    tree.mkdir()
    for name in ("pyproject.toml", "src"):
        (tree / name).symlink_to(REPO / name)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    real = ("--work-tree", str(REPO), "--git-dir", str(tree / ".git"))
    for command in (
        (*git, "init", "--quiet", "--initial-branch", "main", str(tree)),
        (*git, *real, "add", "pyproject.toml", "src"),
        (*git, *real, "commit", "--quiet", "--message", "a"),
        (*git, "clone", "--quiet", "--bare", str(tree), str(bare)),
    ):
        subprocess.run(command, check=True, capture_output=True)
    return bare


class BucketLogs(threading.Thread):
    """Keeps what machines write as their log, which is removed after a run that went well."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(daemon=True)
        self._cloud = cloud
        self._over = threading.Event()
        self.kept: dict[str, bytes] = {}

    def run(self) -> None:
        """Look for new ones."""
        while not self._over.wait(0.3):
            for key in self._cloud.keys(".uprez/leases/"):
                if "/log-" in key or key.endswith("status.json"):
                    self._keep(key)

    def _keep(self, key: str) -> None:
        try:
            self.kept[key] = self.kept.get(key, b"") + self._cloud.get(key)
        except ClientError:
            if key in self._cloud.keys(key):
                raise  # not removed meanwhile

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def afterwards(rented: Rented, canary: Canary, ran: Ran, bucket: BucketLogs) -> None:
    """Look at what stays: the market's memory, logs, console, state; the link to the result is meant to be there."""
    for seen in list(rented.server.seen):
        canary.judge(f"request {seen.endpoint}", f"{seen.target} {seen.body}".encode())
    for key, data in bucket.kept.items():
        canary.judge(key, data)
    for key in rented.cloud.keys(".uprez/"):
        canary.judge(f"object {key}", rented.cloud.get(key))
    console = re.sub(r"\[RESULT\] Download URL.*", "", ran.text)
    canary.judge("console", console.encode())
    for path in sorted((rented.cloud.house.top / "state").rglob("*")):
        if path.is_file():
            canary.judge(f"state {path.name}", path.read_bytes())


def test_no_secret_reaches_a_machine(rented: Rented, webhook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment, command lines, files or open files of any process there, nor the market or a log.

    The boot URL alone opens something, and only as long as it is valid.
    """
    seen = watched(rented, webhook, monkeypatch)
    assert seen.ran.code == 0, seen.ran.text
    check(rented.cloud, "output/clip.x2.mp4", 50)
    canary = seen.canary
    assert canary.found == set()
    looked_at(canary)
    (boot_url,) = canary.allowed
    assert LIVE.search(boot_url.encode())
    wait_until(seen.began + LEASE_S + VALID_S - 20)
    assert answer(boot_url) in (200, 404), "it is valid for a while; the sheet is gone with its lease"
    wait_until(ordered(boot_url) + LEASE_S + VALID_S + 2)
    assert answer(boot_url) == 403


def looked_at(canary: Canary) -> None:
    """Check that the canary saw what there was to see."""
    assert canary.looks > 20
    for part in ("market.preflight", "uprez work", "bash -c", "pip"):
        assert any(part in command for command in canary.commands), part
    assert any(name.endswith("/log") for name in canary.files)
    assert any(name.endswith("machine.json") for name in canary.files)
    assert canary.open_files > 0


def ordered(boot_url: str) -> float:
    """Say when a URL was signed."""
    from datetime import UTC, datetime

    (stamp,) = re.findall(r"X-Amz-Date=(\w+)", boot_url)
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def answer(url: str) -> int:
    """Ask, and give the status."""
    try:
        with urllib.request.urlopen(url, timeout=20) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_no_secret_shows_where_things_fail(rented: Rented, webhook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cannot fetch or send something says so, but not by which URL; a machine that is lost changes nothing."""
    proxy = rented.cloud.proxy
    for kind, how, times, key in (
        ("GET", "503", 2, "/wheels/"),
        ("GET", "reset", 1, "/sheet.json"),
        ("PUT", "503", 4, "/segment-0/"),
        ("PUT", "lost", 2, "/status.json"),
        ("PUT", "cut", 1, "/log-"),
        ("GET", "cut", 2, "/segment-1/"),
    ):
        proxy.fail(kind, how, times=times, key=key)  # type: ignore[arg-type]  # each is one of HOWS
    rented.arm("wrong_gpu")()
    seen = watched(rented, webhook, monkeypatch)
    assert seen.ran.code == 0, seen.ran.text
    assert len(rented.orders()) == 2, seen.ran.text
    assert proxy.pending() == 0, "all of it has failed"
    assert "[WARN]" in "".join(line for line in seen.ran.text.splitlines() if line.startswith("  [LOG]"))
    assert seen.canary.found == set()


def test_temporary_credentials_stay_here_but_for_what_their_urls_must_say(
    rented: Rented, webhook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token is a part of every URL that is signed with it; it is nowhere else."""
    seen = watched(rented, webhook, monkeypatch, token=f"canary-{secrets.token_hex(12)}")
    assert seen.ran.code == 0, seen.ran.text
    assert seen.canary.found == set()


@pytest.mark.long("longer")
def test_a_leak_is_seen(rented: Rented, webhook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a secret in the environment and in a command line, the sheet in a file and in one without a name."""
    usual, key = launch.environment, rented.market.key

    plant = 'curl -s "$UPREZ_BOOT_URL">~/kept;exec 9<>~/lost;cat ~/kept>&9;rm ~/lost;(exec -a "$LEAK" sleep 9)&'

    def leaky(**given: Any) -> dict[str, str]:
        return {**usual(**given), "LEAK": key, "PLANT": plant}

    monkeypatch.setattr(launch, "environment", leaky)
    monkeypatch.setattr(
        launch, "arguments", lambda: ("-c", f'eval "$PLANT"\n{launch.runner()}')
    )  # there is little room
    seen = watched(rented, webhook, monkeypatch)
    assert seen.ran.code == 0, seen.ran.text
    found = {(name, where.replace(str(rented.cloud.house.top), "")) for name, where in seen.canary.found}
    places = {(name, re.sub(r"C\.\d+", "C", where)) for name, where in found}
    assert {
        ("VAST_API_KEY", "environ"),
        ("VAST_API_KEY", "cmdline"),
        ("VAST_API_KEY", "request create"),
        ("a live signature", "file /market/C/root/kept"),
        ("a live signature", "open file /market/C/root/lost (deleted)"),
    } <= places
