"""The official command line and SDK rent, look, change and give back; the market's own state is the judge.

Their exit code is 0 whatever happens, so it is never asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uprez.practice import PracticeServer
from waiting import until

VASTAI = Path(sys.executable).with_name("vastai")
SDK = """
import json, sys, time
from vastai import VastAI
client = VastAI(api_key=sys.argv[2], server_url=sys.argv[1])
offer = client.search_offers(query="num_gpus=1 gpu_ram>=10", order="dph_total", limit=1)[0]
made = client.create_instance(id=offer["id"], image="x", disk=12.0, label="by-sdk", onstart_cmd="sleep 99")
print(json.dumps({"offer": offer, "made": made, "shown": client.show_instances()}))
"""


@pytest.fixture
def environment(real: PracticeServer, tmp_path: Path) -> dict[str, str]:
    """Give the environment in which they find the market, and a home of their own."""
    home = tmp_path / "home"
    home.mkdir()
    xdg = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    own = {"HOME": str(home), "VAST_URL": real.url, "VAST_API_KEY": real.market.key, "VASTAI_NO_UPDATE_CHECK": "1"}
    return {**os.environ, **xdg, **own, "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def vastai(environment: dict[str, str]) -> Callable[..., str]:
    """Run the official command line."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [VASTAI, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    return run


def test_the_official_command_line_drives_the_market(real: PracticeServer, vastai: Callable[..., str]) -> None:
    """search offers, create, show instances, show instance, logs, label, stop, start, change bid, destroy."""
    market = real.market
    query = "gpu_ram>=20 num_gpus=1 reliability>0.9 verified=true"
    found = json.loads(vastai("search", "offers", query, "-i", "-o", "dph_total", "--limit", "3", "--raw"))
    assert len(found) == 3
    assert all(offer["gpu_ram"] >= 20000 and offer["is_bid"] for offer in found)
    table = vastai("search", "offers", query, "-o", "dph_total", "--limit", "3")
    assert "RTX" in table

    made = vastai(
        *("create", "instance", str(found[0]["id"]), "--image", "x", "--disk", "20", "--label", "first"),
        *("--bid_price", str(found[0]["min_bid"] + 0.01), "--env", "-e A=1 -p 8080:8080", "--cancel-unavail", "--raw"),
        *("--entrypoint", "/bin/bash", "--args", "-c", "echo hello $A; sleep 99"),
    )
    instance = json.loads(made)["new_contract"]

    def truth() -> Any:
        return {row["id"]: row for row in market.rows()}[instance]

    assert (truth()["label"], truth()["disk_space"], truth()["image_runtype"]) == ("first", 20.0, "args")
    assert (truth()["onstart"], truth()["image_args"]) == ("/bin/bash", ["-c", "echo hello $A; sleep 99"])
    until(lambda: truth()["actual_status"] == "running")
    shown = json.loads(vastai("show", "instances", "--raw"))
    assert [(row["id"], row["actual_status"]) for row in shown] == [(instance, "running")]
    assert str(found[0]["machine_id"]) in vastai("show", "instance", str(instance))
    assert json.loads(vastai("show", "instance", str(instance), "--raw"))["extra_env"]["A"] == "1"
    assert "hello 1" in vastai("logs", str(instance), "--tail", "5")

    vastai("label", "instance", str(instance), "second")
    assert truth()["label"] == "second"
    vastai("change", "bid", str(instance), "--price", "0.9")
    assert truth()["dph_base"] == 0.9
    vastai("stop", "instance", str(instance))
    assert truth()["intended_status"] == "stopped"
    vastai("start", "instance", str(instance))
    assert truth()["intended_status"] == "running"
    vastai("destroy", "instance", str(instance), "-y", "--raw")
    assert market.rows() == []
    assert market.spent_usd() > 0
    assert {seen.endpoint for seen in real.seen} >= {"search", "create", "list", "show", "logs", "bid", "destroy"}


def test_the_official_sdk_drives_the_market(real: PracticeServer, environment: dict[str, str]) -> None:
    """The SDK finds, rents and lists; what it made is the market's."""
    done = subprocess.run(
        [sys.executable, "-c", SDK, real.url, real.market.key],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    (row,) = real.market.rows()
    assert (row["label"], row["id"]) == ("by-sdk", told["made"]["new_contract"])
    assert [each["id"] for each in told["shown"]] == [row["id"]]
    assert row["machine_id"] == told["offer"]["machine_id"]
