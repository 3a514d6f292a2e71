"""Crews in virtual time: how long many videos take on many machines, what they cost, and what looking after them takes.

`UPREZ_CREWS=20` tries more of them, `make fleet` 200 leases where there are 50 otherwise.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crew import TIMING, Crew, Report, crowd, dearer, work
from storm import STORMY, arm, state_folder
from storm import TIMING as HASTY
from uprez.practice.faults import Armed
from virtual import World, install

CREWS = int(os.environ.get("UPREZ_CREWS", "1"))
JOBS, MACHINES = (40, 8) if os.environ.get("UPREZ_LONG") == "fleet" else (15, 3)
BUDGETS = 10 * CREWS
LEASES, READS = (200, 1.1) if os.environ.get("UPREZ_LONG") == "fleet" else (50, 1.3)
"""Of the store, for each status that is due: what else is read weighs more beside few."""
CORES, WATCHED_S = 0.3 * LEASES / 200, 120.0
HIRED_S, LOOKED_AT_S = 240.0, 480.0
"""By when all are rented, from a market in a hurry, and how long they are looked at."""


@pytest.fixture(autouse=True)
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for real."""
    install(monkeypatch)


# --- many jobs


@pytest.mark.timeout(600 * CREWS)
def test_many_jobs_take_what_their_work_takes_and_no_machine_waits(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """On a run without faults: within a tenth of work / sum of speeds + boot, and hardly a paid second without work."""
    for seed in range(1, 1 + CREWS):
        report = _many_jobs(seed, tmp_path)
        paid = report.paid
        assert (report.code, len(paid)) == (0, MACHINES)
        boot_s = sum(each.boot_s for each in paid) / len(paid)
        ideal_s = report.work_s / sum(each.speed for each in paid) + boot_s
        idle = max(each.idle_s / each.gpu_s for each in paid)
        record_property(
            "many jobs",
            {
                "jobs": JOBS,
                "machines": MACHINES,
                "of ideal": round(report.makespan_s / ideal_s, 3),
                "idle": round(idle, 3),
            },
        )
        assert report.makespan_s <= 1.1 * ideal_s
        assert idle <= 0.05
        assert report.world.bench.enhanced == []


def _many_jobs(seed: int, tmp_path: Path) -> Report:
    rng = random.Random(seed)  # noqa: S311  no secret
    frames = tuple(round(3500 * rng.lognormvariate(0, 0.6)) for _ in range(JOBS))
    with state_folder(tmp_path) as folder:
        return work(Crew(seed=seed, frames=frames, machines=MACHINES, timing=replace(TIMING, log_s=30)), folder)


# --- money

CHEAP_USD = Decimal("0.06")
"""An hour of what is mostly rented."""
FETCHED_USD = Decimal("0.15")
"""What a lease is promised for its traffic, about."""


@st.composite
def crews(draw: st.DrawFn) -> Crew:
    """Draw work for hours, and a budget for one lease or two, so that it is the budget that ends most runs."""
    dear = draw(st.floats(2, 50))
    first_usd = CHEAP_USD * Decimal(dear) * Decimal(HASTY.boot_s + HASTY.lease_s + HASTY.grace_s) / 3600 + FETCHED_USD
    return Crew(
        seed=draw(st.integers(0, 10**6)),
        frames=tuple(draw(st.lists(st.integers(4000, 30000), min_size=1, max_size=5))),
        machines=draw(st.integers(1, 4)),
        budget_usd=(first_usd * draw(st.decimals("0.9", "2.5", places=2))).quantize(Decimal("0.001")),
        slowest=draw(st.floats(0.2, 1)),
        fastest=draw(st.floats(1, 3)),
        dear=dear,
        bid=draw(st.booleans()),
        timing=replace(HASTY, log_s=60),
    )


faults = st.lists(st.sampled_from(STORMY), max_size=2)
rises = st.lists(st.tuples(st.floats(60, 3000), st.decimals("1.05", "3", places=2)), max_size=2)


@pytest.mark.timeout(600 * CREWS)
@settings(max_examples=BUDGETS, deadline=None, suppress_health_check=list(HealthCheck))
@given(crew=crews(), struck=faults, dearer_at=rises)
def test_no_run_spends_more_than_its_budget(
    crew: Crew, struck: list[str], dearer_at: list[tuple[float, Decimal]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever machines cost and how fast they are, which faults strike, and how much dearer they get meanwhile."""

    def before(world: World) -> None:
        for name in struck:
            arm(world, name)
        for seconds, times in dearer_at:
            world.later(seconds, partial(dearer, world, times))

    with state_folder(tmp_path_factory.getbasetemp()) as folder:
        report = work(crew, folder, before=before)
    assert report.billed_usd <= crew.budget_usd
    assert report.code in (0, 1, 4, 5, 6)
    left = [str(row["label"]) for row in report.world.market.rows()]
    assert bool([label for label in left if label.startswith("uprez/")]) == (report.code == 6)


def test_a_machine_that_stays_is_exit_6_and_what_it_costs_beyond_the_budget_is_told(tmp_path: Path) -> None:
    """Nothing ends it, its own dead-man neither: the run ends with 6, and names the sum and the price of an hour."""

    def before(world: World) -> None:
        world.market.inject(Armed(name="500", endpoint="destroy", times=-1))
        world.later(1500.0, partial(dearer, world, Decimal(20)))

    crew = Crew(seed=3, frames=(60000,), machines=1, budget_usd=Decimal("0.9"), dear=20, timing=HASTY)
    with state_folder(tmp_path) as folder:
        report = work(crew, folder, before=before)
    assert report.code == 6
    assert report.billed_usd > crew.budget_usd
    told = re.search(r"\[WARN\] \$(\S+) beyond the budget of \$0.9 are spent already", report.said)
    assert told is not None
    # That it costs more is seen at the next look: ten seconds of it are reckoned at the old price.
    assert Decimal(told[1]) >= report.billed_usd - crew.budget_usd - Decimal("0.04")
    assert re.search(r"instance \d+ may go on billing: \$\S+ so far, \$\S+ an hour from now on", report.said)


# --- two hundred leases


@pytest.mark.timeout(600)
def test_many_leases_take_one_list_a_look_and_less_than_a_third_of_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Only the controller's own code is counted, without the market and the machines of this test."""
    with state_folder(tmp_path) as folder:
        report = crowd(LEASES, folder, monkeypatch, hired_s=HIRED_S, until_s=LOOKED_AT_S)
    full = [each for each in report.samples if each.leases == LEASES and each.at_s >= report.began_s + HIRED_S]
    assert full[-1].at_s - full[0].at_s >= WATCHED_S
    cores = (full[-1].cpu_s - full[0].cpu_s) / (full[-1].at_s - full[0].at_s)
    record_property("leases", {"held": LEASES, "cores": round(cores, 3)})
    for before, after in pairwise(full):
        seconds = after.at_s - before.at_s
        assert (after.cpu_s - before.cpu_s) / seconds <= CORES
        assert after.asked["LIST"] - before.asked["LIST"] <= seconds / TIMING.poll_s
        assert after.reads - before.reads <= READS * LEASES * seconds / TIMING.status_s


SIZE = r'print(re.search(r"VmHWM:\s+([0-9]+) kB", open("/proc/self/status").read())[1])'
COMMAND = f"""
import re, uprez.batch, uprez.cli.main, uprez.cli.run
{SIZE}
"""
CROWDED = f"""
import re, sys
from pathlib import Path
import pytest
from crew import crowd
from uprez.store.memory import MemoryStore
from virtual import install
{SIZE}
with pytest.MonkeyPatch.context() as patch:
    install(patch)
    report = crowd(200, Path(sys.argv[1]), patch, hired_s=240.0, until_s=480.0)
assert report.samples[-1].leases == 200
{SIZE}
bucket = (meta for vault in (report.world.state, report.world.outputs) for meta in MemoryStore.listing(vault))
print(sum(meta.size for meta in bucket) / 1024)
"""


@pytest.mark.long("fleet")
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_two_hundred_leases_take_less_than_200_mb(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What market and machines of this test hold is counted in, but neither their code nor the bucket's objects."""
    with state_folder(tmp_path) as folder:
        before_mb, most_mb, bucket_mb = _largest_mb(CROWDED, str(folder))
    (alone_mb,) = _largest_mb(COMMAND)
    size_mb = most_mb - bucket_mb - (before_mb - alone_mb)
    record_property("leases", {"held": 200, "MB": round(size_mb)})
    assert size_mb < 200


def _largest_mb(script: str, *arguments: str) -> list[float]:
    """Run a script in a process of its own; gives the sizes that it prints in KiB.

    `ru_maxrss` would not do: a process begins with what the one that started it had.
    """
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [float(size) * 1024 / 1e6 for size in ended.stdout.split()]
