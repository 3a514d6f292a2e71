"""The storms are worth something: each of five defects, planted on purpose, breaks a promise in a few chosen storms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripted import Process
from storm import Storm, broken, rage, state_folder
from uprez.errors import MaybeMade, Refused, Unclear
from uprez.fleet import budget
from uprez.fleet.loop import Loop
from uprez.fleet.renting import Renter
from uprez.market.vast import launch
from uprez.market.vast.market import VastMarket
from uprez.market.vast.records import Created, VastInstance
from uprez.market.vast.wire import Vast
from uprez.practice import Clock, Market, Options, PracticeServer, Processes
from uprez.practice.faults import Armed
from virtual import Now, install


def blind_renting() -> None:
    """Let the answer to a renting get lost, and the list fail for a while after it."""
    Now.world.market.inject(Armed(name="lost", endpoint="create"))
    Now.world.market.inject(Armed(name="500", endpoint="list", times=24))


CHOSEN: tuple[tuple[Storm, Callable[[], None]], ...] = (
    (Storm(seed=1, faults=("exited",)), lambda: None),
    (Storm(seed=2, faults=("wrong_gpu", "credit_0")), lambda: None),
    (Storm(seed=3, faults=()), lambda: Now.world.market.inject(Armed(name="lost", endpoint="create"))),
    (Storm(seed=4, faults=()), blind_renting),
    (Storm(seed=5, faults=(), dear=True, budget_usd=Decimal("0.12")), lambda: None),
    *((Storm(seed=seed, faults=(), end="interrupted"), lambda: None) for seed in range(10, 12)),
    *((Storm(seed=seed, faults=(), end="killed for good"), lambda: None) for seed in range(6, 10)),
)
"""Storms, with what happens besides."""


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for real."""
    install(monkeypatch)


def found(folder: Path) -> Iterator[str]:
    """Give every promise that is broken in the chosen storms."""
    for storm, before in CHOSEN:
        with state_folder(folder) as state:
            yield from broken(rage(storm, state, before=before))


async def without_finally(self: Loop, reason: str) -> None:
    """Do as `Loop._end_all`, and give back nothing: only what ended well is gone by then."""
    del self, reason


def without_reconciling(self: VastMarket, error: MaybeMade) -> Created:
    """Take no answer for a no."""
    del self
    raise Refused(error.message)


def without_whole_lists(instances: Callable[[Vast], list[VastInstance]]) -> Callable[[Vast], list[VastInstance]]:
    """Take a list that fails for an empty one."""

    def planted(self: Vast) -> list[VastInstance]:
        try:
            return instances(self)
        except Unclear:
            return []

    return planted


def without_this_lease(self: Renter, *, but: str = "") -> Decimal:
    """Count what has ended, and forget the lease that lasts."""
    del but
    now = self.ledger.clock()
    gone = (row for row in self.ledger.leases(self.batch) if row.state == "gone")
    return sum((budget.cost(row, now, cautious=True) for row in gone), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A defect: what is put in whose place, and the promise that it breaks."""

    places: tuple[tuple[Any, str, Any], ...]
    breaks: str


PLANTS: dict[str, Plant] = {
    "no finally": Plant(places=((Loop, "_end_all", without_finally),), breaks="is left, and the exit code is"),
    "no label reconcile": Plant(
        places=((VastMarket, "_reconciled", without_reconciling),), breaks="was called gone while instance"
    ),
    "a failed list read as empty": Plant(
        places=((Vast, "instances", without_whole_lists(Vast.instances)),), breaks="was called gone while instance"
    ),
    # One guard looks before the lease and its renewals, the other meanwhile; the hard life bounds what both let pass.
    "budget off by one lease": Plant(
        places=(
            (Renter, "_afford", lambda *_: None),
            *((Renter, name, without_this_lease) for name in ("spent", "committed")),
        ),
        breaks="the budget is",
    ),
    "no dead-man": Plant(places=((Process, "dead_man", False),), breaks="outlives its deadline"),
}


@pytest.mark.usefixtures("virtual_time")
def test_the_chosen_storms_break_nothing_by_themselves(tmp_path: Path) -> None:
    """So what they break below is the planted defect's work."""
    assert list(found(tmp_path)) == []


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_defect_breaks_a_promise(plant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes one of the guards away sees the storms fail."""
    for owner, name, defect in PLANTS[plant].places:
        monkeypatch.setattr(owner, name, defect)
    assert any(PLANTS[plant].breaks in text for text in found(tmp_path))


def outlives_its_deadline(text: str, folder: Path) -> bool:
    """Run a runner's text on a practice machine that has one second; say whether it is there after ten."""
    server = PracticeServer(Market(Clock(1.0), Processes(folder), Options(boot_s=(0.1, 0.1), limits=False)))
    environment = launch.environment(
        lease="1" * 8, boot_url="http://127.0.0.1:9/none", life_s=1, hard_life_s=2, base_url=server.url
    )
    body = {"image": "x", "disk": 16, "runtype": "args", "onstart": launch.ENTRYPOINT, "args": ["-c", text]}
    try:
        offer = server.market.offer_list()[0]
        server.market.create(offer.id, body | {"env": environment | {"UPREZ_POLL_S": "0.05"}})
        end = time.monotonic() + 10
        while server.market.rows() and time.monotonic() < end:
            time.sleep(0.05)
        return bool(server.market.rows())
    finally:
        server.close()


def test_the_real_runner_without_its_dead_man_outlives_its_deadline(tmp_path: Path) -> None:
    """What the storms take for granted of the runner is its loop at the end, and nothing else."""
    text = launch.runner()
    begin = text.index("while :; do", text.index("B=$!"))
    assert not outlives_its_deadline(text, tmp_path / "whole")
    assert outlives_its_deadline(f"{text[:begin]}wait", tmp_path / "planted")
