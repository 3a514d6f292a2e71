"""What a run says to each of its machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from uprez.config.layers import load
from uprez.fleet import markets
from uprez.fleet.markets import CPU, GPU, Place
from uprez.market.local import LocalMarket
from uprez.market.vast.market import VastMarket


def test_memory_is_said_of_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be used of this machine says nothing of a rented one, which is there for the work alone."""
    monkeypatch.chdir(tmp_path)
    settings = load({"memory": "2GiB"})
    here = Place(market=LocalMarket(tmp_path), families=CPU, threads=2)
    rented = Place(market=object.__new__(VastMarket), families=GPU, threads=None)
    sheets = [markets.sheet(settings, place) for place in (here, rented)]
    assert [(sheet.memory_bytes, sheet.families) for sheet in sheets] == [(2 << 30, CPU), (None, GPU)]
    assert markets.sheet(load({}), here).memory_bytes is None
