"""What a run says to each of its machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from uprez.config.layers import load
from uprez.errors import UsageError
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


@pytest.mark.parametrize(
    ("flags", "token", "words"),
    [
        ({"market": "local"}, "", "for rented machines"),
        ({"market": "vast", "type": "bid"}, "", "no interruptible machines"),
        ({"market": "vast"}, "temporary", "keys of the bucket that last"),
    ],
)
def test_what_cannot_be_left_to_machines_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, str], token: str, words: str
) -> None:
    """Before anything is rented, with the next step."""
    monkeypatch.chdir(tmp_path)
    values = {"VAST_API_KEY": "k", "B2_BUCKET": "films", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s"}
    for name, value in {**values, "AWS_SESSION_TOKEN": token}.items():
        monkeypatch.setenv(name, value)
    markets.check_detach(load(flags))
    with pytest.raises(UsageError, match=words) as caught:
        markets.check_detach(load({**flags, "wait": False}))
    assert caught.value.hint
