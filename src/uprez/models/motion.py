"""RIFE between planes: the graph that gives a frame's layers, and the one that makes the frame between two of them.

    planes -> to_rgb/ -> layers [1, 7, H, W] of one frame: red, green, blue with all that lies outside 0-1, features
    layers of two frames, timestep -> planes of the frame in between, stored as theirs are

The network sees colours in 0-1. What it then moves and blends are the colours as they were: bright light in a film that
goes beyond white moves with the rest. Pictures are padded with black on the right and at the bottom, as the reference
does it, and cut again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from uprez.job import Colour
from uprez.models import resample
from uprez.models.graphs import PLANES, PlanesBuilder, element_of, mix, plane_shapes, resampled, rgb_from_codes, to_rgb
from uprez.models.graphs import rounded as whole_codes
from uprez.models.ifnet import LAYERS, Network, Size, Weights, padded

LEFT, RIGHT, TIMESTEP, LAYERS_OUT = "left", "right", "timestep", "layers"
"""Names of inputs and outputs; planes are named as in a planes graph."""
LARGE_PX = 3840 * 2160
"""From which size on motion is looked for in a picture half as large: there it is as long as the network knows it."""


@dataclass(frozen=True, kw_only=True)
class MotionSpec:
    """What the graphs are made for: frames of one size, stored in one way."""

    width: int
    height: int
    """As stored."""
    colour: Colour
    half: bool = False
    """Convolutions compute in float16."""

    @property
    def size(self) -> Size:
        """Give the size that the network sees."""
        scale = flow_scale(self.width, self.height)
        return Size(width=padded(self.width, scale), height=padded(self.height, scale), flow_scale=scale)


def flow_scale(width: int, height: int) -> Fraction:
    """Give how much smaller the picture is in which motion is looked for."""
    return Fraction(1, 2) if width * height >= LARGE_PX else Fraction(1)


def head_graph(weights: Weights, spec: MotionSpec) -> onnx.ModelProto:
    """Build the graph that brings a frame's planes to its layers."""
    b = PlanesBuilder()
    b.node("Concat", LAYERS_OUT, *_layers(b, weights, spec, ""), axis=1)
    return b.model("head", _inputs(spec, ""), [_tensor(LAYERS_OUT, spec.size)])


def between_graph(weights: Weights, spec: MotionSpec) -> onnx.ModelProto:
    """Build the graph that makes the planes of a frame between two, from their layers.

    TIMESTEP is float32 [1, 1, 1, 1], above 0 and below 1. Outputs are named as the planes, with "_out".
    """
    b = PlanesBuilder()
    sides = [
        (b.part(f"{side}/rgb", side, 1, 0, 3), b.part(f"{side}/features", side, 1, 3, LAYERS)) for side in (LEFT, RIGHT)
    ]
    inputs = [_tensor(LEFT, spec.size), _tensor(RIGHT, spec.size), _timestep()]
    return b.model("between", inputs, _between(b, weights, spec, sides))


def pair_graph(weights: Weights, spec: MotionSpec) -> onnx.ModelProto:
    """Build both in one: from the planes of two frames, whose names begin with LEFT or RIGHT and an underline.

    For GPUs: a frame's layers are ten times its planes, and to bring them there and back takes longer than to make
    them again.
    """
    b = PlanesBuilder()
    sides = [_layers(b, weights, spec, f"{side}_") for side in (LEFT, RIGHT)]
    inputs = [*_inputs(spec, f"{LEFT}_"), *_inputs(spec, f"{RIGHT}_"), _timestep()]
    return b.model("pair", inputs, _between(b, weights, spec, sides))


def _layers(b: PlanesBuilder, weights: Weights, spec: MotionSpec, of: str) -> tuple[str, str]:
    """Give a frame's colours, padded, and its features."""
    size = spec.size
    rgb = to_rgb(b, spec.width, spec.height, spec.colour, of)
    if (size.width, size.height) != (spec.width, spec.height):
        pads = b.ints(f"{of}pads", 0, 0, 0, 0, 0, 0, size.height - spec.height, size.width - spec.width)
        rgb = b.node("Pad", f"{of}padded", rgb, pads)
    return rgb, Network(b, weights, size, half=spec.half).head(f"{of}head", _limited(b, f"{of}inside", rgb))


def _between(
    b: PlanesBuilder, weights: Weights, spec: MotionSpec, sides: Sequence[tuple[str, str]]
) -> list[onnx.ValueInfoProto]:
    """Make the planes of the frame between two, of which these are colours and features."""
    seen = [
        b.node("Concat", f"{side}/seen", _limited(b, f"{side}/within", colours), features, axis=1)
        for side, (colours, features) in zip((LEFT, RIGHT), sides, strict=True)
    ]
    network = Network(b, weights, spec.size, half=spec.half)
    made = network.between("rife", seen[0], seen[1], (sides[0][0], sides[1][0]), TIMESTEP)
    made = b.part("rows", made, 2, 0, spec.height)
    return _planes(b, b.part("columns", made, 3, 0, spec.width), spec)


def _planes(b: PlanesBuilder, rgb: str, spec: MotionSpec) -> list[onnx.ValueInfoProto]:
    """Give RGB [1, 3, H, W] as the planes of a frame."""
    colour, shapes = spec.colour, plane_shapes(spec.width, spec.height, spec.colour)
    to_rgb_matrix, black = rgb_from_codes(colour)
    matrix: NDArray[np.float64] = np.linalg.inv(to_rgb_matrix).astype(np.float64)
    if colour.family != "yuv":
        # Of gray all three are luma; of RGB the planes are G, B, R.
        order: NDArray[np.float64] = np.eye(3)[[1, 2, 0]] if colour.family == "rgb" else np.full((1, 3), 1 / 3)
        codes = mix(b, "codes", rgb, order @ matrix, order @ black)
        layers = [b.part(f"code{number}", codes, 1, number, number + 1) for number in range(len(order))]
    else:
        across, down = colour.chroma_at
        luma, chroma = mix(b, "luma", rgb, matrix[:1], black[:1]), mix(b, "chroma", rgb, matrix[1:], black[1:])
        flat = b.node("Squeeze", "chroma_flat", chroma, b.ints("first", 0))
        rows = resample.to_planes(spec.height, spec.height, colour.down, down)[1]
        columns = resample.to_planes(spec.width, spec.width, colour.across, across)[1]
        small = b.node("Unsqueeze", "chroma_small", resampled(b, "chroma_down", flat, 2, rows, columns), "first")
        layers = [luma, b.part("u_codes", small, 1, 0, 1), b.part("v_codes", small, 1, 1, 2)]
    made = []
    for name, layer in zip(PLANES[colour.family], layers, strict=True):
        plane = whole_codes(b, name, layer, colour.depth)
        b.node("Squeeze", f"{name}_out", plane, b.ints(f"{name}_axes", 0, 1))
        made.append(helper.make_tensor_value_info(f"{name}_out", element_of(colour.depth), shapes[name]))
    return made


def _limited(b: PlanesBuilder, name: str, rgb: str) -> str:
    return b.node("Clip", name, rgb, b.scalar(f"{name}/zero", 0), b.scalar(f"{name}/one", 1))


def _inputs(spec: MotionSpec, of: str) -> list[onnx.ValueInfoProto]:
    shapes = plane_shapes(spec.width, spec.height, spec.colour)
    element = element_of(spec.colour.depth)
    return [helper.make_tensor_value_info(f"{of}{name}", element, shape) for name, shape in shapes.items()]


def _timestep() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(TIMESTEP, TensorProto.FLOAT, [1, 1, 1, 1])


def _tensor(name: str, size: Size) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, LAYERS, size.height, size.width])
