"""What Vast.ai tells of: offers, instances, what was rented, the account. Read at the edge, trusted inside."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from uprez.config.settings import Secret
from uprez.market.vast.fields import Row, balance, identity, number, switch, text, whole


@dataclass(frozen=True, kw_only=True)
class VastOffer:
    """A machine that may be rented. None: the server did not say, or said something odd."""

    id: int
    """For renting it once; it is not stable. Bans go by `machine`."""
    machine: str
    host: str
    num_gpus: int | None
    gpu_name: str
    gpu_ram_mb: Decimal | None
    compute_cap: int | None
    """Hundredfold: 890 is 8.9."""
    cuda: Decimal | None
    """The highest version that the driver supports."""
    cpu_cores: Decimal | None
    """Our share of them."""
    cpu_ram_mb: Decimal | None
    disk_gb: Decimal | None
    """The most that can be rented."""
    disk_mbytes_per_s: Decimal | None
    inet_down_mbps: Decimal | None
    inet_up_mbps: Decimal | None
    down_usd_per_gb: Decimal | None
    up_usd_per_gb: Decimal | None
    storage_usd_per_gb_month: Decimal | None
    base_usd_per_hour: Decimal | None
    """The GPU alone."""
    total_usd_per_hour: Decimal | None
    """With the storage that was asked for, if the server heeded that."""
    min_bid_usd_per_hour: Decimal | None
    is_bid: bool | None
    dlperf: Decimal | None
    gpu_mem_gbytes_per_s: Decimal | None
    pcie_gen: Decimal | None
    reliability: Decimal | None
    verified: bool
    datacenter: bool
    static_ip: bool
    external: bool
    """Of another marketplace."""
    rentable: bool
    location: str
    duration_s: Decimal | None
    """Left until the contract ends, and with it the machine."""


@dataclass(frozen=True, kw_only=True)
class VastInstance:
    """An instance of the account, ours or not."""

    id: int
    label: str
    actual_status: str
    """Of the container, by the host: "" while nothing is known. It lags."""
    cur_state: str
    next_state: str
    intended_status: str
    status_msg: str
    """For people; never decides."""
    machine: str
    gpu_name: str
    gpu_ram_mb: Decimal | None
    disk_gb: Decimal | None
    """What was really granted."""
    is_bid: bool
    total_usd_per_hour: Decimal | None
    """GPU and storage, without traffic."""
    base_usd_per_hour: Decimal | None
    """The GPU alone: the bid, of a bid's."""
    storage_usd_per_gb_month: Decimal | None
    down_usd_per_gb: Decimal | None
    up_usd_per_gb: Decimal | None
    start_s: Decimal | None
    """Since the epoch."""
    end_s: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Created:
    """What was rented."""

    id: int
    key: Secret | None
    """The instance's own key: it can delete itself, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose key it is."""

    id: int | None
    credit_usd: Decimal | None
    """What may be spent; below zero where the account owes for its disks."""
    practice: bool
    """A practice market, not the real one."""


def offer(row: Row) -> VastOffer | None:
    """Read a row of a search; None where it has no id, so that it could not be rented."""
    id_ = identity(row, "id", "ask_contract_id")
    if id_ is None:
        return None
    return VastOffer(
        id=id_,
        machine=str(identity(row, "machine_id") or ""),
        host=str(identity(row, "host_id") or ""),
        num_gpus=whole(row, "num_gpus"),
        gpu_name=text(row, "gpu_name"),
        gpu_ram_mb=number(row, "gpu_ram"),
        compute_cap=whole(row, "compute_cap"),
        cuda=number(row, "cuda_max_good"),
        cpu_cores=number(row, "cpu_cores_effective"),
        cpu_ram_mb=number(row, "cpu_ram"),
        disk_gb=number(row, "disk_space"),
        disk_mbytes_per_s=number(row, "disk_bw"),
        inet_down_mbps=number(row, "inet_down"),
        inet_up_mbps=number(row, "inet_up"),
        down_usd_per_gb=number(row, "inet_down_cost"),
        up_usd_per_gb=number(row, "inet_up_cost"),
        storage_usd_per_gb_month=number(row, "storage_cost"),
        base_usd_per_hour=number(row, "dph_base"),
        total_usd_per_hour=number(row, "dph_total"),
        min_bid_usd_per_hour=number(row, "min_bid"),
        is_bid=switch(row, "is_bid"),
        dlperf=number(row, "dlperf"),
        gpu_mem_gbytes_per_s=number(row, "gpu_mem_bw"),
        pcie_gen=number(row, "pci_gen"),
        reliability=number(row, "reliability", "reliability2"),
        verified=_verified(row),
        datacenter=whole(row, "hosting_type") == 1,
        static_ip=switch(row, "static_ip") is True,
        external=switch(row, "external") is True,
        rentable=switch(row, "rentable") is not False,
        location=text(row, "geolocation"),
        duration_s=number(row, "duration"),
    )


def instance(row: Row) -> VastInstance | None:
    """Read an instance; None where it has no id."""
    id_ = identity(row, "id")
    if id_ is None:
        return None
    return VastInstance(
        id=id_,
        label=text(row, "label"),
        actual_status=text(row, "actual_status"),
        cur_state=text(row, "cur_state"),
        next_state=text(row, "next_state"),
        intended_status=text(row, "intended_status"),
        status_msg=text(row, "status_msg"),
        machine=str(identity(row, "machine_id") or ""),
        gpu_name=text(row, "gpu_name"),
        gpu_ram_mb=number(row, "gpu_ram"),
        disk_gb=number(row, "disk_space"),
        is_bid=switch(row, "is_bid") is True,
        total_usd_per_hour=number(row, "dph_total"),
        base_usd_per_hour=number(row, "dph_base"),
        storage_usd_per_gb_month=number(row, "storage_cost"),
        down_usd_per_gb=number(row, "inet_down_cost"),
        up_usd_per_gb=number(row, "inet_up_cost"),
        start_s=number(row, "start_date"),
        end_s=number(row, "end_date"),
    )


def account(row: Row) -> Account:
    """Read `users/current`."""
    return Account(id=identity(row, "id"), credit_usd=balance(row, "credit"), practice=switch(row, "practice") is True)


def _verified(row: Row) -> bool:
    """The word counts before the code: a host can lose its standing."""
    word = text(row, "verification")
    return word == "verified" if word else whole(row, "vericode") == 1
