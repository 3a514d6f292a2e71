"""The live view: what a batch is at, at one moment. `rows` lays it out, `foot` keeps it at the foot of a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

JobState = Literal["working", "assembling", "indexing", "checking", "begun", "waiting", "failed", "done"]


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One video."""

    name: str
    state: JobState
    frames: int = 0
    """Of the result that are made: those that count, those that are looked at and those of segments being made."""
    total: int | None = None
    """None where nobody knows."""
    fps: float = 0.0
    """On all machines."""
    counted: int = 0
    """Segments that count."""
    segments: int = 0
    """0 before there is a plan."""


@dataclass(frozen=True, kw_only=True)
class LeaseRow:
    """One machine that is held."""

    id: str
    gpu: str
    state: str
    """What it does, in a word or two."""
    name: str = ""
    """Of the video that it works on."""
    fps: float = 0.0
    usd_per_hour: Decimal | None = None
    """None where nothing costs anything."""
    usd: Decimal | None = None
    """What it has cost so far."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The batch as a whole."""

    share: float = 0.0
    """Of the work that is done, 0 to 1."""
    left_s: float | None = None
    """None where nobody knows."""
    renting: bool = False
    """One more machine is being rented."""
    spent_usd: Decimal = Decimal(0)
    promised_usd: Decimal = Decimal(0)
    """What the leases there are may come to cost, with what is spent."""
    budget_usd: Decimal | None = None
    """None where nothing costs anything."""


@dataclass(frozen=True, kw_only=True)
class View:
    """All that is shown at one moment."""

    jobs: tuple[JobRow, ...]
    leases: tuple[LeaseRow, ...]
    totals: Totals
