"""`uprez offers`: what could be rented, and nothing is."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from uprez.cli.main import run_cli
from uprez.config.variables import FALLBACKS, NAMES, OLD_NAMES
from uprez.fleet import bans
from uprez.fleet.ledger import Ledger
from uprez.market.vast.limiter import INTERVALS
from vast_stub import KEY, OFFER, Say, Stub, server, stub

__all__ = ["server", "stub"]  # fixtures: pytest finds them by name


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    """Work in an empty folder with a key for the stub, which need not be spared."""
    for name in (*NAMES, *OLD_NAMES, *FALLBACKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_API_BASE", f"{stub.url}/api/v0")
    monkeypatch.setitem(INTERVALS, "search", -1.0)
    monkeypatch.chdir(tmp_path)


def left(*arguments: str) -> object:
    """Run the command; give its exit code."""
    with pytest.raises(SystemExit) as ended:
        run_cli(("offers", *arguments))
    return ended.value.code


def test_offers_are_a_table_of_80_columns(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """The three lines, one line an offer, and with --verbose what was dropped; no word of limits without effect."""
    stub.says(Say(body={"offers": [OFFER, {**OFFER, "id": 2, "dph_total": 9}]}))
    assert left("--max-price", "0.5", "--verbose", "--market", "vast") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0] == "[INFO] Searching offers: max_price=$0.50/hr"
    assert lines[1] == "[INFO] Found 1 matching offers (after filtering)"
    assert "[DEBUG] 1 dropped by max_price" in lines
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].split()[:3] == ["0.367", "RTX", "4090"]
    assert lines[-1].endswith("20671312")
    assert stub.methods() == ["POST /api/v0/bundles/"]


def test_json_is_one_object_alone(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go to standard error; VAST_URL counts before the old name."""
    stub.says(Say(body={"offers": [OFFER]}))
    assert left("--json") == 0
    out, err = capsys.readouterr()
    (found,) = json.loads(out)["offers"]
    assert (found["id"], found["usd_per_hour"], found["vram_gb"]) == (20671312, "0.366575", 24)
    assert "Searching offers" in err


def test_nothing_within_the_limits_is_code_4(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """As for a run that cannot rent."""
    stub.says(Say(body={"offers": []}))
    assert left() == 4
    assert "Found 0 matching offers" in capsys.readouterr().out


def test_a_key_is_needed_and_never_shown(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong one and none at all are code 2, with the next step."""
    stub.says(Say(status=401, body={"success": False, "error": "auth_error", "msg": "Invalid user key"}))
    assert left() == 2
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    assert "[HINT] check VAST_API_KEY" in shown.err
    monkeypatch.delenv("VAST_API_KEY")
    assert left() == 2
    assert "VAST_API_KEY is not set" in capsys.readouterr().err


def test_machines_that_are_shunned_are_left_out(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a run would leave them out, with the reason."""
    stub.says(Say(body={"id": 7, "credit": 1}), Say(body={"offers": [OFFER, {**OFFER, "id": 2, "machine_id": 4711}]}))
    place = f"{stub.url.rpartition('/')[2]}#7"
    with closing(Ledger(tmp_path / "state" / "ledger.sqlite")) as ledger:
        bans.note(ledger, place, "4711", "b1", "black frames", lied=True)
    assert left("--verbose") == 0
    out, _ = capsys.readouterr()
    assert "machine 4711 until" in out
    assert "[INFO] Found 1 matching offers (after filtering)" in out
    assert "[DEBUG] 1 dropped by machines" in out
