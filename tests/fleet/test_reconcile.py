"""What is kept of a lease when its run is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper import PaperMarket, intended
from uprez.fleet.ledger import Ledger
from uprez.fleet.loop import DONE
from uprez.fleet.markets import Place
from uprez.fleet.reconcile import Reconciling
from uprez.report.console import Console
from uprez.store import keys, objects
from uprez.store.open import Home


@pytest.mark.parametrize(
    ("reason", "whole", "kept"),
    [
        (DONE, True, ()),
        (DONE, False, ("log-0.txt", "status.json")),
        ("no heartbeat", True, ("log-0.txt", "status.json")),
    ],
)
def test_the_log_of_a_lost_lease_stays(
    ledger: Ledger, home: Home, console: Console, tmp_path: Path, reason: str, whole: bool, kept: tuple[str, ...]
) -> None:
    """Until `uprez clean`: also where its batch ended well. What holds signed URLs goes in any case."""
    ledger.begin_batch("b0000001", home.outputs.url, {})
    row = intended(ledger, "b0000001")
    ledger.held(row.id, "1")
    ledger.ending(row.id, reason)
    ledger.ended(row.id, "gone")
    for key in (keys.sheet(row.id), keys.upload(row.id, 1), keys.status(row.id), keys.log(row.id, 0)):
        home.state.write(key, b"{}")
    place = Place(market=PaperMarket(), families=("cpu",), threads=1)
    reconciling = Reconciling(home=home, ledger=ledger, place=place, locks=tmp_path, console=console, batch="b0000001")
    reconciling.clear([ledger.lease(row.id)], whole=whole)
    found = objects.listing(home, keys.lease_prefix(row.id))
    assert found == [f"{keys.lease_prefix(row.id)}{name}" for name in kept]
