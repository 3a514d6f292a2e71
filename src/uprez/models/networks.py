"""The networks themselves as ONNX graphs, built in code: RGB in, RGB out, any size."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from uprez.models.builder import Builder
from uprez.models.importers import SrvggWeights


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


def identity() -> onnx.ModelProto:
    """Build the network that changes nothing: "rgb" f32 [1, 3, H, W] to the same."""
    b = Builder()
    b.node("Identity", "output", "rgb")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "H", "W"]) for name in ("rgb", "output")]
    return b.model("identity", value[:1], value[1:])
