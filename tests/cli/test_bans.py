"""`uprez bans`: who is shunned, and how that is forgiven."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from uprez.fleet import bans
from uprez.fleet.ledger import Ledger

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shunned(folder: Path) -> None:
    """Let two machines be shunned, and one have failed once."""
    with closing(Ledger(folder / "state" / "ledger.sqlite")) as ledger:
        bans.note(ledger, "vast.ai#7", "4711", "b1", "black frames", lied=True, evidence="s3://films/e.json")
        bans.note(ledger, "vast.ai#7", "4712", "b1", "no heartbeat", lied=False)
        bans.note(ledger, "vast.ai#7", "4712", "b2", "no heartbeat for 180 s", lied=False)
        bans.note(ledger, "vast.ai#7", "4713", "b2", "no heartbeat", lied=False)


def test_nobody_is_shunned_at_first(command: Command) -> None:
    """And nothing is made up."""
    assert command("bans")[:2] == (0, "[OK] No machine is shunned\n")


@pytest.mark.usefixtures("shunned")
def test_each_is_shown_with_reason_and_evidence(command: Command) -> None:
    """Those that end first come first; a fault without consequence is not one of them."""
    code, out, _ = command("bans")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["machine", "4712", "4711", "evidence:"]
    assert lines[1].endswith("no heartbeat for 180 s")
    assert lines[3].endswith("s3://films/e.json")
    found = json.loads(command("bans", "--json")[1])["bans"]
    assert [(one["machine"], one["evidence"]) for one in found] == [("4712", None), ("4711", "s3://films/e.json")]


@pytest.mark.usefixtures("shunned")
def test_a_machine_can_be_forgiven(command: Command) -> None:
    """One, or all; one that nothing is known of is a usage error."""
    assert command("bans", "--lift", "4712")[:2] == (0, "[OK] Forgiven: 2 faults\n")
    assert "4712" not in command("bans")[1]
    code, _, err = command("bans", "--lift", "4712")
    assert code == 2
    assert "nothing is known against machine 4712" in err
    assert command("bans", "--lift", "all")[:2] == (0, "[OK] Forgiven: 2 faults\n")
    assert command("bans")[1] == "[OK] No machine is shunned\n"
