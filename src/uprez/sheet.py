"""The sheet: everything the controller asks of one lease. Only the controller writes it; a worker knows nothing else.

A worker reads it from the URL it was booted with and again every `watch_s` seconds, also in mid-task. Every object it
may read or write has its own URL here; no credential is ever part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uprez import wire
from uprez.errors import WorkerError
from uprez.job import Options

SCHEMA = 7
"""Raised when a worker of an older version could misread a sheet; both sides must be equal."""

PUT_BYTES = 5_000_000_000
"""Bytes that one PUT can write at most; B2 counts its 5 GB in powers of ten."""

TaskKind = Literal["index", "enhance", "assemble"]


@dataclass(frozen=True, kw_only=True)
class Ref:
    """An object to read: where it is and what it must be."""

    url: str
    sha256: str
    size: int
    task: str = ""
    """Of the same sheet, whose result this is: what it made is known to the worker that did it, and to nobody yet."""


@dataclass(frozen=True, kw_only=True)
class Put:
    """The right to write one object."""

    url: str
    key: str
    """Its key, for the log and the status."""
    upload_url: str | None = None
    """Where an Upload is described, for an object that may be too large for one PUT."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """How to write one large object in parts: the side object that `Put.upload_url` names."""

    part_bytes: int
    """Size of every part but the last."""
    part_urls: tuple[str, ...]
    """Signed PUTs of part 1, 2, ...; more than are needed."""
    complete_url: str
    """Signed POST that joins the parts: CompleteMultipartUpload."""
    abort_url: str
    """Signed DELETE that gives the upload up."""


@dataclass(frozen=True, kw_only=True)
class Install:
    """What a rented machine installs before it can read the rest."""

    wheel: Ref
    """This very uprez; it brings the pins of its dependencies for every kind of GPU."""
    wheel_name: str
    """Its file name, which pip reads version and platform from."""
    constraints: Ref | None = None
    """Pins with hashes to install instead of those that the wheel brings for the machine's GPU."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attempt at one piece of work."""

    id: str
    """The attempt's name, `<lease>-<n>`: unique for ever, so a result can never be taken for another try's."""
    kind: TaskKind
    job: str
    name: str
    """The input's name, for the log."""
    source_url: str
    source_size: int
    """Bytes."""
    source_etag: str | None = None
    """In a bucket or on a web server: the object to read is the one with this ETag."""
    put: Put
    options: Options
    plan: Ref | None = None
    survey: Ref | None = None
    segment: int | None = None
    """Which of the plan's segments (`enhance`)."""
    inputs: tuple[Ref, ...] = ()
    """The segments that count, in order; of a detached lease also those that it has made (`assemble`)."""
    delay: int = 0
    """By how many frames decoding runs ahead of showing in any of them (`assemble`)."""
    without: tuple[str, ...] = ()
    """Encoders, by FFmpeg's name, that failed at this job before (`index`)."""
    threads: int = 2


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One lease's orders. Lengths are seconds on the worker's own monotonic clock."""

    schema: int = SCHEMA
    lease: str
    length_s: float
    """The lease ends this long after it began, or after `renewal` last rose."""
    grace_s: float
    renewal: int = 0
    watch_s: float = 15.0
    status_s: float = 10.0
    idle_s: float = 60.0
    """An idle worker leaves after this long, unless told to hold."""
    hold: bool = False
    stop: bool = False
    """Leave now, at the next frame."""
    detached: bool = False
    """Nobody watches any more: whatever fails is tried once more here, and what can be done without it is."""
    families: tuple[str, ...]
    """Execution provider families the worker may use; it never adds one."""
    memory_bytes: int | None = None
    """Of the machine's main memory, what a worker may use; None: most of what is there."""
    install: Install | None = None
    """None where uprez is there already: on this machine."""
    models: dict[str, Ref] = field(default_factory=dict)
    """Converted networks by model name."""
    tasks: tuple[Task, ...] = ()
    """In order; the worker does the first it has not finished. One that disappears is abandoned at the next frame."""
    status_url: str
    log_urls: tuple[str, ...]
    """Where the parts of the log go, one object each, written once."""
    next_sheet_url: str
    """The sheet's own address from now on."""


def read(data: bytes) -> Sheet:
    """Read a sheet; raises WorkerError when it is malformed or of another schema."""
    sheet = wire.load(Sheet, data, where="the sheet")
    if sheet.schema != SCHEMA:
        raise WorkerError(f"the sheet has schema {sheet.schema}, this worker reads {SCHEMA}")
    return sheet
