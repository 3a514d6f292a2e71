"""RIFE's graphs: what they give is what the authors' network gives, written once more in PyTorch.

tests/data/rife.npz has the pictures and what tools/golden_rife.py made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from macs import macs
from uprez.models import MODELS
from uprez.models.builder import Builder
from uprez.models.ifnet import LAYERS, PAD_PX, Network, Size, padded

Weights = Mapping[str, NDArray[np.float32]]
Array = NDArray[np.float32]

GOLDEN = np.load(Path(__file__).parent.parent / "data" / "rife.npz")
CASES = sorted({key.split(".")[0] for key in GOLDEN.files})
TIMES = (Fraction(1, 2), Fraction(2, 5))


def floats(name: str, *shape: int) -> onnx.ValueInfoProto:
    """Describe an input or output of float32."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def head(weights: Weights, size: Size) -> onnx.ModelProto:
    """The graph that a frame goes through once: rgb to layers."""
    b = Builder()
    features = Network(b, weights, size).head("head", "rgb")
    b.node("Concat", "layers", "rgb", features, axis=1)
    sides = (size.height, size.width)
    return b.model("head", [floats("rgb", 1, 3, *sides)], [floats("layers", 1, LAYERS, *sides)])


def between(weights: Weights, size: Size) -> onnx.ModelProto:
    """The graph that two frames' layers go through for each frame between them."""
    b = Builder()
    made = Network(b, weights, size).between("rife", "left", "right", ("left_rgb", "right_rgb"), "timestep")
    b.node("Identity", "out", made)
    sides = (size.height, size.width)
    inputs = [floats(name, 1, LAYERS, *sides) for name in ("left", "right")]
    inputs += [floats(name, 1, 3, *sides) for name in ("left_rgb", "right_rgb")]
    return b.model("between", [*inputs, floats("timestep", 1, 1, 1, 1)], [floats("out", 1, 3, *sides)])


def session(graph: onnx.ModelProto) -> ort.InferenceSession:
    """Open a graph on ONNX Runtime's own CPU provider."""
    return ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


class Rife:
    """Both graphs for one size, opened."""

    def __init__(self, weights: Weights, size: Size) -> None:
        self._size = size
        self._head = session(head(weights, size))
        self._between = session(between(weights, size))

    def __call__(self, left: Array, right: Array, time: Fraction) -> Array:
        """Give the picture between two of [H, W, 3] in 0-1."""
        height, width = left.shape[:2]
        feed: dict[str, Array] = {"timestep": np.full((1, 1, 1, 1), float(time), np.float32)}
        for name, picture in (("left", left), ("right", right)):
            whole = np.zeros((1, 3, self._size.height, self._size.width), np.float32)
            whole[0, :, :height, :width] = picture.transpose(2, 0, 1)
            feed |= {f"{name}_rgb": whole, name: self._head.run(None, {"rgb": whole})[0]}
        made: Array = self._between.run(None, feed)[0]
        return made[0, :, :height, :width].transpose(1, 2, 0)


def opened(weights: Weights, picture: NDArray[np.uint8], flow_scale: Fraction) -> Rife:
    """Open RIFE for pictures of one size."""
    height, width = (padded(side, flow_scale) for side in picture.shape[:2])
    return Rife(weights, Size(width=width, height=height, flow_scale=flow_scale))


@pytest.mark.parametrize("case", CASES)
def test_the_graphs_equal_the_reference(rife_weights: Weights, case: str) -> None:
    """Real motion, a drawn pattern, a cut, sizes to be padded and half the flow scale: all pixels are the reference's.

    Within 2e-4, a twentieth of 1/255. 2.1e-5 were measured, of which 7.6e-6 is what the file rounds.
    """
    left, right = (GOLDEN[f"{case}.{side}"] for side in ("left", "right"))
    rife = opened(rife_weights, left, Fraction(float(GOLDEN[f"{case}.scale"])))
    for time in TIMES:
        due = GOLDEN[f"{case}.{time.numerator}-{time.denominator}"].astype(np.float64) / 65535
        made = rife(left.astype(np.float32) / 255, right.astype(np.float32) / 255, time)
        assert made.shape == due.shape
        print(case, time, np.abs(made - due).max(), np.abs(made - due).mean())
        assert np.abs(made - due).max() <= 2e-4


def test_the_reference_moves(rife_weights: Weights) -> None:
    """The golden pictures are not what holding or blending would give: of most of them at least 2 % differ by 8/255."""
    moved = 0
    for case in CASES:
        left, right, due = (GOLDEN[f"{case}.{key}"].astype(float) for key in ("left", "right", "1-2"))
        apart = min(np.mean(np.abs(due / 257 - other) > 8) for other in (left, right, (left + right) / 2))
        moved += apart > 0.02
    assert moved >= 3
    assert {(2, 5), (1, 2)} == {(time.numerator, time.denominator) for time in TIMES}


def test_stated_cost_and_size_are_the_networks(rife_weights: Weights) -> None:
    """macs_per_pixel is what both graphs multiply for one frame and one between, and sides are multiples of 64."""
    size = Size(width=128, height=64)
    total = sum(macs(graph(rife_weights, size)) for graph in (head, between))
    assert MODELS["rife"].macs_per_pixel == round(total / (size.width * size.height))
    assert MODELS["rife"].size_multiple == PAD_PX
    assert [padded(side, Fraction(1)) for side in (1, 64, 65)] == [64, 64, 128]
    assert padded(65, Fraction(1, 2)) == 128
