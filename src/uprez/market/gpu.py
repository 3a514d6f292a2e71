"""What nvidia-smi says, and which execution provider the GPU calls for. Pure, and standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

FIELDS = ("name", "memory.total", "memory.free", "driver_version", "compute_cap")
"""In the order in which they are asked for; drivers before 510 do not know the last."""
CUDA_13_DRIVER = 580
"""The least driver of CUDA 13, which onnxruntime-gpu is built for."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One line of the answer; None for what the driver does not tell."""

    name: str
    vram_mb: int | None = None
    vram_free_mb: int | None = None
    driver: str | None = None
    compute_cap: str | None = None


@dataclass(frozen=True, kw_only=True)
class Smi:
    """An answer of nvidia-smi."""

    gpus: tuple[Gpu, ...] = ()
    error: str | None = None
    """Its words where it names no GPU."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A way to run networks, and what it takes to have it."""

    name: str
    """Of its file of pins: `pins/<name>.txt`."""
    families: tuple[str, ...]
    """What sheets call it."""


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(name="tensorrt-rtx", families=("tensorrt-rtx",)),
        Provider(name="cuda", families=("cuda",)),
        Provider(name="webgpu", families=("webgpu",)),
        Provider(name="cpu", families=("openvino", "cpu")),
    )
}
"""One set of pins for each; onnxruntime and onnxruntime-gpu exclude each other, so no set holds them all."""

RTX_CUDA = 12.0
"""The least that a driver must support for it."""
RTX_CAPS = frozenset({"8.6", "8.9", "12.0", "12.1"})
"""What the TensorRT-RTX plugin builds engines for (`nv_target_sm`): Ampere, Ada and Blackwell but for data centres."""
_RTX_NAME = re.compile(r"\bRTX (3|4|5)0[5-9]0|\bRTX A\d{3,4}\b|\b(A2|A10G?|A16|A40|L4|L20|L40S?)\b|\bRTX (PRO|\d{4}) ")
_CUDA_NAME = re.compile(
    r"\b(A30|A100|A800|H100|H200|H800|GH200|B200|B300|GB200|T4G?|T1000)\b|\bRTX 20|\bGTX 16|TITAN RTX"
)


def parse(text: str) -> Smi:
    """Read `--query-gpu=<FIELDS> --format=csv,noheader,nounits`, whatever it says; never raises."""
    gpus = tuple(gpu for line in text.splitlines() if (gpu := _gpu(line)))
    words = " ".join(text.split())
    return Smi(gpus=gpus) if gpus else Smi(error=words[:300] or "nvidia-smi said nothing")


def _gpu(line: str) -> Gpu | None:
    values: list[str | None] = [_told(value.strip()) for value in line.split(",")]
    if not 4 <= len(values) <= len(FIELDS) or values[0] is None:
        return None
    name, total, free, driver, cap = (*values, None)[: len(FIELDS)]
    if (total and not total.isdecimal()) or (driver and not re.fullmatch(r"[\d.]+", driver)):
        return None  # a sentence with commas
    return Gpu(
        name=name or "",
        vram_mb=int(total) if total else None,
        vram_free_mb=int(free) if free and free.isdecimal() else None,
        driver=driver,
        compute_cap=cap if cap and re.fullmatch(r"\d+\.\d", cap) else None,
    )


def _told(value: str) -> str | None:
    """Give None for [N/A], [Not Supported], [Unknown Error], [GPU requires reset], ERR! and nothing."""
    return None if not value or value.startswith("[") or value in ("N/A", "ERR!") else value


def choose(smi: Smi | None) -> Provider:
    """Name the provider that the first GPU calls for; the CPU's where there is none.

    TensorRT-RTX where its plugin can build an engine; onnxruntime-gpu for what it leaves out, data-centre and Turing
    GPUs, if the driver knows CUDA 13; WebGPU, which asks for Vulkan alone, for the rest. Whether a lease accepts what
    was chosen is its sheet's matter.
    """
    if smi is None or not smi.gpus:
        return PROVIDERS["cpu"]
    gpu = smi.gpus[0]
    if gpu.compute_cap in RTX_CAPS or (gpu.compute_cap is None and _RTX_NAME.search(gpu.name)):
        return PROVIDERS["tensorrt-rtx"]
    cuda = float(gpu.compute_cap) >= 7.5 if gpu.compute_cap else bool(_CUDA_NAME.search(gpu.name))
    if cuda and _major(gpu.driver) >= CUDA_13_DRIVER:
        return PROVIDERS["cuda"]
    return PROVIDERS["webgpu"]


def foreseen(compute_cap: int | None, cuda: float | None) -> Provider | None:
    """Name the provider that an offer's GPU will call for; None where nothing but WebGPU would do, or it is not told.

    `compute_cap` as markets write it (890 is 8.9), `cuda` the highest version that its driver supports. WebGPU needs a
    Vulkan loader, which the image that machines run by default does not bring.
    """
    if compute_cap is None or cuda is None:
        return None
    if f"{compute_cap // 100}.{compute_cap % 100 // 10}" in RTX_CAPS:
        return PROVIDERS["tensorrt-rtx"] if cuda >= RTX_CUDA else None
    return PROVIDERS["cuda"] if compute_cap >= 750 and cuda >= 13 else None


def _major(driver: str | None) -> int:
    """Give a driver's first number; one that is not told is taken for old."""
    return int(driver.split(".")[0] or 0) if driver else 0
