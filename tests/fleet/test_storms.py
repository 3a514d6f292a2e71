"""Storms of faults in virtual time: whatever the market does, jobs end, nothing is left, and the books are true.

`make fleet` makes 300 of them, `UPREZ_STORM_SEEDS=3000` more.
One storm again: `rage(Storm(seed=..., faults=(...), ...), tmp_path)`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from storm import EXEMPT, STORMY, Aftermath, Storm, broken, rage, state_folder, weather
from uprez.practice.faults import FAULTS, Armed
from virtual import Now, install

CHUNKS = 4
SEEDS = int(os.environ.get("UPREZ_STORM_SEEDS", "300" if os.environ.get("UPREZ_LONG") == "fleet" else "48"))
LEAST = 20 if SEEDS >= 300 else 0
"""How often each fault must have struck in all; of a sample that is not asked."""


@pytest.fixture(autouse=True)
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for real."""
    install(monkeypatch)


def drawn(seed: int, number: int, struck: Counter[str], rng: random.Random) -> Storm:
    """Draw the next storm of a chunk: each fault alone, then pairs (some threes) of those that have struck least."""
    if number < len(STORMY) // CHUNKS + 1:
        return weather(seed, (STORMY[seed % len(STORMY)],))
    rare = sorted(STORMY, key=lambda name: (struck[name], rng.random()))
    return weather(seed, rng.sample(rare[:8], rng.choice((2, 2, 3))))


@pytest.mark.timeout(60 + SEEDS)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_promise_holds_in_every_storm(
    chunk: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each fault alone and in pairs, some controllers killed or interrupted: nothing is left, lost or billed unseen."""
    struck: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    rng = random.Random(chunk)  # noqa: S311  storms, not secrets
    found: list[str] = []
    for number in range(SEEDS // CHUNKS):
        storm = drawn(number * CHUNKS + chunk, number, struck, rng)
        with state_folder(tmp_path) as folder:
            result = rage(storm, folder)
        struck += result.struck
        ends.update("killed" if code is None else f"exit {code}" for code in result.codes)
        found += broken(result)
    record_property("storms", {"seeds": SEEDS // CHUNKS, "struck": dict(struck), "ends": dict(ends)})
    assert not found, "\n".join(found)
    rare = {name: struck[name] for name in STORMY if struck[name] < LEAST / CHUNKS}
    assert not rare, f"these faults struck less than {LEAST} times in all: {rare}"


def test_every_fault_is_in_the_storms_or_is_excused() -> None:
    """A fault that the market learns later cannot be forgotten here."""
    assert set(STORMY) | set(EXEMPT) == set(FAULTS)


def test_a_machine_that_cannot_be_destroyed_is_shouted_about_and_ended_by_the_next_run(tmp_path: Path) -> None:
    """The exit code is 6, with the instance and the command that ends it; the next run ends it as soon as it can."""
    storm = Storm(seed=1, faults=())

    def stubborn() -> None:
        Now.world.market.inject(Armed(name="500", endpoint="destroy", times=-1))

    with state_folder(tmp_path) as folder:
        first = rage(storm, folder, before=stubborn)
        assert first.codes == [6]
        assert "may bill" in first.said
        assert "vastai destroy instance" in first.said
        assert not [text for text in broken(first) if "jobs" in text or "ledger" in text or "remembers" in text]
        Now.world.market.faults.disarm()
        second = rage(storm, folder, world=first.world)
    assert second.codes == [0]
    assert not broken(second)


def test_the_budget_ends_a_run_before_it_is_spent(tmp_path: Path) -> None:
    """The exit code is 5, and the market has billed no more than the budget."""
    found: list[Aftermath] = []
    for seed in range(6):
        with state_folder(tmp_path) as folder:
            storm = Storm(seed=seed, faults=(), dear=True, budget_usd=Decimal("0.2") + Decimal(seed) / 20)
            found.append(rage(storm, folder))
    assert [text for one in found for text in broken(one)] == []
    assert 5 in {one.codes[-1] for one in found}


def test_an_account_without_money_ends_the_run_and_says_so(tmp_path: Path) -> None:
    """What is stopped then still bills its disk, so the credit is below zero: exit 5, and the hint to add some."""
    with state_folder(tmp_path) as folder:
        result = rage(Storm(seed=1, faults=("credit_0",)), folder)
    assert result.codes == [5]
    assert "add credit" in result.said
    assert not broken(result)
