"""What an offer must be and what it costs: each criterion is checked here, whatever the server's own filter did."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal

from uprez.market import gpu as gpus
from uprez.market.base import OfferQuery
from uprez.market.vast.records import VastOffer

DISK_GB = 32
"""When nobody says how much: source, segments and result of an ordinary film, and 6 GB for what is installed."""
HOURS_PER_MONTH = 730
BID_OVER = Decimal("1.1")
DEAR_STORAGE = Decimal("0.50")
"""US dollars a GB and month, for a machine that does not say: more than any is seen to ask."""
DEAR_TRAFFIC = Decimal("0.04")
"""US dollars a GB, likewise."""
Rule = Callable[[VastOffer, OfferQuery], bool]


def reason(offer: VastOffer, query: OfferQuery) -> str | None:
    """Name the first rule that an offer breaks, None when it meets the whole query.

    What the server does not say does not meet a criterion.
    """
    return next((name for name, holds in RULES.items() if not holds(offer, query)), None)


def disk_gb(query: OfferQuery) -> int:
    """Give the disk to rent."""
    return query.disk_gb or DISK_GB


def disk_usd(offer: VastOffer, query: OfferQuery) -> Decimal:
    """Give the disk by the hour."""
    storage = DEAR_STORAGE if offer.storage_usd_per_gb_month is None else offer.storage_usd_per_gb_month
    return storage * disk_gb(query) / HOURS_PER_MONTH


def bid_usd(offer: VastOffer, query: OfferQuery) -> Decimal:
    """Give what to bid by the hour: a tenth over the least, since the next bidder takes the machine; never too dear."""
    least = offer.min_bid_usd_per_hour or Decimal(0)
    bid = least * BID_OVER
    if query.max_usd_per_hour is not None:
        bid = min(bid, query.max_usd_per_hour - disk_usd(offer, query) - traffic_usd(offer, query))
    return max(least, bid.quantize(Decimal("0.0001"), ROUND_DOWN))


def machine_usd(offer: VastOffer, query: OfferQuery) -> Decimal:
    """Give GPU and disk by the hour: the dearer of the server's sum, which may be for another disk, and ours."""
    gpu = bid_usd(offer, query) if query.bid else offer.base_usd_per_hour
    return max((gpu or Decimal(0)) + disk_usd(offer, query), offer.total_usd_per_hour or Decimal(0))


def traffic_usd(offer: VastOffer, query: OfferQuery) -> Decimal:
    """Give what the expected traffic costs by the hour."""
    down = DEAR_TRAFFIC if offer.down_usd_per_gb is None else offer.down_usd_per_gb
    up = DEAR_TRAFFIC if offer.up_usd_per_gb is None else offer.up_usd_per_gb
    return down * query.down_gb_per_hour + up * query.up_gb_per_hour


def usd_per_hour(offer: VastOffer, query: OfferQuery) -> Decimal:
    """Give the whole price: GPU, disk and the traffic that is expected."""
    return machine_usd(offer, query) + traffic_usd(offer, query)


def name_of(gpu: str) -> str:
    """Spell a GPU's name in one way."""
    return " ".join(gpu.replace("_", " ").casefold().split())


def _named(gpu: str, names: tuple[str, ...]) -> bool:
    return name_of(gpu) in {name_of(name) for name in names}


def _meets(value: Decimal | int | None, least: Decimal | int | None) -> bool:
    return least is None or (value is not None and value >= least)


def _is_affordable(offer: VastOffer, query: OfferQuery) -> bool:
    return query.max_usd_per_hour is None or usd_per_hour(offer, query) <= query.max_usd_per_hour


def _has_price(offer: VastOffer, query: OfferQuery) -> bool:
    """Nothing is free: a price of 0 is one that is missing."""
    gpu = offer.min_bid_usd_per_hour if query.bid else offer.base_usd_per_hour
    return bool(gpu or (offer.total_usd_per_hour and not query.bid))


def _is_dear_enough(offer: VastOffer, query: OfferQuery) -> bool:
    return query.min_usd_per_hour is None or usd_per_hour(offer, query) >= query.min_usd_per_hour


def _is_worth_it(offer: VastOffer, query: OfferQuery) -> bool:
    if query.min_dlperf_per_usd is None:
        return True
    machine = machine_usd(offer, query)
    return offer.dlperf is not None and offer.dlperf >= query.min_dlperf_per_usd * machine


def _is_of_the_kind(offer: VastOffer, query: OfferQuery) -> bool:
    return offer.min_bid_usd_per_hour is not None if query.bid else offer.is_bid is not True


def _has_provider(offer: VastOffer, query: OfferQuery) -> bool:
    """A GPU that no provider of ours can use would be paid for in vain."""
    if not query.families or "cpu" in query.families:
        return True
    found = gpus.foreseen(offer.compute_cap, None if offer.cuda is None else float(offer.cuda))
    return found is not None and bool(set(found.families) & set(query.families))


def _is_wanted_gpu(offer: VastOffer, query: OfferQuery) -> bool:
    return not query.gpu_names or _named(offer.gpu_name, query.gpu_names)


def _is_wanted_host(offer: VastOffer, query: OfferQuery) -> bool:
    return not query.hosts or offer.host in query.hosts


RULES: dict[str, Rule] = {
    "rentable": lambda offer, query: offer.rentable and not offer.external,
    "num_gpus": lambda offer, query: offer.num_gpus == 1,
    "type": _is_of_the_kind,
    "gpu_blacklist": lambda offer, query: not _named(offer.gpu_name, query.gpu_blacklist),
    "gpu_models": _is_wanted_gpu,
    "host_blacklist": lambda offer, query: offer.host not in query.host_blacklist,
    "host_whitelist": _is_wanted_host,
    "machines": lambda offer, query: offer.machine not in query.machines,
    "price": _has_price,
    "max_price": _is_affordable,
    "min_price": _is_dear_enough,
    "min_vram": lambda offer, query: _meets(offer.gpu_ram_mb, query.min_gpu_ram_mb),
    "min_cuda": lambda offer, query: _meets(offer.cuda, query.min_cuda),
    "compute_cap": lambda offer, query: _meets(offer.compute_cap, query.min_compute_cap),
    "provider": _has_provider,
    "min_reliability": lambda offer, query: _meets(offer.reliability, query.min_reliability),
    "min_dlperf": lambda offer, query: _meets(offer.dlperf, query.min_dlperf),
    "min_dlperf_per_dphtotal": _is_worth_it,
    "min_inet_down": lambda offer, query: _meets(offer.inet_down_mbps, query.min_inet_down_mbps),
    "min_inet_up": lambda offer, query: _meets(offer.inet_up_mbps, query.min_inet_up_mbps),
    "min_cpu_cores": lambda offer, query: _meets(offer.cpu_cores, query.min_cpu_cores),
    "min_cpu_ram": lambda offer, query: _meets(offer.cpu_ram_mb, query.min_cpu_ram_mb),
    "min_disk_bw": lambda offer, query: _meets(offer.disk_mbytes_per_s, query.min_disk_mbytes_per_s),
    "min_gpu_mem_bw": lambda offer, query: _meets(offer.gpu_mem_gbytes_per_s, query.min_gpu_mem_gbytes_per_s),
    "min_pcie_gen": lambda offer, query: _meets(offer.pcie_gen, query.min_pcie_gen),
    "disk": lambda offer, query: _meets(offer.disk_gb, disk_gb(query)),
    "duration": lambda offer, query: _meets(offer.duration_s, query.min_duration_s),
    "verified": lambda offer, query: offer.verified or not query.verified,
    "datacenter": lambda offer, query: offer.datacenter or not query.datacenter,
    "static_ip": lambda offer, query: offer.static_ip or not query.static_ip,
}
"""Every criterion, by the name of its setting where it has one."""
