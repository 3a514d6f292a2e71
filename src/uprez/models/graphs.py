"""The ONNX graph around a network, built in code: planes in, planes out.

A planes graph is, by the prefixes of its node names:

    y, u, v -> to_rgb/ -> [0, 1] -> network/ -> to_planes/ -> resample/ -> to_planes/ -> y_out, u_out, v_out
                     \\_ what lies outside [0, 1] _______/

Planes of 8 bits are uint8, of 9 to 11 bits float16 and of more float32 code values: float16 holds whole numbers up to
2048 exactly, and TensorRT has no 16-bit integers. A picture that is to be shown turned is turned as RGB, where chroma
has no places of its own that would turn with it.

Everything after the network is linear up to the rounding, so the way back to luma and chroma is taken before the
resampling: chroma then goes from the network's size to its own in one step. The part of a picture that no RGB in
[0, 1] can hold (superwhite, superblack, and the corners of YUV) is kept apart, resampled and added at the end.

A graph for tiles is the same for a window of the picture, but that its resampling is given with each tile: how the
samples of a result lie among those of a window depends on where it lies (see `models.tiles`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from uprez.errors import ModelError
from uprez.job import LUMA_WEIGHTS, UPRIGHT, Colour, Turn
from uprez.models import resample
from uprez.models.builder import OPSET, Builder
from uprez.models.resample import Taps

RGB_OUTPUTS = ("rgb_in", "rgb_out")
"""Names of the extra outputs of a graph with `expose_rgb`: the network's input and its output before any clipping."""

BLOCK_ROWS = 16
"""Output samples a block of the resampler: the fastest of 16, 32 and 64 at 2560x1088 to 1280x544."""

FLOAT16_BITS = 11
"""The most bits a sample may have in float16."""
PLANES: dict[str, tuple[str, ...]] = {"yuv": ("y", "u", "v"), "gray": ("y",), "rgb": ("g", "b", "r")}
"""A frame's planes, in FFmpeg's order."""


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What a planes graph is made for: one size, one way to store samples, on either side. Of a tile, its own sizes."""

    width: int
    height: int
    """As stored, before any turn."""
    out_width: int
    out_height: int
    """As shown."""
    native_scale: int
    """Of the network; 1 without one."""
    source: Colour
    target: Colour
    """Of the family "yuv"."""
    turn: Turn = UPRIGHT
    half: bool = False
    """The network computes in float16; what is around it does not."""
    expose_rgb: bool = False
    """Give the tensors before and after the network as two more outputs, named as in RGB_OUTPUTS."""

    @property
    def shown_width(self) -> int:
        """Width of the picture that the network sees."""
        return self.height if self.turn.lies else self.width

    @property
    def shown_height(self) -> int:
        """Height of the picture that the network sees."""
        return self.width if self.turn.lies else self.height


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in a graph for tiles where the taps of one resampling are given: INDEX and MATRICES below its name."""

    size: int
    """Input samples."""
    rows: int
    """Output samples."""
    blocks: int
    window: int
    """Input samples of a block."""
    is_identity = False


Slots = Mapping[str, Slot]
"""By the name of the resampling: "luma/rows", "chroma/columns", "outside_luma/rows" and so on."""

INDEX, MATRICES = "index", "matrices"
RESAMPLE = "resample"
"""An input's name is RESAMPLE, the slot's name and one of these, with slashes between."""


def planes_graph(network: onnx.ModelProto | None, spec: GraphSpec, slots: Slots | None = None) -> onnx.ModelProto:
    """Build the graph that enlarges one frame: its planes in, three planes out.

    Inputs are named as in PLANES, (H, W) and for chroma the share of it, rounded up; with `slots` there follow int32
    [blocks, window] and float32 [blocks, rows a block, window] for each of them. Outputs are "y_out", "u_out", "v_out"
    at the spec's output size, then the RGB_OUTPUTS where asked for. All planes hold code values. Raises ModelError
    where the network does not fit the spec.
    """
    if spec.target.family != "yuv":
        raise ModelError(f"a result of the family {spec.target.family} cannot be made")
    b = PlanesBuilder(slots)
    rgb = _turned(b, to_rgb(b, spec.width, spec.height, spec.source), spec.turn)
    inside = b.node("Clip", "to_rgb/inside", rgb, b.scalar("zero", 0), b.scalar("one", 1))
    outside = b.node("Sub", "to_rgb/outside", rgb, inside)
    result = _inline(b, network, inside, spec)
    luma, chroma = _codes(b, result, outside, spec, has_network=network is not None)
    target = spec.target
    planes = [rounded(b, "y", luma, target.depth), *_split(b, rounded(b, "uv", chroma, target.depth))]
    shapes = plane_shapes(spec.out_width, spec.out_height, target).items()
    outputs = [
        _finish(b, plane, f"{name}_out", shape, target.depth)
        for plane, (name, shape) in zip(planes, shapes, strict=True)
    ]
    if spec.expose_rgb:
        outputs += _expose(b, inside, result)
    inputs = [
        helper.make_tensor_value_info(name, element_of(spec.source.depth), shape)
        for name, shape in plane_shapes(spec.width, spec.height, spec.source).items()
    ]
    return b.model("planes", [*inputs, *b.given], outputs)


class PlanesBuilder(Builder):
    """A planes graph while it grows: knows where taps are constants and where they are given."""

    def __init__(self, slots: Slots | None = None) -> None:
        super().__init__()
        self._slots = slots
        self.given: list[onnx.ValueInfoProto] = []
        """Inputs beside the planes."""

    def sides(self, prefix: str, scale: int, spec: GraphSpec) -> dict[str, Taps | Slot]:
        """Give the resampling of luma and chroma, rows and columns, by their names without the prefix."""
        if self._slots is not None:
            return {key.removeprefix(prefix): slot for key, slot in self._slots.items() if key.startswith(prefix)}
        across, down = spec.target.chroma_at
        rows = resample.to_planes(scale * spec.shown_height, spec.out_height, spec.target.down, down)
        columns = resample.to_planes(scale * spec.shown_width, spec.out_width, spec.target.across, across)
        pairs = (("luma", rows[0], columns[0]), ("chroma", rows[1], columns[1]))
        return {
            f"{plane}/{side}": taps
            for plane, *both in pairs
            for side, taps in zip(("rows", "columns"), both, strict=True)
        }

    def taps(self, name: str, taps: Taps | Slot) -> tuple[str, str, int]:
        """Give a resampling's tensors and its number of blocks."""
        if isinstance(taps, Taps):
            cut = resample.blocks(taps, BLOCK_ROWS)
            index, matrices = self.const(f"{name}/{INDEX}", cut.windows), self.const(f"{name}/{MATRICES}", cut.matrices)
            return index, matrices, cut.matrices.shape[0]
        index, matrices = f"{name}/{INDEX}", f"{name}/{MATRICES}"
        shape = (taps.blocks, BLOCK_ROWS, taps.window)
        self.given.append(helper.make_tensor_value_info(index, TensorProto.INT32, (taps.blocks, taps.window)))
        self.given.append(helper.make_tensor_value_info(matrices, TensorProto.FLOAT, shape))
        return index, matrices, taps.blocks


def plane_shapes(width: int, height: int, colour: Colour) -> dict[str, tuple[int, int]]:
    """Give the (rows, columns) of each plane of a picture, by its name and in FFmpeg's order."""
    chroma = (-(-height // colour.down), -(-width // colour.across))
    return {name: chroma if name in "uv" else (height, width) for name in PLANES[colour.family]}


def element_of(depth: int) -> int:
    """Give the type of a plane's samples."""
    if depth == 8:
        return int(TensorProto.UINT8)
    return int(TensorProto.FLOAT16 if depth <= FLOAT16_BITS else TensorProto.FLOAT)


def to_rgb(b: PlanesBuilder, width: int, height: int, colour: Colour, of: str = "") -> str:
    """Give RGB [1, 3, H, W] of the inputs named as a frame's planes after the prefix `of`, limits not yet applied."""
    under = f"{of}to_rgb"
    axis = b.ints(f"{under}/axis", 0)
    order = {"yuv": ("y",), "rgb": ("r", "g", "b"), "gray": ("y", "y", "y")}[colour.family]
    planes = _joined(b, f"{under}/luma", [f"{of}{plane}" for plane in order], axis)
    if colour.family == "yuv":
        chroma = _joined(b, f"{under}/chroma", [f"{of}u", f"{of}v"], axis)
        across, down = colour.chroma_at
        rows = resample.chroma_up(height, factor=colour.down, offset=down)
        columns = resample.chroma_up(width, factor=colour.across, offset=across)
        chroma = resampled(b, f"{under}/chroma_up", chroma, 2, rows, columns)
        planes = b.node("Concat", f"{under}/codes", planes, chroma, axis=0)
    picture = b.node("Unsqueeze", f"{under}/picture", planes, axis)
    matrix, black = rgb_from_codes(colour)
    return mix(b, f"{under}/matrix", picture, matrix, -matrix @ black)


def _joined(b: Builder, name: str, planes: Sequence[str], axis: str) -> str:
    """Give float32 [C, H, W] of some input planes."""
    layers = {plane: b.node("Unsqueeze", f"{name}_{plane}", plane, axis) for plane in dict.fromkeys(planes)}
    stack = b.node("Concat", f"{name}_stack", *(layers[plane] for plane in planes), axis=0)
    return b.node("Cast", name, stack, to=TensorProto.FLOAT)


def _turned(b: Builder, rgb: str, turn: Turn) -> str:
    """Mirror and turn [1, 3, H, W] as it is to be shown."""
    flips = {3} if turn.mirrored else set()
    if turn.lies:
        rgb = b.node("Transpose", "to_rgb/turn", rgb, perm=[0, 1, 3, 2])
        # What was left to right is now top to bottom; a quarter turn clockwise then mirrors left to right.
        flips = {2} if turn.mirrored else set()
        flips ^= {3} if turn.quarters == 1 else {2}
    elif turn.quarters == 2:
        flips ^= {2, 3}
    for axis in sorted(flips):
        ends = [b.ints(f"to_rgb/flip{axis}_{key}", value) for key, value in _BACKWARDS.items()]
        rgb = b.node(
            "Slice", f"to_rgb/flip{axis}", rgb, ends[0], ends[1], b.ints(f"to_rgb/flip{axis}_axis", axis), ends[2]
        )
    return rgb


_BACKWARDS = {"first": -1, "end": -(2**31 - 1), "step": -1}


def _inline(b: Builder, network: onnx.ModelProto | None, rgb: str, spec: GraphSpec) -> str:
    """Put the network's nodes between two tensors, under the prefix "network/"."""
    if network is None:
        if spec.native_scale != 1:
            raise ModelError(f"a graph without a network has native scale 1, not {spec.native_scale}")
        return b.node("Identity", "network/none", rgb)
    graph = (halved(network) if spec.half and _convolves(network) else network).graph
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


def _convolves(network: onnx.ModelProto) -> bool:
    return any(node.op_type == "Conv" for node in network.graph.node)


def halved(network: onnx.ModelProto) -> onnx.ModelProto:
    """Give the same network computing in float16 up to its last convolution, still from float32 to float32.

    What comes after it, where a network adds its input to what it found out, keeps all the input's bits. Factors of
    Resize stay as they are.
    """
    half = onnx.ModelProto()
    half.CopyFrom(network)
    graph = half.graph
    end = max(number for number, node in enumerate(graph.node) if node.op_type == "Conv")
    inner, outer = list(graph.node[: end + 1]), list(graph.node[end + 1 :])
    floats = {name for node in inner if node.op_type != "Resize" for name in node.input}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in floats:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    before, after = graph.input[0].name, inner[-1].output[0]
    for node in inner:
        node.input[:] = ["half_in" if name == before else name for name in node.input]
    inner[-1].output[0] = "half_out"
    first = helper.make_node("Cast", [before], ["half_in"], name="half_in", to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", ["half_out"], [after], name="half_out", to=TensorProto.FLOAT)
    nodes = [first, *inner, last, *outer]
    del graph.node[:]
    graph.node.extend(nodes)
    return half


def _codes(b: PlanesBuilder, result: str, outside: str, spec: GraphSpec, *, has_network: bool) -> tuple[str, str]:
    """Give luma [1, H, W] and chroma [2, H/2, W/2] code values at the output size, not yet rounded."""
    if not has_network:
        # Without a network the sum is the input again, and one resampling serves both parts.
        return _project(b, "", b.node("Add", "to_planes/whole", result, outside), 1, spec, offset=True)
    inside = b.node("Clip", "to_planes/inside", result, "zero", "one")
    luma, chroma = _project(b, "", inside, spec.native_scale, spec, offset=True)
    extra_luma, extra_chroma = _project(b, "outside_", outside, 1, spec, offset=False)
    return b.node("Add", "to_planes/y_sum", luma, extra_luma), b.node("Add", "to_planes/uv_sum", chroma, extra_chroma)


def _project(b: PlanesBuilder, prefix: str, rgb: str, scale: int, spec: GraphSpec, *, offset: bool) -> tuple[str, str]:
    """Take RGB of `scale` times the input size to luma and chroma at the output size."""
    target = spec.target
    to_rgb, black = rgb_from_codes(target)
    matrix = np.linalg.inv(to_rgb).astype(np.float64)
    bias = black if offset else np.zeros(3)
    luma = mix(b, f"to_planes/{prefix}luma", rgb, matrix[:1], bias[:1])
    chroma = mix(b, f"to_planes/{prefix}chroma", rgb, matrix[1:], bias[1:])
    flat_luma, flat_chroma = (b.node("Squeeze", f"{name}_flat", name, "to_rgb/axis") for name in (luma, chroma))
    sides = b.sides(prefix, scale, spec)
    return (
        resampled(b, f"{RESAMPLE}/{prefix}luma", flat_luma, 1, sides["luma/rows"], sides["luma/columns"]),
        resampled(b, f"{RESAMPLE}/{prefix}chroma", flat_chroma, 2, sides["chroma/rows"], sides["chroma/columns"]),
    )


def mix(b: Builder, name: str, picture: str, matrix: NDArray[np.float64], bias: NDArray[np.float64]) -> str:
    """Mix the channels of [1, C, H, W] by a matrix, as a 1x1 convolution."""
    weight = b.const(f"{name}.weight", matrix.astype(np.float32)[:, :, None, None])
    return b.node("Conv", name, picture, weight, b.const(f"{name}.bias", bias.astype(np.float32)))


def rgb_from_codes(colour: Colour) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give M and the code values of black, such that RGB = M (codes - black); by H.273, equations 17 to 36.

    Of gray the codes are luma three times, of RGB they are R, G and B.
    """
    top, unit = (1 << colour.depth) - 1, 1 << (colour.depth - 8)
    luma, low, chroma = (top, 0, top) if colour.full_range else (219 * unit, 16 * unit, 224 * unit)
    if colour.family != "yuv":
        return np.eye(3) / luma, np.full(3, low, np.float64)
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    kg = 1 - kr - kb
    to_yuv = np.array(
        [
            [kr, kg, kb],
            [-kr / (2 * (1 - kb)), -kg / (2 * (1 - kb)), 0.5],
            [0.5, -kg / (2 * (1 - kr)), -kb / (2 * (1 - kr))],
        ]
    )
    middle = 1 << (colour.depth - 1)
    return np.linalg.inv(np.diag((luma, chroma, chroma)) @ to_yuv), np.array((low, middle, middle), np.float64)


def resampled(b: PlanesBuilder, name: str, picture: str, channels: int, rows: Taps | Slot, columns: Taps | Slot) -> str:
    """Resample [C, H, W], rows first: products on whole lines are the cheaper ones, and reducing leaves fewer."""
    picture = _resample_rows(b, f"{name}/rows", picture, channels, rows, columns.size)
    if columns.is_identity:
        return picture
    turned = b.node("Transpose", f"{name}/turn", picture, perm=[0, 2, 1])
    turned = _resample_rows(b, f"{name}/columns", turned, channels, columns, rows.rows)
    return b.node("Transpose", f"{name}/turn_back", turned, perm=[0, 2, 1])


def _resample_rows(b: PlanesBuilder, name: str, picture: str, channels: int, taps: Taps | Slot, width: int) -> str:
    """Multiply the rows of [C, H, W] by blocks of taps.

    Gathering windows and multiplying by small dense matrices took 8 ms for 2560x1088 RGB to half its size on 2 cores,
    against 12 for strided depthwise convolutions and 17 for Resize; and it takes any ratio.
    """
    if taps.is_identity:
        return picture
    index, matrices, blocks = b.taps(name, taps)
    windows = b.node("Gather", f"{name}/windows", picture, index, axis=1)
    product = b.node("MatMul", f"{name}/product", matrices, windows)
    height = blocks * BLOCK_ROWS
    joined = b.node("Reshape", f"{name}/joined", product, b.ints(f"{name}/shape", channels, height, width))
    if height == taps.rows:
        return joined
    ends = [b.ints(f"{name}/{key}", value) for key, value in (("first", 0), ("end", taps.rows), ("axis", 1))]
    return b.node("Slice", f"{name}/cut", joined, *ends)


def rounded(b: Builder, name: str, codes: str, depth: int) -> str:
    """Give whole code values: rounded before the cast, because runtimes cast fractions in different ways."""
    low, high = b.scalar(f"to_planes/{name}_low", 0), b.scalar(f"to_planes/{name}_high", (1 << depth) - 1)
    clamped = b.node("Clip", f"to_planes/{name}_clamp", codes, low, high)
    raised = b.node("Add", f"to_planes/{name}_raise", clamped, b.scalar(f"to_planes/{name}_half", 0.5))
    whole = b.node("Floor", f"to_planes/{name}_round", raised)
    return b.node("Cast", f"to_planes/{name}_cast", whole, to=element_of(depth))


def _split(b: Builder, chroma: str) -> tuple[str, str]:
    halves = ["to_planes/u", "to_planes/v"]
    b.nodes.append(helper.make_node("Split", [chroma], halves, name="to_planes/split", axis=0, num_outputs=2))
    return halves[0], halves[1]


def _finish(b: Builder, plane: str, name: str, shape: tuple[int, int], depth: int) -> onnx.ValueInfoProto:
    b.node("Squeeze", name, plane, "to_rgb/axis")
    return helper.make_tensor_value_info(name, element_of(depth), shape)


def _expose(b: Builder, before: str, after: str) -> list[onnx.ValueInfoProto]:
    for name, tensor in zip(RGB_OUTPUTS, (before, after), strict=True):
        b.node("Identity", name, tensor)
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None]) for name in RGB_OUTPUTS]
