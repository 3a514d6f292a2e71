"""ONNX graphs built in code: the networks themselves, and the graph that takes planes in and gives planes out.

A planes graph is, by the prefixes of its node names:

    y, u, v (uint8) -> to_rgb/ -> [0, 1] -> network/ -> to_planes/ -> resample/ -> to_planes/ -> y_out, u_out, v_out
                              \\_ what lies outside [0, 1] _______/

Everything after the network is linear up to the rounding, so the way back to luma and chroma is taken before the
resampling: chroma then goes from the network's size to its own in one step. The part of a picture that no RGB in
[0, 1] can hold (superwhite, superblack, and the corners of YUV) is kept apart, resampled and added at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from uprez.errors import ModelError
from uprez.job import Matrix, Siting
from uprez.models import resample
from uprez.models.importers import SrvggWeights
from uprez.models.resample import Taps

OPSET = 20
IR_VERSION = 10
"""What opset 20 came with; older than what the newest onnx writes, so that older runtimes read it."""

RGB_OUTPUTS = ("rgb_in", "rgb_out")
"""Names of the extra outputs of a graph with `expose_rgb`: the network's input and its output before any clipping."""

_BLOCK_ROWS = 16
"""Output samples a block of the resampler: the fastest of 16, 32 and 64 at 2560x1088 to 1280x544."""

_LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Kr and Kb of ITU-R BT.601, BT.709 and BT.2020 (non-constant luminance)."""


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What a planes graph is made for: one size, one colour."""

    width: int
    height: int
    out_width: int
    """Even."""
    out_height: int
    """Even."""
    native_scale: int
    """Of the network; 1 without one."""
    matrix: Matrix
    full_range: bool
    siting: Siting
    expose_rgb: bool = False
    """Give the tensors before and after the network as two more outputs, named as in RGB_OUTPUTS."""


class _Builder:
    """Holds a graph while it grows: nodes are named, and each gives one tensor of the same name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, name: str, values: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def ints(self, name: str, *values: int) -> str:
        return self.const(name, np.array(values, np.int64))

    def scalar(self, name: str, value: float) -> str:
        return self.const(name, np.array(value, np.float32))

    def node(self, kind: str, name: str, *inputs: str, **attributes: int | str | Sequence[int]) -> str:
        made = helper.make_node(kind, list(inputs), [name], name=name)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(made)
        return name

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="uprez")
        onnx.checker.check_model(model, full_check=True)
        return model


def srvgg(weights: SrvggWeights) -> onnx.ModelProto:
    """Build SRVGGNetCompact: "rgb" f32 [1, 3, H, W] in 0-1 to "output" f32 [1, 3, scale H, scale W], any H and W."""
    b = _Builder()
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


def planes_graph(network: onnx.ModelProto | None, spec: GraphSpec) -> onnx.ModelProto:
    """Build the graph that enlarges one 4:2:0 frame of 8 bits: three uint8 planes in, three out.

    Inputs "y" (H, W), "u" and "v" (half of it, rounded up); outputs "y_out", "u_out", "v_out" at the spec's output
    size, then the RGB_OUTPUTS where asked for. Raises ModelError where the network does not fit the spec.
    """
    b = _Builder()
    rgb = _to_rgb(b, spec)
    inside = b.node("Clip", "to_rgb/inside", rgb, b.scalar("zero", 0), b.scalar("one", 1))
    outside = b.node("Sub", "to_rgb/outside", rgb, inside)
    result = _inline(b, network, inside, spec)
    luma, chroma = _codes(b, result, outside, spec, has_network=network is not None)
    planes = [_round(b, "y", luma), *_split(b, _round(b, "uv", chroma))]
    shapes = _plane_shapes(spec.out_height, spec.out_width)
    outputs = [_finish(b, plane, f"{name}_out", shape) for plane, (name, shape) in zip(planes, shapes, strict=True)]
    if spec.expose_rgb:
        outputs += _expose(b, inside, result)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
        for name, shape in _plane_shapes(spec.height, spec.width)
    ]
    return b.model("planes", inputs, outputs)


def _plane_shapes(height: int, width: int) -> list[tuple[str, tuple[int, int]]]:
    half = ((height + 1) // 2, (width + 1) // 2)
    return [("y", (height, width)), ("u", half), ("v", half)]


def _to_rgb(b: _Builder, spec: GraphSpec) -> str:
    """Give RGB [1, 3, H, W] of the input planes, limits not yet applied."""
    axis = b.ints("to_rgb/axis", 0)
    u, v = (b.node("Unsqueeze", f"to_rgb/{name}", name, axis) for name in ("u", "v"))
    codes = b.node("Cast", "to_rgb/chroma", b.node("Concat", "to_rgb/uv", u, v, axis=0), to=TensorProto.FLOAT)
    up_rows = resample.chroma_up(spec.height, cosited=spec.siting == "topleft")
    up_columns = resample.chroma_up(spec.width, cosited=spec.siting != "center")
    chroma = _resample(b, "to_rgb/chroma_up", codes, 2, up_rows, up_columns)
    luma = b.node("Cast", "to_rgb/luma", b.node("Unsqueeze", "to_rgb/y", "y", axis), to=TensorProto.FLOAT)
    joined = b.node("Concat", "to_rgb/codes", luma, chroma, axis=0)
    picture = b.node("Unsqueeze", "to_rgb/picture", joined, axis)
    matrix, offset = _rgb_from_codes(spec)
    return _mix(b, "to_rgb/matrix", picture, matrix, -matrix @ offset)


def _inline(b: _Builder, network: onnx.ModelProto | None, rgb: str, spec: GraphSpec) -> str:
    """Put the network's nodes between two tensors, under the prefix "network/"."""
    if network is None:
        if spec.native_scale != 1:
            raise ModelError(f"a graph without a network has native scale 1, not {spec.native_scale}")
        return b.node("Identity", "network/none", rgb)
    graph = network.graph
    if [item.version for item in network.opset_import if item.domain == ""] != [OPSET]:
        raise ModelError(f"network {graph.name} is not of ONNX opset {OPSET}")
    names = {graph.input[0].name: rgb, "": ""}
    for tensor in graph.initializer:
        renamed = onnx.TensorProto()
        renamed.CopyFrom(tensor)
        renamed.name = names[tensor.name] = f"network/{tensor.name}"
        b.initializers.append(renamed)
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        names |= {output: f"network/{output}" for output in node.output}
        copy.name = f"network/{node.name}"
        copy.input[:] = [names[tensor] for tensor in node.input]
        copy.output[:] = [names[tensor] for tensor in node.output]
        b.nodes.append(copy)
    return names[graph.output[0].name]


def _codes(b: _Builder, result: str, outside: str, spec: GraphSpec, *, has_network: bool) -> tuple[str, str]:
    """Give luma [1, H, W] and chroma [2, H/2, W/2] code values at the output size, not yet rounded."""
    if not has_network:
        # Without a network the sum is the input again, and one resampling serves both parts.
        return _project(b, "", b.node("Add", "to_planes/whole", result, outside), 1, spec, offset=True)
    inside = b.node("Clip", "to_planes/inside", result, "zero", "one")
    luma, chroma = _project(b, "", inside, spec.native_scale, spec, offset=True)
    extra_luma, extra_chroma = _project(b, "outside_", outside, 1, spec, offset=False)
    return b.node("Add", "to_planes/y_sum", luma, extra_luma), b.node("Add", "to_planes/uv_sum", chroma, extra_chroma)


def _project(b: _Builder, prefix: str, rgb: str, scale: int, spec: GraphSpec, *, offset: bool) -> tuple[str, str]:
    """Take RGB of `scale` times the input size to luma and chroma at the output size."""
    to_rgb, black = _rgb_from_codes(spec)
    matrix = np.linalg.inv(to_rgb).astype(np.float64)
    bias = black if offset else np.zeros(3)
    luma = _mix(b, f"to_planes/{prefix}luma", rgb, matrix[:1], bias[:1])
    chroma = _mix(b, f"to_planes/{prefix}chroma", rgb, matrix[1:], bias[1:])
    flat_luma, flat_chroma = (b.node("Squeeze", f"{name}_flat", name, "to_rgb/axis") for name in (luma, chroma))
    rows = resample.lanczos(scale * spec.height, spec.out_height)
    columns = resample.lanczos(scale * spec.width, spec.out_width)
    half_rows = resample.compose(resample.chroma_down(rows.rows, cosited=spec.siting == "topleft"), rows)
    half_columns = resample.compose(resample.chroma_down(columns.rows, cosited=spec.siting != "center"), columns)
    return (
        _resample(b, f"resample/{prefix}luma", flat_luma, 1, rows, columns),
        _resample(b, f"resample/{prefix}chroma", flat_chroma, 2, half_rows, half_columns),
    )


def _mix(b: _Builder, name: str, picture: str, matrix: NDArray[np.float64], bias: NDArray[np.float64]) -> str:
    """Mix the channels of [1, C, H, W] by a matrix, as a 1x1 convolution."""
    weight = b.const(f"{name}.weight", matrix.astype(np.float32)[:, :, None, None])
    return b.node("Conv", name, picture, weight, b.const(f"{name}.bias", bias.astype(np.float32)))


def _rgb_from_codes(spec: GraphSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give M and the code values of black, such that RGB = M (codes - black)."""
    kr, kb = _LUMA_WEIGHTS[spec.matrix]
    kg = 1 - kr - kb
    to_yuv = np.array(
        [
            [kr, kg, kb],
            [-kr / (2 * (1 - kb)), -kg / (2 * (1 - kb)), 0.5],
            [0.5, -kg / (2 * (1 - kr)), -kb / (2 * (1 - kr))],
        ]
    )
    spans, black = ((255, 255, 255), (0, 128, 128)) if spec.full_range else ((219, 224, 224), (16, 128, 128))
    return np.linalg.inv(np.diag(spans) @ to_yuv), np.array(black, np.float64)


def _resample(b: _Builder, name: str, picture: str, channels: int, rows: Taps, columns: Taps) -> str:
    """Resample [C, H, W], rows first: products on whole lines are the cheaper ones, and reducing leaves fewer."""
    picture = _resample_rows(b, f"{name}/rows", picture, channels, rows, columns.size)
    if columns.is_identity:
        return picture
    turned = b.node("Transpose", f"{name}/turn", picture, perm=[0, 2, 1])
    turned = _resample_rows(b, f"{name}/columns", turned, channels, columns, rows.rows)
    return b.node("Transpose", f"{name}/turn_back", turned, perm=[0, 2, 1])


def _resample_rows(b: _Builder, name: str, picture: str, channels: int, taps: Taps, width: int) -> str:
    """Multiply the rows of [C, H, W] by blocks of taps.

    Gathering windows and multiplying by small dense matrices took 8 ms for 2560x1088 RGB to half its size on 2 cores,
    against 12 for strided depthwise convolutions and 17 for Resize; and it takes any ratio.
    """
    if taps.is_identity:
        return picture
    cut = resample.blocks(taps, _BLOCK_ROWS)
    windows = b.node("Gather", f"{name}/windows", picture, b.const(f"{name}/index", cut.windows), axis=1)
    product = b.node("MatMul", f"{name}/product", b.const(f"{name}/weights", cut.matrices), windows)
    height = cut.matrices.shape[0] * _BLOCK_ROWS
    joined = b.node("Reshape", f"{name}/joined", product, b.ints(f"{name}/shape", channels, height, width))
    if height == taps.rows:
        return joined
    ends = [b.ints(f"{name}/{key}", value) for key, value in (("first", 0), ("end", taps.rows), ("axis", 1))]
    return b.node("Slice", f"{name}/cut", joined, *ends)


def _round(b: _Builder, name: str, codes: str) -> str:
    """Give uint8 of code values: rounded before the cast, because runtimes cast fractions in different ways."""
    low, high = b.scalar(f"to_planes/{name}_low", 0), b.scalar(f"to_planes/{name}_high", 255)
    clamped = b.node("Clip", f"to_planes/{name}_clamp", codes, low, high)
    raised = b.node("Add", f"to_planes/{name}_raise", clamped, b.scalar(f"to_planes/{name}_half", 0.5))
    whole = b.node("Floor", f"to_planes/{name}_round", raised)
    return b.node("Cast", f"to_planes/{name}_cast", whole, to=TensorProto.UINT8)


def _split(b: _Builder, chroma: str) -> tuple[str, str]:
    halves = ["to_planes/u", "to_planes/v"]
    b.nodes.append(helper.make_node("Split", [chroma], halves, name="to_planes/split", axis=0, num_outputs=2))
    return halves[0], halves[1]


def _finish(b: _Builder, plane: str, name: str, shape: tuple[int, int]) -> onnx.ValueInfoProto:
    b.node("Squeeze", name, plane, "to_rgb/axis")
    return helper.make_tensor_value_info(name, TensorProto.UINT8, shape)


def _expose(b: _Builder, before: str, after: str) -> list[onnx.ValueInfoProto]:
    for name, tensor in zip(RGB_OUTPUTS, (before, after), strict=True):
        b.node("Identity", name, tensor)
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None]) for name in RGB_OUTPUTS]
