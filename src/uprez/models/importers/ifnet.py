"""RIFE's IFNet of the versions 4.25 and 4.26, from a state dict."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.models.ifnet import CHANNELS, RESIDUALS

_WRAPPER = "module."
"""What PyTorch's DataParallel puts before every name."""
_TRAINING = ("teacher.", "caltime.")
"""Parts that were there for the training, which the authors' own code does not load either."""
_SEEN = (15, 28)
"""Channels that the first block and each later one see."""
_GIVEN = 13
"""Channels that a block gives: four of flow, a mask, eight features."""


def read_ifnet(state: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Check that a state dict is IFNet's, and give its arrays by name, without "module." and the training's parts.

    Raises ModelError that names the first array that is missing, of another shape or not known.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for key, values in state.items():
        name = key.removeprefix(_WRAPPER)
        if name in found:
            raise ModelError(f"weights {name} are there twice")
        if not name.startswith(_TRAINING):
            found[name] = values
    due = shapes()
    for name, shape in due.items():
        if name not in found:
            raise ModelError(f"weights {name} are missing: this is not IFNet 4.25 or 4.26")
        if found[name].shape != shape:
            raise ModelError(f"weights {name} are {found[name].shape}, not {shape}: this is not IFNet 4.25 or 4.26")
    for name in found:
        if name not in due:
            raise ModelError(f"weights {name[:80]!r} are not of IFNet 4.25 or 4.26")
    return {name: found[name] for name in due}


def shapes() -> dict[str, tuple[int, ...]]:
    """Give the shape of each array, by name and in the network's order."""
    due: dict[str, tuple[int, ...]] = {}
    for number, channels in enumerate(CHANNELS):
        block = f"block{number}"
        half = channels // 2
        due |= _layer(f"{block}.conv0.0.0", (half, _SEEN[bool(number)], 3, 3), half)
        due |= _layer(f"{block}.conv0.1.0", (channels, half, 3, 3), channels)
        for step in range(RESIDUALS):
            due[f"{block}.convblock.{step}.beta"] = (1, channels, 1, 1)
            due |= _layer(f"{block}.convblock.{step}.conv", (channels, channels, 3, 3), channels)
        due |= _layer(f"{block}.lastconv.0", (channels, 4 * _GIVEN, 4, 4), 4 * _GIVEN)
    for step, inputs in enumerate((3, 16, 16)):
        due |= _layer(f"encode.cnn{step}", (16, inputs, 3, 3), 16)
    return due | _layer("encode.cnn3", (16, 4, 4, 4), 4)


def _layer(name: str, weight: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": (outputs,)}
