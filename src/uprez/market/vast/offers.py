"""Which of Vast.ai's offers will do, and in what order; what is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from uprez.market.base import SPARE, VRAM_MB_PER_GB, Line, Offer, OfferQuery, Rates
from uprez.market.vast.records import VastOffer
from uprez.market.vast.rules import DEAR_TRAFFIC, disk_gb, disk_usd, machine_usd, name_of, reason, usd_per_hour
from uprez.market.vast.throughput import frames_per_s
from uprez.market.vast.wire import Vast

ROWS = 64
"""The server gives no more at once, whatever it is asked for."""
PAGES = 5
"""Every row counts against the day's quota."""
ENOUGH = 10
"""With so many offers that will do, nothing dearer is looked for."""
MEGABIT = 125_000.0
"""In bytes."""
LEAST_MBPS = 1
"""That a line may have to be believed."""
SIZES_GB = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 180)
"""As memory is sold. A card reports a little less (24,564 MB; 23,028 with error correction)."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An offer that will do, and what it costs."""

    offer: VastOffer
    machine_usd_per_hour: Decimal
    """GPU and disk: what the market bills by the hour."""
    usd_per_hour: Decimal
    """With the traffic that is expected."""
    rates: Rates
    """What the market bills by, the bid in place of the price where there is one."""

    @property
    def usd_per_kframe(self) -> Decimal | None:
        """Give the price of a thousand output frames, None for a GPU that nobody has measured."""
        speed = frames_per_s(self.offer.gpu_name)
        return None if speed is None else self.usd_per_hour / (speed * 3600) * 1000

    def as_offer(self) -> Offer:
        """Give it in every market's terms."""
        return Offer(
            id=str(self.offer.id),
            machine=self.offer.machine,
            description=describe(self.offer),
            usd_per_hour=self.usd_per_hour,
            rates=self.rates,
            gpu=self.offer.gpu_name,
            gpu_ram_mb=self.offer.gpu_ram_mb,
            cores=None if self.offer.cpu_cores is None else max(1, int(self.offer.cpu_cores)),
            line=_line(self.offer),
            lasts_s=None if self.offer.duration_s is None else float(self.offer.duration_s),
        )


def _line(offer: VastOffer) -> Line | None:
    """Give what a host says of its line; nothing, unless it says both and they are such as lines have."""
    if offer.inet_down_mbps is None or offer.inet_up_mbps is None:
        return None
    if min(offer.inet_down_mbps, offer.inet_up_mbps) < LEAST_MBPS:
        return None
    return Line(down=float(offer.inet_down_mbps) * MEGABIT, up=float(offer.inet_up_mbps) * MEGABIT)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a search came to."""

    choices: tuple[Choice, ...]
    """The best first."""
    dropped: Mapping[str, int]
    """How many fell to which rule, each counted once."""
    capped: bool
    """The server had more than it was asked to give."""


def search(vast: Vast, query: OfferQuery) -> Choices:
    """Search, page by page from the cheapest on, until there are enough that will do. Raises MarketError."""
    known: dict[int, VastOffer] = {}
    unreadable = 0
    floor: Decimal | None = None
    capped = False
    for _ in range(PAGES):
        found = vast.search(wanted(query, floor))
        unreadable += found.rows - len(found.offers)
        new = {offer.id: offer for offer in found.offers if offer.id not in known}
        known |= new
        capped = found.rows >= ROWS
        floor = max((offer.total_usd_per_hour for offer in new.values() if offer.total_usd_per_hour), default=None)
        if not capped or floor is None or _enough(known, query):
            break
    dropped = Counter(rule for offer in known.values() if (rule := reason(offer, query)))
    if unreadable:
        dropped["unreadable"] = unreadable
    return Choices(choices=ranked(list(known.values()), query), dropped=dropped, capped=capped)


def ranked(offers: list[VastOffer], query: OfferQuery) -> tuple[Choice, ...]:
    """Keep what meets the query: preferred GPUs first, then by the rank that was asked for."""
    found = [_priced(offer, query) for offer in offers if reason(offer, query) is None]
    return tuple(sorted(found, key=lambda one: _order(one, query)))


def wanted(query: OfferQuery, floor: Decimal | None = None) -> dict[str, object]:
    """Say the query in the server's words; `floor` continues where a page that was full ended."""
    asked: dict[str, object] = {
        "limit": ROWS,
        "type": "bid" if query.bid else "on-demand",
        "order": [["dph_total", "asc"]],
        "allocated_storage": disk_gb(query),
        "rentable": {"eq": True},
        "external": {"eq": False},
        "num_gpus": {"eq": 1},
        "disk_space": {"gte": disk_gb(query)},
        "duration": {"gte": query.min_duration_s},
    }
    for field, least in _least(query).items():
        if least is not None:
            asked[field] = {"gte": float(least)}
    for field in ("verified", "datacenter", "static_ip"):
        if getattr(query, field):
            asked[field] = {"eq": True}
    price = {"lte": query.max_usd_per_hour, "gte": floor}
    if limits := {operator: float(value) for operator, value in price.items() if value is not None}:
        asked["dph_total"] = limits
    return asked | _lists(query)


def describe(offer: VastOffer) -> str:
    """Name an offer's GPU and its memory as it is sold."""
    return f"{offer.gpu_name or 'unnamed GPU'}, {vram_gb(offer)}GB VRAM"


def vram_gb(offer: VastOffer) -> int:
    """Give the memory of a GPU as it is sold."""
    gib = (offer.gpu_ram_mb or Decimal(0)) / 1024
    return next((size for size in SIZES_GB if size * SPARE <= gib <= size * Decimal("1.02")), round(gib))


def searching(query: OfferQuery) -> str:
    """Say what is searched for."""
    least = None if query.min_gpu_ram_mb is None else query.min_gpu_ram_mb / (VRAM_MB_PER_GB * SPARE)
    parts = (
        None if least is None else f"min_vram={least.normalize():f}GB",
        None if query.max_usd_per_hour is None else f"max_price=${_cents(query.max_usd_per_hour)}/hr",
        None if query.min_reliability is None else f"min_reliability={query.min_reliability}",
        "type=bid" if query.bid else None,
    )
    return f"Searching offers: {', '.join(filter(None, parts)) or 'any GPU'}"


def told(found: Choices) -> list[str]:
    """Say what was found, as the old system did."""
    lines = [f"Found {len(found.choices)} matching offers (after filtering)"]
    if found.choices:
        best = min(found.choices, key=lambda one: one.usd_per_hour)
        lines.append(f"Cheapest: ${best.usd_per_hour:.3f}/hr, {describe(best.offer)}")
    return lines


def told_more(found: Choices) -> list[str]:
    """Say what fell to which rule, the most first."""
    lines = [f"{count} dropped by {rule}" for rule, count in Counter(found.dropped).most_common()]
    return [*lines, *(["the server has more offers than were looked at"] if found.capped else [])]


def _enough(known: Mapping[int, VastOffer], query: OfferQuery) -> bool:
    """The cheapest come first, so only a rank by anything else needs more than enough."""
    if query.rank != "cheapest" or query.gpu_priority:
        return False
    return sum(reason(offer, query) is None for offer in known.values()) >= ENOUGH


def _order(one: Choice, query: OfferQuery) -> tuple[int, Decimal, Decimal, int]:
    first = [name_of(name) for name in query.gpu_priority]
    name = name_of(one.offer.gpu_name)
    value = one.usd_per_kframe if query.rank == "value" else None
    unmeasured = Decimal("Infinity") if query.rank == "value" else Decimal(0)
    place = first.index(name) if name in first else len(first)
    return place, unmeasured if value is None else value, one.usd_per_hour, one.offer.id


def _least(query: OfferQuery) -> dict[str, Decimal | int | None]:
    return {
        "gpu_ram": query.min_gpu_ram_mb,
        "reliability": query.min_reliability,
        "dlperf": query.min_dlperf,
        "cuda_max_good": query.min_cuda,
        "compute_cap": query.min_compute_cap,
        "inet_down": query.min_inet_down_mbps,
        "inet_up": query.min_inet_up_mbps,
        "cpu_cores_effective": query.min_cpu_cores,
        "cpu_ram": query.min_cpu_ram_mb,
        "disk_bw": query.min_disk_mbytes_per_s,
        "gpu_mem_bw": query.min_gpu_mem_gbytes_per_s,
        "pci_gen": query.min_pcie_gen,
    }


def _lists(query: OfferQuery) -> dict[str, object]:
    """Say the lists that the server can take; two for one field cannot be said, and the rules check them all."""
    asked: dict[str, object] = {}
    for field, only, never in (
        ("gpu_name", query.gpu_names, query.gpu_blacklist),
        ("host_id", _ids(query.hosts), _ids(query.host_blacklist)),
        ("machine_id", (), _ids(query.machines)),
    ):
        if only:
            asked[field] = {"in": list(only)}
        elif never:
            asked[field] = {"notin": list(never)}
    return asked


def _ids(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(name) for name in names if name.isascii() and name.isdigit())


def _priced(offer: VastOffer, query: OfferQuery) -> Choice:
    machine, disk = machine_usd(offer, query), disk_usd(offer, query)
    rates = Rates(
        gpu_usd_per_hour=machine - disk,
        disk_usd_per_hour=disk,
        down_usd_per_gb=DEAR_TRAFFIC if offer.down_usd_per_gb is None else offer.down_usd_per_gb,
        up_usd_per_gb=DEAR_TRAFFIC if offer.up_usd_per_gb is None else offer.up_usd_per_gb,
    )
    return Choice(offer=offer, machine_usd_per_hour=machine, usd_per_hour=usd_per_hour(offer, query), rates=rates)


def _cents(usd: Decimal) -> str:
    """Write a price with two digits at least."""
    return f"{usd:.2f}" if usd == round(usd, 2) else f"{usd:f}"
