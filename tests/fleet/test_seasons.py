"""Whole runs one after the other on one ledger, in virtual time: what each foresees and leaves for the next."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import season
import virtual
from storm import state_folder
from uprez.fleet import speeds
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import Measured

RUNS = 8
UNCOUNTED, COUNTED = 20, 110
"""Of the long run: nothing is known at first but what was published."""


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


@pytest.mark.long("fleet")
@pytest.mark.timeout(900)
def test_what_whole_runs_cost_lies_in_the_printed_range(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nine times in ten, of what the market bills; half of the ranges are at most a fifth wide to each side."""
    with state_folder(tmp_path) as folder:
        ended = [season.run(seed, folder) for seed in range(UNCOUNTED + COUNTED)][UNCOUNTED:]
    seen = [(one, one.plan["cost_usd"], one.plan["seconds"]) for one in ended if one.foreseen and one.plan is not None]
    within = sum(Decimal(usd["low"]) <= one.billed_usd <= Decimal(usd["high"]) for one, usd, _ in seen) / len(seen)
    half = statistics.median((float(usd["high"]) - float(usd["low"])) / 2 / float(usd["middle"]) for _, usd, _ in seen)
    in_time = sum(seconds["low"] <= one.seconds <= seconds["high"] for one, _, seconds in seen) / len(seen)
    record_property("season", {"runs": len(seen), "within": within, "half width": half, "time within": in_time})
    assert len(seen) > 0.9 * COUNTED
    assert within >= 0.9
    assert half <= 0.2
    assert in_time >= 0.9


def _made(ledger: Ledger, gpu: str) -> list[Measured]:
    return [
        row
        for model in ("realesr-animevideov3", "realesrgan-x4plus")
        for row in ledger.measurements(f"{model} x2 auto", gpu, most=99)
    ]
