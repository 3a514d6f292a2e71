"""What a rented machine turned out to be: found there before anything of the work is installed, told in the status.

Standard library only: the part of uprez that runs before its dependencies are there writes it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts of one machine; None where they could not be had."""

    gpu: str | None = None
    """The first GPU's name, as its driver gives it."""
    gpus: int = 0
    vram_mb: int | None = None
    """MiB of the first GPU, as nvidia-smi counts."""
    vram_free_mb: int | None = None
    driver: str | None = None
    compute_cap: str | None = None
    """Such as 8.6; None with drivers before 510."""
    smi_error: str | None = None
    """What nvidia-smi said when it named no GPU."""
    disk_free_gb: float = 0.0
    """In units of 10^9 bytes, before anything was installed."""
    down_mbps: float | None = None
    """Megabits a second while the larger packages came; None when none did."""
    down_bytes: int = 0
    """Fetched before the worker began to count: the wheel and its dependencies."""
    own_key_works: bool | None = None
    """The machine may destroy itself: its own key was accepted. None when there was nobody to ask."""
    python: str = ""
    provider: str = ""
    """Which set of pins was installed."""
