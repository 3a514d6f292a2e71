"""One rented instance: its states, its boot as time passes, and its row on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from uprez.practice.billing import Bill
from uprez.practice.launch import Launch
from uprez.practice.offers import Offer

PROVISION_MS = 1000
"""actual_status is null for so long, then `created` for as long again; the pull is what is left of the boot."""
LAYERS = ("ad1c7cfc347f", "1bbf1c2a2c67", "5a9f2e1d0c3b", "e0d3c5b7a912", "77c0ffee1234")

Trouble = Literal["boot_forever", "boot_bad_image", "boot_cdi"]


@dataclass(kw_only=True)
class Instance:
    """What the market knows of one instance."""

    id: int
    offer: Offer
    launch: Launch
    key: str
    label: str | None
    disk_gb: float
    created_ms: int
    bill: Bill
    bid: Decimal | None
    intended: str = "running"
    cur: str = "unloaded"
    next: str = "running"
    actual: str | None = None
    status_msg: str = ""
    boot_from_ms: int = 0
    boots_ms: int | None = None
    """When the boot under way ends; None: no boot."""
    trouble: Trouble | None = None
    queued_ms: int | None = None
    """A start waits for its GPU, and gets it then at the earliest."""
    displaced: bool = False
    """Paused because of its bid."""
    hidden: bool = False
    """Offline: the host does not answer."""
    back_ms: int | None = None
    """When an offline host comes back."""
    resumes: bool = False
    """Its offline host keeps its GPUs for it, and runs it again."""
    wrong_gpu: bool = False
    vram_taken: bool = False

    @property
    def holds(self) -> bool:
        """Say whether it holds its GPUs: from the begin of a boot until it is stopped."""
        return self.boots_ms is not None or self.cur == "running" or self.resumes

    @property
    def status(self) -> str | None:
        """Say what the market shows of the container."""
        return "offline" if self.hidden else self.actual

    @property
    def end_ms(self) -> int:
        """When the contract ends."""
        return round(self.offer.end_s * 1000)

    @property
    def bills_gpu(self) -> bool:
        """Say whether its GPUs cost now; an exited container's do."""
        return self.cur == "running" and not self.hidden

    def begin_boot(self, now_ms: int, length_ms: int, trouble: Trouble | None = None) -> None:
        """Be on the way to running."""
        self.intended, self.next, self.cur = "running", "running", "unloaded"
        self.actual, self.status_msg = None, ""
        self.boot_from_ms, self.boots_ms = now_ms, now_ms + length_ms
        self.trouble, self.queued_ms, self.displaced, self.resumes = trouble, None, False, False

    def pause(self, actual: str, msg: str = "") -> None:
        """Be stopped, by whomever."""
        self.intended = self.cur = self.next = "stopped"
        self.actual, self.status_msg = actual, msg
        self.boots_ms = self.queued_ms = None
        self.displaced = self.resumes = False

    def show_boot(self, now_ms: int) -> None:
        """Say how far the boot is."""
        if self.boots_ms is None:
            return
        since = now_ms - self.boot_from_ms
        if since < PROVISION_MS:
            self.actual, self.status_msg = None, ""
        elif since < 2 * PROVISION_MS:
            self.actual, self.status_msg = "created", ""
        else:
            self.actual = "loading"
            pull = max(1, self.boots_ms - self.boot_from_ms - 2 * PROVISION_MS)
            self.status_msg = _pulling(self.launch.image, (since - 2 * PROVISION_MS) / pull)

    def fail_boot(self) -> None:
        """Show what has gone wrong instead of running."""
        self.boots_ms = None
        name = self.launch.image
        if self.trouble == "boot_cdi":
            text = "Error response from daemon: failed to create task for container: failed to inject CDI devices: "
            self.pause("created", f"{text}unresolvable CDI devices\nfailed to start containers: C.{self.id}")
        elif self.trouble == "boot_bad_image":
            self.pause("loading", f"Error response from daemon: manifest for {name} not found: manifest unknown")
        else:
            self.pause("loading", "")


def _pulling(image: str, part: float) -> str:
    """Write the last line of a pull that is so far (0 to 1)."""
    step = min(int(part * (len(LAYERS) * 2 + 1)), len(LAYERS) * 2)
    if step == len(LAYERS) * 2:
        return f"Successfully loaded {image}"
    layer = LAYERS[step // 2]
    return f"{layer}: {'Pull complete' if step % 2 else 'Download complete'}"


def row(instance: Instance, *, now_s: float, misreported: bool = False) -> dict[str, object]:
    """Give an instance as the wire has it."""
    offer, launch, card = instance.offer, instance.launch, instance.offer.card
    rates = instance.bill.rates
    up = instance.status == "running"
    return {
        **dict.fromkeys(_UNKNOWN),
        "id": instance.id, "machine_id": offer.machine_id, "host_id": offer.host_id, "label": instance.label,
        "actual_status": "exited" if misreported else instance.status, "cur_state": instance.cur,
        "next_state": instance.next, "intended_status": instance.intended, "status_msg": instance.status_msg,
        "image_uuid": launch.image, "image_runtype": launch.runtype, "image_args": list(launch.args),
        "onstart": launch.onstart, "extra_env": [[name, value] for name, value in launch.env.items()],
        "num_gpus": offer.num_gpus, "gpu_name": offer.gpu_name, "gpu_arch": "nvidia", "gpu_ram": card.ram_mib,
        "gpu_totalram": card.ram_mib * offer.num_gpus, "gpu_frac": offer.num_gpus / offer.machine_gpus,
        "gpu_util": 0.0 if up else None, "gpu_temp": 41.0 if up else None, "compute_cap": card.compute_cap,
        "cuda_max_good": offer.cuda, "driver_version": offer.driver,
        "cpu_name": offer.cpu_name, "cpu_cores": offer.cpu_cores,
        "cpu_cores_effective": offer.cpu_cores * offer.num_gpus / offer.machine_gpus, "cpu_ram": offer.cpu_ram_mib,
        "disk_space": instance.disk_gb, "disk_usage": 0.1 if up else -1.0, "disk_util": 0.1 if up else -1.0,
        "disk_bw": offer.disk_mb_s, "inet_up": offer.up_mbit_s, "inet_down": offer.down_mbit_s,
        "is_bid": instance.bid is not None, "min_bid": float(offer.min_bid),
        "dph_base": float(rates.gpu_usd_per_hour),
        "dph_total": float(rates.gpu_usd_per_hour + rates.disk_usd_per_hour),
        "storage_cost": float(offer.storage_usd_per_gb_month), "storage_total_cost": float(rates.disk_usd_per_hour),
        "inet_up_cost": float(offer.up_usd_per_gb), "inet_down_cost": float(offer.down_usd_per_gb),
        "ssh_host": "ssh5.vast.ai", "ssh_port": 10000 + instance.id % 50000, "ssh_idx": "5",
        "public_ipaddr": f"{offer.ip}\n", "local_ipaddrs": "192.0.2.10 ",
        "ports": ports(instance) if up else {}, "direct_port_count": offer.ports,
        "start_date": instance.created_ms / 1000, "end_date": offer.end_s, "duration": offer.end_s - now_s,
        "verification": "verified" if offer.verified else "unverified", "geolocation": offer.geolocation,
        "reliability2": offer.reliability, "hosting_type": int(offer.datacenter), "static_ip": offer.static_ip,
        "dlperf": card.dlperf * offer.num_gpus, "pcie_bw": offer.pci_gen * 6.0, "score": 0.0,
    }  # fmt: skip


_UNKNOWN = [
    "cpu_util",
    "mem_usage",
    "mem_limit",
    "vmem_usage",
    "direct_port_start",
    "direct_port_end",
    "jupyter_token",
    "uptime_mins",
    "template_id",
    "template_hash_id",
    "template_name",
]


def ports(instance: Instance) -> dict[str, list[dict[str, str]]]:
    """Give the container's open ports with where each is on the host, as docker says it."""
    return {
        port: [{"HostIp": "0.0.0.0", "HostPort": str(33000 + index)}]  # noqa: S104  what docker says
        for index, port in enumerate(instance.launch.ports())
    }
