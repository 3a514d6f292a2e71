"""Networks in float16: as good as in float32, and float32 wherever float16 would be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from pictures import Waves
from plain import COLOUR
from small import rife, small_network
from uprez.job import Colour
from uprez.media.frame import Samples
from uprez.models.graphs import GraphSpec, halved, planes_graph
from uprez.models.importers import Convolution, RrdbWeights
from uprez.models.motion import LAYERS_OUT, LEFT, RIGHT, TIMESTEP, MotionSpec, between_graph, head_graph, pair_graph
from uprez.models.networks import identity, rrdb, weights_of

Array = NDArray[np.generic]
HALF, WHOLE = TensorProto.FLOAT16, TensorProto.FLOAT
SPEC = GraphSpec(width=64, height=48, out_width=128, out_height=96, native_scale=2, source=COLOUR, target=COLOUR)
DEPTHS = {"8": COLOUR, "10": replace(COLOUR, depth=10)}
CONVOLUTIONS = ("Conv", "ConvTranspose")


def small_rrdb() -> onnx.ModelProto:
    """Give a network of the family rrdb with one block and random weights."""
    rng = np.random.default_rng(3)

    def layer(before: int, after: int) -> Convolution:
        weight = rng.normal(0, 0.5 / before, (after, before, 3, 3)).astype(np.float32)
        return Convolution(weight=weight, bias=rng.normal(0, 0.02, after).astype(np.float32))

    dense = tuple(layer(8 + 4 * number, 4) for number in range(4))
    block = tuple((*dense, layer(24, 8)) for _ in range(3))
    return rrdb(
        RrdbWeights(
            first=layer(3, 8),
            blocks=(block,),
            body=layer(8, 8),
            larger=(layer(8, 8), layer(8, 8)),
            fine=layer(8, 8),
            last=layer(8, 3),
        )
    )


def run(graph: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Run a graph on ONNX Runtime's own CPU provider, which computes float16 by casts, rounding after each node."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    types = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}
    given = {item.name: feed[item.name].astype(types[item.type]) for item in session.get_inputs()}
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def apart(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    """Give by how much any value differs."""
    assert set(one) == set(other)
    return max(float(np.abs(one[name].astype(np.float64) - other[name]).max()) for name in one)


def types(graph: onnx.ModelProto) -> dict[str, int]:
    """Give the type of every tensor of a graph."""
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    found = {item.name: item.type.tensor_type.elem_type for item in (*inferred.input, *inferred.value_info)}
    found |= {item.name: item.type.tensor_type.elem_type for item in inferred.output}
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_network_in_f16_gives_the_picture_of_f32(depth: str) -> None:
    """Within 2/255, though not bit for bit, or it would not be f16."""
    colour = DEPTHS[depth]
    spec = replace(SPEC, source=colour, target=colour, expose_rgb=True)
    planes = dict(zip("yuv", Waves(width=64, height=48, colour=colour).at(0).planes, strict=True))
    network = small_network(2)
    whole, half = (run(planes_graph(network, replace(spec, half=half)), planes) for half in (False, True))
    rgb = abs(whole.pop("rgb_out").astype(np.float64) - half.pop("rgb_out")).max()
    assert 0 < rgb < 0.5 / 255
    assert np.array_equal(whole.pop("rgb_in"), half.pop("rgb_in"))
    assert apart(whole, half) <= 2 * (1 << (colour.depth - 8))


@pytest.mark.parametrize("kind", ["srvgg", "rrdb"])
def test_what_comes_after_the_last_convolution_is_f32(kind: str) -> None:
    """The convolutions and what lies between them are f16; the picture that is added and all behind it are not."""
    network = {"srvgg": lambda: small_network(4), "rrdb": small_rrdb}[kind]()
    half = halved(network)
    onnx.checker.check_model(half, full_check=True)
    found, nodes = types(half), list(half.graph.node)
    last = max(number for number, node in enumerate(nodes) if node.op_type == "Conv")
    assert (found["rgb"], found["output"]) == (WHOLE, WHOLE)
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in network.graph.node)
    assert all({found[name] for name in (*node.input, *node.output)} == {HALF} for node in convolutions)
    behind = nodes[last + 1 :]
    assert behind[0].op_type == "Cast"
    assert all(found[name] != HALF for node in behind for name in node.output)
    if kind == "srvgg":
        added = next(node for node in behind if node.op_type == "Add")
        assert {found[name] for name in added.input} == {WHOLE}
    picture = np.random.default_rng(1).random((1, 3, 12, 10)).astype(np.float32)
    assert apart(run(network, {"rgb": picture}), run(half, {"rgb": picture})) < 1 / 255


def test_the_picture_that_is_added_keeps_its_bits() -> None:
    """A network that finds nothing gives its input back, to the last bit of f32."""
    network = small_network(2)
    for tensor in network.graph.initializer:
        if tensor.name.startswith("conv2."):
            values = np.zeros_like(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    picture = np.random.default_rng(1).random((1, 3, 12, 10)).astype(np.float32)
    made = run(halved(network), {"rgb": picture})["output"]
    assert np.array_equal(made, picture.repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize("network", [None, identity()], ids=["lanczos", "identity"])
def test_what_has_no_convolution_has_no_f16(network: onnx.ModelProto | None) -> None:
    """The same graph either way: 12 bits and more would not survive."""
    colour = replace(COLOUR, depth=12)
    spec = replace(SPEC, native_scale=1, source=colour, target=colour)
    graphs = [planes_graph(network, replace(spec, half=half)) for half in (False, True)]
    assert graphs[0] == graphs[1]
    assert HALF not in types(graphs[1]).values()


def moment(colour: Colour) -> tuple[tuple[Samples, ...], tuple[Samples, ...]]:
    """Two pictures between which something moves."""
    source = Waves(width=70, height=50, colour=colour)
    return source.at(0).planes, source.at(1).planes


@pytest.mark.parametrize("depth", DEPTHS)
def test_rife_in_f16_gives_the_frames_of_f32(depth: str, materials: Path) -> None:
    """Both graphs, and the one for GPUs that has all of it: within 2/255, at two places of the way."""
    colour, weights = DEPTHS[depth], weights_of(rife(materials))
    left, right = moment(colour)
    due: dict[Fraction, dict[str, Array]] = {}
    for half in (False, True):
        spec = MotionSpec(width=70, height=50, colour=colour, half=half)
        layers = [
            run(head_graph(weights, spec), dict(zip("yuv", planes, strict=True)))[LAYERS_OUT]
            for planes in (left, right)
        ]
        given = {
            f"{side}_{name}": plane
            for side, planes in ((LEFT, left), (RIGHT, right))
            for name, plane in zip("yuv", planes, strict=True)
        }
        between, pair = between_graph(weights, spec), pair_graph(weights, spec)
        for time in (Fraction(1, 2), Fraction(2, 5)):
            step = {TIMESTEP: np.full((1, 1, 1, 1), float(time), np.float32)}
            made = run(between, {LEFT: layers[0], RIGHT: layers[1], **step})
            assert apart(made, run(pair, {**given, **step})) <= (1 if half else 0)
            assert apart(made, due.setdefault(time, made)) <= 2 * (1 << (colour.depth - 8))


def test_what_rife_moves_is_f32(materials: Path) -> None:
    """Places to fetch from need more bits than f16 has, and so do the colours; its convolutions need no more."""
    weights = weights_of(rife(materials))
    for build in (head_graph, between_graph, pair_graph):
        graph = build(weights, MotionSpec(width=70, height=50, colour=COLOUR, half=True))
        found = types(graph)
        outside = [node for node in graph.graph.node if node.op_type in ("GridSample", "Resize", "AveragePool")]
        assert all(HALF not in {found.get(name) for name in (*node.input, *node.output)} for node in outside)
        networks = [
            node for node in graph.graph.node if node.op_type in CONVOLUTIONS and len(weights_at(graph, node)) > 2
        ]
        assert networks
        assert all({found[name] for name in (*node.input, *node.output)} == {HALF} for node in networks)
        assert all(found[item.name] != HALF for item in graph.graph.output)


def weights_at(graph: onnx.ModelProto, node: onnx.NodeProto) -> list[int]:
    """Give the sides above 1 of a convolution's weights: a change of colours has two."""
    return [
        side for tensor in graph.graph.initializer if tensor.name == node.input[1] for side in tensor.dims if side > 1
    ]
