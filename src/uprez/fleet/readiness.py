"""What a person should know of this machine before work begins: its clock and its room."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from uprez.report.console import Console
from uprez.store.open import Home

ROOM = 3
ROOM_BYTES = 1 << 30
"""The largest video's bytes are wanted so often on the disk, and these besides: source, segments, result."""
SKEW_S = 300.0
"""By how many seconds this machine's clock may differ from the store's before it is said."""


def warn(home: Home, state_dir: Path, sizes: Sequence[int], console: Console) -> None:
    """Say what may spoil a run over videos of these sizes (bytes) without making it impossible."""
    _skew(home, console)
    _room(home, state_dir, max(sizes, default=0), console)


def in_bytes(size: int) -> str:
    """Give a size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _skew(home: Home, console: Console) -> None:
    """A store refuses what is signed by a clock that is far off; the URLs of workers follow the store's own."""
    skew = home.skew_s
    if abs(skew) > SKEW_S:
        way = "behind" if skew > 0 else "ahead of"
        console.warn(f"This machine's clock is {abs(skew) / 60:.0f} minutes {way} the store's: set it right")


def _room(home: Home, state_dir: Path, largest: int, console: Console) -> None:
    """A full disk fails a job after its work is done; how large a result will be is not known, so it is said only."""
    for folder in {home.root or state_dir, state_dir}:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < ROOM * largest + ROOM_BYTES:
            console.warn(f"Only {in_bytes(free)} are free in {existing}; the largest video has {in_bytes(largest)}")
