"""What the market offers: a seeded table of machines, and the search over it."""

from __future__ import annotations

import functools
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from uprez.practice.query import Row, conditions, invalid, number, ordered

MOST_ROWS = 64
"""The server returns no more, whatever `limit` says."""
HOURS_A_MONTH = 730
DEFAULT_STORAGE_GB = 8.0


@dataclass(frozen=True, kw_only=True)
class Card:
    """A kind of GPU, as machines have it."""

    ram_mib: int
    compute_cap: int
    """Times 100: 890 is 8.9."""
    usd_per_hour: str
    """What one costs in the middle of the market."""
    tflops: float
    dlperf: float
    bandwidth_gb_s: float
    weight: int
    """How common it is."""


CARDS: dict[str, Card] = {
    "GTX 1080 Ti": Card(ram_mib=11264, compute_cap=610, usd_per_hour="0.062", tflops=11.3, dlperf=9.6,
                        bandwidth_gb_s=430, weight=3),
    "RTX 2080 Ti": Card(ram_mib=11264, compute_cap=750, usd_per_hour="0.081", tflops=14.0, dlperf=16.1,
                        bandwidth_gb_s=540, weight=4),
    "RTX 3060": Card(ram_mib=12288, compute_cap=860, usd_per_hour="0.058", tflops=12.7, dlperf=13.2,
                     bandwidth_gb_s=330, weight=8),
    "RTX 3070": Card(ram_mib=8192, compute_cap=860, usd_per_hour="0.069", tflops=20.3, dlperf=18.7,
                     bandwidth_gb_s=410, weight=5),
    "RTX 3080": Card(ram_mib=10240, compute_cap=860, usd_per_hour="0.098", tflops=29.8, dlperf=28.4,
                     bandwidth_gb_s=690, weight=5),
    "RTX 3090": Card(ram_mib=24576, compute_cap=860, usd_per_hour="0.165", tflops=35.6, dlperf=38.2,
                     bandwidth_gb_s=850, weight=10),
    "RTX A4000": Card(ram_mib=16376, compute_cap=860, usd_per_hour="0.112", tflops=19.2, dlperf=21.5,
                      bandwidth_gb_s=410, weight=4),
    "RTX A6000": Card(ram_mib=49140, compute_cap=860, usd_per_hour="0.410", tflops=38.7, dlperf=43.9,
                      bandwidth_gb_s=690, weight=3),
    "RTX 4060 Ti": Card(ram_mib=16380, compute_cap=890, usd_per_hour="0.092", tflops=22.1, dlperf=25.6,
                        bandwidth_gb_s=270, weight=5),
    "RTX 4070": Card(ram_mib=12282, compute_cap=890, usd_per_hour="0.104", tflops=29.1, dlperf=33.4,
                     bandwidth_gb_s=460, weight=4),
    "RTX 4080": Card(ram_mib=16376, compute_cap=890, usd_per_hour="0.187", tflops=48.7, dlperf=54.8,
                     bandwidth_gb_s=650, weight=4),
    "RTX 4090": Card(ram_mib=24564, compute_cap=890, usd_per_hour="0.334", tflops=82.6, dlperf=95.3,
                     bandwidth_gb_s=930, weight=12),
    "L4": Card(ram_mib=23034, compute_cap=890, usd_per_hour="0.298", tflops=30.3, dlperf=31.7,
               bandwidth_gb_s=270, weight=2),
    "RTX 5060 Ti": Card(ram_mib=16311, compute_cap=1200, usd_per_hour="0.078", tflops=23.7, dlperf=29.8,
                        bandwidth_gb_s=400, weight=5),
    "RTX 5090": Card(ram_mib=32607, compute_cap=1200, usd_per_hour="0.452", tflops=104.8, dlperf=141.6,
                     bandwidth_gb_s=1510, weight=5),
    "A100 SXM4": Card(ram_mib=81920, compute_cap=800, usd_per_hour="0.720", tflops=19.5, dlperf=84.7,
                      bandwidth_gb_s=1680, weight=2),
    "H100 SXM": Card(ram_mib=81559, compute_cap=900, usd_per_hour="1.870", tflops=66.9, dlperf=251.3,
                     bandwidth_gb_s=2660, weight=2),
}  # fmt: skip
"""The GPUs of the table, by the market's names. Prices and figures are of the order of the real market's."""
DRIVERS: dict[str, float] = {
    "535.183.01": 12.2,
    "550.90.07": 12.4,
    "560.35.03": 12.6,
    "570.172.08": 12.8,
    "580.95.05": 13.0,
}
"""Driver versions, and the highest CUDA that each supports."""
PLACES = ("Vienna, AT", "Quebec, CA", "Texas, US", "California, US", "Sweden, SE", "Taiwan, TW", "Poland, PL",
          "Germany, DE", "Japan, JP", "Bulgaria, BG", "Norway, NO", "South Korea, KR")  # fmt: skip
CPUS = ("AMD EPYC 7543 32-Core Processor", "AMD Ryzen 9 5950X", "Intel Xeon E5-2698 v4", "Intel Core i7-12700K")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One ask of one machine. Its id changes each time that it is listed anew."""

    id: int
    machine_id: int
    host_id: int
    gpu_name: str
    num_gpus: int
    machine_gpus: int
    usd_per_hour: Decimal
    """GPU only, on demand, for all GPUs of the ask."""
    min_bid: Decimal
    storage_usd_per_gb_month: Decimal
    down_usd_per_gb: Decimal
    up_usd_per_gb: Decimal
    driver: str
    reliability: float
    verified: bool
    datacenter: bool
    static_ip: bool
    geolocation: str
    cpu_name: str
    cpu_cores: int
    cpu_ram_mib: int
    disk_gb: float
    disk_mb_s: float
    down_mbit_s: float
    up_mbit_s: float
    pci_gen: float
    ports: int
    end_s: float
    ip: str

    def __hash__(self) -> int:
        return self.id

    def same_ask(self, other: Offer) -> bool:
        """Say whether another one is this, listed at another time."""
        return (self.machine_id, self.num_gpus) == (other.machine_id, other.num_gpus)

    @property
    def card(self) -> Card:
        """What each GPU is."""
        return CARDS[self.gpu_name]

    @property
    def cuda(self) -> float:
        """The highest CUDA that the driver supports."""
        return DRIVERS[self.driver]

    def storage_usd_per_hour(self, disk_gb: float) -> Decimal:
        """Price the disk of an instance."""
        return self.storage_usd_per_gb_month * Decimal(str(disk_gb)) / HOURS_A_MONTH


def table(seed: int = 1, *, machines: int = 90, now_s: float) -> list[Offer]:
    """Make the market's offers: always the same for one seed and one time."""
    return list(_table(seed, machines, now_s))


@functools.lru_cache(maxsize=8)  # tests make hundreds of markets at one time
def _table(seed: int, machines: int, now_s: float) -> tuple[Offer, ...]:
    rng = random.Random(seed)  # noqa: S311  a table, not a secret
    names = rng.choices(list(CARDS), [card.weight for card in CARDS.values()], k=machines)
    offers: list[Offer] = []
    for index, name in enumerate(names):
        offers += _machine(rng, index, name, now_s)
    return tuple(offers)


def _machine(rng: random.Random, index: int, name: str, now_s: float) -> Iterable[Offer]:
    """Make one machine's asks: all its GPUs, half of them, and so on to a single one; they exclude each other."""
    card = CARDS[name]
    gpus = rng.choice((1, 1, 1, 2, 4))
    driver = rng.choice([each for each in DRIVERS if card.compute_cap < 1200 or DRIVERS[each] >= 12.8])
    each = Decimal(card.usd_per_hour) * Decimal(str(round(rng.lognormvariate(0, 0.25), 3)))
    cores = rng.choice((8, 16, 32, 64))
    facts = {
        "machine_id": 12000 + index * 7,
        "host_id": 6000 + index // 3,
        "gpu_name": name,
        "machine_gpus": gpus,
        "storage_usd_per_gb_month": Decimal(rng.choice(("0.08", "0.10", "0.15", "0.20", "0.30"))),
        "down_usd_per_gb": Decimal(rng.choice(("0", "0.001", "0.002", "0.005", "0.020", "0.039"))),
        "up_usd_per_gb": Decimal(rng.choice(("0", "0.002", "0.004", "0.010", "0.020", "0.039"))),
        "driver": driver,
        "reliability": round(1 - rng.expovariate(120), 4),
        "verified": rng.random() < 0.8,
        "datacenter": rng.random() < 0.25,
        "static_ip": rng.random() < 0.6,
        "geolocation": rng.choice(PLACES),
        "cpu_name": rng.choice(CPUS),
        "cpu_cores": cores,
        "cpu_ram_mib": cores * 2048 - 282,
        "disk_mb_s": round(rng.uniform(400, 6500), 1),
        "down_mbit_s": round(rng.lognormvariate(6.4, 0.8), 1),
        "up_mbit_s": round(rng.lognormvariate(6.0, 0.8), 1),
        "pci_gen": rng.choice((3.0, 4.0, 4.0, 5.0)),
        "ports": rng.choice((0, 8, 50, 100)),
        "end_s": now_s + rng.choice((6, 72, 720, 2000)) * 3600,
        "ip": f"203.0.113.{index % 250 + 1}",
    }
    disk_gb, bid = rng.uniform(60, 1800), Decimal(str(round(rng.uniform(0.4, 0.7), 2)))
    count, number_of = gpus, 0
    while count:
        usd = (each * count).quantize(Decimal("0.000001"))
        yield Offer(
            id=20_000_000 + index * 1000 + number_of,
            num_gpus=count,
            usd_per_hour=usd,
            min_bid=(usd * bid).quantize(Decimal("0.0001")),
            disk_gb=round(disk_gb * count / gpus, 1),
            **facts,  # type: ignore[arg-type]  # one table of many types, used once
        )
        count, number_of = count // 2, number_of + 1


def row(offer: Offer, *, now_s: float, bid: bool = False, storage_gb: float = DEFAULT_STORAGE_GB) -> dict[str, object]:
    """Give an offer as the wire has it, priced with a disk of `storage_gb`."""
    return {**_facts(offer, bid, storage_gb), "start_date": now_s - 86400, "duration": offer.end_s - now_s}


@functools.lru_cache(maxsize=2048)  # a search looks at all offers
def _facts(offer: Offer, bid: bool, storage_gb: float) -> dict[str, object]:
    """Give what does not change as time passes."""
    card, gpu = offer.card, offer.min_bid if bid else offer.usd_per_hour
    disk = offer.storage_usd_per_hour(storage_gb)
    total = gpu + disk
    share = offer.num_gpus / offer.machine_gpus
    return {
        **dict.fromkeys(_UNKNOWN),
        "id": offer.id, "ask_contract_id": offer.id, "bundle_id": offer.machine_id * 10 + offer.num_gpus,
        "machine_id": offer.machine_id, "host_id": offer.host_id, "num_gpus": offer.num_gpus,
        "gpu_name": offer.gpu_name, "gpu_ram": card.ram_mib, "gpu_total_ram": card.ram_mib * offer.num_gpus,
        "gpu_frac": share, "gpu_arch": "nvidia", "gpu_mem_bw": card.bandwidth_gb_s, "compute_cap": card.compute_cap,
        "cuda_max_good": offer.cuda, "driver_version": offer.driver, "driver_vers": driver_number(offer.driver),
        "cpu_name": offer.cpu_name, "cpu_cores": offer.cpu_cores, "cpu_cores_effective": offer.cpu_cores * share,
        "cpu_ram": offer.cpu_ram_mib, "cpu_ghz": 3.2, "cpu_arch": "amd64", "has_avx": 1,
        "disk_space": offer.disk_gb, "disk_bw": offer.disk_mb_s, "disk_name": "nvme",
        "inet_up": offer.up_mbit_s, "inet_down": offer.down_mbit_s,
        "inet_up_cost": float(offer.up_usd_per_gb), "inet_down_cost": float(offer.down_usd_per_gb),
        "dph_base": float(gpu), "dph_total": float(total), "min_bid": float(offer.min_bid), "is_bid": bid,
        "storage_cost": float(offer.storage_usd_per_gb_month), "storage_total_cost": float(disk),
        "dlperf": card.dlperf * offer.num_gpus, "dlperf_per_dphtotal": card.dlperf * offer.num_gpus / float(total),
        "total_flops": card.tflops * offer.num_gpus, "flops_per_dphtotal": card.tflops * offer.num_gpus / float(total),
        "score": card.dlperf * offer.num_gpus / float(total) * offer.reliability,
        "reliability": offer.reliability, "reliability2": offer.reliability, "expected_reliability": offer.reliability,
        "verification": "verified" if offer.verified else "unverified", "vericode": int(offer.verified),
        "hosting_type": int(offer.datacenter), "geolocation": offer.geolocation, "static_ip": offer.static_ip,
        "direct_port_count": offer.ports, "pci_gen": offer.pci_gen, "pcie_bw": offer.pci_gen * 6.0,
        "os_version": "22.04", "rentable": True, "rented": False, "external": False,
        "end_date": offer.end_s,
        "public_ipaddr": offer.ip, "resource_type": "gpu",
        "search": {
            "gpuCostPerHour": float(gpu), "diskHour": float(disk), "totalHour": float(total),
            "discountTotalHour": 0.0, "discountedTotalPerHour": float(total),
        },
    }  # fmt: skip


_UNKNOWN = [
    "gpu_lanes",
    "gpu_max_power",
    "gpu_max_temp",
    "bw_nvlink",
    "mobo_name",
    "vram_costperhour",
    "credit_discount_max",
    "hostname",
    "geolocode",
    "reliability_mult",
    "vms_enabled",
    "is_vm_deverified",
    "gpu_display_active",
    "logo",
    "webpage",
    "bundled_results",
    "cluster_id",
    "avail_vol_ask_id",
    "avail_vol_dph",
    "avail_vol_size",
    "nw_disk_min_bw",
    "nw_disk_max_bw",
    "nw_disk_avg_bw",
    "platform_fee",
]
"""Fields that the wire has and this market knows nothing of."""


def driver_number(version: str) -> int:
    """Turn 535.86.05 into 535086005."""
    parts = [*version.split("."), "0", "0"]
    return int(parts[0]) * 1_000_000 + int(parts[1]) * 1000 + int(parts[2])


ALIASES = {
    "dphtotal": "dph_total",
    "reliability2": "reliability",
    "datacenter": "hosting_type",
    "verified": "vericode",
    "ubuntu_version": "os_version",
    "driver_version": "driver_vers",
}
SWITCHES = frozenset({"verified", "datacenter"})
"""Asked with true and false, kept as numbers."""
SCALARS = frozenset({"limit", "type", "order", "allocated_storage", "target_reliability", "has_sla", "extra_ids"})
UNFILTERED = frozenset({*SCALARS, "disable_bundling", "rented", "rentable"})
"""Not conditions: options, and what the server decides by itself."""


def search(
    offers: Iterable[Offer], query: Mapping[str, object], *, now_s: float, ignored: Collection[str] = ()
) -> list[dict[str, object]]:
    """Answer a search; `ignored` names fields whose conditions are not applied ("*": none is). Raises Refusal."""
    storage = number(query.get("allocated_storage"))
    bid = query.get("type") in ("bid", "interruptible")
    rows = [
        row(offer, now_s=now_s, bid=bid, storage_gb=DEFAULT_STORAGE_GB if storage is None else storage)
        for offer in offers
    ]
    wanted = conditions({field: value for field, value in query.items() if field not in UNFILTERED})
    kept = [
        one
        for one in rows
        if all(
            test(_field(one, name), _operand(name, operand))
            for name, test, operand in wanted
            if "*" not in ignored and name not in ignored
        )
    ]
    limit = number(query.get("limit"))
    return ordered(kept, _order(query.get("order")))[: MOST_ROWS if limit is None else min(MOST_ROWS, int(limit))]


def _field(one: Row, name: str) -> object:
    if name == "id":
        return None  # the real server matches nothing by id: ask_contract_id is what works
    if name == "geolocation":
        return str(one["geolocation"])[-2:]
    value = one.get(ALIASES.get(name, name))
    return bool(value) if name in SWITCHES else value


def _operand(name: str, operand: object) -> object:
    if name == "driver_version" and isinstance(operand, str) and "." in operand:
        return driver_number(operand)
    return operand


def _order(order: object) -> list[tuple[str, bool]]:
    if order is None:
        return [("score", True)]
    if not isinstance(order, list) or not all(isinstance(each, list) and len(each) == 2 for each in order):
        raise invalid("Invalid query: order must be a list of [field, direction]")
    return [(ALIASES.get(str(field), str(field)), str(way) == "desc") for field, way in order]
