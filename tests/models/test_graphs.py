"""The graphs: colour both ways, sizes, the part outside the network's range, and the network itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.job import Matrix
from uprez.models.graphs import RGB_OUTPUTS, GraphSpec, planes_graph, srvgg
from uprez.models.importers import Convolution, SrvggWeights

COLOURS = list(product(("bt601", "bt709", "bt2020"), (False, True), ("left", "center", "topleft")))
SAME = GraphSpec(
    width=48,
    height=32,
    out_width=48,
    out_height=32,
    native_scale=1,
    matrix="bt709",
    full_range=False,
    siting="left",
)

NEAREST = srvgg(
    SrvggWeights(
        scale=4,
        convolutions=(Convolution(weight=np.zeros((48, 3, 3, 3), np.float32), bias=np.zeros(48, np.float32)),),
        slopes=(),
    )
)
"""A network whose convolution gives nothing: only the nearest-neighbour picture remains."""

Planes = list[NDArray[np.uint8]]


def sized(width: int, height: int, scale: float, **changes: object) -> GraphSpec:
    """A spec of the given size, with an output of even sides near `scale` times it."""
    out = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
    return replace(SAME, width=width, height=height, out_width=out[0], out_height=out[1], **changes)


def run(graph: onnx.ModelProto, planes: Planes) -> dict[str, NDArray[np.generic]]:
    """Run a planes graph on ONNX Runtime's own CPU provider."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(zip("yuv", planes, strict=True))), strict=True))


def flat(spec: GraphSpec, codes: tuple[int, int, int]) -> Planes:
    """Planes of one colour."""
    half = ((spec.height + 1) // 2, (spec.width + 1) // 2)
    shapes = ((spec.height, spec.width), half, half)
    return [np.full(shape, code, np.uint8) for shape, code in zip(shapes, codes, strict=True)]


def waves(height: int, width: int, low: int, high: int, seed: int) -> NDArray[np.uint8]:
    """A picture of a few waves no finer than 12 samples: what a 4:2:0 plane holds without aliasing."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    total = np.zeros((height, width))
    for _ in range(6):
        fy, fx = rng.uniform(-1 / 12, 1 / 12, 2)
        total += np.cos(2 * np.pi * (fy * y + fx * x) + rng.uniform(0, 7))
    total = (total - total.min()) / np.ptp(total)
    return np.round(low + total * (high - low)).astype(np.uint8)


@pytest.mark.parametrize(
    ("matrix", "codes"),
    [("bt601", (81, 90, 240)), ("bt709", (63, 102, 240)), ("bt2020", (74, 97, 240))],
)
def test_known_codes_are_pure_red(matrix: Matrix, codes: tuple[int, int, int]) -> None:
    """The limited-range codes of pure red in each standard become RGB (1, 0, 0), to the codes' own precision."""
    spec = replace(SAME, matrix=matrix, expose_rgb=True)
    rgb = run(planes_graph(None, spec), flat(spec, codes))[RGB_OUTPUTS[0]]
    assert np.allclose(rgb[0, :, 16, 24], (1, 0, 0), atol=0.009)


def test_grey_is_grey_at_both_ends_of_both_ranges() -> None:
    """Black and white are codes 16 and 235 in limited range, 0 and 255 in full range."""
    for full_range, black, white in ((False, 16, 235), (True, 0, 255)):
        spec = replace(SAME, full_range=full_range, expose_rgb=True)
        graph = planes_graph(None, spec)
        for code, level in ((black, 0.0), (white, 1.0)):
            rgb = run(graph, flat(spec, (code, 128, 128)))[RGB_OUTPUTS[0]]
            assert np.allclose(rgb, level, atol=1e-6)


@pytest.mark.parametrize(("matrix", "full_range", "siting"), COLOURS)
def test_identity_gives_the_picture_back(matrix: Matrix, full_range: bool, siting: str) -> None:
    """At scale 1 without a network, luma comes back within 1 whatever it is; band-limited chroma within 2."""
    spec = replace(SAME, matrix=matrix, full_range=full_range, siting=siting)
    luma = np.random.default_rng(3).integers(0, 256, (32, 48), dtype=np.uint8)
    planes = [luma, waves(16, 24, 16, 240, 1), waves(16, 24, 16, 240, 2)]
    result = list(run(planes_graph(None, spec), planes).values())
    errors = [np.abs(a.astype(int) - b).max() for a, b in zip(result, planes, strict=True)]
    assert errors[0] <= 1
    assert max(errors[1:]) <= 2


@given(st.binary(min_size=32 * 48, max_size=32 * 48), st.binary(min_size=32 * 24, max_size=32 * 24))
@settings(max_examples=25, deadline=None)
def test_identity_keeps_any_luma_beside_any_chroma(luma: bytes, chroma: bytes) -> None:
    """Luma survives even where luma and chroma together are no colour that RGB in 0-1 can hold."""
    y = np.frombuffer(luma, np.uint8).reshape(32, 48)
    u, v = np.frombuffer(chroma, np.uint8).reshape(2, 16, 24)
    result = _IDENTITY.run(["y_out"], {"y": y, "u": u, "v": v})[0]
    assert np.abs(result.astype(int) - y).max() <= 1


_IDENTITY = ort.InferenceSession(planes_graph(None, SAME).SerializeToString(), providers=["CPUExecutionProvider"])


@given(
    st.integers(2, 70),
    st.integers(2, 70),
    st.sampled_from([1, 1.1, 4 / 3, 1.5, 1.85, 2, 2.5, 3, 3.7, 4]),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_one_colour_stays_that_colour_at_any_size(
    width: int, height: int, scale: float, codes: tuple[int, int, int], network: bool
) -> None:
    """For any size, odd ones too, and any scale, a flat picture of any codes comes out flat, the same, and sized.

    Also through a network: what lies outside its range is put back after it.
    """
    spec = sized(width, height, scale, native_scale=4 if network else 1)
    graph = planes_graph(NEAREST if network else None, spec)
    result = run(graph, flat(spec, codes))
    for plane, expected in zip(result.values(), flat_out(spec, codes), strict=True):
        assert plane.shape == expected.shape
        assert plane.dtype == np.uint8
        assert np.abs(plane.astype(int) - expected).max() <= 0


def flat_out(spec: GraphSpec, codes: tuple[int, int, int]) -> Planes:
    """Planes of one colour at the spec's output size."""
    return flat(replace(spec, width=spec.out_width, height=spec.out_height), codes)


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("network", [False, True])
def test_enlarging_moves_neither_luma_nor_chroma(siting: str, network: bool) -> None:
    """Ramps in all three planes are ramps at twice the size, each where its siting puts it."""
    spec = sized(48, 32, 2, siting=siting, native_scale=4 if network else 1)
    y = np.broadcast_to(40 + 2 * np.arange(48), (32, 48)).astype(np.uint8)
    c = np.broadcast_to(80 + 3 * np.arange(24), (16, 24)).astype(np.uint8)
    down = np.broadcast_to((80 + 4 * np.arange(16))[:, None], (16, 24)).astype(np.uint8)
    out = run(planes_graph(NEAREST if network else None, spec), [y, c, down])
    column, row = np.arange(48), np.arange(32)
    # Chroma sample k lies on luma 2k (co-sited) or 2k + 1/2; luma k of the input on 2k + 1/2 of the output.
    shift_x = 0.25 if siting == "center" else 0.125
    shift_y = 0.125 if siting == "topleft" else 0.25
    assert np.abs(out["y_out"][32] - (40 + np.arange(96) - 0.5))[8:-8].max() <= 1.1
    assert np.abs(out["u_out"][16] - (80 + 3 * (column / 2 - shift_x)))[8:-8].max() <= 1.1
    assert np.abs(out["v_out"][:, 24] - (80 + 4 * (row / 2 - shift_y)))[8:-8].max() <= 1.1


def test_superwhite_goes_around_the_network() -> None:
    """A network sees 0-1 only; what lay above white is still above white after it."""
    spec = sized(48, 32, 2, native_scale=4, expose_rgb=True)
    planes = flat(spec, (235, 128, 128))
    planes[0][8:24, 12:36] = 252
    out = run(planes_graph(NEAREST, spec), planes)
    assert out[RGB_OUTPUTS[0]].max() <= 1
    assert out["y_out"][32, 48] == 252
    assert out["y_out"][4, 4] == 235


def test_a_network_is_what_it_is_on_its_own(real_weights: SrvggWeights) -> None:
    """Inside the planes graph the network gives what it gives alone, and its nodes stand under "network/"."""
    network = srvgg(real_weights)
    spec = sized(40, 24, 4, native_scale=4, expose_rgb=True)
    graph = planes_graph(network, spec)
    out = run(graph, [waves(24, 40, 16, 235, 5), waves(12, 20, 90, 160, 6), waves(12, 20, 90, 160, 7)])
    alone = ort.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(alone.run(None, {"rgb": out[RGB_OUTPUTS[0]]})[0], out[RGB_OUTPUTS[1]], atol=1e-5)
    assert sum(node.name.startswith("network/") for node in graph.graph.node) == len(network.graph.node)


def test_every_node_says_which_step_it_is() -> None:
    """All nodes but the named outputs are under the prefix of a step, with and without a network."""
    steps = ("to_rgb/", "network/", "resample/", "to_planes/")
    for network, native in ((None, 1), (NEAREST, 4)):
        graph = planes_graph(network, sized(48, 32, 2, native_scale=native)).graph
        stray = [node.name for node in graph.node if not node.name.startswith(steps)]
        assert stray == ["y_out", "u_out", "v_out"]
        assert {node.name.split("/")[0] for node in graph.node if "/" in node.name} == {step[:-1] for step in steps}


def test_models_without_a_network_run_the_same_conversion() -> None:
    """identity and lanczos convert by the very nodes that a network's graph has."""

    def conversion(graph: onnx.ModelProto) -> set[tuple[str, str]]:
        return {(node.op_type, node.name) for node in graph.graph.node if node.name.startswith("to_rgb/")}

    spec = sized(48, 32, 2)
    assert conversion(planes_graph(None, spec)) == conversion(planes_graph(NEAREST, replace(spec, native_scale=4)))


def test_a_scale_without_a_network_is_refused() -> None:
    """A native scale of 4 without a network raises ModelError instead of a graph of the wrong size."""
    with pytest.raises(ModelError, match="native scale 1"):
        planes_graph(None, replace(SAME, native_scale=4))


def test_a_network_of_another_opset_is_refused() -> None:
    """A network that was made for another ONNX opset raises ModelError."""
    other = onnx.ModelProto()
    other.CopyFrom(NEAREST)
    other.opset_import[0].version = 11
    with pytest.raises(ModelError, match="opset"):
        planes_graph(other, replace(SAME, native_scale=4, out_width=96, out_height=64))
