"""What a run will take, before it: jobs, offers and memory become an outlook, and that results.json's plan."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from functools import partial

from uprez import background
from uprez.config.settings import Settings
from uprez.errors import KeyRefused, MarketError
from uprez.fleet import clock, estimate, markets, outlook, plan, speeds
from uprez.fleet.belief import Belief
from uprez.fleet.budget import commitment
from uprez.fleet.hiring import BOOT_GAIN
from uprez.fleet.intake import Intake
from uprez.fleet.outlook import Candidate, Load, Outlook, Range, Share
from uprez.fleet.renting import Foreseen, Terms
from uprez.fleet.speeds import Beliefs, Memory
from uprez.fleet.work import Work
from uprez.job import Source
from uprez.market.base import Offer
from uprez.market.vast.rules import name_of
from uprez.report.console import Console
from uprez.report.results import BatchPlan, PlannedShare, Seconds, Usd

NO_KEY = "prices need VAST_API_KEY: put it into .env"
MILLS = Decimal("0.001")
CENTS = Decimal("0.01")


async def dry(settings: Settings, intake: Intake, console: Console) -> BatchPlan | None:
    """Foresee what a run would take; rents nothing and makes nothing. None without any work.

    Without a key, or while the market does not answer, there are no prices. Raises KeyRefused, UsageError.
    """
    works = list(intake.works)
    if not works:
        return None
    terms, offers, note = await _asked(settings, works, console)
    with speeds.remembered(settings.state_dir, rented=settings.market == "vast") as memory:
        found = foreseen(settings, works, memory, terms, offers, left=intake.left)
    return replace(found, notes=(*note, *found.notes))


async def _asked(
    settings: Settings, works: Sequence[Work], console: Console
) -> tuple[Terms | None, Sequence[Offer], tuple[str, ...]]:
    """Ask the market what it offers, and on what terms."""
    if settings.market == "vast" and settings.vast_api_key is None:
        return None, (), (NO_KEY,)
    try:
        place = await background.start(partial(markets.open_market, settings, console))
        terms = markets.terms(settings, works, place, 0)
        offers = await place.market.offers(terms.query)
    except KeyRefused:
        raise
    except MarketError as error:
        return None, (), (f"no prices: {error.message}",)
    return terms, offers, () if offers else ("nothing is offered within the limits",)


def foreseen(
    settings: Settings,
    works: Sequence[Work],
    memory: Memory,
    terms: Terms | None,
    offers: Sequence[Offer],
    *,
    left: Sequence[Source] = (),
) -> BatchPlan:
    """Foresee a batch on the offers of a market, as far as somebody has measured their GPUs."""
    found = loads(settings, works, left)
    uncounted = sum(_load(settings, work) is None for work in works)
    if not found:
        return BatchPlan(uncounted=uncounted, notes=("no header says how long its video is",))
    question = _Question(
        settings=settings,
        loads=found,
        beliefs=memory.beliefs(works[0].job.options),
        known=memory.speeds(works[0].video, works[0].job.options),
        terms=terms,
        offers=offers,
    )
    return replace(question.answered(), uncounted=uncounted)


def as_foreseen(found: BatchPlan, settings: Settings, works: Sequence[Work], memory: Memory) -> Foreseen | None:
    """Say how many machines that is from now on, and for how long; and how the first of them will cut each job."""
    if found.machines is None or found.seconds is None:
        return None
    within_s = found.seconds.high if settings.deadline_s is None else settings.deadline_s
    return Foreseen(
        machines=found.machines,
        until=clock.now() + within_s,
        pieces=pieces(settings, works, memory, found.gpus[0]),
    )


def pieces(settings: Settings, works: Sequence[Work], memory: Memory, gpu: str) -> dict[str, int]:
    """Reckon in how many segments each job will be cut, by its id, if it is planned on a machine with this GPU."""
    speed = memory.speeds(works[0].video, works[0].job.options).get(gpu)
    described = ((work.job.id, _load(settings, work)) for work in works)
    return {job: load.cut(speed.middle) for job, load in described if load is not None} if speed is not None else {}


def loads(settings: Settings, works: Sequence[Work], left: Sequence[Source] = ()) -> list[Load]:
    """Describe the jobs whose headers say how long they are; `left` is not looked into, and one more by its bytes."""
    known = [load for work in works if (load := _load(settings, work)) is not None]
    size = sum(load.source_bytes for load in known)
    if not left or settings.max_files is not None or not size:
        return known
    times = sum(source.size for source in left) / size
    rest = Load(
        name=f"{len(left)} more files",
        units=sum(load.units for load in known) * times,
        pixels=sum(load.pixels for load in known) * times,
        source_bytes=round(size * times),
        pieces=max(len(left), round(sum(load.pieces for load in known) * times)),
        longest_s=known[0].longest_s,
        frames=round(sum(load.frames for load in known) * times),
    )
    return [*known, rest]


def _load(settings: Settings, work: Work) -> Load | None:
    figures = estimate.estimate(work.video, work.job.options)
    if not figures.frames:
        return None
    pixels = figures.frames * figures.width * figures.height
    left = 1 - work.frames_counted / work.plan.frames if work.plan else 1.0
    return Load(
        name=work.job.source.name,
        units=left * speeds.units(figures.work_gmac or 0.0, pixels),
        pixels=pixels,
        source_bytes=work.job.source.size,
        pieces=plan.pieces(figures, settings.segment_frames),
        longest_s=math.inf if settings.segment_frames else plan.SEGMENT_WORK_S * plan.FILLED,
        frames=figures.frames,
    )


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Which machines for which work, by what is known."""

    settings: Settings
    loads: Sequence[Load]
    beliefs: Beliefs
    known: Mapping[str, Belief]
    """Speeds by GPU."""
    terms: Terms | None
    offers: Sequence[Offer]
    _seen: dict[int, Outlook] = field(default_factory=dict)

    def answered(self) -> BatchPlan:
        """Choose the machines and say what they will take; where too little is known, what one of each GPU would."""
        if self.terms is None or not self.offers:
            return BatchPlan(one_machine=self._alone())
        machines = self._candidates()
        most = self.settings.max_machines if self.terms.budget_usd is not None else 1
        paying = outlook.worth_having(self.loads, machines[:most], self.beliefs, BOOT_GAIN) if machines else 0
        if paying == len(machines) < min(most, len(self.offers)):
            note = _unmeasured(self.offers[len(machines)], self.terms)
            return BatchPlan(one_machine=self._alone(), notes=(note,))
        return self._on(machines, paying, self.terms)

    def _candidates(self) -> list[Candidate]:
        """Give the first offers, as far as their GPUs are known."""
        found = []
        for offer in self.offers:
            if (speed := self.known.get(offer.gpu)) is None:
                break
            found.append(Candidate(gpu=offer.gpu, speed=speed, rates=offer.rates, line=offer.line))
        return found

    def _on(self, machines: Sequence[Candidate], paying: int, terms: Terms) -> BatchPlan:
        """Take as many as pay and the budget holds; with a deadline the fewest that meet it."""
        affordable = paying
        if terms.budget_usd is not None:
            affordable = outlook.affordable(
                machines, terms.budget_usd, terms.first_s, terms.timing.lease_s, terms.traffic
            )
        most = max(1, min(paying, affordable))
        count, notes = most, list[str]()
        deadline_s, meets = self.settings.deadline_s, None
        if deadline_s is not None:
            enough = self._fewest(machines, deadline_s)
            meets = enough <= most
            count = min(enough, most)
            if not meets:
                notes.append(_would_meet(enough if enough <= min(len(machines), affordable) else None))
        seen = self._foreseen(machines, count)
        fits = None
        if terms.budget_usd is not None:
            first = commitment(machines[0].rates, terms.first_s, terms.traffic)
            needed = max(Decimal(seen.usd.high), first)
            fits = needed <= terms.budget_usd
            if not fits:
                notes.append(f"--budget {needed.quantize(CENTS, ROUND_UP)} would be enough")
        return replace(
            _planned(self.loads, machines[:count], seen),
            fits_budget=fits,
            fits_deadline=meets,
            notes=tuple(notes),
        )

    def _fewest(self, machines: Sequence[Candidate], deadline_s: float) -> int:
        """Give the fewest machines that meet a deadline whatever happens; one more than there are where none do."""
        counts = range(1, len(machines) + 1)
        return 1 + bisect_left(counts, -deadline_s, key=lambda count: -self._foreseen(machines, count).seconds.high)

    def _foreseen(self, machines: Sequence[Candidate], count: int) -> Outlook:
        if count not in self._seen:
            self._seen[count] = outlook.foresee(
                self.loads, machines[:count], self.beliefs, farewell_s=_farewell_s(self.settings)
            )
        return self._seen[count]

    def _alone(self) -> tuple[PlannedShare, ...]:
        """Say what the whole batch takes on one machine of each known GPU that is wanted, at its best offer's price."""
        best = {offer.gpu: offer for offer in reversed(self.offers)}
        rental = self.settings.rental
        wanted, unwanted = ({name_of(gpu) for gpu in names} for names in (rental.gpu_models, rental.gpu_blacklist))
        shares = []
        for gpu, speed in self.known.items():
            if gpu and (name_of(gpu) in unwanted or (wanted and name_of(gpu) not in wanted)):
                continue
            offer = best.get(gpu)
            candidate = Candidate(gpu=gpu, speed=speed)
            if offer is not None:
                candidate = replace(candidate, rates=offer.rates, line=offer.line)
            seen = outlook.foresee(self.loads, [candidate], self.beliefs, farewell_s=_farewell_s(self.settings))
            free = gpu == ""
            shares.append(
                PlannedShare(
                    name=gpu or "this machine",
                    seconds=_seconds(seen.seconds),
                    cost_usd=_usd(seen.usd) if offer or free else None,
                )
            )
        return tuple(shares)


def _unmeasured(offer: Offer, terms: Terms) -> str:
    if terms.budget_usd is None:
        return "nothing is foreseen: this machine has not done such work yet"
    gpu = offer.gpu or "a GPU without a name"
    return f"nothing is foreseen: {gpu}, which would be rented, has not done such work yet"


def _would_meet(count: int | None) -> str:
    if count is None:
        return "the deadline cannot be met with the machines that are offered within the limits"
    return f"--max-machines {count} would meet the deadline"


def _farewell_s(settings: Settings) -> float:
    """Reckon what letting a machine go takes: it looks, it says so, and that is seen."""
    timing = settings.rented if settings.market == "vast" else settings.local
    return timing.watch_s + timing.status_s + timing.poll_s


def _planned(found: Sequence[Load], machines: Sequence[Candidate], seen: Outlook) -> BatchPlan:
    """Write an outlook down as results.json has it."""
    jobs = tuple(_share(load.name, share, load.frames) for load, share in zip(found, seen.jobs, strict=True))
    return BatchPlan(
        machines=seen.machines,
        gpus=tuple(machine.gpu for machine in machines),
        seconds=_seconds(seen.seconds),
        cost_usd=_usd(seen.usd),
        boots=_share("boots", seen.boots),
        jobs=jobs,
    )


def _share(name: str, share: Share, frames: int | None = None) -> PlannedShare:
    return PlannedShare(name=name, frames=frames, seconds=_seconds(share.seconds), cost_usd=_usd(share.usd))


def _seconds(found: Range) -> Seconds:
    return Seconds(low=round(found.low, 1), middle=round(found.middle, 1), high=round(found.high, 1))


def _usd(found: Range) -> Usd:
    low, middle, high = (Decimal(value).quantize(MILLS) for value in (found.low, found.middle, found.high))
    return Usd(low=low, middle=middle, high=high)
