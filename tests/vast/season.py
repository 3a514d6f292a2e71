"""A season: batches one after the other on one ledger, on a market whose machines differ, in virtual time.

The whole command runs; what it foresees is compared with what the market bills. How long things take here comes from
this file alone: networks and encoders overlap, hosts' lines have their own speeds, films compress as they do.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Generator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import plain
import scripted
from scripted import SURVEY, Disk, Thread, Worker
from uprez import batch, wire
from uprez.config.settings import Location, Rental, Secret, Settings, Timing
from uprez.fleet.intake import Intake
from uprez.fleet.lookout import Lookout
from uprez.fleet.supplies import Supplies
from uprez.fleet.work import Work
from uprez.job import Job, Options, Plan, Source, Survey, Video
from uprez.machine import Machine
from uprez.market.base import Line
from uprez.media import encode
from uprez.media.target import target
from uprez.models import MODELS
from uprez.practice.clock import START_S
from uprez.practice.market import Options as MarketOptions
from uprez.practice.offers import table
from uprez.practice.process import Container
from uprez.report.console import Console
from uprez.sheet import Task
from virtual import Now, Vault, World

GMAC_PER_S = {
    "RTX 3060": {"srvgg": 7_900, "rrdb": 7_100},
    "RTX 3090": {"srvgg": 17_200, "rrdb": 19_500},
    "RTX 4070": {"srvgg": 21_000, "rrdb": 18_400},
    "RTX 4090": {"srvgg": 41_000, "rrdb": 36_000},
    "RTX 5090": {"srvgg": 63_000, "rrdb": 52_000},
}
"""What GPUs are really capable of, by kind of network; nobody is told."""
TIMING = Timing(
    boot_s=1200,
    lease_s=1800,
    grace_s=300,
    watch_s=20,
    status_s=20,
    poll_s=20,
    log_s=120,
    silence_s=300,
    stall_s=900,
    hard_life_s=86400,
)
PACKAGES_BYTES = 1_600_000_000
STEPS = 12
"""Of a segment, after each of which a worker says how far it is."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """One input as it really is."""

    video: Video
    options: Options
    source_bytes: int
    bits_per_pixel: float
    hardness: float
    """By which its frames take longer than others."""

    @property
    def frame_bytes(self) -> float:
        """Of the result."""
        wanted = target(self.video, self.options)
        return wanted.width * wanted.height * self.bits_per_pixel / 8


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine as it really is."""

    gmac_per_s: float
    encoded_pixels_per_s: float
    down_bytes_per_s: float
    up_bytes_per_s: float
    install_s: float
    packages_bytes: int
    rng: random.Random

    @property
    def reached_mbps(self) -> float:
        """At which it fetches, in Mbit/s."""
        return self.down_bytes_per_s * 8 / 1e6

    def frame_s(self, film: Film) -> float:
        """Give the seconds of a frame: network and encoder overlap, the slower one sets the pace."""
        wanted = target(film.video, film.options)
        network = (
            film.video.width * film.video.height * MODELS[film.options.model].macs_per_pixel / 1e9 / self.gmac_per_s
        )
        encoder = wanted.width * wanted.height / self.encoded_pixels_per_s
        return film.hardness * (max(network, encoder) + 0.15 * min(network, encoder))


class Hosts:
    """The machines of one batch, and the films that they are given."""

    def __init__(self, world: World, films: dict[str, Film]) -> None:
        self.world, self.films = world, films
        self.seed = world.rng.getrandbits(32)

    def of(self, instance: int) -> Host:
        """Say what a machine is like: always the same."""
        offer = self.world.market._state.instances[instance].offer
        rng = random.Random(f"{self.seed} {offer.machine_id}")  # noqa: S311  a simulation
        architecture = MODELS[next(iter(self.films.values())).options.model].architecture or ""
        line = Line(down=offer.down_mbit_s / 8 * 1e6, up=offer.up_mbit_s / 8 * 1e6)
        return drawn_host(rng, GMAC_PER_S[offer.gpu_name][architecture], line)


def drawn_host(rng: random.Random, gmac_per_s: float, line: Line) -> Host:
    """Draw a machine with a GPU of this speed, or a fifth more or less, and at most half of its line too little."""
    return Host(
        gmac_per_s=gmac_per_s * rng.uniform(0.8, 1.2),
        encoded_pixels_per_s=rng.uniform(3e8, 7e8),
        down_bytes_per_s=line.down * rng.uniform(0.5, 1.0),
        up_bytes_per_s=line.up * rng.uniform(0.5, 1.0),
        install_s=rng.uniform(40, 160),
        packages_bytes=round(PACKAGES_BYTES * rng.uniform(0.95, 1.05)),
        rng=random.Random(rng.getrandbits(32)),  # noqa: S311  a simulation
    )


class Season(World):
    """A world with hosts and films of its own."""

    hosts: Hosts


class _Process(scripted.Process):
    """A container whose packages come as fast as its host's line."""

    def __init__(self, world: World, disk: Disk, container: Container) -> None:
        assert isinstance(world, Season)
        self.host = world.hosts.of(container.id)
        super().__init__(world, disk, container)

    def _installed(self, machine: Machine) -> Generator[float, None, Machine]:
        yield self.host.packages_bytes / self.host.down_bytes_per_s + self.host.install_s
        self.world.bench.move(self.id, down=self.host.packages_bytes)
        self.disk.installed, self.disk.fetched = True, self.host.packages_bytes
        return replace(machine, down_bytes=self.disk.fetched, down_mbps=self.host.reached_mbps)


class _Worker(Worker):
    """A worker whose tasks take what its host and its film make them take."""

    def __init__(self, process: _Process, machine: Machine) -> None:
        super().__init__(process, machine)
        assert isinstance(process.world, Season)
        self.host, self.films = process.host, process.world.hosts.films
        self._sizes: dict[str, int] = {}
        """Of what was published, by task: the objects themselves hold a few bytes."""

    def _send(self) -> None:
        done = (replace(each, size=self._sizes.get(each.task, each.size)) for each in self.status.done)
        self.status = replace(self.status, done=tuple(done))
        super()._send()

    def _made(self, task: Task) -> Generator[float, None, tuple[bytes, int, int]]:
        film = self.films[task.job]
        frames = film.video.frames or 0
        yield from self._brought(task, task.job, film.source_bytes)
        if task.kind == "index":
            yield self.host.rng.uniform(20, 60)
            return wire.dump(self._survey(film)), 20_000, frames
        if task.kind == "assemble":
            size = round(frames * film.frame_bytes)
            for ref in task.inputs:
                yield from self._brought(task, ref.sha256, size // len(task.inputs))
            yield size / 2e8 + size / self.host.up_bytes_per_s
            self._check(task, None)
            self._sizes[task.id] = size
            return json.dumps({"result": task.job}).encode(), size, frames
        count = yield from self._rendered(task, film)
        size = round(count * film.frame_bytes)
        yield size / self.host.up_bytes_per_s
        self._sizes[task.id] = size
        return json.dumps({"job": task.job, "segment": task.segment}).encode(), size, count

    def _rendered(self, task: Task, film: Film) -> Generator[float, None, int]:
        key = self.world.state.key_of(task.plan.url) if task.plan else None
        data = self.world.state.get(key) if key else None
        assert data is not None
        assert task.segment is not None
        count = wire.load(Plan, data, where="the plan").segments[task.segment].count
        pace_s = self.host.frame_s(film) * self.host.rng.uniform(0.96, 1.04)
        for step in range(1, STEPS + 1):
            yield count * pace_s / STEPS
            self.status = replace(self.status, frames=count * step // STEPS, fps=1 / pace_s)
            self._check(task, count * pace_s * (STEPS - step) / STEPS)
        return count

    def _survey(self, film: Film) -> Survey:
        video = film.video
        picture = encode.picture(video, film.options, target(video, film.options))
        codec = target(video, film.options).codec
        rung = {"h264": "libx264", "hevc": "libx265"}[codec]
        ready = replace(
            SURVEY.preflight,
            encoding=encode.encoding(codec, rung, picture, crf=None, preset=None, threads=2),
            seconds_per_frame=self.host.frame_s(film) * self.host.rng.uniform(0.95, 1.05),
        )
        return Survey(index=plain.indexed(video, video.frames or 0), preflight=ready)

    def _brought(self, task: Task, what: str, size: int) -> Thread:
        if what not in self._fetched:
            yield size / self.host.down_bytes_per_s
            self._count(down=size)
            self.status = replace(self.status, moved=self.status.moved + 1)
            self._check(task, None)
            self._fetched.add(what)


# --- batches


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One batch: what was foreseen, and what came of it."""

    seed: int
    code: int
    plan: dict[str, Any] | None
    """As results.json has it."""
    billed_usd: Decimal
    seconds: float
    said: tuple[str, ...]
    """What a person was told, in order."""

    @property
    def foreseen(self) -> bool:
        """Say whether a range was printed."""
        return self.plan is not None and self.plan["cost_usd"] is not None


def install(patch: pytest.MonkeyPatch) -> None:
    """Let a market's machines be those of this file; after `virtual.install`."""
    patch.setattr(scripted, "Process", _Process)
    patch.setattr(scripted, "Worker", _Worker)
    patch.setattr(scripted, "POLL_S", 60.0)
    patch.setattr(Lookout, "places", lambda *args, **kwargs: [])
    patch.setattr(Lookout, "of_result", lambda *args: [])
    patch.setattr(batch.provisions, "bring", lambda *args, **kwargs: Supplies())


def run(seed: int, folder: Path) -> Ended:
    """Draw a batch by its seed and let it happen, with the ledger that is in `folder`."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    films = _films(rng, seed)
    world = Season(
        seed, options=MarketOptions(seed=1 + seed % 7, machines=60, boot_s=(90.0, 400.0), credit_usd=Decimal(900))
    )
    world.market._state.listed = [
        offer for offer in table(1 + seed % 7, machines=60, now_s=float(START_S)) if offer.gpu_name in GMAC_PER_S
    ]
    world.hosts = Hosts(world, films)
    Now.world = world
    intake = Intake(works=[_work(world, job, film) for job, film in films.items()])
    batch.take_in = lambda *args: intake  # type: ignore[assignment]
    said = io.StringIO()
    began = world.now_s
    code = world.run(batch.run(_settings(rng, world, folder, films), Console(as_json=True, stream=said)))
    *lines, results = map(json.loads, said.getvalue().splitlines())
    bills = [bill for bill in world.market.bills.values() if (bill.label or "").startswith("uprez/")]
    return Ended(
        seed=seed,
        code=code,
        plan=results["plan"],
        billed_usd=sum((bill.usd() for bill in bills), Decimal(0)),
        seconds=world.now_s - began,
        said=tuple(line["text"] for line in lines),
    )


def _films(rng: random.Random, seed: int) -> dict[str, Film]:
    """Draw a few films, each with some minutes of work for a fast GPU."""
    model = rng.choice(("realesr-animevideov3", "realesr-animevideov3", "realesrgan-x4plus"))
    options = Options(model=model, scale=Fraction(2))
    architecture = MODELS[model].architecture or ""
    found = {}
    for number in range(rng.randint(1, 8)):
        width, height = rng.choice(((1280, 720), (1920, 1080)))
        gmac = width * height * MODELS[model].macs_per_pixel / 1e9
        frames = min(6000, round(rng.uniform(200, 1500) * GMAC_PER_S["RTX 4090"][architecture] / gmac))
        size = round(frames / 25 * rng.uniform(0.4e6, 1.2e6))
        found[f"{seed:08x}{number:08x}"] = Film(
            video=plain.counted(frames, size=size, width=width, height=height),
            options=options,
            source_bytes=size,
            bits_per_pixel=rng.lognormvariate(-2.5, 0.4),
            hardness=rng.uniform(0.93, 1.07),
        )
    return found


def _work(world: World, name: str, film: Film) -> Work:
    source = Source(
        url=f"memory://in/{name}.mkv", name=f"{name}.mkv", size=film.source_bytes, identity=name, etag=f'"{name}"'
    )
    job = Job(id=name, source=source, options=film.options, model_sha256="")
    return Work(job=job, video=film.video, output=f"{name}.x2.mkv", container="mkv", store=Vault(world))


def _settings(rng: random.Random, world: World, folder: Path, films: dict[str, Film]) -> Settings:
    return Settings(
        options=next(iter(films.values())).options,
        input_dir=None,
        input=None,
        output_dir=Location(text="b2://season", bucket="season"),
        name=None,
        exact=False,
        market="vast",
        budget_usd=Decimal(90),
        max_machines=rng.randint(1, 6),
        rental=Rental(rank=rng.choice(("cheapest", "value"))),
        segment_frames=None,
        dry_run=False,
        vast_api_key=Secret(world.market.key),
        vast_url=world.url,
        state_dir=folder,
        cache_dir=folder,
        local=TIMING,
        bucket_timing=TIMING,
        rented=TIMING,
    )
