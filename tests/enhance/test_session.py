"""Sessions: the ladder tries what was accepted, proves it, and says what it passed over and why."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from uprez.enhance import rungs
from uprez.enhance import session as sessions
from uprez.enhance.rungs import RUNGS, Rung
from uprez.enhance.session import open_session
from uprez.errors import ModelError
from uprez.job import Colour
from uprez.models.graphs import GraphSpec, planes_graph

COLOUR = Colour(matrix="bt709", full_range=False, siting="left")
SPEC = GraphSpec(width=32, height=16, out_width=64, out_height=32, native_scale=1, source=COLOUR, target=COLOUR)
PLANES = [np.full((16, 32), 100, np.uint8), np.full((8, 16), 90, np.uint8), np.full((8, 16), 160, np.uint8)]


def _without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that the plugin refuses, without the package itself."""
    monkeypatch.setattr(rungs, "_openvino_devices", tuple)
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """A small lanczos x2 graph."""
    return planes_graph(None, SPEC)


def test_the_cpu_family_runs_everywhere(graph: onnx.ModelProto) -> None:
    """With "cpu" accepted, the session runs on ONNX Runtime's own provider in f32 and says so."""
    session = open_session(lambda *_: graph, families=["cpu"], threads=1)
    assert (session.family, session.provider, session.precision) == ("cpu", "CPUExecutionProvider", "f32")
    assert session.device
    assert session.ladder == ("CPUExecutionProvider (f32): runs",)
    assert [plane.shape for plane in session.run(PLANES)] == [(32, 64), (16, 32), (16, 32)]
    assert [plane.flat[0] for plane in session.run(PLANES)] == [100, 90, 160]


def test_every_rung_gives_the_same_picture(graph: onnx.ModelProto) -> None:
    """Each family that opens on this machine gives planes within 1 of every other."""
    rng = np.random.default_rng(4)
    planes = [rng.integers(0, 256, plane.shape, dtype=np.uint8) for plane in PLANES]
    results = []
    for rung in RUNGS:
        try:
            results.append(open_session(lambda *_: graph, families=[rung.family], threads=2).run(planes))
        except ModelError as error:
            print(f"not compared here: {error.message}")
    assert results
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            assert np.abs(ours.astype(int) - first).max() <= 1


def test_openvino_comes_first_and_is_passed_over_with_a_reason(
    graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the plugin offers no device, the ladder has its reason, then the CPU provider that runs."""
    _without_openvino(monkeypatch)
    session = open_session(lambda *_: graph, families=["cpu", "openvino"], threads=1)
    assert session.family == "cpu"
    assert session.ladder[0].startswith("OpenVINOExecutionProvider (f32): the plugin offers no device for this CPU")
    assert session.ladder[1].startswith("OpenVINO (f32): the package openvino is not installed")
    assert session.ladder[2:] == ("CPUExecutionProvider (f32): runs",)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("tensorrt-rtx", "NvTensorRTRTXExecutionProvider (f16): "),
        ("cuda", "CUDAExecutionProvider (f16): "),
        ("webgpu", "WebGpuExecutionProvider (f16): "),
    ],
)
def test_a_gpu_that_is_not_there_is_passed_over_with_a_reason(graph: onnx.ModelProto, family: str, reason: str) -> None:
    """Each GPU family either runs here or says why not, and what was accepted below it runs."""
    session = open_session(lambda *_: graph, families=["cpu", family], threads=1)
    assert session.family in (family, "cpu")
    assert session.ladder[0].startswith(reason)


def test_a_plugin_whose_cuda_runtime_is_broken_is_passed_over(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime that a plugin brings is loaded before it, and one that cannot be is the rung's reason."""
    package = tmp_path / "onnxruntime_ep_nv_tensorrt_rtx"
    package.mkdir()
    (package / "libcudart.so.12.9.79").write_bytes(b"no library")
    (package / "__init__.py").write_text(f"def get_library_path(): return {str(package / 'provider.so')!r}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", raising=False)
    session = open_session(lambda *_: graph, families=["cpu", "tensorrt-rtx"], threads=1)
    assert "libcudart.so.12.9.79" in session.ladder[0]
    assert session.family == "cpu"
    sys.modules.pop("onnxruntime_ep_nv_tensorrt_rtx")


def test_families_are_never_widened(graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """With only "openvino" accepted and no device for it, opening fails; the CPU provider is not tried."""
    _without_openvino(monkeypatch)
    with pytest.raises(ModelError, match="no execution provider of openvino") as caught:
        open_session(lambda *_: graph, families=["openvino"], threads=1)
    assert "CPUExecutionProvider" not in caught.value.message


@pytest.mark.parametrize("families", [[], ["tensorrt"]])
def test_no_known_family_is_an_error(graph: onnx.ModelProto, families: list[str]) -> None:
    """Nothing accepted, or only families uprez does not know, raises ModelError that lists the known ones."""
    with pytest.raises(ModelError) as caught:
        open_session(lambda *_: graph, families=families, threads=1)
    assert caught.value.hint == "families that uprez knows: tensorrt-rtx, cuda, webgpu, openvino, cpu"


def test_a_rung_that_opens_but_cannot_run_is_passed_over(
    graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rung is proved by a run: one whose session takes other inputs than the graph's counts as failed."""
    other = planes_graph(None, GraphSpec(**{**SPEC.__dict__, "width": 30})).SerializeToString()
    broken = Rung(family="cpu", provider="Broken", precision="f32", open=lambda _, how: RUNGS[-1].open(other, how))
    monkeypatch.setattr(sessions, "RUNGS", (broken, RUNGS[-1]))
    session = open_session(lambda *_: graph, families=["cpu"], threads=1)
    assert session.provider == "CPUExecutionProvider"
    assert session.ladder[0].startswith("Broken (f32): Broken on ")
    assert "Expected: 30" in session.ladder[0]


def test_a_graph_no_provider_takes_is_a_model_error(graph: onnx.ModelProto) -> None:
    """A graph with an operator that does not exist raises ModelError with the provider's words."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graph)
    wrong.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="NoSuchOperator"):
        open_session(lambda *_: wrong, families=["cpu"], threads=1)


def test_a_frame_of_another_size_is_a_model_error(graph: onnx.ModelProto) -> None:
    """Running planes of another size raises ModelError that names the provider."""
    session = open_session(lambda *_: graph, families=["cpu"], threads=1)
    with pytest.raises(ModelError, match="CPUExecutionProvider on "):
        session.run([plane[:, :-2] for plane in PLANES])


def test_memory_that_is_not_there_is_a_model_error() -> None:
    """A picture for which a device has too little memory is refused before its first frame, not a crash."""
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [48, 64]) for name in "yuv"]
    results = [onnx.helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.UINT8, [48, 64]) for name in "yuv"]
    huge = onnx.helper.make_tensor("huge", onnx.TensorProto.INT64, [4], [1 << 30, 1 << 10, 48, 64])
    first = onnx.helper.make_tensor("first", onnx.TensorProto.INT64, [2], [0, 1])
    nodes = [
        onnx.helper.make_node("Expand", ["y", "huge"], ["repeated"]),
        onnx.helper.make_node("ReduceMax", ["repeated", "first"], ["y_out"], keepdims=0),
        *(onnx.helper.make_node("Identity", [name], [f"{name}_out"]) for name in "uv"),
    ]
    graph = onnx.helper.make_graph(nodes, "too large", sides, results, [huge, first])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(ModelError, match=r"CPUExecutionProvider on .* failed in mid-run: .*[Aa]lloc"):
        open_session(lambda *_: model, families=["cpu"], threads=1)
