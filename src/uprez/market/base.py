"""What every market is: offers, instances, and one protocol to rent and give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from uprez.config.settings import Rental
from uprez.errors import UsageError

QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime 1.32 writes a device id and events into the home folder when it is imported, unless told not to."""
MB_PER_GB = 1000
VRAM_MB_PER_GB = 1024
"""A GPU's memory is sold in powers of two: an 11 GB card (11,264 MB) is no 12 GB card that keeps something back."""
SPARE = Decimal("0.93")
"""Share of its nominal memory that a machine must report: firmware and error correction keep the rest."""


@dataclass(frozen=True, kw_only=True)
class OfferQuery:
    """What a machine must have. Every criterion is checked again here, whatever the market's own filter did."""

    max_usd_per_hour: Decimal | None = None
    """Of the machine with the disk that is asked for and the traffic that is expected."""
    min_usd_per_hour: Decimal | None = None
    min_gpu_ram_mb: Decimal | None = None
    """Memory of one GPU. Cards report less than their name says (24 GB: 24,564 MB, 23,028 with error correction)."""
    min_reliability: Decimal | None = None
    """0 to 1."""
    min_dlperf: Decimal | None = None
    min_dlperf_per_usd: Decimal | None = None
    """DLPerf for a dollar an hour."""
    min_cuda: Decimal | None = None
    """The highest CUDA version that the driver supports, at least."""
    min_compute_cap: int | None = None
    """Hundredfold: 860 is 8.6."""
    min_inet_down_mbps: Decimal | None = None
    """Megabits a second, as the market measured them."""
    min_inet_up_mbps: Decimal | None = None
    min_cpu_cores: Decimal | None = None
    """Virtual cores that are ours, not the machine's."""
    min_cpu_ram_mb: Decimal | None = None
    min_disk_mbytes_per_s: Decimal | None = None
    min_gpu_mem_gbytes_per_s: Decimal | None = None
    min_pcie_gen: Decimal | None = None
    gpu_names: tuple[str, ...] = ()
    """Only these, those of the blacklist already taken out; empty: any."""
    gpu_blacklist: tuple[str, ...] = ()
    gpu_priority: tuple[str, ...] = ()
    """Preferred first; no condition."""
    hosts: tuple[str, ...] = ()
    """Only these owners' machines; empty: any."""
    host_blacklist: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    """Execution provider families of which the GPU must be able to use one; empty: whatever it is."""
    datacenter: bool = False
    verified: bool = False
    static_ip: bool = False
    machines: tuple[str, ...] = ()
    """Never these, which were found bad: an offer's id changes, its machine's does not."""
    bid: bool = False
    """Offers that may be taken away again, at the price of a bid."""
    disk_gb: int | None = None
    """Disk to rent: it is part of the price."""
    down_gb_per_hour: Decimal = Decimal(3)
    """What is expected to come in: an hour of 1080p is about 3 GB, and so are the packages of the first minutes."""
    up_gb_per_hour: Decimal = Decimal(6)
    """What is expected to go out: twice that, since the pictures are larger."""
    min_duration_s: int = 3 * 3600
    """The machine must be there for so long: `max_runtime` (2 h) and room."""
    rank: Literal["cheapest", "value"] = "cheapest"
    """By the price of an hour, or of a picture."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one machine costs, in US dollars: by the hour while it runs, while it exists, and by its traffic."""

    gpu_usd_per_hour: Decimal = Decimal(0)
    disk_usd_per_hour: Decimal = Decimal(0)
    """From its creation to its destruction, whatever it does."""
    down_usd_per_gb: Decimal = Decimal(0)
    up_usd_per_gb: Decimal = Decimal(0)

    @property
    def usd_per_hour(self) -> Decimal:
        """Of a machine that runs, without its traffic."""
        return self.gpu_usd_per_hour + self.disk_usd_per_hour


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a line carries, in bytes a second."""

    down: float
    up: float


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A machine with a price."""

    id: str
    machine: str
    """The physical machine, for people and for bans."""
    description: str
    usd_per_hour: Decimal
    """With the traffic that is expected: what offers are compared by."""
    rates: Rates = Rates()
    gpu: str = ""
    """Its name at the market, "" where it has none."""
    gpu_ram_mb: Decimal | None = None
    """Of one GPU, as the market has it."""
    cores: int | None = None
    """Of its CPU, ours alone."""
    line: Line | None = None
    """What its host says of its line."""
    lasts_s: float | None = None
    """Seconds until its owner may take it back; None where nobody says."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How an instance is started: what it is called, what it is told, how long it may live at most."""

    label: str
    """Unique for ever; an instance is ours by its label even when we never learnt its id."""
    lease: str
    boot_url: str
    """The address of its sheet: the only thing it is told."""
    life_s: float
    """Seconds after which its dead-man ends it, unless the worker renewed its lease."""
    hard_life_s: float
    """Seconds after which its dead-man ends it, whatever was renewed."""
    image: str = ""
    """Of a container, where the market has such things."""
    disk_gb: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


InstanceState = Literal["booting", "running", "ended", "failed", "stopped", "lost"]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine we have."""

    id: str
    label: str
    state: InstanceState
    """On its way | its container runs | the container ended by itself | it cannot start | it was stopped by the market
    (outbid, credit, contract) and bills its disk | its host is gone, and may come back."""
    detail: str = ""
    """What the market says of it, for people; never decides."""
    sure: bool = True
    """False: the host's word for it, which may be wrong for a while; a heart that beats refutes it."""
    gpu: str = ""
    disk_gb: Decimal | None = None
    """What was really granted; None where the market does not say."""
    rates: Rates | None = None
    """What it really costs; None where the market does not say."""
    created_at: datetime | None = None
    """By the market's clock."""

    @property
    def running(self) -> bool:
        """Say whether its container runs."""
        return self.state == "running"


class Market(Protocol):
    """A place that offers machines. No call is retried here; whoever calls knows what the call costs."""

    @property
    def name(self) -> str:
        """Name it for people."""

    @property
    def place(self) -> str:
        """Name it for the ledger: which market, and whose account of it. An instance means nothing anywhere else."""

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """List the offers that meet the query, the best first; raises RentError when the market cannot be asked."""

    async def create(self, offer: Offer, launch: Launch) -> Instance:
        """Rent.

        Raises NoSuchAsk when another offer may do, BillingError when something was made and does not go away, else
        RentError: nothing was made, or it is gone again.
        """

    async def instances(self) -> list[Instance]:
        """List all our instances; an incomplete list raises, it never reads as "none"."""

    async def logs(self, instance: str) -> str:
        """Give what the instance printed so far, oldest first; empty when there is nothing yet."""

    async def why(self, instance: str) -> str:
        """Give what the machine's host says of an instance that does not run; empty when it says nothing."""

    async def relabel(self, instance: str, label: str) -> None:
        """Give an instance another label."""

    async def destroy(self, instance: str) -> datetime | None:
        """Give a machine back and see it gone; idempotent, an absent one is success. Raises BillingError.

        Gives the time of its end by the market's clock; None where it was gone already.
        """

    async def now(self) -> datetime:
        """Give the time by the market's own clock."""

    def by_hand(self, instance: str) -> str:
        """Give the command that ends an instance without uprez."""

    async def funds(self) -> Decimal | None:
        """Give the US dollars that may be spent; None where nothing costs anything."""


def query(rental: Rental) -> OfferQuery:
    """Say what is asked of a market, in its units. Raises UsageError when the lists leave no GPU, or no host."""
    return OfferQuery(
        max_usd_per_hour=rental.max_usd_per_hour,
        min_usd_per_hour=rental.min_usd_per_hour,
        min_gpu_ram_mb=_megabytes(rental.min_vram_gb, VRAM_MB_PER_GB),
        min_reliability=rental.min_reliability,
        min_dlperf=rental.min_dlperf,
        min_dlperf_per_usd=rental.min_dlperf_per_usd,
        min_cuda=rental.min_cuda,
        min_compute_cap=rental.compute_cap,
        min_inet_down_mbps=rental.min_inet_down_mbps,
        min_inet_up_mbps=rental.min_inet_up_mbps,
        min_cpu_cores=rental.min_cpu_cores,
        min_cpu_ram_mb=_megabytes(rental.min_cpu_ram_gb),
        min_disk_mbytes_per_s=rental.min_disk_bw_mbps,
        min_gpu_mem_gbytes_per_s=rental.min_gpu_mem_bw_gbps,
        min_pcie_gen=rental.min_pcie_gen,
        gpu_names=_without("gpu_models", rental.gpu_models, rental.gpu_blacklist),
        gpu_blacklist=rental.gpu_blacklist,
        gpu_priority=_left(rental.gpu_priority, rental.gpu_blacklist),
        hosts=_without("host_whitelist", rental.host_whitelist, rental.host_blacklist),
        host_blacklist=rental.host_blacklist,
        datacenter=rental.datacenter,
        verified=rental.verified,
        static_ip=rental.static_ip,
        bid=rental.bid,
        rank=rental.rank,
        disk_gb=rental.disk_gb,
    )


def _megabytes(gigabytes: Decimal | None, per_gb: int = MB_PER_GB) -> Decimal | None:
    return None if gigabytes is None else gigabytes * per_gb * SPARE


def _without(name: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> tuple[str, ...]:
    """Take a blacklist out of a list; nothing left is no leave to take any."""
    left = _left(wanted, unwanted)
    if wanted and not left:
        raise UsageError(f"vast.{name} is empty once its blacklist is taken out", hint="change one of the two lists")
    return left


def _left(wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> tuple[str, ...]:
    never = {one.casefold() for one in unwanted}
    return tuple(one for one in wanted if one.casefold() not in never)


def matches(offer: Offer, query: OfferQuery) -> bool:
    """Check an offer against every criterion."""
    return query.max_usd_per_hour is None or offer.usd_per_hour <= query.max_usd_per_hour


def cheapest_first(offers: list[Offer], query: OfferQuery) -> list[Offer]:
    """Keep what meets the query, cheapest first."""
    return sorted((offer for offer in offers if matches(offer, query)), key=lambda offer: offer.usd_per_hour)
