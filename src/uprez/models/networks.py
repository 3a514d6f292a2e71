"""The networks themselves as ONNX graphs, built in code: RGB in, RGB out, any size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from uprez.models.builder import Builder
from uprez.models.importers import Convolution, Dense, RrdbWeights, SrvggWeights

_SLOPE = 0.2
"""Of RRDBNet's leaky ReLUs."""
_RESIDUAL = 0.2
"""How much of what a block finds is added to what it was given."""


def srvgg(weights: SrvggWeights) -> onnx.ModelProto:
    """Build SRVGGNetCompact: "rgb" f32 [1, 3, H, W] in 0-1 to "output" f32 [1, 3, scale H, scale W], any H and W."""
    b = Builder()
    tensor = "rgb"
    for number, layer in enumerate(weights.convolutions):
        name = f"conv{number}"
        weight = b.const(f"{name}.weight", layer.weight)
        tensor = b.node("Conv", name, tensor, weight, b.const(f"{name}.bias", layer.bias), pads=[1, 1, 1, 1])
        if number < len(weights.slopes):
            slope = b.const(f"prelu{number}.slope", weights.slopes[number].reshape(-1, 1, 1))
            tensor = b.node("PRelu", f"prelu{number}", tensor, slope)
    # The nearest-neighbour picture is added before the pixel shuffle, where it is the input broadcast over the
    # scale x scale sub-positions: the same sums without a full-size picture in memory.
    cells = b.node("Reshape", "cells", tensor, b.ints("cells.shape", 1, 3, weights.scale**2, -1))
    base = b.node("Reshape", "base", "rgb", b.ints("base.shape", 1, 3, 1, -1))
    total = b.node("Add", "add_input", cells, base)
    body = b.node("Reshape", "body", total, b.node("Shape", "body.shape", tensor))
    b.node("DepthToSpace", "output", body, blocksize=weights.scale, mode="CRD")
    inputs = [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, [1, 3, "H", "W"])]
    return b.model("srvgg", inputs, [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, None, None])])


def rrdb(weights: RrdbWeights) -> onnx.ModelProto:
    """Build RRDBNet: "rgb" f32 [1, 3, H, W] in 0-1 to "output" f32 [1, 3, 4 H, 4 W], any H and W."""
    b = Builder()
    b.scalar("residual", _RESIDUAL)
    b.const("twice", np.array([1, 1, 2, 2], np.float32))
    start = tensor = _convolution(b, "first", "rgb", weights.first)
    for number, block in enumerate(weights.blocks):
        entry = tensor
        for part, dense in enumerate(block):
            tensor = _dense(b, f"block{number}/{part}", tensor, dense)
        scaled = b.node("Mul", f"block{number}/scaled", tensor, "residual")
        tensor = b.node("Add", f"block{number}/out", scaled, entry)
    tensor = b.node("Add", "features", start, _convolution(b, "body", tensor, weights.body))
    for number, layer in enumerate(weights.larger):
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        tensor = b.node("Resize", f"larger{number}/twice", tensor, "", "twice", **modes)
        tensor = _leaky(b, f"larger{number}", tensor, layer)
    _convolution(b, "output", _leaky(b, "fine", tensor, weights.fine), weights.last)
    inputs = [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, [1, 3, "H", "W"])]
    return b.model("rrdb", inputs, [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, None, None])])


def _dense(b: Builder, name: str, entry: str, dense: Dense) -> str:
    parts = [entry]
    for number, layer in enumerate(dense[:-1]):
        joined = b.node("Concat", f"{name}/seen{number}", *parts, axis=1) if number else entry
        parts.append(_leaky(b, f"{name}/conv{number}", joined, layer))
    joined = b.node("Concat", f"{name}/seen", *parts, axis=1)
    # The share that is added is taken of the weights instead of the picture.
    share = np.float32(_RESIDUAL)
    last = Convolution(weight=dense[-1].weight * share, bias=dense[-1].bias * share)
    return b.node("Add", f"{name}/out", _convolution(b, f"{name}/last", joined, last), entry)


def _leaky(b: Builder, name: str, tensor: str, layer: Convolution) -> str:
    return b.node("LeakyRelu", f"{name}/leaky", _convolution(b, name, tensor, layer), alpha=_SLOPE)


def _convolution(b: Builder, name: str, tensor: str, layer: Convolution) -> str:
    inputs = (tensor, b.const(f"{name}.weight", layer.weight), b.const(f"{name}.bias", layer.bias))
    return b.node("Conv", name, *inputs, pads=[1, 1, 1, 1])


def weights_model(arrays: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Keep weights whose graph is built later, for one size: initializers by their names, and no nodes."""
    b = Builder()
    for name, values in arrays.items():
        b.const(name, values)
    return b.model("weights", [], [])


def weights_of(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Give back what `weights_model` was given."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def identity() -> onnx.ModelProto:
    """Build the network that changes nothing: "rgb" f32 [1, 3, H, W] to the same."""
    b = Builder()
    b.node("Identity", "output", "rgb")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "H", "W"]) for name in ("rgb", "output")]
    return b.model("identity", value[:1], value[1:])
