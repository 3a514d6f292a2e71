"""Opens a graph on the best execution provider that this machine has and the caller accepts.

The ladder is RUNGS, best first. A rung counts only once it has run the graph; the ones passed over are kept with the
reason. Families the caller did not name are never tried: a rented GPU's work does not become CPU work.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from uprez.errors import ModelError
from uprez.media.frame import Samples

_PLANES = 3
_DTYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
}

_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
)
"""What ONNX Runtime raises; its own classes share no base but Exception."""


class _UnavailableError(Exception):
    """A rung's library or device is not on this machine."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to run a graph."""

    family: str
    """What callers accept or refuse."""
    provider: str
    """ONNX Runtime's name of the execution provider."""
    precision: str
    open: Callable[[bytes, int], tuple[ort.InferenceSession, str]]
    """Takes a serialised graph and a number of threads; gives the session and the device in words."""


class Session:
    """A graph that runs: planes in, planes out. Not for two threads at once."""

    def __init__(self, inner: ort.InferenceSession, rung: Rung, device: str, ladder: tuple[str, ...]) -> None:
        self._inner = inner
        self._inputs = {item.name: _DTYPES[item.type] for item in inner.get_inputs()}
        self._outputs = [item.name for item in inner.get_outputs()]
        self.family = rung.family
        self.provider = rung.provider
        self.precision = rung.precision
        self.device = device
        self.ladder = ladder
        """Rungs passed over, each with the reason, then the one that runs."""

    def run(self, planes: Sequence[Samples]) -> tuple[Samples, ...]:
        """Run one frame; the planes given back are new arrays. Raises ModelError where the provider fails."""
        try:
            results = self._inner.run(self._outputs[:_PLANES], self._feed(planes))
        except _RUNTIME_ERRORS as error:
            raise ModelError(f"{self.provider} on {self.device} failed in mid-run: {_line(error)}") from error
        return tuple(plane if plane.dtype == np.uint8 else plane.astype(np.uint16) for plane in results)

    def tensors(self, planes: Sequence[Samples]) -> dict[str, NDArray[np.generic]]:
        """Run one frame and give every output of the graph by its name."""
        return dict(zip(self._outputs, self._inner.run(self._outputs, self._feed(planes)), strict=True))

    def _feed(self, planes: Sequence[Samples]) -> dict[str, NDArray[np.generic]]:
        pairs = zip(self._inputs.items(), planes, strict=True)
        return {name: plane.astype(dtype, copy=False) for (name, dtype), plane in pairs}


def open_session(graph: onnx.ModelProto, *, families: Sequence[str], threads: int) -> Session:
    """Open the graph on the first accepted rung that really runs it.

    `threads` bounds the CPU threads of inference. Raises ModelError, with the whole ladder, where none works.
    """
    data = graph.SerializeToString()
    blank = _blank_planes(graph)
    ladder: list[str] = []
    for rung in RUNGS:
        if rung.family not in families:
            continue
        try:
            inner, device = rung.open(data, threads)
            session = Session(inner, rung, device, (*ladder, f"{rung.provider} ({rung.precision}): runs"))
            session.run(blank)
        except _UnavailableError as error:
            ladder.append(f"{rung.provider} ({rung.precision}): {error}")
        except ModelError as error:
            ladder.append(f"{rung.provider} ({rung.precision}): {error.message}")
        except _RUNTIME_ERRORS as error:
            ladder.append(f"{rung.provider} ({rung.precision}): {_line(error)}")
        else:
            return session
    raise ModelError(
        f"no execution provider of {', '.join(families) or '(no family)'} runs this model here"
        + "".join(f"; {step}" for step in ladder),
        hint=f"families that uprez knows: {', '.join(dict.fromkeys(rung.family for rung in RUNGS))}",
    )


def _blank_planes(graph: onnx.ModelProto) -> list[NDArray[np.uint8]]:
    shapes = [[side.dim_value for side in item.type.tensor_type.shape.dim] for item in graph.graph.input]
    return [np.full(shape, 128, np.uint8) for shape in shapes]  # `run` gives them the type that the graph takes


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _open_tensorrt_rtx(data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    return _open_plugin("onnxruntime_ep_nv_tensorrt_rtx", data, threads)


def _open_webgpu(data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    return _open_plugin("onnxruntime_ep_webgpu", data, threads)


def _open_plugin(module: str, data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    """Open on the first GPU that a plugin provider offers."""
    found = [item for item in _plugin_devices(module) if item.device.type == ort.OrtHardwareDeviceType.GPU]
    if not found:
        raise _UnavailableError("the plugin offers no GPU here")
    options = _strict_options(threads)
    options.add_provider_for_devices(found[:1], {})
    return ort.InferenceSession(data, options), f"{found[0].device.vendor} GPU"


def _open_cuda(data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise _UnavailableError("the package onnxruntime-gpu is not installed")
    ort.preload_dlls()  # CUDA and cuDNN out of their wheels
    # TF32 keeps 10 bits of each factor: that would not be f32.
    providers = [("CUDAExecutionProvider", {"use_tf32": "0"})]
    session = ort.InferenceSession(data, _strict_options(threads), providers=providers, enable_fallback=0)
    if session.get_providers()[:1] != ["CUDAExecutionProvider"]:
        raise _UnavailableError("CUDA cannot be started here")
    return session, "NVIDIA GPU"


def _open_openvino(data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    found = [device for device in _openvino_devices() if device.device.type == ort.OrtHardwareDeviceType.CPU]
    if not found:
        # The plugin 1.8.1 offers its CPU device only where the CPU's vendor is Intel, although OpenVINO itself runs
        # on any x86-64 (https://github.com/microsoft/onnxruntime/pull/31981).
        raise _UnavailableError(f"the plugin offers no device for this CPU ({_cpu_vendor()})")
    # f32 by name: the default hint picks bf16, which is slower and differs; the option "precision" is ignored.
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(threads)}
    options = _strict_options(threads)
    options.add_provider_for_devices(found[:1], {"load_config": json.dumps({"CPU": config})})
    return ort.InferenceSession(data, options), _cpu_name()


def _open_cpu(data: bytes, threads: int) -> tuple[ort.InferenceSession, str]:
    options = _session_options(threads)
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]), _cpu_name()


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def _strict_options(threads: int) -> ort.SessionOptions:
    """Without this, nodes a provider does not take would run on ONNX Runtime's own CPU provider, unseen."""
    options = _session_options(threads)
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
        raise _UnavailableError(f"the package {module.replace('_', '-')} is not usable: {_line(error)}") from error
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


RUNGS: tuple[Rung, ...] = (
    Rung(family="tensorrt-rtx", provider="NvTensorRTRTXExecutionProvider", precision="f32", open=_open_tensorrt_rtx),
    Rung(family="cuda", provider="CUDAExecutionProvider", precision="f32", open=_open_cuda),
    Rung(family="webgpu", provider="WebGpuExecutionProvider", precision="f32", open=_open_webgpu),
    Rung(family="openvino", provider="OpenVINOExecutionProvider", precision="f32", open=_open_openvino),
    Rung(family="cpu", provider="CPUExecutionProvider", precision="f32", open=_open_cpu),
)
"""The ladder, best first."""
