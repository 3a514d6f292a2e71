"""Storms: runs of the whole command over two short videos while the market misbehaves, in virtual time; what must hold.

`weather` draws a storm by its seed, `Storm.rage` lets it happen, and `broken` names every promise that did not hold.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path
from typing import Literal

from scripted import PACKAGES_BYTES, SOURCE_BYTES, VIDEO
from uprez import batch
from uprez.config.settings import Location, Rental, Secret, Settings, Timing
from uprez.errors import EXIT_INTERRUPTED, UprezError
from uprez.fleet import account, budget, labels
from uprez.fleet.intake import Intake
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Work
from uprez.job import Job, Options, Source
from uprez.practice.billing import Bill
from uprez.practice.clock import START_S
from uprez.practice.faults import FAULTS, IMMEDIATE, Armed
from uprez.practice.market import Options as MarketOptions
from uprez.practice.offers import Offer, table
from uprez.practice.refusal import Refusal
from uprez.report.console import Console
from uprez.store import keys
from virtual import DiedError, Now, Vault, World, shared_memory

EXEMPT = {
    "show_404": "nobody asks for an instance that is gone: its own machine is gone with it",
    "regpu": "it refuses a start, and uprez never starts an instance again; see tests/practice/test_market.py",
    "v0_gone": "it is on from the start, and uprez never asks the old list; see tests/practice/test_market.py",
}
"""Faults that no run can meet, and why."""
STORMY = tuple(name for name in FAULTS if name not in EXEMPT)
ANYWHERE = ("429_text", "429_detail", "429_json", "500", "502", "lost", "502_done", "garbled")
"""Faults that strike at any endpoint."""
ENDPOINTS = ("create", "create", "destroy", "list", "search", "manage", "logs", "log_file", "user", None)
OFTEN = {"list_lag": 25, "misreported": 4, "list_page": 4, "500": 5, "logs_stale": 6}
"""How often a fault strikes at most, where that is not three times."""
UNBILLED = frozenset({"offline", "outbid"})
"""Faults after which nobody but the market knows to the cent what was billed."""
DOWN_USD_PER_GB = Decimal("0.02")
CENT = Decimal("0.01")
LAST_WORD_USD = Decimal("0.005")
"""What a machine may move between two beats."""
UNSEEN_S = 2.0
"""Of a lease's time, what may be unseen: a market's clock is told in whole seconds."""
TIMING = Timing(
    boot_s=600,
    lease_s=600,
    grace_s=120,
    watch_s=15,
    status_s=10,
    poll_s=10,
    log_s=15,
    silence_s=120,
    stall_s=300,
    hard_life_s=86400,
)
MACHINES = 40
FOREIGN = 26
"""Instances of somebody else: with them the list has two pages."""
SLACK = timedelta(minutes=8)
"""After deadline and grace: for the dead-man's own tries."""
End = Literal["", "killed", "killed for good", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Storm:
    """One run, or several after each other, and what happens to them."""

    seed: int
    faults: tuple[str, ...]
    end: End = ""
    bid: bool = False
    crowded: bool = False
    sour: bool = False
    """One of the two videos is none."""
    hangs: bool = False
    """The first worker does nothing more after a while, though its machine is well."""
    skew_s: float = 0.0
    """By how much the controller's wall clock is wrong."""
    dear: bool = False
    """GPUs cost eight times as much, and the work takes five times as long."""
    budget_usd: Decimal = Decimal(4)


@dataclass(kw_only=True)
class Aftermath:
    """What is left of a storm."""

    storm: Storm
    world: World
    rows: list[LeaseRow]
    codes: list[int | None]
    """Of the runs, None for one that was killed."""
    jobs: list[Work]
    """Of the last run."""
    said: str
    struck: Counter[str]
    orphans: list[str] = field(default_factory=list)
    """What a controller that was killed for good left running beyond its deadline, though it had started."""
    never_ran: int = 0
    """What it left that has no container any more, or never had one: nothing there can end itself."""


def weather(seed: int, wanted: Sequence[str]) -> Storm:
    """Draw a storm with these faults."""
    rng = random.Random(seed)  # noqa: S311  storms, not secrets
    ends: tuple[End, ...] = ("", "", "", "", "killed", "killed", "killed for good", "interrupted")
    tight = rng.random() < 0.08
    return Storm(
        seed=seed,
        faults=tuple(wanted),
        end=rng.choice(ends),
        bid="outbid" in wanted or rng.random() < 0.15,
        crowded="list_page" in wanted,
        sour=rng.random() < 0.07,
        hangs=rng.random() < 0.07,
        skew_s=rng.choice((0.0, 0.0, -86400.0, 7200.0)),
        dear=tight,
        budget_usd=Decimal(str(round(rng.uniform(0.3, 0.8), 3))) if tight else Decimal(4),
    )


@contextmanager
def state_folder(otherwise: Path) -> Iterator[Path]:
    """Give a folder for one storm's ledger."""
    folder = Path(tempfile.mkdtemp(prefix="uprez-storm-", dir=shared_memory(otherwise)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rage(
    storm: Storm, folder: Path, *, world: World | None = None, before: Callable[[], None] = lambda: None
) -> Aftermath:
    """Let a storm happen, until a run has ended by itself; in a `world` where one has been, or in a new one."""
    world = world or _world(storm)
    Now.world = world
    rng = world.rng
    for name in storm.faults:
        arm(world, name)
    before()
    said = StringIO()
    result = Aftermath(storm=storm, world=world, rows=[], codes=[], jobs=[], said="", struck=Counter())
    settings = _settings(storm, world, folder)
    deaths = {"killed": rng.choice((1, 1, 2, 3)), "killed for good": 1}.get(storm.end, 0)
    while True:
        intake = _intake(world)
        batch.take_in = lambda *args, intake=intake: intake  # type: ignore[assignment]
        if deaths:
            world.dies_at = world.touches + round(rng.lognormvariate(5.0, 1.3))
        if storm.end == "interrupted":
            world.interrupted_at = world.touches + round(rng.lognormvariate(5.0, 1.3))
        try:
            code = world.run(batch.run(settings, Console(stream=said)))
            result.codes.append(code)
            result.jobs = list(intake.works)
            break
        except (UprezError, asyncio.CancelledError) as error:  # as `cli.main` has it: nothing was started
            result.codes.append(error.exit_code if isinstance(error, UprezError) else EXIT_INTERRUPTED)
            said.write(f"[ERROR] {error}\n")
            break
        except DiedError:
            result.codes.append(None)
            said.write(f"--- killed at {world.now_s - 1.79e9:.1f} s\n")
            deaths -= 1
            if storm.end == "killed for good":
                _look_away(world, result)
            else:
                world.pass_time(rng.uniform(0, 1200))
    result.rows = _rows(folder)
    result.said, result.struck = said.getvalue(), world.market.faults.struck
    return result


def _world(storm: Storm) -> World:
    """Make a market with dear traffic, and maybe with other people's instances."""
    options = MarketOptions(seed=1 + storm.seed % 5, machines=MACHINES, boot_s=(15.0, 60.0))
    world = World(storm.seed, options=options)
    world.market._state.listed = list(_offers(options.seed, 8 if storm.dear else 1))
    world.skew_s = storm.skew_s
    world.bench.sour = frozenset({_id("b")} if storm.sour else ())
    world.bench.hangs_s = world.rng.uniform(20, 400) if storm.hangs else None
    world.bench.slowness = 5.0 if storm.dear else 1.0
    if storm.crowded:
        _crowd(world)
    return world


def broken(result: Aftermath) -> list[str]:
    """Name every promise that did not hold."""
    return [f"{result.storm}: {text}" for check in CHECKS for text in check(result)]


# --- what happens


@lru_cache(maxsize=8)
def _offers(seed: int, times: int) -> tuple[Offer, ...]:
    """Let traffic cost everywhere: else the cheapest offers are those where nobody sees it counted wrongly."""
    offers = table(seed, machines=MACHINES, now_s=float(START_S))
    traffic = {"down_usd_per_gb": DOWN_USD_PER_GB, "up_usd_per_gb": 2 * DOWN_USD_PER_GB}
    return tuple(
        replace(offer, usd_per_hour=offer.usd_per_hour * times, min_bid=offer.min_bid * times, **traffic)
        for offer in offers
    )


def arm(world: World, name: str) -> None:
    """Let a fault strike some time, or a few times."""
    rng, market = world.rng, world.market
    if name in IMMEDIATE:
        seconds = rng.choice((None, rng.uniform(30, 600))) if name == "offline" else None
        world.later(rng.uniform(20, 700), partial(_strike, world, Armed(name=name, seconds=seconds), 60))
        return
    times = rng.randint(1, OFTEN.get(name, 3))
    endpoint = rng.choice(ENDPOINTS) if name in ANYWHERE else None
    fault = Armed(name=name, times=times, endpoint=endpoint)
    if rng.random() < 0.6 or not name.startswith(("log", "list", "mis")):
        market.inject(fault)
    else:
        world.later(rng.uniform(0, 600), partial(market.inject, fault))


def _strike(world: World, fault: Armed, tries: int) -> None:
    """Let a fault strike one of our instances; a little later, where there is none that it could strike."""
    mine = _ours(world)
    try:
        if fault.name == "credit_0":
            world.market.inject(fault)
        elif mine:
            fault.instance = mine[-1]
            world.market.inject(fault)
        else:
            raise Refusal(404, "nobody is there")
    except Refusal:
        if tries:
            world.later(10.0, partial(_strike, world, fault, tries - 1))


def _crowd(world: World) -> None:
    """Let somebody else's instances lie there, stopped."""
    table = world.market.offer_list()
    for number in range(FOREIGN):
        body = {"image": "x", "label": f"other-{number}", "target_state": "stopped"}
        world.market.create(table[number].id, body)


def _look_away(world: World, result: Aftermath) -> None:
    """Let time pass until nothing that a dead controller rented may run any more; keep what does all the same."""
    known = [labels.parse(str(row["label"])) for row in world.market.rows()]
    last = max((label.deadline for label in known if label), default=None)
    while last is not None and world.now_s < (last + timedelta(seconds=TIMING.lease_s) + SLACK).timestamp():
        world.pass_time(60.0)
    for instance in _ours(world):
        if instance in world.bench.running:
            result.orphans.append(f"instance {instance} outlives its deadline")
        else:
            result.never_ran += 1


def _ours(world: World) -> list[int]:
    return [int(str(row["id"])) for row in world.market.rows() if str(row["label"]).startswith("uprez/")]


# --- what is asked for


def _settings(storm: Storm, world: World, folder: Path) -> Settings:
    return Settings(
        options=Options(model="identity", scale=Fraction(1)),
        input_dir=None,
        input=None,
        output_dir=Location(text="b2://storm", bucket="storm"),
        name=None,
        exact=False,
        market="vast",
        budget_usd=storm.budget_usd,
        rental=Rental(max_usd_per_hour=Decimal(8), bid=storm.bid),
        segment_frames=20,
        dry_run=False,
        vast_api_key=Secret(world.market.key),
        vast_url=world.url,
        state_dir=folder,
        cache_dir=folder,
        local=TIMING,
        bucket_timing=TIMING,
        rented=TIMING,
    )


def _intake(world: World) -> Intake:
    """Give the two jobs, as a new run finds them."""
    return Intake(works=[_work(world, name) for name in ("a", "b")])


def _work(world: World, name: str) -> Work:
    source = Source(
        url=f"memory://in/{name}.mkv", name=f"{name}.mkv", size=SOURCE_BYTES, identity=name, etag=f'"{name}"'
    )
    job = Job(id=_id(name), source=source, options=Options(model="identity", scale=Fraction(1)), model_sha256="")
    return Work(job=job, video=VIDEO, output=f"{name}.x1.mkv", store=Vault(world))


def _id(name: str) -> str:
    return name * 16


def _is_done(world: World, name: str) -> bool:
    return world.state.get(keys.manifest(_id(name))) is not None


def _rows(folder: Path) -> list[LeaseRow]:
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        found = ledger._db.execute("SELECT id FROM leases ORDER BY rowid").fetchall()
        return [ledger.lease(row[0]) for row in found]
    finally:
        ledger.close()


# --- what must hold


def _jobs_end(result: Aftermath) -> Iterator[str]:
    """Every job is done or has failed with its reason, or the run says why it ended before."""
    code = result.codes[-1]
    unfinished = [work for work in result.jobs if work.state == "open"]
    for work in result.jobs:
        if work.state == "done" and not (
            result.world.outputs.get(work.output) and _is_done(result.world, work.job.id[0])
        ):
            yield f"{work.job.source.name} is called done and is not there"
        if work.state == "failed" and not work.error:
            yield f"{work.job.source.name} failed without a reason"
        if work.state == "open" and not work.error and code != 130:
            yield f"{work.job.source.name} is not finished, and nobody says why"
    if unfinished and code not in (4, 5, 6, 130):
        yield f"{len(unfinished)} jobs are not finished, and the exit code is {code}"
    if code not in (0, 1, 4, 5, 6, 130):
        yield f"the exit code is {code}"
    if code == 1 and not (result.storm.sour and any(work.state == "failed" for work in result.jobs)):
        yield "the exit code is 1, and no job has failed"
    if code == 0 and not all(_is_done(result.world, name) for name in ("a", "b")):
        yield "the exit code is 0, and a job is not done"
    if "defect" in result.said:
        yield "a defect was reported"


def _nothing_is_left(result: Aftermath) -> Iterator[str]:
    """No instance of ours is in the market, but where the run says so by its exit code."""
    for instance in _ours(result.world):
        if result.codes[-1] != 6:
            yield f"instance {instance} is left, and the exit code is {result.codes[-1]}"
    if result.codes[-1] == 6 and not _ours(result.world):
        yield "the exit code is 6, and nothing is left"
    yield from result.orphans


def _ledger_is_true(result: Aftermath) -> Iterator[str]:
    """Ledger and market say the same."""
    world = result.world
    yield from world.lies
    there = {label.lease: row for row in world.market.rows() if (label := labels.parse(str(row["label"])))}
    known = {row.id: row for row in result.rows}
    for row in result.rows:
        if row.state == "gone" and row.id in there:
            yield f"lease {row.id} is called gone, and instance {there[row.id]['id']} is there"
        if row.state != "gone" and row.id not in there and result.codes[-1] != 6:
            yield f"lease {row.id} is {row.state}, and there is nothing"
    for bill in _bills(world):
        label = labels.parse(bill.label or "")
        if label is None or label.lease not in known:
            yield f"nobody remembers instance {bill.instance} ({bill.label})"
        elif known[label.lease].instance not in (None, str(bill.instance)):
            pass  # the same order, heard twice: the second is only ever destroyed
    for row in result.rows:
        if row.reason is None and row.instance is not None:
            yield f"nobody says why lease {row.id} ended"


def _budget_holds(result: Aftermath) -> Iterator[str]:
    """The market has billed no more than the budget, for each run by itself."""
    runs = sum(code is None for code in result.codes) + 1
    billed = sum((bill.usd() for bill in _bills(result.world)), Decimal(0))
    if billed > result.storm.budget_usd * runs:
        yield f"${billed:.4f} were billed in {runs} runs, the budget is ${result.storm.budget_usd}"


def _costs_are_true(result: Aftermath) -> Iterator[str]:
    """What the ledger says that it cost is what the market billed, to a cent; never less, but for what nobody can know.

    That is what a machine moved after its last word, and the packages of one that was lost before its worker began.
    """
    billed = sum((bill.usd() for bill in _bills(result.world)), Decimal(0))
    now = datetime.fromtimestamp(result.world.now_s, UTC)
    counted = sum((budget.cost(row, now) for row in result.rows), Decimal(0))
    silent = sum(not row.down_bytes for row in result.rows) + ("restart" in result.storm.faults)
    unknown = silent * PACKAGES_BYTES * DOWN_USD_PER_GB / 10**9 + len(result.rows) * LAST_WORD_USD
    if billed - counted > CENT + unknown:
        yield f"${billed:.4f} were billed, only ${counted:.4f} are in the ledger"
    if counted - billed > CENT and not UNBILLED.intersection(result.storm.faults) and None not in result.codes:
        yield f"${counted:.4f} are in the ledger, only ${billed:.4f} were billed"


def _uses_are_known(result: Aftermath) -> Iterator[str]:
    """Where no controller was killed, or had to go before its machines, somebody has seen what all seconds were for."""
    now = datetime.fromtimestamp(result.world.now_s, UTC)
    for row in result.rows:
        statement = account.stated(row, now)
        unseen_s = statement.use_s()["unseen"]
        if not {None, 6}.intersection(result.codes) and row.state == "gone" and unseen_s > UNSEEN_S:
            yield f"what lease {row.id} did for {unseen_s:.1f} s was seen by nobody: {statement.use_s()}"


def _nothing_twice(result: Aftermath) -> Iterator[str]:
    """No segment that counts is made again."""
    for key in result.world.bench.enhanced:
        yield f"{key} counted, and was made again"


def _bills(world: World) -> list[Bill]:
    return [bill for bill in world.market.bills.values() if (bill.label or "").startswith("uprez/")]


CHECKS = (
    _jobs_end,
    _nothing_is_left,
    _ledger_is_true,
    _budget_holds,
    _costs_are_true,
    _uses_are_known,
    _nothing_twice,
)
"""The promises."""
