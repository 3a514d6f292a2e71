"""The settings of one run: typed, frozen, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uprez.job import Options


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
    silence_s: float
    """A worker whose heart stands still this long is given up."""
    stall_s: float
    """A worker that finishes no frame for this long is given up."""
    hard_life_s: float
    """An instance's life at most, whatever is renewed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run needs to know."""

    options: Options
    input_dir: Path | None
    """Folder to search for videos, with its subfolders."""
    input: Path | None
    """One video instead."""
    output_dir: Path
    name: str | None
    """Name of the only output, in place of `<input>.<tag>`."""
    exact: bool
    """`name` is the file's whole name, and no other may be taken in its place."""
    state_prefix: Path | None
    """Where checkpoints go; None: `.uprez` in the output folder."""
    market: str
    segment_frames: int | None
    dry_run: bool
    state_dir: Path
    """Ledger, instances and locks of this machine."""
    cache_dir: Path
    """Converted networks."""
    local: Timing
