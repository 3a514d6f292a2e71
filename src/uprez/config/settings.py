"""The settings of one run: typed, frozen, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from uprez.job import Options


class Secret:
    """A value that never prints: not in a message, not in a log, not in `uprez config`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a value came from."""

    layer: str
    """ "defaults", "preset high (config.yaml)", "config.yaml", "remote", ".env", "environment", "flag" ..."""
    place: str = ""
    """The file and line, the variable or the flag: "config.yaml:12", "B2_BUCKET", "--scale"."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What settings were made of, for whoever keeps them (`config.saved`)."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Every key as it was written; of a secret, asterisks."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Of the layer that set a key; the higher one is the stronger."""
    dotenv: Path | None = None
    """Where a file of variables was looked for."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long things take on a market, in seconds."""

    boot_s: float
    """From creating an instance to its worker's first status."""
    lease_s: float
    """Length of a lease; it is renewed when half is left."""
    grace_s: float
    """After a lease's end, for work that nearly fits."""
    watch_s: float
    """Between two looks of the worker at its sheet."""
    status_s: float
    """Between two heartbeats of the worker."""
    poll_s: float
    """Between two looks of the controller."""
    log_s: float
    """Between two looks at what the machine prints."""
    silence_s: float
    """A worker whose heart stands still this long is given up."""
    stall_s: float
    """A worker that finishes no frame for this long is given up."""
    hard_life_s: float
    """An instance's life at most, whatever is renewed."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where inputs are or outputs go: exactly one of the three."""

    text: str
    """As it was written, for messages."""
    folder: Path | None = None
    """A path on this machine (a file or a folder)."""
    bucket: str | None = None
    key: str = ""
    """With `bucket`: an object's key or a prefix, without a leading slash."""
    url: str | None = None
    """An HTTP(S) URL, its query included."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach the S3-compatible store."""

    endpoint: str | None
    """Base URL; None: Amazon's own for the region."""
    region: str
    key: Secret
    """The key's id."""
    secret: Secret
    token: Secret | None = None
    """Of temporary credentials."""


@dataclass(frozen=True, kw_only=True)
class Rental:
    """The `vast` section: what may be rented. None or empty: no such criterion."""

    min_vram_gb: Decimal | None = None
    max_usd_per_hour: Decimal | None = None
    min_usd_per_hour: Decimal | None = None
    min_reliability: Decimal | None = None
    """0 to 1."""
    min_dlperf: Decimal | None = None
    min_dlperf_per_usd: Decimal | None = None
    min_cuda: Decimal | None = None
    compute_cap: int | None = None
    """Smallest compute capability, as Vast.ai writes it: 860 is 8.6."""
    min_inet_down_mbps: Decimal | None = None
    min_inet_up_mbps: Decimal | None = None
    min_cpu_cores: Decimal | None = None
    min_cpu_ram_gb: Decimal | None = None
    min_disk_bw_mbps: Decimal | None = None
    """MB/s."""
    min_gpu_mem_bw_gbps: Decimal | None = None
    """GB/s."""
    min_pcie_gen: Decimal | None = None
    gpu_models: tuple[str, ...] = ()
    """Only these (`gpu_models`, `gpu_whitelist` and `gpu_required` together), in Vast.ai's spelling ("RTX 4090")."""
    gpu_blacklist: tuple[str, ...] = ()
    gpu_priority: tuple[str, ...] = ()
    """Preferred first, at whatever price is within the limit."""
    host_whitelist: tuple[str, ...] = ()
    host_blacklist: tuple[str, ...] = ()
    datacenter: bool = False
    verified: bool = False
    static_ip: bool = False
    bid: bool = False
    """Interruptible machines (`type: bid`)."""
    rank: Literal["cheapest", "value"] = "cheapest"
    """By the price of an hour, or of a picture."""
    disk_gb: int | None = None
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run needs to know."""

    options: Options
    input_dir: Location | None
    """Where to search for videos; None: `input/` of the bucket when there is one, else ./input."""
    input: Location | None
    """One video instead."""
    output_dir: Location
    recursive: bool = True
    name: str | None
    """Name of the only output, in place of `<input>.<tag>`."""
    exact: bool
    """`name` is the file's whole name, and no other may be taken in its place."""
    state_prefix: str = ".uprez"
    """Below the outputs' folder, or at the top of the bucket."""
    state_folder: Path | None = None
    """A folder for checkpoints in place of `state_prefix` (`uprez enhance`)."""
    market: Literal["local", "vast"]
    market_reason: str = ""
    """Why `auto` became that: for the console."""
    budget_usd: Decimal = Decimal(5)
    on_budget: Literal["finish", "stop"] = "finish"
    """When money runs out: let what is being done end within what is promised, or stop at once."""
    max_machines: int = 1
    max_runtime_s: float | None = None
    deadline_s: float | None = None
    """From the run's start; as many machines are rented as meet it."""
    memory_bytes: int | None = None
    """Of this machine's main memory, what a worker of the `local` market may use; None: most of what is there."""
    rental: Rental = field(default_factory=Rental)
    image: str | None = None
    git_repo: str | None = None
    git_branch: str | None = None
    segment_frames: int | None
    dry_run: bool
    skip_existing: bool = True
    """False: finished jobs are done again, and their outputs replaced."""
    redone: frozenset[str] = frozenset()
    """Jobs of which that has happened, in the batch that is gone on with."""
    overwrite: bool = False
    """True: an output name that something else holds is taken over."""
    max_files: int | None = None
    """Videos to process in this run at most; finished ones do not count."""
    download: Path | None = None
    """A folder to bring results to that were made in a bucket."""
    webhook: Secret | None = None
    """A URL; a secret, because such URLs hold their own key."""
    bucket: str | None = None
    access: Access | None = None
    """None: no credentials are set."""
    vast_api_key: Secret | None = None
    vast_url: str = "https://console.vast.ai"
    """Without a path."""
    state_dir: Path
    """Ledger, instances and locks of this machine."""
    cache_dir: Path
    """Converted networks."""
    local: Timing
    """Of the `local` market with its objects in a folder."""
    bucket_timing: Timing
    """Of the `local` market with its objects in a bucket, where every look is a request that costs."""
    rented: Timing
    """Of machines that cost money."""
    notes: tuple[str, ...] = ()
    """What to tell before the run: lines of the remote config ("[OK] ..."), warnings of retired keys."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Of every key by its dotted name."""
    source: Source = field(default_factory=Source, compare=False)
