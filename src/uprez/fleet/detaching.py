"""Leaving a batch to its machines (`--detach`).

    every job has a plan -> share the jobs out whole -> see that time and money are there -> labels -> ledger -> sheets

Each lease gets the whole of its jobs on one last sheet, assembly and all, and the time for it. From then on nobody need
watch: the worker does one after the other, its dead-man ends the machine, and the next `uprez status` or `uprez run`
verifies and publishes what was made. Until the labels are moved nothing has changed; should this process die between
them and the last sheet, the leases end as if nobody had renewed them, and what they published is taken up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from uprez.errors import DeniedError, MarketError, StoreError
from uprez.fleet import estimate
from uprez.fleet.budget import Traffic
from uprez.fleet.dispatch import Hand
from uprez.fleet.renting import Renter
from uprez.fleet.serving import Serving, usual
from uprez.fleet.work import Work
from uprez.media import ladders

LONGEST_S = 6 * 24 * 3600.0
"""Of a lease that is left to itself: signatures live for seven days, and the next start has to read, too."""
BEFORE_S = 4 * 3600.0
"""What may pass before that: boots, and every job's index."""
ROOMS = (1.5, 1.15)
"""By how much a lease lasts longer than its work is reckoned to take; the second where there is no money for more."""
MARGIN_S = 900.0
"""And by so much, whatever that is."""
JOIN_BYTES_PER_S = 50e6 / 8
"""At which segments and sources are fetched, and results sent: of a slow host."""
LATE_S = 900.0
"""A lease's time begins when its worker reads the sheet: a store may keep it from that for a while."""
WRITE_PAUSES_S = (2.0, 10.0, 30.0)
CENT = Decimal("0.01")


def needed_s(work: Work, usual_s: float | None) -> float:
    """Reckon the seconds of a job, its assembly with them, on a machine that takes `usual_s` for a pixel."""
    frames = work.plan.frames - work.frames_counted if work.plan else 0
    size = estimate.result_bytes(work.video, work.job.options)
    return frames * work.frame_s(usual_s) + (work.job.source.size + 3 * size) / JOIN_BYTES_PER_S


def able(work: Work, servings: Sequence[Serving]) -> frozenset[str]:
    """Name the leases that are known to follow a job's plan: whoever made it or a segment by it, and machines alike.

    What another GPU's encoder or driver makes may not join it, and nobody would be there to make another plan. All,
    where none of these is there any more.
    """
    on_gpu = work.plan is None or ladders.is_on_gpu(work.plan.preflight.encoding.rung)
    pins = (work.survey_pin, *work.counted.values())
    proven = {pin.key.rpartition("/")[2].partition("-")[0] for pin in pins if pin is not None}
    kinds = {one.lease.id: _kind(one, on_gpu=on_gpu) for one in servings if one.machine not in work.doubts}
    alike = {kind for lease, kind in kinds.items() if lease in proven}
    return frozenset(lease for lease, kind in kinds.items() if lease in proven or kind in alike or not alike)


def _kind(serving: Serving, *, on_gpu: bool) -> tuple[str | None, ...]:
    """Give what must be the same for two machines' segments to join; an encoder on a CPU is the same everywhere."""
    machine = serving.status.machine if serving.status else None
    if machine is None:
        return (serving.lease.id,)
    return (machine.provider, machine.gpu, machine.driver) if on_gpu else (machine.provider,)


def share_out(
    needed: Mapping[str, float], hands: Sequence[Hand], may: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """Give each job to one lease, so that the last ends soonest, about: by job the seconds that it needs. Pure.

    A job stays where one of its pieces is being made, and goes where its input lies if that is as good; the longest are
    given out first, each to the lease that would be done with it first (Graham's LPT rule). `may`: by job, the leases
    that can do it.
    """
    shares: dict[str, list[str]] = {hand.lease: [] for hand in hands}
    load = dict.fromkeys(shares, 0.0)
    working = [hand for hand in hands if hand.current is not None and hand.lease in may[hand.current[0]]]
    begun = {hand.current[0]: hand for hand in reversed(working) if hand.current is not None}
    for job in sorted(needed, key=lambda job: (job not in begun, -needed[job])):
        held = begun.get(job)
        chosen = held or min(
            (hand for hand in hands if hand.lease in may[job]),
            key=lambda hand: (load[hand.lease] + needed[job] * hand.slowness, job not in hand.jobs),
        )
        shares[chosen.lease].append(job)
        load[chosen.lease] += needed[job] * chosen.slowness
    return shares


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one lease is left with."""

    serving: Serving
    works: tuple[Work, ...]
    usual_s: float | None
    """What a pixel takes on a machine of the middle."""

    def length_s(self, room: float) -> float:
        """Give the seconds that its lease is to last from now on."""
        needed = sum(needed_s(work, self.usual_s) for work in self.works)
        return room * self.serving.slowness(self.usual_s) * needed + MARGIN_S

    def traffic(self, packages_bytes: int) -> Traffic:
        """Give what it may move: as `markets.terms` has it for the largest share of a batch, here for its own."""
        result = sum(estimate.result_bytes(work.video, work.job.options) for work in self.works)
        source = sum(work.job.source.size for work in self.works)
        return Traffic(down_bytes=packages_bytes + 2 * source + 2 * result, up_bytes=4 * result)


@dataclass(kw_only=True)
class Detaching:
    """Leaves leases to themselves, once."""

    renter: Renter
    max_runtime_s: float | None
    """The longest life of a lease, where somebody said it."""
    _said: str = ""

    async def leave(self, servings: Sequence[Serving], works: Sequence[Work]) -> list[Share]:
        """Leave the jobs to the leases; gives those of which that is done, none while it cannot be: then it says why.

        A lease of which the last sheet could not be written is not among them and goes on as it was.
        """
        usual_s = usual(servings)
        shared = share_out(
            {work.job.id: needed_s(work, usual_s) for work in works},
            [one.hand(usual_s) for one in servings],
            {work.job.id: able(work, servings) for work in works},
        )
        by_id = {work.job.id: work for work in works}
        shares = [
            Share(serving=one, works=tuple(by_id[job] for job in shared[one.lease.id]), usual_s=usual_s)
            for one in servings
            if shared[one.lease.id]
        ]
        try:
            lengths = await self._lengths(shares)
            if lengths is None or not await self._labelled(shares, lengths):
                return []
            self.renter.ledger.detach(self.renter.batch, by_id)
        except (MarketError, StoreError) as error:
            self._stay(error.message)
            return []
        done = [share for share in shares if await self._handed_over(share, lengths[share.serving.lease.id])]
        self._tell(done, await self.renter.market.now(), lengths)
        return done

    async def _lengths(self, shares: Sequence[Share]) -> dict[str, float] | None:
        """Say how long each lease is to last; None where there is no time or no money for all."""
        funds = await self.renter.market.funds()
        packages = self.renter.terms.packages_bytes
        why: str | None = None
        for room in ROOMS:
            lengths = {share.serving.lease.id: share.length_s(room) for share in shares}
            if why := self._too_long(shares, lengths):
                continue
            asked = {
                one.serving.lease.id: (lengths[one.serving.lease.id] + LATE_S, one.traffic(packages)) for one in shares
            }
            if not (lacking := self.renter.lacks_for(asked, funds)):
                return lengths
            why = f"budget and credit would have to be ${lacking.quantize(CENT, ROUND_UP)} more"
        self._stay(why or "")
        return None

    def _too_long(self, shares: Sequence[Share], lengths: Mapping[str, float]) -> str | None:
        """Say which lease would have to last too long."""
        grace_s = self.renter.terms.timing.grace_s
        for share in shares:
            lease = share.serving.lease
            length_s = lengths[lease.id]
            life_s = lease.life_s if self.max_runtime_s is None else min(lease.life_s, self.max_runtime_s)
            most_s = min(LONGEST_S, life_s - lease.age_s - grace_s - LATE_S)
            if length_s > most_s:
                asked, there = (str(timedelta(seconds=round(max(0.0, each)))) for each in (length_s, most_s))
                return f"lease {lease.id} would need {asked} and can last {there}"
        return None

    async def _labelled(self, shares: Sequence[Share], lengths: Mapping[str, float]) -> bool:
        """Move the deadlines in the labels: by them alone everybody knows that these machines are wanted."""
        now = await self.renter.market.now()
        for share in shares:
            lease = share.serving.lease
            if not await self.renter.prolonged(lease, now, lengths[lease.id] + LATE_S):
                return False
        return True

    async def _handed_over(self, share: Share, length_s: float) -> bool:
        for pause_s in (*WRITE_PAUSES_S, None):
            try:
                await share.serving.hand_over(share.works, length_s)
            except DeniedError:
                raise
            except StoreError as error:
                self.renter.console.warn(f"The last sheet could not be written: {error.message}")
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
            else:
                return True
        return False

    def _stay(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self.renter.console.warn(f"Not detached yet, and this run stays with its machines: {why}")

    def _tell(self, done: Sequence[Share], now: datetime, lengths: Mapping[str, float]) -> None:
        for share in done:
            lease = share.serving.lease
            names = ", ".join(work.job.source.name for work in share.works)
            until = now + timedelta(seconds=lengths[lease.id] + LATE_S)
            self.renter.console.ok(
                f"Detached: lease {lease.id} (instance {lease.instance}) goes on with {names},"
                f" until {until:%Y-%m-%d %H:%M} UTC at most"
            )
