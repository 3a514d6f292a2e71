"""results.json: what a run did, for programs. docs/reference/results.schema.json is made from these classes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from uprez.job import GivenUp, Mode, Options, Pin, Strategy
from uprez.status import Stage

SCHEMA = 1

JobState = Literal["done", "skipped", "failed", "unfinished", "detached", "planned"]
Use = Literal["boot", "index", "made", "assembly", "discarded", "idle", "unseen"]
"""What a machine's time and traffic were for: until its worker was there | reading inputs | segments that count |
joining them | what does not count | waiting | nobody saw it, or what became of it."""
USES: tuple[Use, ...] = get_args(Use)
Loss = Literal["killed", "outbid", "refused", "raced", "failed", "stopped"]
"""Why an attempt does not count: lost with its machine | with one that was taken away | what it published is not right,
or its machine is not trusted | another was sooner | its worker failed | its run, its plan or its lease ended."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A published result."""

    url: str
    path: str
    size: int
    """Bytes."""
    etag: str
    sha256: str
    version: str | None = None
    """The version's name, in a bucket that keeps versions."""
    frames: int
    duration_s: float
    width: int
    height: int
    audio_tracks: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a result was made."""

    plan: int
    model: str
    """Its name; "a and b" where pictures became larger by one and more by another."""
    family: str
    provider: str
    precision: str
    encoder: str
    ladder: tuple[str, ...]
    segments: int
    given_up: tuple[GivenUp, ...] = ()
    """Encoders that failed on the way, and what that cost."""
    verified: str = ""
    """How the result was checked before it got its name."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`jobs/<job>/result.json`: its presence, with the output it names, is what done means."""

    schema: int = SCHEMA
    job: str
    input: str
    identity: str
    options: Options
    outputs: tuple[Output, ...]
    """More than one when inputs with the same content, or the same work under several names, were asked for."""
    made: Made
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Pending:
    """`jobs/<job>/publish.json`: a checked result on its way to its name; an interrupted publish ends by it."""

    pin: Pin
    output: Output
    made: Made


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a job that was only planned would make, by its input's header."""

    frames: int | None
    """About; None where the header does not say."""
    fps: float | None
    """On average."""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """One job of a run."""

    job: str
    input: str
    state: JobState
    mode: Mode | None = None
    """None of an input that never became a job."""
    factor: str | None = None
    """Frames of the result for each of the source's, a number or fraction; of a mode that interpolates."""
    target_fps: str | None = None
    """Or frames a second, likewise."""
    strategy: Strategy | None = None
    """What the mode "both" did first."""
    expected: Expected | None = None
    output: Output | None = None
    made: Made | None = None
    segments_computed: int = 0
    segments_adopted: int = 0
    """Counted before this run, or published before it and verified by it."""
    segments_discarded: dict[Loss, int] = field(default_factory=dict)
    """Attempts at segments that were begun in this run and never counted, by why."""
    cost_usd: Decimal = Decimal(0)
    """Of its own pieces in this run, discarded ones too; boots and waiting are no job's."""
    seconds: float = 0.0
    stages: tuple[Stage, ...] = ()
    """Of the segments computed, in the order of the work."""
    reused: int = 0
    """Frames of these segments that are the result of an earlier, identical one."""
    held: int = 0
    """Frames of these segments that would lie between two scenes, or two identical frames: the one before stays."""
    error: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LeaseResult:
    """One lease of a run."""

    lease: str
    market: str
    machine: str
    instance: str | None
    state: str
    usd_per_hour: Decimal
    """By which it was chosen: GPU, disk and the traffic that was expected."""
    held_s: float
    running_s: float = 0.0
    down_bytes: int = 0
    """As the worker counts what came, its packages too."""
    up_bytes: int = 0
    cost_usd: Decimal
    """GPU while it ran, disk from its creation on, and traffic, at the machine's own rates."""
    use_s: dict[Use, float] = field(default_factory=dict)
    """What its time was for; adds up to `held_s`."""
    use_usd: dict[Use, Decimal] = field(default_factory=dict)
    """What that cost, with the traffic of each; adds up to `cost_usd`."""
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What a run has left undone."""

    videos: int
    segments: int
    """About, of videos that were not cut yet."""
    frames: int | None
    """Of their results, likewise; None where a header does not say."""
    seconds: float | None
    """That one machine takes for them, at the speed of this run; None where nothing was measured."""
    usd_per_hour: Decimal | None
    """The mean of what this run paid for a machine; None where none ran."""
    usd: Decimal | None
    """What such a machine costs for so long; without boots and traffic."""
    budget_usd: Decimal | None
    """A budget that would do, boots, traffic and room included; None where it was not money that lacked."""
    command: str
    """That goes on."""


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a time will be: between low and high nine times in ten."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Usd:
    """What a sum will be, likewise."""

    low: Decimal
    middle: Decimal
    high: Decimal


@dataclass(frozen=True, kw_only=True)
class PlannedShare:
    """What one job will take of a batch, or one machine of a GPU for the whole of it."""

    name: str
    """Of the input, or the GPU."""
    frames: int | None = None
    """Of the result, about."""
    seconds: Seconds
    """Of machines; of a GPU from the start to the end."""
    cost_usd: Usd | None
    """None where nothing is known of its price."""


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What a batch was foreseen to take, before anything was rented."""

    machines: int | None = None
    """None where too little is known; the ranges then too."""
    gpus: tuple[str, ...] = ()
    """Of the machines, as they would be rented."""
    seconds: Seconds | None = None
    """From the start to the end of the last machine."""
    cost_usd: Usd | None = None
    boots: PlannedShare | None = None
    jobs: tuple[PlannedShare, ...] = ()
    one_machine: tuple[PlannedShare, ...] = ()
    """The whole batch on one machine of each GPU that is known."""
    uncounted: int = 0
    """Videos of which nobody knows how long they are."""
    fits_budget: bool | None = None
    fits_deadline: bool | None = None
    notes: tuple[str, ...] = ()
    """What is not known, and what would fit."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run."""

    schema: int = SCHEMA
    uprez: str
    """Version that made it."""
    batch: str
    started_at: datetime
    ended_at: datetime
    exit_code: int
    dry_run: bool = False
    output_dir: str
    """A folder, or the URL of a prefix of a bucket."""
    left: int = 0
    """Videos that this run left for another, by `max_files`."""
    cost_usd: Decimal = Decimal(0)
    use_usd: dict[Use, Decimal] = field(default_factory=dict)
    """Of all leases; adds up to `cost_usd`."""
    remains: Remains | None = None
    """None where nothing is unfinished."""
    plan: BatchPlan | None = None
    """Of a dry run, and of a run that rented."""
    jobs: tuple[JobResult, ...] = ()
    leases: tuple[LeaseResult, ...] = field(default=())


def document(results: Results) -> dict[str, Any]:
    """Give the results as plain JSON values."""
    data: dict[str, Any] = TypeAdapter(Results).dump_python(results, mode="json")
    return data


def text(results: Results) -> bytes:
    """Give the results as an indented file."""
    return (json.dumps(document(results), indent=2, ensure_ascii=False) + "\n").encode()


def schema() -> dict[str, Any]:
    """Give the JSON Schema of results.json."""
    found = TypeAdapter(Results).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "uprez results.json", **found}


def seconds(value: Fraction) -> float:
    """Give a time for people, to the microsecond."""
    return round(float(value), 6)
