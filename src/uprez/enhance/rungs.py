"""The ways to run a graph: ONNX Runtime's execution providers, and OpenVINO itself where its provider refuses the CPU.

A way opens or says why not. Whether it counts is decided by running the graph (see `enhance.session`).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from uprez.enhance.ncnn_net import Cut, Net, NoNetworkError, NotTranslatedError
from uprez.models import Precision

Array = NDArray[np.generic]

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
}

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    MemoryError,
    RuntimeError,
)
"""What runtimes raise; ONNX Runtime's own classes share no base but Exception."""


class UnavailableError(Exception):
    """A rung's library or device is not on this machine."""


class NotMeantError(UnavailableError):
    """A rung is for other graphs, which is nothing to tell anybody."""


class Running(Protocol):
    """A graph that a runtime has opened."""

    @property
    def inputs(self) -> Mapping[str, type[np.generic]]:
        """Names in order, with their types."""

    @property
    def outputs(self) -> Sequence[str]:
        """Names in order."""

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        """Give some outputs; the arrays are new. Raises RUNTIME_ERRORS."""

    def share(self, count: int) -> int:
        """Divide the threads between `count` calls at once, from threads of their own; gives how many there may be.

        Until it is called there may be one. Raises RUNTIME_ERRORS.
        """


@dataclass(frozen=True, kw_only=True)
class How:
    """How a graph is to be run."""

    threads: int
    """Of the CPU, at most."""
    cache: Path | None = None
    """A folder for what a provider compiles, kept from run to run; never taken to another machine."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to run a graph."""

    family: str
    """What callers accept or refuse."""
    provider: str
    """ONNX Runtime's name of the execution provider."""
    precision: Precision
    """In which its networks compute."""
    open: Callable[[bytes, How], tuple[Running, str]]
    """Takes a serialised graph; gives what runs it and the device in words. Raises UnavailableError, RUNTIME_ERRORS."""


class _Session:
    """ONNX Runtime's own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs: Mapping[str, type[np.generic]] = {item.name: _DTYPES[item.type] for item in session.get_inputs()}
        self.outputs: Sequence[str] = [item.name for item in session.get_outputs()]

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        results: Sequence[Array] = self._session.run(list(names), dict(feed))
        return results

    def share(self, count: int) -> int:
        return 1  # its threads take work from each other: two at once gain nothing


def line(error: BaseException) -> str:
    """Give what an error says, on one line."""
    return " ".join(str(error).split())[:300]


def _open_tensorrt_rtx(data: bytes, how: How) -> tuple[Running, str]:
    # What it compiles for this very GPU and driver takes seconds to minutes; kept, later sessions open at once.
    settings = {"nv_runtime_cache_path": str(how.cache)} if how.cache else {}
    return _open_plugin("onnxruntime_ep_nv_tensorrt_rtx", data, how, settings)


def _open_webgpu(data: bytes, how: How) -> tuple[Running, str]:
    return _open_plugin("onnxruntime_ep_webgpu", data, how)


def _open_plugin(module: str, data: bytes, how: How, settings: Mapping[str, str] | None = None) -> tuple[Running, str]:
    """Open on the first GPU that a plugin provider offers."""
    found = [item for item in _plugin_devices(module) if item.device.type == ort.OrtHardwareDeviceType.GPU]
    if not found:
        raise UnavailableError("the plugin offers no GPU here")
    options = _strict_options(how)
    options.add_provider_for_devices(found[:1], dict(settings or {}))
    return _Session(ort.InferenceSession(data, options)), f"{found[0].device.vendor} GPU"


def _open_cuda(data: bytes, how: How) -> tuple[Running, str]:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise UnavailableError("the package onnxruntime-gpu is not installed")
    ort.preload_dlls()  # CUDA and cuDNN out of their wheels
    # TF32 keeps 10 bits of each factor: that would not be f32.
    providers = [("CUDAExecutionProvider", {"use_tf32": "0"})]
    session = ort.InferenceSession(data, _strict_options(how), providers=providers, enable_fallback=0)
    if session.get_providers()[:1] != ["CUDAExecutionProvider"]:
        raise UnavailableError("CUDA cannot be started here")
    return _Session(session), "NVIDIA GPU"


def _open_openvino(data: bytes, how: How) -> tuple[Running, str]:
    found = [device for device in _openvino_devices() if device.device.type == ort.OrtHardwareDeviceType.CPU]
    if not found:
        # The plugin 1.8.1 offers its CPU device only where the CPU's vendor is Intel, although OpenVINO itself runs
        # on any x86-64 (https://github.com/microsoft/onnxruntime/pull/31981).
        raise UnavailableError(f"the plugin offers no device for this CPU ({_cpu_vendor()})")
    options = _strict_options(how)
    # The plugin's option "precision" is ignored.
    options.add_provider_for_devices(found[:1], {"load_config": json.dumps({"CPU": _openvino_config(how)})})
    return _Session(ort.InferenceSession(data, options)), _cpu_name()


def _openvino_config(how: How) -> dict[str, str]:
    """Ask for f32 by name: the default hint picks bf16, which is slower and differs.

    Nor are threads tied to cores, where an encoder wants them too: without that x4 beside x264 medium on two cores ran
    1.2 times as fast, and RIFE 1.2 to 1.5 times.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(how.threads),
        "ENABLE_CPU_PINNING": "NO",
    }


class _OpenVino:
    """OpenVINO itself, without ONNX Runtime."""

    def __init__(self, compiled: Any, outputs: Sequence[str]) -> None:  # noqa: ANN401  the package is not always there
        """`outputs` are the graph's names in its order: where two are one tensor, OpenVINO knows it by one of them."""
        self._request = compiled.create_infer_request()
        self.inputs: Mapping[str, type[np.generic]] = {
            item.any_name: item.element_type.to_dtype().type for item in compiled.inputs
        }
        self.outputs: Sequence[str] = outputs

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        self._request.infer({name: np.ascontiguousarray(array) for name, array in feed.items()})
        places = [self.outputs.index(name) for name in names]
        return [np.array(self._request.get_output_tensor(place).data) for place in places]

    def share(self, count: int) -> int:
        return 1  # as ONNX Runtime


def _open_openvino_itself(data: bytes, how: How) -> tuple[Running, str]:
    """Where the plugin offers nothing, on CPUs that are not Intel's: see docs/adr/0006."""
    # Without this, importing it writes an id to the home folder and reports to its makers.
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    try:
        openvino = importlib.import_module("openvino")  # optional, and 50 MB to load
    except ImportError as error:
        raise UnavailableError('the package openvino is not installed (pip install "uprez[cpu]")') from error
    core, outputs = openvino.Core(), [item.name for item in onnx.load_model_from_string(data).graph.output]
    compiled = core.compile_model(core.read_model(data, b""), "CPU", _openvino_config(how))
    return _OpenVino(compiled, outputs), _cpu_name()


def _open_cpu(data: bytes, how: How) -> tuple[Running, str]:
    return _Session(_on_cpu(data, how)), _cpu_name()


def _on_cpu(data: bytes, how: How) -> ort.InferenceSession:
    return ort.InferenceSession(data, _session_options(how), providers=["CPUExecutionProvider"])


class _Ncnn:
    """A network on ncnn, between two graphs on ONNX Runtime's CPU provider."""

    def __init__(self, data: bytes, how: How) -> None:
        model = onnx.load_model_from_string(data)
        cut = Cut(model)
        self._cut, self._threads, self._lanes = cut, how.threads, 1
        self._net = Net(cut, how.threads)
        self._before, self._after = (_Session(_beside(part, how)) for part in (cut.before, cut.after))
        types = {**self._before.inputs, **self._after.inputs}
        self.inputs: Mapping[str, type[np.generic]] = {item.name: types[item.name] for item in model.graph.input}
        self.outputs: Sequence[str] = [item.name for item in model.graph.output]

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        seen = self._before.run(self._before.outputs, {name: feed[name] for name in self._before.inputs})
        tensors = {**feed, **dict(zip(self._before.outputs, seen, strict=True))}
        tensors[self._cut.end] = self._net(tensors[self._cut.start].astype(np.float32, copy=False))
        return self._after.run(names, {name: tensors[name] for name in self._after.inputs})

    def share(self, count: int) -> int:
        """Threads of one call wait for each other at every layer, and for whatever else their cores do meanwhile."""
        count = max(1, min(count, self._threads))
        if count != self._lanes:
            self._net = Net(self._cut, self._threads // count)  # weights are packed for a number of threads
            self._lanes = count
        return count


def _beside(part: onnx.ModelProto, how: How) -> ort.InferenceSession:
    """Open a graph that takes turns with ncnn, whose threads want the cores that waiting ones would spin on."""
    options = _session_options(how)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _open_ncnn(data: bytes, how: How) -> tuple[Running, str]:
    try:
        return _Ncnn(data, how), _cpu_name()
    except ImportError as error:
        raise UnavailableError('the package ncnn is not installed (pip install "uprez[cpu]")') from error
    except NoNetworkError as error:
        raise NotMeantError(str(error)) from error
    except NotTranslatedError as error:
        raise UnavailableError(str(error)) from error


def _session_options(how: How) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = how.threads
    options.inter_op_num_threads = 1
    return options


def _strict_options(how: How) -> ort.SessionOptions:
    """Without this, nodes a provider does not take would run on ONNX Runtime's own CPU provider, unseen."""
    options = _session_options(how)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _openvino_devices() -> tuple[ort.OrtEpDevice, ...]:
    return _plugin_devices("onnxruntime_ep_openvino")


@cache
def _plugin_devices(module: str) -> tuple[ort.OrtEpDevice, ...]:
    """Register a plugin, once a process: ONNX Runtime refuses the same library a second time."""
    try:
        plugin = importlib.import_module(module)  # for weight: its library is mapped only where the rung is tried
        library = Path(plugin.get_library_path())
        for runtime in sorted(library.parent.glob("libcudart.so.*")):
            # TensorRT-RTX 0.5.0 brings the CUDA runtime under a name that the loader does not look for.
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
    except (ImportError, OSError) as error:
        raise UnavailableError(f"the package {module.replace('_', '-')} is not usable: {line(error)}") from error
    ort.register_execution_provider_library(module, str(library))
    return tuple(device for device in ort.get_ep_devices() if device.ep_name == plugin.get_ep_name())


def _cpu_vendor() -> str:
    vendors = [item.device.vendor for item in ort.get_ep_devices() if item.ep_name == "CPUExecutionProvider"]
    return vendors[0] if vendors else "unknown"


@cache
def _cpu_name() -> str:
    """Give the CPU's name in words; the platform's name for it where Linux's list is missing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


_TENSORRT_RTX, _CUDA, _WEBGPU = "NvTensorRTRTXExecutionProvider", "CUDAExecutionProvider", "WebGpuExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"

RUNGS: tuple[Rung, ...] = (
    Rung(family="tensorrt-rtx", provider=_TENSORRT_RTX, precision="f16", open=_open_tensorrt_rtx),
    Rung(family="tensorrt-rtx", provider=_TENSORRT_RTX, precision="f32", open=_open_tensorrt_rtx),
    Rung(family="cuda", provider=_CUDA, precision="f16", open=_open_cuda),
    Rung(family="cuda", provider=_CUDA, precision="f32", open=_open_cuda),
    Rung(family="webgpu", provider=_WEBGPU, precision="f16", open=_open_webgpu),
    Rung(family="webgpu", provider=_WEBGPU, precision="f32", open=_open_webgpu),
    Rung(family="openvino", provider=_OPENVINO, precision="f32", open=_open_openvino),
    Rung(family="openvino", provider="OpenVINO", precision="f32", open=_open_openvino_itself),
    Rung(family="cpu", provider="ncnn", precision="f32", open=_open_ncnn),
    Rung(family="cpu", provider="CPUExecutionProvider", precision="f32", open=_open_cpu),
)
"""The ladder, best first."""
