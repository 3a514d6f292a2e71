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
from uprez.market.base import Line, Rates

GAMES = 300
SURE = 0.97
"""Of the games lie in a range. A game knows less than the world does: so nine in ten batches end within it.

Of 200 simulated ones (tests/fleet/test_outlook.py) a range of 97 % of the games holds 92 to 95 %.
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
    line: Line | None = None
    """As its host says."""


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
    games = [_play(number, loads, machines, beliefs, farewell_s) for number in range(GAMES)]
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
    pieces, rate = sum(load.cut(machines[0].speed.middle) for load in loads), 0.0
    for number, machine in enumerate(machines):
        left_s = sum(load.units for load in loads) / rate if rate else math.inf
        if number >= pieces or left_s <= gain * _boot_s(machine, beliefs):
            return max(1, number)
        rate += machine.speed.middle
    return len(machines)


def _boot_s(machine: Candidate, beliefs: Beliefs) -> float:
    if machine.line is None:
        return beliefs.load_s.middle + beliefs.install_s.middle
    fetch_s = beliefs.packages_bytes.middle / (machine.line.down * beliefs.line_share.middle)
    return beliefs.load_s.middle + fetch_s + beliefs.unpack_s.middle


@dataclass(frozen=True, kw_only=True)
class _Host:
    """One machine, as it is in one game."""

    units_per_s: float
    started_s: float
    """From the batch's start to its container's."""
    ready_s: float
    """To its worker's first word."""
    index_s: float
    """Beside the fetching, where that is known."""
    join_bytes_per_s: float
    """Likewise."""
    packages_bytes: float
    line: Line | None
    """As it is; None: nobody says."""

    def fetch_s(self, size: float) -> float:
        """Reckon how long so many bytes take to come."""
        return size / self.line.down if self.line else 0.0

    def join_s(self, size: float) -> float:
        """Reckon how long a result of so many bytes takes: its segments come, it goes."""
        return size / self.join_bytes_per_s + self.fetch_s(size) + (size / self.line.up if self.line else 0.0)


def _play(
    number: int, loads: Sequence[Load], machines: Sequence[Candidate], beliefs: Beliefs, farewell_s: float
) -> _Game:
    """Play a batch once; the game of a number has the same films and first machines, however many there are."""
    rng = random.Random(number)  # noqa: S311  the same question has the same answer
    bits = beliefs.bits_per_pixel.drawn(rng)
    made = [load.pixels * bits(rng.gauss(0, 1)) / 8 for load in loads]
    hosts = _hosts(rng, number, machines, beliefs)
    parts = _shared_out(loads, made, hosts)
    usd = boot_usd = 0.0
    for order, (machine, host, part) in enumerate(zip(machines, hosts, parts, strict=True)):
        end_s, rates = part.end_s + farewell_s, machine.rates
        boot_usd += _boot_usd(machine, host, ordered_s=order * RENT_S, end_s=end_s)
        usd += float(rates.usd_per_hour) / 3600 * max(0.0, end_s - host.ready_s)
        usd += (float(rates.down_usd_per_gb) * part.down_bytes + float(rates.up_usd_per_gb) * part.up_bytes) / 1e9
    jobs = [_alone(load, size, machines, hosts[0]) for load, size in zip(loads, made, strict=True)]
    return _Game(
        seconds=max(part.end_s for part in parts) + farewell_s,
        usd=usd + boot_usd,
        job_s=tuple(seconds for seconds, _ in jobs),
        job_usd=tuple(each for _, each in jobs),
        boot_s=sum(host.ready_s - order * RENT_S for order, host in enumerate(hosts)),
        boot_usd=boot_usd,
    )


def _alone(load: Load, size: float, machines: Sequence[Candidate], host: _Host) -> tuple[float, float]:
    """Say what one job takes: seconds of the first machine, and money at the mean of all rates."""
    seconds = host.fetch_s(load.source_bytes) + host.index_s + load.units / host.units_per_s + host.join_s(size)
    hour, down, up = (
        float(sum(rates, Decimal(0))) / len(machines)
        for rates in zip(
            *((each.rates.usd_per_hour, each.rates.down_usd_per_gb, each.rates.up_usd_per_gb) for each in machines),
            strict=True,
        )
    )
    return seconds, hour * seconds / 3600 + (down * (load.source_bytes + size) + up * 2 * size) / 1e9


def _hosts(rng: random.Random, game: int, machines: Sequence[Candidate], beliefs: Beliefs) -> list[_Host]:
    """Draw the machines; where nobody says what its line carries, one that is slow is so at all that goes over it."""
    speeds = {
        gpu: speed.drawn(random.Random(f"{game} {gpu}"))  # noqa: S311  no secret
        for gpu, speed in {machine.gpu: machine.speed for machine in machines}.items()
    }
    load_s, install_s, packages = (
        belief.drawn(rng) for belief in (beliefs.load_s, beliefs.install_s, beliefs.packages_bytes)
    )
    index_s, join = beliefs.index_s.drawn(rng), beliefs.join_bytes_per_s.drawn(rng)
    share, unpack_s, read_s, weave = (
        belief.drawn(rng)
        for belief in (beliefs.line_share, beliefs.unpack_s, beliefs.read_s, beliefs.weave_bytes_per_s)
    )
    hosts = []
    for number, machine in enumerate(machines):
        good, started_s = rng.gauss(0, 1), number * RENT_S + load_s(rng.gauss(0, 1))
        size, units_per_s = packages(rng.gauss(0, 1)), speeds[machine.gpu](rng.gauss(0, 1))
        if machine.line is None:
            line, install, index, weaving = None, install_s(-good), index_s(-good), join(good)
        else:
            line = Line(down=machine.line.down * share(good), up=machine.line.up * share(rng.gauss(0, 1)))
            install = size / line.down + unpack_s(rng.gauss(0, 1))
            index, weaving = read_s(rng.gauss(0, 1)), weave(rng.gauss(0, 1))
        hosts.append(
            _Host(
                units_per_s=units_per_s,
                started_s=started_s,
                ready_s=started_s + install,
                index_s=index,
                join_bytes_per_s=weaving,
                packages_bytes=size,
                line=line,
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


class _Deal:
    """Shares out one game: whoever is free first takes what comes next."""

    def __init__(self, hosts: Sequence[_Host]) -> None:
        self.hosts = hosts
        self.parts = [_Part() for _ in hosts]
        self.given_s = 0.0
        """When the last piece was given."""
        self._free = [(host.ready_s, number) for number, host in enumerate(hosts)]
        heapq.heapify(self._free)

    def index(self, load: Load) -> tuple[float, int]:
        """Index a source; gives when that is done, and by whom."""
        at, number = heapq.heappop(self._free)
        end_s = at + self.hosts[number].fetch_s(load.source_bytes) + self.hosts[number].index_s
        self.parts[number].down_bytes += load.source_bytes
        heapq.heappush(self._free, (end_s, number))
        return end_s, number

    def make(self, load: Load, size: float, count: int, indexed: tuple[float, int], *, helped: bool) -> None:
        """Make so many pieces of an indexed job, and join them where the last of them ended.

        Where it is `helped` with, each machine fetches its source first, as far as it has not indexed it.
        """
        (indexed_s, indexer), last = indexed, (0.0, 0)
        have = {indexer}
        for _ in range(count):
            at, number = heapq.heappop(self._free)
            self.given_s = max(at, indexed_s)
            fetch_s = self.hosts[number].fetch_s(load.source_bytes) if helped and number not in have else 0.0
            have.add(number)
            end_s = self.given_s + fetch_s + load.units / count / self.hosts[number].units_per_s
            self.parts[number].end_s = end_s
            self.parts[number].up_bytes += size / count
            last = max(last, (end_s, number))
            heapq.heappush(self._free, (end_s, number))
        self._join(last, size)

    def _join(self, last: tuple[float, int], size: float) -> None:
        end_s, number = last
        part = self.parts[number]
        part.end_s = end_s + self.hosts[number].join_s(size)
        part.down_bytes += size
        part.up_bytes += size
        self._free[self._free.index(last)] = (part.end_s, number)
        heapq.heapify(self._free)


def _shared_out(loads: Sequence[Load], made: Sequence[float], hosts: Sequence[_Host]) -> list[_Part]:
    """Share out a batch: indexes, then segments. A machine that never gets anything leaves when the last is given.

    A source goes to whoever indexes it. Machines keep to their own jobs as long as there are such, which is told here
    by what is fetched alone: at the end all share what is left, and each fetches about one job's source more.
    """
    deal = _Deal(hosts)
    indexed = [(deal.index(load), load, size) for load, size in zip(loads, made, strict=True)]
    cuts = sum(load.cut(hosts[0].units_per_s) for load in loads)
    merged = math.ceil(cuts / max(PIECES, 4 * len(hosts)))
    for place, (one, load, size) in enumerate(sorted(indexed, key=lambda each: each[0])):
        count = math.ceil(load.cut(hosts[0].units_per_s) / merged)
        deal.make(load, size, count, one, helped=place == len(loads) - 1)
    again = sum(load.source_bytes for load in loads) / len(loads) * (len(hosts) - 1) / len(hosts)
    for part in deal.parts:
        part.end_s = part.end_s or deal.given_s
        part.down_bytes += again
    return deal.parts


def _range(values: list[float]) -> Range:
    values = sorted(values)
    out = (1 - SURE) / 2
    low, middle, high = (values[round(part * (len(values) - 1))] for part in (out, 0.5, 1 - out))
    return Range(low=low, middle=middle, high=high)
