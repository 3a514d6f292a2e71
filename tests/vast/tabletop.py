"""A batch on a table: the loop's own rules of sharing out, played event by event with machines that differ.

No market, no store, no worker: a batch takes milliseconds, so hundreds can follow each other on one ledger. Machines
and films are those of `season`; what they do is remembered as the loop remembers it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import plain
from scripted import SURVEY
from season import GMAC_PER_S, TIMING, Film, Host, drawn_host
from uprez.config.settings import Settings
from uprez.fleet import dispatch, estimate, planning, speeds
from uprez.fleet import plan as plans
from uprez.fleet.budget import Traffic, commitment
from uprez.fleet.dispatch import Hand, Name
from uprez.fleet.ledger import Ledger
from uprez.fleet.renting import Terms
from uprez.fleet.speeds import Memory
from uprez.fleet.work import ASSEMBLE, INDEX, Work
from uprez.job import Job, Options, Pin, Plan, Source
from uprez.market.base import Line, Offer, OfferQuery, Rates
from uprez.models import MODELS
from uprez.practice.offers import CARDS
from uprez.report.results import BatchPlan
from uprez.status import Done
from uprez.store import keys

QUERY = OfferQuery()
START = datetime(2026, 1, 1, tzinfo=UTC)
CHECK_S = 6.0
"""From a task's end until what it made counts."""
HEARD_S = 20.0
"""Until a machine has heard that it may go, and is gone."""


@dataclass(kw_only=True)
class Seat:
    """One machine, at work."""

    offer: Offer
    host: Host
    lease: str
    ordered_s: float
    started_s: float
    ready_s: float
    queue: list[Name] = field(default_factory=list)
    current: Name | None = None
    until_s: float = 0.0
    began_s: float = 0.0
    turn: int = 0
    """Rises when what it does ends, or is taken from it."""
    slowness: float = 1.0
    source: str = ""
    fetched: set[str] = field(default_factory=set)
    count: int = 0
    down_bytes: float = 0.0
    up_bytes: float = 0.0
    gone_s: float | None = None


class Table:
    """One batch while it is played."""

    def __init__(
        self,
        ledger: Ledger,
        works: Sequence[Work],
        films: dict[str, Film],
        seats: Sequence[Seat],
        pieces: dict[str, int],
    ) -> None:
        self.ledger, self.works, self.films, self.seats, self.pieces = ledger, works, films, seats, pieces
        self.by_id = {work.job.id: work for work in works}
        self.now_s = 0.0
        self.checking: set[Name] = set()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def play(self) -> None:
        """Let all happen until everything is done and everybody is gone."""
        for seat in self.seats:
            self._at(seat.ready_s, lambda seat=seat: self._ready(seat))
        while self._agenda:
            self.now_s, _, happens = heapq.heappop(self._agenda)
            happens()
            self._share_out()

    def _at(self, when_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._number), what))

    def _ready(self, seat: Seat) -> None:
        if seat.gone_s is None:
            self.ledger.clock = lambda: START + timedelta(seconds=seat.started_s)
            self.ledger.running(seat.lease)
            self.ledger.clock = lambda: START + timedelta(seconds=seat.ready_s)
            mbps = seat.host.reached_mbps
            speeds.note_ready(self.ledger, seat.lease, seat.host.packages_bytes, mbps)
            seat.down_bytes += seat.host.packages_bytes

    def _share_out(self) -> None:
        """Do as a pass of the loop does."""
        serving = [seat for seat in self.seats if seat.gone_s is None and seat.ordered_s <= self.now_s]
        for seat in serving:
            for name in [name for name in seat.queue if name[1] not in dispatch.wanted(self.by_id[name[0]])]:
                self._drop(seat, name)
        wanted = sum(dispatch.demand(work, self.pieces[work.job.id], self.checking) for work in self.works)
        idle = sorted((seat for seat in serving if not seat.queue), key=lambda seat: -seat.offer.usd_per_hour)
        for seat in idle[: max(0, len(serving) - wanted)]:
            seat.gone_s = self.now_s + HEARD_S
        serving = [seat for seat in serving if seat.gone_s is None]
        hands = [self._hand(seat) for seat in serving]
        shared = dispatch.assign(self.works, hands, self.checking, self._seconds)
        for seat in serving:
            for name in shared.taken[seat.lease]:
                seat.queue.remove(name)
            seat.queue += shared.new[seat.lease]
            self._begin(seat)

    def _hand(self, seat: Seat) -> Hand:
        left_s = max(0.0, seat.until_s - self.now_s) if seat.current else 0.0
        return Hand(
            lease=seat.lease,
            queue=list(seat.queue),
            current=seat.current,
            current_s=left_s,
            slowness=seat.slowness,
            ready=self.now_s >= seat.ready_s,
            source=seat.source,
        )

    def _seconds(self, name: Name) -> float:
        work, piece = self.by_id[name[0]], name[1]
        if piece.kind != "enhance" or work.plan is None:
            return 30.0
        return work.plan.segments[piece.segment].count * work.plan.preflight.seconds_per_frame

    def _drop(self, seat: Seat, name: Name) -> None:
        seat.queue.remove(name)
        if seat.current == name:
            seat.current, seat.turn = None, seat.turn + 1

    def _begin(self, seat: Seat) -> None:
        if seat.current is not None or not seat.queue or self.now_s < seat.ready_s:
            return
        name = seat.queue[0]
        seconds, size = self._takes(seat, name)
        seat.current, seat.began_s, seat.until_s, seat.source = name, self.now_s, self.now_s + seconds, name[0]
        seat.turn += 1
        turn = seat.turn
        self._at(seat.until_s, lambda: self._end(seat, name, turn, size))

    def _takes(self, seat: Seat, name: Name) -> tuple[float, int]:
        """Say what a task takes here: seconds, and bytes that it makes."""
        work, piece, host = self.by_id[name[0]], name[1], seat.host
        film = self.films[name[0]]
        seconds = self._fetched(seat, name[0], film.source_bytes)
        if piece == INDEX:
            return seconds + host.rng.uniform(20, 60), 0
        assert work.plan is not None
        if piece == ASSEMBLE:
            size = round(work.plan.frames * film.frame_bytes)
            seconds += self._fetched(seat, f"{name[0]} made", size)
            return seconds + size / 2e8 + size / host.up_bytes_per_s, size
        count = work.plan.segments[piece.segment].count
        size = round(count * film.frame_bytes)
        pace_s = host.frame_s(film) * host.rng.uniform(0.96, 1.04)
        seat.slowness = pace_s / work.plan.preflight.seconds_per_frame
        return seconds + count * pace_s + size / host.up_bytes_per_s, size

    def _fetched(self, seat: Seat, what: str, size: int) -> float:
        if what in seat.fetched:
            return 0.0
        seat.fetched.add(what)
        seat.down_bytes += size
        return size / seat.host.down_bytes_per_s

    def _end(self, seat: Seat, name: Name, turn: int, size: int) -> None:
        if seat.turn != turn or seat.current != name:
            return
        seat.queue.remove(name)
        seat.current, seat.count = None, seat.count + 1
        seat.up_bytes += size
        task = keys.attempt(seat.lease, seat.count)
        done = Done(task=task, key="", size=size, seconds=self.now_s - seat.began_s)
        if name[1] in dispatch.wanted(self.by_id[name[0]]) and name not in self.checking:
            self.checking.add(name)
            self._at(self.now_s + CHECK_S, lambda: self._count(seat, name, done))

    def _count(self, seat: Seat, name: Name, done: Done) -> None:
        work, piece = self.by_id[name[0]], name[1]
        self.checking.discard(name)
        if piece == INDEX:
            work.plan = _plan(work, self.films[name[0]], seat.host)
        elif piece == ASSEMBLE:
            work.state, work.assembled = "done", True
        else:
            work.counted[piece.segment] = Pin(key="", size=done.size, etag="", sha256="")
        speeds.note_done(self.ledger, work, piece, done)


def _pieces(work: Work) -> int:
    return plans.pieces(estimate.estimate(work.video, work.job.options), None)


def _plan(work: Work, film: Film, host: Host) -> Plan:
    frames, seconds = film.video.frames or 0, host.frame_s(film) * host.rng.uniform(0.95, 1.05)
    size = max(1, round(plans.frames_at_most(film.video.rate, seconds) * plans.FILLED))
    figures = estimate.estimate(film.video, film.options)
    return Plan(
        number=1,
        job=work.job.id,
        options=film.options,
        first=0,
        count=frames,
        width=figures.width,
        height=figures.height,
        container="mkv",
        preflight=replace(SURVEY.preflight, seconds_per_frame=seconds),
        segments=plans.cut(frames, size),
    )


# --- batches


@dataclass(frozen=True, kw_only=True)
class Played:
    """What was foreseen, and what came of it."""

    plan: BatchPlan
    usd: float
    seconds: float


def play(seed: int, ledger: Ledger, settings: Settings) -> Played:
    """Draw a batch by its seed, foresee it by what the ledger remembers, and let it happen."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    films = _films(rng, seed)
    works = [_work(name, film) for name, film in films.items()]
    settings = replace(settings, options=works[0].job.options, max_machines=rng.randint(1, 6))
    offers = _offers(rng)
    terms = Terms(timing=TIMING, budget_usd=settings.budget_usd)
    memory = Memory(ledger, rented=True)
    plan = planning.foreseen(settings, works, memory, terms, offers)
    foreseen = planning.pieces(settings, works, memory, plan.gpus[0]) if plan.gpus else {}
    pieces = {work.job.id: max(_pieces(work), foreseen.get(work.job.id, 1)) for work in works}
    batch = ledger.new_batch()
    ledger.begin_batch(batch, "memory://", {})
    architecture = MODELS[works[0].job.options.model].architecture or ""
    seats, ordered_s = [], 0.0
    for offer in offers[: plan.machines or settings.max_machines]:
        assert offer.line is not None
        host = drawn_host(rng, GMAC_PER_S[offer.gpu][architecture], offer.line)
        started_s = ordered_s + rng.uniform(90, 400)
        ledger.clock = lambda at=ordered_s: START + timedelta(seconds=at)
        row = ledger.intend(batch=batch, market="vast", place="vast", offer=offer, now=START, life_s=60)
        ready_s = started_s + host.packages_bytes / host.down_bytes_per_s + host.install_s
        seats.append(
            Seat(offer=offer, host=host, lease=row.id, ordered_s=ordered_s, started_s=started_s, ready_s=ready_s)
        )
        ordered_s += rng.uniform(3, 12)
    table = Table(ledger, works, films, seats, pieces)
    table.play()
    assert all(work.state == "done" for work in works)
    return Played(plan=plan, usd=sum(map(_usd, seats)), seconds=max(seat.gone_s or 0.0 for seat in seats))


def _usd(seat: Seat) -> float:
    """Give what the market bills."""
    assert seat.gone_s is not None
    rates = seat.offer.rates
    gpu = float(rates.gpu_usd_per_hour) * max(0.0, seat.gone_s - seat.started_s) / 3600
    disk = float(rates.disk_usd_per_hour) * (seat.gone_s - seat.ordered_s) / 3600
    traffic = Traffic(down_bytes=round(seat.down_bytes), up_bytes=round(seat.up_bytes))
    return gpu + disk + float(commitment(rates, 0, traffic))


def _films(rng: random.Random, seed: int) -> dict[str, Film]:
    """Draw one to eight films of one to fifteen minutes."""
    options = Options(model=rng.choice(("realesr-animevideov3",) * 3 + ("realesrgan-x4plus",)), scale=Fraction(2))
    seconds = (60, 900) if options.model == "realesr-animevideov3" else (20, 120)
    found = {}
    for number in range(rng.randint(1, 8)):
        width, height = rng.choice(((1280, 720), (1920, 1080)))
        frames = round(25 * rng.uniform(*seconds))
        size = round(frames / 25 * rng.uniform(0.4e6, 1.2e6))
        found[f"{seed:08x}{number:08x}"] = Film(
            video=plain.counted(frames, size=size, width=width, height=height),
            options=options,
            source_bytes=size,
            bits_per_pixel=rng.lognormvariate(-2.5, 0.4),
            hardness=rng.uniform(0.93, 1.07),
        )
    return found


def _work(name: str, film: Film) -> Work:
    source = Source(url=f"memory://{name}", name=f"{name}.mkv", size=film.source_bytes, identity=name)
    job = Job(id=name, source=source, options=film.options, model_sha256="")
    return Work(job=job, video=film.video, output=f"{name}.x2.mkv")


def _offers(rng: random.Random) -> list[Offer]:
    """Draw what is offered, the cheapest first."""
    found = []
    for number in range(12):
        gpu = rng.choice(list(GMAC_PER_S))
        price = Decimal(CARDS[gpu].usd_per_hour) * Decimal(str(round(rng.lognormvariate(0, 0.25), 3)))
        rates = Rates(
            gpu_usd_per_hour=price,
            disk_usd_per_hour=Decimal(rng.choice(("0.08", "0.15", "0.30"))) * 16 / 730,
            down_usd_per_gb=Decimal(rng.choice(("0", "0.001", "0.002", "0.005", "0.020"))),
            up_usd_per_gb=Decimal(rng.choice(("0", "0.002", "0.004", "0.010", "0.020"))),
        )
        # With the traffic that is expected, as offers are compared.
        usd_per_hour = rates.usd_per_hour + QUERY.down_gb_per_hour * rates.down_usd_per_gb
        usd_per_hour += QUERY.up_gb_per_hour * rates.up_usd_per_gb
        found.append(
            Offer(
                id=str(number),
                machine=str(number),
                description=gpu,
                usd_per_hour=usd_per_hour,
                rates=rates,
                gpu=gpu,
                line=Line(down=rng.lognormvariate(6.4, 0.8) / 8 * 1e6, up=rng.lognormvariate(6.0, 0.8) / 8 * 1e6),
            )
        )
    return sorted(found, key=lambda offer: offer.usd_per_hour)
