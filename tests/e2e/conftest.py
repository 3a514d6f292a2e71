"""The whole journey as a person runs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import cloud, versioned
from house import House, MakeClip, write_clip

__all__ = ["cloud", "versioned"]  # fixtures: pytest finds them by name


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give an empty house, and end whatever a test left running in it."""
    house = House(top=tmp_path)
    house.inputs.mkdir()
    yield house
    for process in house.running:
        process.kill()
        process.communicate()
    for pid in house.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def clip(house: House) -> MakeClip:
    """Make a clip with sound in the house's input folder."""

    def make(name: str = "clip.mp4", *, frames: int = 50, size: tuple[int, int] = (160, 90), shade: int = 0) -> Path:
        path = house.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, frames, size, shade)
        return path

    return make
