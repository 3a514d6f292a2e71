"""What the ledger's rows hold: leases, what they took, bans, uploads, runs that were left to their machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from uprez.fleet import labels
from uprez.market.base import Line, Rates

LeaseState = Literal["intent", "held", "ending", "gone", "lost"]


@dataclass(frozen=True, kw_only=True)
class LeaseRow:
    """One lease as the ledger has it."""

    id: str
    batch: str
    market: str
    state: LeaseState
    label: str
    machine: str
    instance: str | None
    usd_per_hour: Decimal
    """By which it was chosen: with the traffic that was expected."""
    intended_at: datetime
    held_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    place: str = "local"
    """Market and account: an instance means nothing anywhere else."""
    rates: Rates = field(default_factory=Rates)
    running_at: datetime | None = None
    """First seen running."""
    down_bytes: int = 0
    up_bytes: int = 0
    gpu: str = ""
    """The market's name of it."""
    line: Line | None = None
    """As its host says."""
    ready_at: datetime | None = None
    """Its worker's first word."""
    before_usd: Decimal = Decimal(0)
    """By how much what it did before its prices changed cost more than it would now; below 0: less."""
    use: str | None = None
    """What its time was for, as `account` writes it."""
    detached: bool = False
    """Its batch has left it to work to its end by itself, and what it made was not collected yet."""

    def is_left_alone(self, now: datetime) -> bool:
        """Say whether it works by itself until its deadline, and nobody is to end it before."""
        label = labels.parse(self.label) if self.detached else None
        return label is not None and now < label.deadline

    @property
    def named(self) -> str:
        """Name its machine for people, also one whose number was never learnt."""
        return f"instance {self.instance}" if self.instance else f"what carries the label {self.label}"


@dataclass(frozen=True, kw_only=True)
class DetachedRow:
    """One run that was left to its leases, and not collected yet."""

    id: str
    home: str
    """URL of the place its results go to."""
    jobs: frozenset[str]
    """Ids of the jobs that were left to them."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one task took, or one boot."""

    lease: str
    job: str = ""
    gpu: str
    work: str
    """As `speeds.kind_of` names it; or boot, line, index, assemble."""
    gmac: float = 0.0
    frames: int = 0
    pixels: int = 0
    """Of the result."""
    bytes: int = 0
    """Of what was made; of a boot or an index, what was fetched for it."""
    seconds: float
    tasks: int = 1
    """That it is the sum of."""
    line: Line | None = None
    """Of the lease's machine, as its host says; filled in when it is read. By job: of the last of its leases."""


@dataclass(frozen=True, kw_only=True)
class UploadRow:
    """One multipart upload that was not seen to end."""

    number: int
    batch: str
    store: str
    key: str
    upload: str | None
    began_at: str
    """ISO 8601, by our clock."""


@dataclass(frozen=True, kw_only=True)
class Ban:
    """One fault of a machine, and until when it is shunned for it: only by its batch where both times are the same."""

    place: str
    machine: str
    batch: str
    reason: str
    evidence: str | None
    """Where what it made is kept."""
    banned_at: datetime
    until: datetime
    """By the ledger's clock."""
