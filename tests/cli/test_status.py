"""`uprez status` and `uprez reap` where the market cannot be asked: never a false all-clear."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from paper import intended
from uprez.fleet.ledger import Ledger

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lease(folder: Path) -> str:
    """Write down a machine that was rented and not seen gone; give its number."""
    with closing(Ledger(folder / "state" / "ledger.sqlite")) as ledger:
        ledger.begin_batch("b0000001", "s3://films/output", {})
        row = intended(ledger, "b0000001", market="vast.ai#7")
        ledger.held(row.id, "7835619")
    return "7835619"


@pytest.mark.parametrize("verb", ["status", "reap"])
def test_a_machine_that_cannot_be_seen_is_named(command: Command, lease: str, verb: str) -> None:
    """Without the key it was rented with: its number, price and place, and code 6."""
    code, out, _ = command(verb)
    assert code == 6
    assert f"instance {lease}" in out
    assert "on vast.ai#7" in out
    assert "may still run, and bill" in out
    assert "Vast.ai was not asked: VAST_API_KEY is not set" in out
    assert "[OK]" not in out


@pytest.mark.parametrize("verb", ["status", "reap"])
def test_a_market_that_does_not_answer_hides_no_machine(
    command: Command, lease: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the ledger knows is told all the same."""
    monkeypatch.setenv("VAST_API_KEY", "k")
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("uprez.market.vast.wire.TRIES", 1)
    code, out, _ = command(verb)
    assert code == 6
    assert f"instance {lease}" in out
    assert "Connection refused" in out


def test_without_a_key_the_all_clear_is_for_this_computer_alone(command: Command) -> None:
    """And whoever reaps by cron hears of it by the code."""
    code, out, _ = command("status")
    assert (code, "[OK] Nothing is rented here" in out, "was not asked" in out) == (0, True, True)
    code, out, _ = command("reap")
    assert (code, "[OK] Nothing to give back here" in out, "was not asked" in out) == (2, True, True)
    code, out, _ = command("status", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "unseen": "VAST_API_KEY is not set",
        "batches": [],
        "detached": [],
        "machines": [],
    }
