"""Whole runs one after the other on one ledger, in virtual time: what each foresees and leaves for the next."""

from __future__ import annotations

from pathlib import Path

import pytest

import season
import virtual
from storm import state_folder
from uprez.fleet import speeds
from uprez.fleet.ledger import Ledger, Measured

RUNS = 8


@pytest.fixture(autouse=True)
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for real, and machines be those of a season."""
    virtual.install(monkeypatch)
    season.install(monkeypatch)


def test_runs_say_their_plan_first_and_learn_from_each_other(tmp_path: Path) -> None:
    """The plan is said once, before anything is rented, and bounds the machines until it turns out to be wrong.

    What machines took is in the ledger afterwards, so that more and more is foreseen, and closer.
    """
    with state_folder(tmp_path) as folder:
        ended = [season.run(seed, folder) for seed in range(RUNS)]
        ledger = Ledger(folder / "ledger.sqlite")
        boots, rented = ledger.measurements(speeds.BOOT, most=99), ledger.loads_s(rented=True, most=99)
        made = [row for gpu in season.GMAC_PER_S for row in _made(ledger, gpu)]
        ledger.close()
    assert [one.code for one in ended] == [0] * RUNS
    assert len(boots) == len(rented)
    assert len(boots) >= RUNS
    assert {row.gpu for row in made} <= set(season.GMAC_PER_S)
    assert all(row.gmac > 0 and row.bytes > 0 and row.seconds > 0 for row in made)
    for one in ended:
        plans = [number for number, text in enumerate(one.said) if text.startswith("Plan: ")]
        first = next(number for number, text in enumerate(one.said) if text.startswith("Created instance"))
        assert len(plans) == 1
        assert plans[0] < first
        created = sum(text.startswith("Created instance") for text in one.said)
        if one.foreseen and one.plan is not None and one.seconds <= one.plan["seconds"]["high"]:
            assert created <= one.plan["machines"]
    assert all(one.foreseen for one in ended[-1:])


def _made(ledger: Ledger, gpu: str) -> list[Measured]:
    return [
        row
        for model in ("realesr-animevideov3", "realesrgan-x4plus")
        for row in ledger.measurements(f"{model} x2 auto", gpu, most=99)
    ]
