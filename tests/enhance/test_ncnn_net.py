"""Networks on ncnn: the same pictures as ONNX Runtime's, and a clear no for what is not translated."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from small import small_network
from uprez.enhance import rungs
from uprez.enhance.ncnn_net import Cut, NotTranslatedError, translated
from uprez.enhance.rungs import Array, How, UnavailableError
from uprez.enhance.session import open_session
from uprez.job import Colour
from uprez.models import tiles
from uprez.models.builder import Builder
from uprez.models.graphs import GraphSpec, planes_graph
from uprez.models.importers import Convolution, RrdbWeights
from uprez.models.networks import identity, rrdb
from uprez.models.tiles import Reach

COLOUR = Colour(matrix="bt709", full_range=False, siting="left")
SPEC = GraphSpec(width=48, height=34, out_width=96, out_height=68, native_scale=4, source=COLOUR, target=COLOUR)
NCNN = next(rung for rung in rungs.RUNGS if rung.provider == "ncnn")
CPU = rungs.RUNGS[-1]


def small_rrdb() -> onnx.ModelProto:
    """Give an RRDBNet of one block and few channels."""
    rng = np.random.default_rng(3)

    def layer(before: int, after: int) -> Convolution:
        weight = rng.normal(0, 0.5 / before**0.5, (after, before, 3, 3)).astype(np.float32)
        return Convolution(weight=weight, bias=rng.normal(0, 0.01, after).astype(np.float32))

    dense = tuple(layer(8 + 4 * number, 4 if number < 4 else 8) for number in range(5))
    return rrdb(
        RrdbWeights(
            first=layer(3, 8),
            blocks=((dense, dense, dense),),
            body=layer(8, 8),
            larger=(layer(8, 8), layer(8, 8)),
            fine=layer(8, 8),
            last=replace(layer(8, 3), bias=np.full(3, 0.5, np.float32)),
        )
    )


def planes() -> dict[str, Array]:
    """Give noise over a slope."""
    rng = np.random.default_rng(5)
    slope = np.add.outer(np.arange(34) * 2, np.arange(48) * 2)
    luma = (40 + slope + rng.normal(0, 12, (34, 48))).clip(16, 235).astype(np.uint8)
    return {"y": luma, "u": rng.integers(90, 160, (17, 24), np.uint8), "v": rng.integers(90, 160, (17, 24), np.uint8)}


@pytest.mark.parametrize(
    "network", [small_network(4), small_network(4, layers=9), small_rrdb()], ids=["3", "9", "rrdb"]
)
def test_a_network_on_ncnn_is_the_same(network: onnx.ModelProto) -> None:
    """Planes are within 1 code of the CPU provider's, for Compact networks and RRDB."""
    graph = planes_graph(network, SPEC).SerializeToString()
    made = []
    for rung in (NCNN, CPU):
        running, _ = rung.open(graph, How(threads=2))
        made.append(running.run(["y_out", "u_out", "v_out"], planes()))
    assert len(np.unique(made[1][0])) > 20
    for one, other in zip(*made, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_a_tile_on_ncnn_is_the_same() -> None:
    """A tile's taps find their way around the network."""
    tiling = tiles.cut(SPEC, Reach(halo=3), 30 * 30, has_network=True)
    assert tiling is not None
    graph = planes_graph(small_network(4), tiling.spec, tiling.slots)
    tile = next(iter(tiling))
    feed = planes()
    rows, columns = tile.source
    assert (rows.start, columns.start) == (0, 0)
    feed = {
        "y": feed["y"][rows, columns],
        **{name: feed[name][: -(-rows.stop // 2), : -(-columns.stop // 2)] for name in "uv"},
    }
    for name, cut in tile.lines.items():
        feed[f"resample/{name}/index"], feed[f"resample/{name}/matrices"] = cut.windows, cut.matrices
    feed = {name: array.astype(np.int32) if name.endswith("index") else array for name, array in feed.items()}
    opened = [rung.open(graph.SerializeToString(), How(threads=1))[0] for rung in (NCNN, CPU)]
    made = [running.run(["y_out"], feed) for running in opened]
    assert np.abs(made[0][0].astype(int) - made[1][0].astype(int)).max() <= 1


def test_a_graph_without_convolutions_is_not_for_ncnn() -> None:
    """`lanczos` and `identity` have nothing that Winograd's method would make faster."""
    for network in (None, identity()):
        spec = replace(SPEC, native_scale=1)
        with pytest.raises(UnavailableError, match="convolutions alone"):
            NCNN.open(planes_graph(network, spec).SerializeToString(), How(threads=1))


def test_an_operator_that_has_no_layer_is_named() -> None:
    """A network of another kind is passed over with the operator's name."""
    b = Builder()
    weight = b.const("w", np.zeros((3, 3, 3, 3), np.float32))
    b.node("Conv", "output", b.node("Sigmoid", "s", "rgb"), weight, b.const("b", np.zeros(3, np.float32)), pads=[1] * 4)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "H", "W"]) for name in ("rgb", "output")]
    model = planes_graph(b.model("other", value[:1], value[1:]), replace(SPEC, native_scale=1))
    with pytest.raises(NotTranslatedError, match="Sigmoid"):
        translated(Cut(model))


def test_without_the_package_the_next_rung_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ncnn is not installed, the ladder says how to get it, and ONNX Runtime's own provider runs."""
    monkeypatch.setitem(sys.modules, "ncnn", None)
    graph = planes_graph(small_network(4), SPEC)
    session = open_session(lambda *_: graph, families=["cpu"], threads=1)
    assert session.provider == "CPUExecutionProvider"
    assert session.ladder[0] == 'ncnn (f32): the package ncnn is not installed (pip install "uprez[cpu]")'
