"""The graphs: colour both ways, sizes, the part outside the network's range, and the network itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matrix_colours import COLOURS, PUBLISHED
from uprez.errors import ModelError
from uprez.job import Colour, Family, Matrix, Turn
from uprez.models.graphs import RGB_OUTPUTS, GraphSpec, plane_shapes, planes_graph
from uprez.models.importers import Convolution, SrvggWeights
from uprez.models.networks import identity, srvgg

SITINGS = ("left", "center", "topleft", "top", "bottomleft", "bottom")
CONVERSIONS = list(product(("bt601", "bt709", "bt2020"), (False, True), SITINGS))
COLOUR = Colour(matrix="bt709", full_range=False, siting="left")
SAME = GraphSpec(width=48, height=32, out_width=48, out_height=32, native_scale=1, source=COLOUR, target=COLOUR)

NEAREST = srvgg(
    SrvggWeights(
        scale=4,
        convolutions=(Convolution(weight=np.zeros((48, 3, 3, 3), np.float32), bias=np.zeros(48, np.float32)),),
        slopes=(),
    )
)
"""A network whose convolution gives nothing: only the nearest-neighbour picture remains."""

Planes = list[NDArray[np.uint8]]


def coloured(spec: GraphSpec, **changes: object) -> GraphSpec:
    """The same spec with other colour, on both sides."""
    return replace(
        spec, source=replace(spec.source, **changes), target=replace(spec.target, **{**changes, "family": "yuv"})
    )


def sized(width: int, height: int, scale: float, **changes: object) -> GraphSpec:
    """A spec of the given size, with an output of even sides near `scale` times it."""
    out = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
    return replace(SAME, width=width, height=height, out_width=out[0], out_height=out[1], **changes)


def run(graph: onnx.ModelProto, planes: Planes) -> dict[str, NDArray[np.generic]]:
    """Run a planes graph on ONNX Runtime's own CPU provider."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    types = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}
    feed = {item.name: plane.astype(types[item.type]) for item, plane in zip(session.get_inputs(), planes, strict=True)}
    return dict(zip(names, session.run(names, feed), strict=True))


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
    spec = coloured(replace(SAME, expose_rgb=True), matrix=matrix)
    rgb = run(planes_graph(None, spec), flat(spec, codes))[RGB_OUTPUTS[0]]
    assert np.allclose(rgb[0, :, 16, 24], (1, 0, 0), atol=0.009)


def test_grey_is_grey_at_both_ends_of_both_ranges() -> None:
    """Black and white are codes 16 and 235 in limited range, 0 and 255 in full range."""
    for full_range, black, white in ((False, 16, 235), (True, 0, 255)):
        spec = coloured(replace(SAME, expose_rgb=True), full_range=full_range)
        graph = planes_graph(None, spec)
        for code, level in ((black, 0.0), (white, 1.0)):
            rgb = run(graph, flat(spec, (code, 128, 128)))[RGB_OUTPUTS[0]]
            assert np.allclose(rgb, level, atol=1e-6)


@pytest.mark.parametrize(("matrix", "full_range", "siting"), CONVERSIONS)
def test_identity_gives_the_picture_back(matrix: Matrix, full_range: bool, siting: str) -> None:
    """Through the identity model luma comes back within 1 whatever it is; band-limited chroma within 2, 3 at edges."""
    spec = coloured(SAME, matrix=matrix, full_range=full_range, siting=siting)
    luma = np.random.default_rng(3).integers(0, 256, (32, 48), dtype=np.uint8)
    planes = [luma, waves(16, 24, 16, 240, 1), waves(16, 24, 16, 240, 2)]
    result = list(run(planes_graph(identity(), spec), planes).values())
    errors = [np.abs(a.astype(int) - b) for a, b in zip(result, planes, strict=True)]
    assert errors[0].max() <= 1
    assert max(error[2:-2, 2:-2].max() for error in errors[1:]) <= 2
    assert max(error.max() for error in errors[1:]) <= 3


@given(st.binary(min_size=32 * 48, max_size=32 * 48), st.binary(min_size=32 * 24, max_size=32 * 24))
@settings(max_examples=25, deadline=None)
def test_identity_keeps_any_luma_beside_any_chroma(luma: bytes, chroma: bytes) -> None:
    """Luma survives even where luma and chroma together are no colour that RGB in 0-1 can hold."""
    y = np.frombuffer(luma, np.uint8).reshape(32, 48)
    u, v = np.frombuffer(chroma, np.uint8).reshape(2, 16, 24)
    result = _IDENTITY.run(["y_out"], {"y": y, "u": u, "v": v})[0]
    assert np.abs(result.astype(int) - y).max() <= 1


_IDENTITY = ort.InferenceSession(planes_graph(identity(), SAME).SerializeToString(), providers=["CPUExecutionProvider"])


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


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("network", [False, True])
def test_enlarging_moves_neither_luma_nor_chroma(siting: str, network: bool) -> None:
    """Ramps in all three planes are ramps at twice the size, each where its siting puts it."""
    spec = coloured(sized(48, 32, 2, native_scale=4 if network else 1), siting=siting)
    y = np.broadcast_to(40 + 2 * np.arange(48), (32, 48)).astype(np.uint8)
    c = np.broadcast_to(80 + 3 * np.arange(24), (16, 24)).astype(np.uint8)
    down = np.broadcast_to((80 + 4 * np.arange(16))[:, None], (16, 24)).astype(np.uint8)
    out = run(planes_graph(NEAREST if network else None, spec), [y, c, down])
    column, row = np.arange(48), np.arange(32)
    # Chroma sample k lies on luma 2k (co-sited) or 2k + 1/2; luma k of the input on 2k + 1/2 of the output.
    shift_x = 0.125 if "left" in siting else 0.25
    shift_y = 0.125 if "top" in siting else 0.375 if "bottom" in siting else 0.25
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


def test_identity_runs_the_nodes_that_a_network_has() -> None:
    """identity converts by the very nodes that a network's graph has, there and back; lanczos at least there."""

    def conversion(graph: onnx.ModelProto, *steps: str) -> set[tuple[str, str]]:
        return {(node.op_type, node.name) for node in graph.graph.node if node.name.startswith(steps)}

    spec = sized(48, 32, 2)
    there_and_back, there = ("to_rgb/", "to_planes/"), ("to_rgb/",)
    network = planes_graph(NEAREST, replace(spec, native_scale=4))
    assert conversion(planes_graph(identity(), spec), *there_and_back) == conversion(network, *there_and_back)
    assert conversion(planes_graph(None, spec), *there) == conversion(network, *there)
    same = planes_graph(identity(), SAME)
    assert {name for _, name in conversion(same, "network/")} == {"network/output"}


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


def rgb_to_yuv(matrix: Matrix, full_range: bool, depth: int, rgb: tuple[Fraction, ...]) -> tuple[int, ...]:
    """What the graph makes of a flat picture that is stored as 16-bit RGB."""
    source = Colour(matrix=matrix, full_range=True, siting="left", depth=16, family="rgb", across=1, down=1)
    target = Colour(matrix=matrix, full_range=full_range, siting="left", depth=depth)
    codes = [np.full((32, 48), round(65535 * rgb["rgb".index(plane)]), np.uint16) for plane in "gbr"]
    out = run(planes_graph(identity(), replace(SAME, source=source, target=target)), codes)
    return tuple(int(plane[0, 0]) for plane in out.values())


@pytest.mark.parametrize(("matrix", "full_range", "depth"), PUBLISHED)
def test_colours_have_their_published_codes(matrix: Matrix, full_range: bool, depth: int) -> None:
    """Pure red, green and blue, and SMPTE's HD bars, become the code values that the standards give.

    Full range has exact halves, which arithmetic of 32 bits may round either way.
    """
    for name, codes in PUBLISHED[matrix, full_range, depth].items():
        found = rgb_to_yuv(matrix, full_range, depth, COLOURS[name])
        assert np.abs(np.subtract(found, codes)).max() <= (1 if full_range else 0), (name, found, codes)


LAYOUTS = [
    *product(("yuv",), (8, 9, 10, 12, 16), ((1, 1), (2, 1), (2, 2), (1, 2), (4, 1))),
    *product(("gray",), (8, 10, 12), ((1, 1),)),
]


@pytest.mark.parametrize(("family", "depth", "shares"), LAYOUTS)
def test_every_layout_comes_back(family: Family, depth: int, shares: tuple[int, int]) -> None:
    """Luma of any depth and chroma of any share come back: luma within 1, smooth chroma within 2 (of 8 bits)."""
    source = replace(COLOUR, depth=depth, family=family, across=shares[0], down=shares[1])
    spec = replace(SAME, width=49, height=33, out_width=49, out_height=33, source=source)
    spec = replace(spec, target=replace(source, family="yuv"))
    unit = 1 << (depth - 8)
    shapes = plane_shapes(49, 33, source)
    planes = [waves(*shape, 16, 235, seed).astype(np.uint16) * unit for seed, shape in enumerate(shapes.values())]
    out = list(run(planes_graph(identity(), spec), planes).values())
    assert np.abs(out[0].astype(float) - planes[0]).max() <= 1
    for got, due in zip(out[1:], planes[1:] or [np.full(out[1].shape, 128 * unit)] * 2, strict=True):
        assert got.shape == due.shape
        error = np.abs(got.astype(float) - due)
        assert error[2:-2, 2:-2].max() <= 2 * unit
        assert (
            error.max() <= 8 * unit
        )  # beyond an edge the edge repeats, and half of an odd side's last pair is missing


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("siting", ["left", "topleft"])
def test_a_picture_is_turned_whole(quarters: int, mirrored: bool, siting: str) -> None:
    """Mirrored, then turned clockwise: luma exactly so, and chroma with it, wherever its samples lie."""
    spec = coloured(replace(SAME, turn=Turn(quarters=quarters, mirrored=mirrored)), siting=siting)
    spec = replace(spec, out_width=spec.shown_width, out_height=spec.shown_height)
    luma = np.random.default_rng(4).integers(16, 235, (32, 48), dtype=np.uint8)
    across = np.broadcast_to(60 + 4 * np.arange(24), (16, 24)).astype(np.uint8)
    out = run(planes_graph(identity(), spec), [luma, across, np.full((16, 24), 128, np.uint8)])
    turned = np.rot90(luma[:, ::-1] if mirrored else luma, -quarters)
    assert np.abs(out["y_out"].astype(int) - turned).max() <= 1
    # The ramp's value at luma column x is 60 + 2 x; a chroma sample of the result stands at its own place.
    grid = np.broadcast_to(60 + 2.0 * np.arange(48), (32, 48))
    shown = np.rot90(grid[:, ::-1] if mirrored else grid, -quarters)
    halves = (shown[0::2] + shown[1::2]) / 2 if siting == "left" else shown[0::2]
    due = halves[:, 0::2]
    assert np.abs(out["u_out"].astype(float) - due)[3:-3, 3:-3].max() <= 1.1


def test_eight_bits_become_ten_in_either_range() -> None:
    """Limited range is multiplied by 4, full range by 1023/255."""
    for full_range, white in ((False, 940), (True, 1023)):
        spec = coloured(SAME, full_range=full_range)
        spec = replace(spec, target=replace(spec.target, depth=10))
        out = run(planes_graph(identity(), spec), flat(spec, (255 if full_range else 235, 128, 128)))
        assert {int(plane[0, 0]) for plane in out.values()} == {white, 512}
        assert out["y_out"].dtype == np.float16


def test_a_result_that_is_no_yuv_is_refused() -> None:
    """Graphs make YUV; another family raises ModelError."""
    with pytest.raises(ModelError, match="rgb"):
        planes_graph(None, replace(SAME, target=replace(COLOUR, family="rgb")))
