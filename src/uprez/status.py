"""The status: what a worker says back. Only the worker writes it, and all it says is a claim until it was checked."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Literal

from uprez import wire
from uprez.errors import WorkerError
from uprez.machine import Machine

SCHEMA = 4
MOST = 2**53
"""Beyond every number of frames, bytes and seconds."""

Phase = Literal["booting", "idle", "working", "left"]
Fault = Literal["input", "model", "encode", "plan", "verify", "store", "lost", "stopped", "defect"]
"""Why a task failed, as far as the controller's next step depends on it."""


STAGES = ("decode", "interpolate", "upscale", "encode", "verify")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage of making a segment took."""

    name: str
    """One of STAGES."""
    seconds: float
    """For which it worked; waiting for other stages is not counted."""
    frames: int
    """That it made; those that were the same as one before are not counted."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The end of one task: an object published under `key`, or an error."""

    task: str
    key: str
    size: int = 0
    sha256: str = ""
    frames: int = 0
    damaged: int = 0
    """Of the source's frames that it needed, how many could not be decoded whole."""
    seconds: float = 0.0
    suspect: tuple[int, ...] = ()
    """Frames of a segment, counted from its first, whose pictures do not look like the source's: to be looked at."""
    stages: tuple[Stage, ...] = ()
    """Of a segment, in the order of the work."""
    reused: int = 0
    """Frames of a segment that are the result of an earlier, identical one."""
    held: int = 0
    """Frames of a segment that would lie between two scenes, or two identical frames: the one before stays."""
    fault: Fault | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """A worker's state at one heartbeat."""

    schema: int = SCHEMA
    lease: str
    beat: int
    """Rises with every status. The controller judges by its own clock since it moved; clocks are never compared.

    Before the worker starts, what boots the machine speaks with beats below 1.
    """
    phase: Phase
    task: str | None = None
    frames: int = 0
    """Frames of the current task that are finished."""
    fps: float = 0.0
    moved: int = 0
    """Rises while something goes on that makes no frames, such as fetching the source."""
    machine: Machine | None = None
    """On a rented machine."""
    down_bytes: int = 0
    """Bodies of answers that this process has read; what was fetched before it is in `machine`."""
    up_bytes: int = 0
    """Bodies of requests that it has sent."""
    device: str = ""
    provider: str = ""
    ladder: tuple[str, ...] = ()
    done: tuple[Done, ...] = ()
    reason: str | None = None
    """Why the worker left."""

    @property
    def fetched_bytes(self) -> int:
        """All that came to the machine in this lease: its packages and what the worker read."""
        return self.down_bytes + (self.machine.down_bytes if self.machine else 0)


def read(data: bytes) -> Status:
    """Read a status; raises WorkerError when it is malformed or of another schema."""
    status = wire.load(Status, data, where="the status")
    if not _is_sane(status):
        raise WorkerError("the status holds a number that nothing here can be")
    if status.schema != SCHEMA:
        raise WorkerError(f"the status has schema {status.schema}, this controller reads {SCHEMA}")
    return status


def _is_sane(record: object) -> bool:
    """Say whether every number in a record is one that can be reckoned with; whoever wrote it may be anybody."""
    if is_dataclass(record):
        return all(_is_sane(getattr(record, field.name)) for field in fields(record))
    if isinstance(record, tuple):
        return all(map(_is_sane, record))
    return not isinstance(record, int | float) or abs(record) <= MOST
