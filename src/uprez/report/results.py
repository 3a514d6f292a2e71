"""results.json: what a run did, for programs. docs/reference/results.schema.json is made from these classes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from pydantic import TypeAdapter

from uprez.job import GivenUp, Mode, Options, Pin, Strategy
from uprez.status import Stage

SCHEMA = 1

JobState = Literal["done", "skipped", "failed", "unfinished", "planned"]


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
    reason: str | None


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
