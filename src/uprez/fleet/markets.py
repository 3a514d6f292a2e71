"""Which market a run rents on, and on what terms: the settings, in the market's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from uprez.config.settings import Settings
from uprez.errors import UsageError
from uprez.fleet import estimate
from uprez.fleet.budget import Traffic
from uprez.fleet.detaching import BEFORE_S, LONGEST_S
from uprez.fleet.ledger import Ledger
from uprez.fleet.renting import MAX_RUNTIME_S, Terms
from uprez.fleet.work import Work
from uprez.market.base import Market, query
from uprez.market.local import LocalMarket, cores
from uprez.market.vast.market import VastMarket
from uprez.market.vast.wire import Vast
from uprez.report.console import Console
from uprez.sheet import Sheet

CPU = ("openvino", "cpu")
GPU = ("tensorrt-rtx", "cuda", "webgpu")
"""Execution provider families: a rented GPU's work never becomes CPU work."""
IMAGE = "python:3.11-bookworm"
"""The Python and PyAV that the tests run."""
PACKAGES_BYTES = 4 * 10**9
"""What a machine may fetch before it works: the libraries of a GPU."""
DISK_BYTES = 6 * 2**30
"""And what that takes when it is unpacked."""
DISK_GB_LEAST = 16
ROOM_S = 3600
"""By so much an offer must last longer than a lease."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A market, and what a run may do there."""

    market: Market
    families: tuple[str, ...]
    threads: int | None
    """Of a worker; None: as many cores as its machine has."""

    @property
    def rented(self) -> bool:
        """Say whether machines cost money."""
        return isinstance(self.market, VastMarket)


def open_market(settings: Settings, console: Console) -> Place:
    """Open the market of a run; blocks. Raises UsageError without a key, MarketError when it does not answer."""
    if settings.market == "local":
        return Place(market=LocalMarket(settings.state_dir / "local"), families=CPU, threads=cores())
    market = VastMarket.open(account(settings))
    market.tell, market.tell_more, market.tell_trouble = console.info, console.debug, console.warn
    market.bucket = settings.output_dir.bucket or ""
    market.endpoint = (settings.access.endpoint if settings.access else None) or ""
    if not market.practice:
        return Place(market=market, families=GPU, threads=None)
    console.warn("practice market: CPU")
    return Place(market=market, families=(*GPU, *CPU), threads=cores())


def check_detach(settings: Settings) -> None:
    """Raise UsageError where a batch cannot be left to its machines."""
    if settings.rental.wait:
        return
    if settings.market != "vast":
        raise UsageError(
            "--detach is for rented machines, and this run works here",
            hint="--market vast rents; or leave --detach (vast.wait: false) out",
        )
    if settings.access is not None and settings.access.token is not None:
        raise UsageError(
            "--detach needs keys of the bucket that last: these are temporary (AWS_SESSION_TOKEN)",
            hint="what is signed with them is worth nothing once they have run out; make an application key",
        )
    if settings.rental.bid:
        raise UsageError(
            "--detach rents no interruptible machines (vast.type: bid)",
            hint="one that is outbid stays, and bills its disk, until somebody gives it back: use --type on-demand",
        )


def set_clock(ledger: Ledger, market: Market) -> None:
    """Let a ledger go by the market's clock: its bill does, and this computer's may be wrong."""
    if isinstance(market, VastMarket):
        ledger.clock = market.vast.now


def account(settings: Settings) -> Vast:
    """Give the client of the account that the settings name; raises UsageError where they name none."""
    if settings.vast_api_key is None:
        raise UsageError(
            "VAST_API_KEY is not set, so Vast.ai cannot be asked",
            hint="put it into .env; it is on the Keys page of console.vast.ai",
        )
    return Vast(settings.vast_url, settings.vast_api_key)


def terms(settings: Settings, works: Sequence[Work], place: Place, supplies_bytes: int) -> Terms:
    """Say what may be rented for these works."""
    home_timing = settings.bucket_timing if settings.output_dir.bucket else settings.local
    if not place.rented:
        return Terms(timing=home_timing, max_runtime_s=settings.max_runtime_s)
    result = _share([estimate.result_bytes(work.video, work.job.options) for work in works], settings.max_machines)
    source = _share([work.job.source.size for work in works], settings.max_machines)
    packages = PACKAGES_BYTES + supplies_bytes
    max_runtime_s = settings.max_runtime_s or MAX_RUNTIME_S
    wanted = query(settings.rental)
    wanted = replace(
        wanted,
        disk_gb=settings.rental.disk_gb or disk_gb(works),
        families=place.families,
        min_duration_s=max(wanted.min_duration_s, round(max_runtime_s) + ROOM_S),
    )
    return Terms(
        timing=settings.rented if settings.rental.wait else replace(settings.rented, hard_life_s=LONGEST_S + BEFORE_S),
        query=wanted,
        image=settings.image or IMAGE,
        budget_usd=settings.budget_usd,
        max_runtime_s=max_runtime_s,
        packages_bytes=packages,
        detach=not settings.rental.wait,
        # Segments come back to be joined, and everything may be tried once more.
        traffic=Traffic(down_bytes=packages + 2 * source + 2 * result, up_bytes=4 * result),
    )


def _share(sizes: Sequence[int], machines: int) -> int:
    """Give what one of so many machines moves at most: as much of all as the others, and at least the largest job's."""
    return max(-(-sum(sizes) // machines), max(sizes, default=0))


def sheet(settings: Settings, place: Place) -> Sheet:
    """Give what the sheets of all leases of a run have in common. The memory is said of this machine alone."""
    return Sheet(
        lease="",
        length_s=0,
        grace_s=0,
        families=place.families,
        memory_bytes=None if place.rented else settings.memory_bytes,
        status_url="",
        log_urls=(),
        next_sheet_url="",
    )


def disk_gb(works: Sequence[Work]) -> int:
    """Give the disk that the largest job needs: source, segments, 1.3 times the result, and what is installed."""
    most = max(
        (work.job.source.size + 2.3 * estimate.result_bytes(work.video, work.job.options) for work in works),
        default=0.0,
    )
    return max(DISK_GB_LEAST, math.ceil((most + DISK_BYTES) / 1e9))
