"""What a batch will take, before anything is rented: time and money as ranges, for a number of machines. Pure.

The batch is played a few hundred times, each time with boots, speeds and sizes as they may be by what is believed of
them; the ranges are what nearly all of these games lie in.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from uprez.fleet.belief import Belief
from uprez.fleet.budget import Traffic, commitment
from uprez.fleet.speeds import Beliefs
from uprez.market.base import Rates

GAMES = 300
SURE = 0.97
"""Of the games lie in a range. A game knows less than the world does: so nine in ten batches end within it.

Of 200 simulated ones (tests/fleet/test_outlook.py) a range of 95 % of the games held 90 %, one of 98 % 92 to 96 %.
"""
RENT_S = 5.0
"""From one order to the next: machines are rented one by one."""
PIECES = 80
"""That a game shares out at most: of more, several count as one."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One job, as far as time and money depend on it."""

    name: str
    units: float
    """Of work, as `speeds.units` measures it."""
    pixels: float
    """Of the result."""
    source_bytes: int
    pieces: int
    """Segments that it will be cut into at least, about."""
    longest_s: float = math.inf
    """That the machine which plans it may need for one segment."""
    frames: int
    """Of the result."""

    def cut(self, units_per_s: float) -> int:
        """Reckon in how many segments a machine of this speed cuts it."""
        return max(self.pieces, math.ceil(self.units / units_per_s / self.longest_s))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A machine that may be rented, and how fast it may be."""

    gpu: str
    speed: Belief
    """Units a second."""
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True, kw_only=True)
class Range:
    """Between what a quantity lies, nine times in ten."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one job takes of a batch, or all boots do."""

    seconds: Range
    """Of machines."""
    usd: Range


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a batch takes on so many machines."""

    machines: int
    seconds: Range
    """From the start to the last machine's end."""
    usd: Range
    jobs: tuple[Share, ...]
    boots: Share


@dataclass(frozen=True, kw_only=True)
class _Game:
    seconds: float
    usd: float
    job_s: tuple[float, ...]
    job_usd: tuple[float, ...]
    boot_s: float
    boot_usd: float


def foresee(loads: Sequence[Load], machines: Sequence[Candidate], beliefs: Beliefs, *, farewell_s: float) -> Outlook:
    """Foresee a batch on these machines; `farewell_s` is what letting one go takes."""
    rng = random.Random(len(machines))  # noqa: S311  the same question has the same answer
    games = [_play(rng, loads, machines, beliefs, farewell_s) for _ in range(GAMES)]
    return Outlook(
        machines=len(machines),
        seconds=_range([game.seconds for game in games]),
        usd=_range([game.usd for game in games]),
        jobs=tuple(
            Share(
                seconds=_range([game.job_s[number] for game in games]),
                usd=_range([game.job_usd[number] for game in games]),
            )
            for number in range(len(loads))
        ),
        boots=Share(seconds=_range([game.boot_s for game in games]), usd=_range([game.boot_usd for game in games])),
    )


def affordable(
    machines: Sequence[Candidate], budget_usd: Decimal, first_s: float, lease_s: float, each: Traffic
) -> int:
    """Say how many of these, in order, a budget lets be held at once: each to its first end, the others renewed once.

    As `Renter.acquire` reckons before each of them.
    """
    promised = renewals = Decimal(0)
    for number, machine in enumerate(machines):
        promised += commitment(machine.rates, first_s, each)
        if promised + renewals > budget_usd:
            return number
        renewals += commitment(machine.rates, lease_s, Traffic())
    return len(machines)


def worth_having(loads: Sequence[Load], machines: Sequence[Candidate], beliefs: Beliefs, gain: float) -> int:
    """Say how many machines pay: each must shorten what is left by so many times its boot, and have a piece to make."""
    boot_s = beliefs.load_s.middle + beliefs.install_s.middle
    pieces, rate = sum(load.cut(machines[0].speed.middle) for load in loads), 0.0
    for number, machine in enumerate(machines):
        left_s = sum(load.units for load in loads) / rate if rate else math.inf
        if number >= pieces or left_s <= gain * boot_s:
            return max(1, number)
        rate += machine.speed.middle
    return len(machines)


@dataclass(frozen=True, kw_only=True)
class _Host:
    """One machine, as it is in one game."""

    units_per_s: float
    started_s: float
    """From the batch's start to its container's."""
    ready_s: float
    """To its worker's first word."""
    index_s: float
    join_bytes_per_s: float
    packages_bytes: float


def _play(
    rng: random.Random, loads: Sequence[Load], machines: Sequence[Candidate], beliefs: Beliefs, farewell_s: float
) -> _Game:
    """Play a batch once."""
    hosts = _hosts(rng, machines, beliefs)
    bits = beliefs.bits_per_pixel.drawn(rng)
    made = [load.pixels * bits(rng.gauss(0, 1)) / 8 for load in loads]
    parts = _shared_out(loads, made, hosts)
    usd = boot_usd = 0.0
    for number, (machine, host, part) in enumerate(zip(machines, hosts, parts, strict=True)):
        end_s, rates = part.end_s + farewell_s, machine.rates
        boot_usd += _boot_usd(machine, host, ordered_s=number * RENT_S, end_s=end_s)
        usd += float(rates.usd_per_hour) / 3600 * max(0.0, end_s - host.ready_s)
        usd += (float(rates.down_usd_per_gb) * part.down_bytes + float(rates.up_usd_per_gb) * part.up_bytes) / 1e9
    jobs = [_alone(load, size, machines, hosts[0]) for load, size in zip(loads, made, strict=True)]
    return _Game(
        seconds=max(part.end_s for part in parts) + farewell_s,
        usd=usd + boot_usd,
        job_s=tuple(seconds for seconds, _ in jobs),
        job_usd=tuple(each for _, each in jobs),
        boot_s=sum(host.ready_s - number * RENT_S for number, host in enumerate(hosts)),
        boot_usd=boot_usd,
    )


def _alone(load: Load, size: float, machines: Sequence[Candidate], host: _Host) -> tuple[float, float]:
    """Say what one job takes: seconds of the first machine, and money at the mean of all rates."""
    seconds = host.index_s + load.units / host.units_per_s + size / host.join_bytes_per_s
    hour, down, up = (
        float(sum(rates, Decimal(0))) / len(machines)
        for rates in zip(
            *((each.rates.usd_per_hour, each.rates.down_usd_per_gb, each.rates.up_usd_per_gb) for each in machines),
            strict=True,
        )
    )
    return seconds, hour * seconds / 3600 + (down * (load.source_bytes + size) + up * 2 * size) / 1e9


def _hosts(rng: random.Random, machines: Sequence[Candidate], beliefs: Beliefs) -> list[_Host]:
    """Draw the machines; one whose line is slow is slow at all that goes over it."""
    speeds = {machine.gpu: machine.speed.drawn(rng) for machine in machines}
    load_s, install_s, packages = (
        belief.drawn(rng) for belief in (beliefs.load_s, beliefs.install_s, beliefs.packages_bytes)
    )
    index_s, join = beliefs.index_s.drawn(rng), beliefs.join_bytes_per_s.drawn(rng)
    hosts = []
    for number, machine in enumerate(machines):
        line, started_s = rng.gauss(0, 1), number * RENT_S + load_s(rng.gauss(0, 1))
        hosts.append(
            _Host(
                units_per_s=speeds[machine.gpu](rng.gauss(0, 1)),
                started_s=started_s,
                ready_s=started_s + install_s(line),
                index_s=index_s(line),
                join_bytes_per_s=join(-line),
                packages_bytes=packages(rng.gauss(0, 1)),
            )
        )
    return hosts


def _boot_usd(machine: Candidate, host: _Host, *, ordered_s: float, end_s: float) -> float:
    """Price a boot, or what there was of it at the end: the disk from the order on, the GPU from the start on."""
    rates, until = machine.rates, min(host.ready_s, end_s)
    hours = float(rates.gpu_usd_per_hour) * max(0.0, until - host.started_s)
    hours += float(rates.disk_usd_per_hour) * max(0.0, until - ordered_s)
    return hours / 3600 + float(rates.down_usd_per_gb) * host.packages_bytes / 1e9


@dataclass(kw_only=True)
class _Part:
    """What one machine does in one game."""

    end_s: float = 0.0
    down_bytes: float = 0.0
    up_bytes: float = 0.0


def _shared_out(loads: Sequence[Load], made: Sequence[float], hosts: Sequence[_Host]) -> list[_Part]:
    """Share out a batch; a machine that never gets anything leaves when the last is given.

    Whoever is free first takes what comes next: indexes, then segments; each job is joined where it ended. A source
    goes to whoever indexes it, and at the end to all, who then share what is left.
    """
    parts = [_Part() for _ in hosts]
    free = [(host.ready_s, number) for number, host in enumerate(hosts)]
    heapq.heapify(free)
    begun_s, again = [], sum(load.source_bytes for load in loads) / len(loads) * (len(hosts) - 1) / len(hosts)
    for load in loads:
        at, number = heapq.heappop(free)
        begun_s.append(at + hosts[number].index_s)
        parts[number].down_bytes += load.source_bytes
        heapq.heappush(free, (begun_s[-1], number))
    cuts = [load.cut(hosts[0].units_per_s) for load in loads]
    merged = math.ceil(sum(cuts) / max(PIECES, 4 * len(hosts)))
    given_s, last = 0.0, []
    for load, size, begun, cut in zip(loads, made, begun_s, cuts, strict=True):
        count = math.ceil(cut / merged)
        ends = []
        for _ in range(count):
            at, number = heapq.heappop(free)
            given_s = max(at, begun)
            end_s = given_s + load.units / count / hosts[number].units_per_s
            parts[number].end_s = end_s
            parts[number].up_bytes += size / count
            ends.append((end_s, number))
            heapq.heappush(free, ends[-1])
        last.append(max(ends))
    for (at, number), size in zip(last, made, strict=True):
        part = parts[number]
        part.end_s = max(at, part.end_s) + size / hosts[number].join_bytes_per_s
        part.down_bytes += size
        part.up_bytes += size
    for part in parts:
        part.end_s = part.end_s or given_s
        part.down_bytes += again
    return parts


def _range(values: list[float]) -> Range:
    values = sorted(values)
    out = (1 - SURE) / 2
    low, middle, high = (values[round(part * (len(values) - 1))] for part in (out, 0.5, 1 - out))
    return Range(low=low, middle=middle, high=high)
