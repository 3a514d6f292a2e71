"""`uprez practice`: what it prints, that it ends cleanly, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from uprez.cli.main import run_cli
from uprez.practice import FAULTS
from waiting import until


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the market's folders here, and what it keeps for the next one elsewhere."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    return tmp_path


def test_it_prints_what_a_shell_needs_and_ends_with_all_it_runs(folder: Path) -> None:
    """URL and key work at once; SIGTERM ends it with code 0 and leaves no file."""
    line = [sys.executable, "-m", "uprez", "practice", "--credit", "3.5"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as market:
        assert market.stdout is not None
        told = dict(market.stdout.readline().strip().split("=", 1) for _ in range(3))
        assert list(told) == ["VAST_URL", "VAST_API_KEY", "UPREZ_PRACTICE_KEY"]
        assert told["VAST_URL"].startswith("http://127.0.0.1:")
        headers = {"Authorization": f"Bearer {told['VAST_API_KEY']}"}
        asked = urllib.request.Request(told["VAST_URL"] + "/api/v0/users/current", headers=headers)
        with urllib.request.urlopen(asked, timeout=100) as answer:
            user = json.loads(answer.read())
        assert (user["practice"], user["credit"]) == (True, 3.5)
        market.send_signal(signal.SIGTERM)
        _, errors = market.communicate(timeout=100)
    assert market.returncode == 0
    assert "0 rented, 0.0000 USD" in errors
    assert list(folder.iterdir()) == []


FETCH = "import os, urllib.request as u; u.urlopen(os.environ['BASE'] + '/api/v0/gpu_names/unique/').read()"


@pytest.mark.parametrize("flags", [(), ("--no-meter",)])
def test_it_charges_for_real_traffic_unless_told_not_to(flags: tuple[str, ...]) -> None:
    """What an instance fetches is on its bill."""
    line = [sys.executable, "-m", "uprez", "practice", "--no-limits", "--time-factor", "1000", *flags]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as market:
        assert market.stdout is not None
        told = dict(market.stdout.readline().strip().split("=", 1) for _ in range(3))

        def ask(method: str, path: str, body: object = None, key: str = "VAST_API_KEY") -> Any:
            data = None if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {told[key]}"}
            asked = urllib.request.Request(told["VAST_URL"] + path, data, headers, method=method)
            with urllib.request.urlopen(asked, timeout=100) as answer:
                return json.loads(answer.read())

        (offer,) = ask("POST", "/api/v0/bundles/", {"limit": 1, "duration": {"gte": 9e5}})["offers"]
        job = {"image": "x", "onstart": sys.executable, "args": ["-c", FETCH], "env": {"BASE": told["VAST_URL"]}}
        ask("PUT", f"/api/v0/asks/{offer['id']}/", job)

        def ended() -> Any:
            state = ask("GET", "/practice/state", key="UPREZ_PRACTICE_KEY")
            return state if state["instances"][0].get("actual_status") == "exited" else None

        state = until(ended)
        market.send_signal(signal.SIGTERM)
    (bill,) = state["bills"]
    assert (bill["down_bytes"] > 200, bill["up_bytes"] > 80) == ((False, False) if flags else (True, True))


def test_it_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """`--fault list` names every one with what it does."""
    with pytest.raises(SystemExit) as left:
        run_cli(["practice", "--fault", "list"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--fault", "meteor"), "meteor"),
        (("--fault", "outbid"), "outbid"),
        (("--credit", "much"), "much"),
        (("--credit", "-1"), "-1"),
        (("--time-factor", "0"), "--time-factor"),
        (("--port", "70000"), "--port"),
    ],
)
def test_what_it_cannot_do_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    """A wrong value is code 2, named, and nothing is started."""
    with pytest.raises(SystemExit) as left:
        run_cli(["practice", *arguments])
    assert left.value.code == 2
    assert named in capsys.readouterr().err
