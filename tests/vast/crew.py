"""Crews: runs of the whole command over many videos on many machines, in virtual time, and what they came to.

Machines have speeds and prices, videos have lengths, and what the controller does in threads is done side by side.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path

import pytest

import plain
from scripted import SURVEY, Clip, Process
from uprez import batch
from uprez.config.settings import Location, Rental, Secret, Settings, Timing
from uprez.errors import UprezError
from uprez.fleet import labels
from uprez.fleet.intake import Intake
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import LeaseRow
from uprez.fleet.work import Work
from uprez.job import Encoding, Job, Options, Source, Video
from uprez.market.vast import limiter
from uprez.media import encode
from uprez.media.target import target
from uprez.practice.billing import Bill
from uprez.practice.clock import START_S
from uprez.practice.market import Options as MarketOptions
from uprez.practice.offers import Offer, table
from uprez.report.console import Console
from uprez.store import keys
from virtual import DiedError, Now, Vault, World

TIMING = Timing(
    boot_s=1200,
    lease_s=1800,
    grace_s=300,
    watch_s=15,
    status_s=10,
    poll_s=3,
    log_s=3,
    silence_s=180,
    stall_s=900,
    hard_life_s=86400,
)
"""As rented machines have it in defaults.yaml."""
PACE_S = 0.2
"""For a frame, on a machine of speed 1."""
TOLD_S = 10.0
"""Between two steps that a worker tells of."""
SAMPLE_S = 60.0
SOURCE_BYTES, RESULT_BYTES = 20_000, 30_000
"""For a frame of 720p: 4 and 6 Mbit/s."""
SEGMENT_FRAMES = 1200
"""About as many as the plan gives a segment."""
BYTES_PER_S = 30e6
"""Of a machine's line."""
OPTIONS = Options(model="identity", scale=Fraction(1))


@dataclass(frozen=True, kw_only=True)
class Crew:
    """What is asked for, and on what market."""

    seed: int
    frames: tuple[int, ...]
    """Of each video."""
    machines: int
    """At most."""
    budget_usd: Decimal = Decimal(200)
    slowest: float = 0.6
    fastest: float = 1.8
    dear: float = 1.0
    """By how many times everything costs more."""
    offered: int = 60
    boot_s: tuple[float, float] = (60.0, 180.0)
    bid: bool = False
    timing: Timing = TIMING
    limits: bool = True
    """The market refuses calls that come too soon."""

    def speed(self, machine: int) -> float:
        """Give how fast a machine is."""
        return random.Random(f"{self.seed}/{machine}").uniform(self.slowest, self.fastest)  # noqa: S311  no secret


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What had come to pass at one moment."""

    at_s: float
    cpu_s: float
    """That the controller took so far."""
    leases: int
    """Machines whose worker runs."""
    asked: Counter[str]
    """Of the market."""
    reads: int
    """Of the store."""


@dataclass(frozen=True, kw_only=True)
class Paid:
    """One lease, as the market and its machine have it."""

    lease: str
    machine: int
    speed: float
    boot_s: float
    """From the order to a worker that is ready."""
    gpu_s: float
    idle_s: float
    """In which a worker that was ready had no task."""


@dataclass(kw_only=True)
class Report:
    """What a run came to."""

    crew: Crew
    world: World
    code: int | None
    said: str
    works: list[Work]
    rows: list[LeaseRow]
    began_s: float
    done_s: float
    """When the last job was recorded as done."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def makespan_s(self) -> float:
        """Give the time from the begin of the run until the last job was done."""
        return self.done_s - self.began_s

    @property
    def work_s(self) -> float:
        """Give what all frames take on a machine of speed 1."""
        return sum(self.crew.frames) * PACE_S

    @property
    def paid(self) -> list[Paid]:
        """Give each lease."""
        bench, rows = self.world.bench, {row.id: row for row in self.rows}
        found = []
        for bill in bills(self.world):
            label = labels.parse(bill.label or "")
            machine = rows[label.lease].machine if label else ""
            if label is None or label.lease not in bench.ready_s:
                continue
            found.append(
                Paid(
                    lease=label.lease,
                    machine=int(machine),
                    speed=self.crew.speed(int(machine)),
                    boot_s=bench.ready_s[label.lease] - rows[label.lease].intended_at.timestamp(),
                    gpu_s=bill.gpu_ms / 1000,
                    idle_s=float(bench.idle_s[label.lease]),
                )
            )
        return found

    @property
    def billed_usd(self) -> Decimal:
        """Give what the market asks for."""
        return sum((bill.usd() for bill in bills(self.world)), Decimal(0))


def dearer(world: World, times: Decimal) -> None:
    """Let every machine that is rented cost more from now on."""
    world.market.settle()
    for one in world.market._state.instances.values():
        one.bill.reprice(one.bill.rates.gpu_usd_per_hour * times)


def bills(world: World) -> list[Bill]:
    """Give the bills of all that was ours."""
    return [bill for bill in world.market.bills.values() if (bill.label or "").startswith("uprez/")]


def work(
    crew: Crew, folder: Path, *, before: Callable[[World], None] = lambda world: None, until_s: float | None = None
) -> Report:
    """Let a run happen, from its begin to its end; or `until_s`, when its controller is killed."""
    Now.world = world = _world(crew)
    before(world)
    works = [_work(world, number) for number in range(len(crew.frames))]
    batch.take_in = lambda *args: Intake(works=works)  # type: ignore[assignment]
    samples: list[Sample] = []
    world.later(SAMPLE_S, partial(_sample, world, samples))
    said, began_s = StringIO(), world.now_s
    if until_s is not None:
        world.later(until_s, partial(setattr, world, "dead", True))
    code = None
    try:
        code = world.run(batch.run(_settings(crew, world, folder), Console(stream=said)))
    except UprezError as error:  # nothing was started
        code = error.exit_code
    except DiedError:
        pass
    done = [world.state.written_s.get(keys.manifest(one.job.id), world.now_s) for one in works]
    return Report(
        crew=crew,
        world=world,
        code=code,
        said=said.getvalue(),
        works=works,
        rows=_rows(folder),
        began_s=began_s,
        done_s=max(done),
        samples=samples,
    )


def _world(crew: Crew) -> World:
    options = MarketOptions(
        seed=1 + crew.seed % 5,
        machines=crew.offered,
        boot_s=crew.boot_s,
        credit_usd=10 * crew.budget_usd,
        limits=crew.limits,
    )
    world = World(crew.seed, options=options, abreast=True)
    world.market._state.listed = _offers(options.seed, crew.offered, crew.dear)
    world.bench.pace_s = partial(_pace_s, crew, world)
    world.bench.clips = {_id(number): _clip(frames) for number, frames in enumerate(crew.frames)}
    return world


def _offers(seed: int, machines: int, dear: float) -> list[Offer]:
    """Give machines of every price that all last long enough."""
    times = Decimal(str(dear))
    return [
        replace(
            offer, usd_per_hour=offer.usd_per_hour * times, min_bid=offer.min_bid * times, end_s=START_S + 2000 * 3600
        )
        for offer in table(seed, machines=machines, now_s=float(START_S))
    ]


def _pace_s(crew: Crew, world: World, process: Process) -> float:
    return PACE_S / crew.speed(world.market._state.instances[process.id].offer.machine_id)


@lru_cache(maxsize=256)
def _clip(frames: int) -> Clip:
    video = plain.counted(frames, size=SOURCE_BYTES * frames, width=1280, height=720)
    index = plain.indexed(video, frames)
    return Clip(
        video=video,
        survey=replace(
            SURVEY,
            index=replace(index, keyframes=index.pts[::50]),
            preflight=replace(SURVEY.preflight, encoding=_encoding(video)),
        ),
        stride=max(1, round(TOLD_S / PACE_S)),
        fetch_s=SOURCE_BYTES * frames / BYTES_PER_S,
        source_bytes=SOURCE_BYTES * frames,
        segment_bytes=RESULT_BYTES * SEGMENT_FRAMES,
        segment_s=RESULT_BYTES * SEGMENT_FRAMES / BYTES_PER_S,
    )


def _encoding(video: Video) -> Encoding:
    picture = encode.picture(video, OPTIONS, target(video, OPTIONS))
    return encode.encoding("h264", "libx264", picture, crf=None, preset=None, threads=2)


def _work(world: World, number: int) -> Work:
    clip = world.bench.clips[_id(number)]
    source = Source(
        url=f"memory://in/{number}.mkv",
        name=f"{number}.mkv",
        size=clip.source_bytes,
        identity=str(number),
        etag=f'"{number}"',
    )
    job = Job(id=_id(number), source=source, options=OPTIONS, model_sha256="")
    return Work(job=job, video=clip.video, output=f"{number}.x1.mkv", store=Vault(world))


def _id(number: int) -> str:
    return f"{number:016x}"


def _settings(crew: Crew, world: World, folder: Path) -> Settings:
    return Settings(
        options=OPTIONS,
        input_dir=None,
        input=None,
        output_dir=Location(text="b2://crew", bucket="crew"),
        name=None,
        exact=False,
        market="vast",
        budget_usd=crew.budget_usd,
        max_machines=crew.machines,
        rental=Rental(max_usd_per_hour=Decimal(100), bid=crew.bid),
        segment_frames=None,
        dry_run=False,
        vast_api_key=Secret(world.market.key),
        vast_url=world.url,
        state_dir=folder,
        cache_dir=folder,
        local=crew.timing,
        bucket_timing=crew.timing,
        rented=crew.timing,
    )


def _sample(world: World, samples: list[Sample]) -> None:
    samples.append(
        Sample(
            at_s=world.now_s,
            cpu_s=world.strands.meter.seconds("controller"),
            leases=len(world.bench.processes),
            asked=Counter(world.asked),
            reads=world.state.reads,
        )
    )
    world.later(SAMPLE_S, partial(_sample, world, samples))


def _rows(folder: Path) -> Sequence[LeaseRow]:
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        return [ledger.lease(row[0]) for row in ledger._db.execute("SELECT id FROM leases ORDER BY rowid").fetchall()]
    finally:
        ledger.close()


def crowd(leases: int, folder: Path, patch: pytest.MonkeyPatch, *, hired_s: float, until_s: float) -> Report:
    """Rent so many machines from a market in a hurry until `hired_s`, and look after them until `until_s`."""
    usual = dict(limiter.INTERVALS)
    for name in ("search", "create", "account", "list"):
        patch.setitem(limiter.INTERVALS, name, 0.01)

    def before(world: World) -> None:
        world.later(hired_s, partial(limiter.INTERVALS.update, usual))

    crew = Crew(
        seed=1,
        frames=(6000,) * (leases // 2),
        machines=leases,
        budget_usd=Decimal(1000),
        offered=320,
        boot_s=(20.0, 60.0),
        limits=False,
    )
    return work(crew, folder, before=before, until_s=until_s)
