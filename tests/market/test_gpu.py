"""What nvidia-smi says on many machines, and what uprez makes of it."""

from __future__ import annotations

import pytest

from uprez.market.gpu import PROVIDERS, Gpu, Smi, choose, foreseen, parse

ANSWERS = {
    "GTX 1080 Ti": ("NVIDIA GeForce GTX 1080 Ti, 11264, 11163, 535.183.01, 6.1", "webgpu"),
    "V100": ("Tesla V100-SXM2-16GB, 16384, 16150, 570.133.20, 7.0", "webgpu"),
    "GTX 1650": ("NVIDIA GeForce GTX 1650, 4096, 3903, 550.120, 7.5", "webgpu"),
    "RTX 2080 Ti, new driver": ("NVIDIA GeForce RTX 2080 Ti, 11264, 10839, 580.95.05, 7.5", "cuda"),
    "T4": ("Tesla T4, 15360, 14918, 580.65.06, 7.5", "cuda"),
    "RTX 3060": ("NVIDIA GeForce RTX 3060, 12288, 12037, 560.35.03, 8.6", "tensorrt-rtx"),
    "RTX A6000": ("NVIDIA RTX A6000, 49140, 48536, 535.230.02, 8.6", "tensorrt-rtx"),
    "A10": ("NVIDIA A10, 23028, 22513, 550.90.07, 8.6", "tensorrt-rtx"),
    "RTX 4090, two of them": (
        "NVIDIA GeForce RTX 4090, 24564, 24081, 570.124.06, 8.9\nNVIDIA GeForce RTX 4090, 24564, 120, 570.124.06, 8.9",
        "tensorrt-rtx",
    ),
    "L40S": ("NVIDIA L40S, 46068, 45473, 565.57.01, 8.9", "tensorrt-rtx"),
    "RTX 5090": ("NVIDIA GeForce RTX 5090, 32607, 32098, 575.64.03, 12.0", "tensorrt-rtx"),
    "RTX PRO 6000": ("NVIDIA RTX PRO 6000 Blackwell Server Edition, 97887, 97243, 580.82.07, 12.0", "tensorrt-rtx"),
    "GB10, whose memory is the machine's": ("NVIDIA GB10, [N/A], [N/A], 580.95.05, 12.1", "tensorrt-rtx"),
    "A100": ("NVIDIA A100-SXM4-80GB, 81920, 81224, 580.105.08, 8.0", "cuda"),
    "A100, old driver": ("NVIDIA A100-PCIE-40GB, 40960, 40337, 550.163.01, 8.0", "webgpu"),
    "H100": ("NVIDIA H100 80GB HBM3, 81559, 81007, 590.44.01, 9.0", "cuda"),
    "H200": ("NVIDIA H200, 143771, 143158, 580.95.05, 9.0", "cuda"),
    "B200": ("NVIDIA B200, 183359, 182642, 580.95.05, 10.0", "cuda"),
    "RTX 3090, driver without compute_cap": ("GeForce RTX 3090, 24268, 24258, 460.91.03", "tensorrt-rtx"),
    "A100, driver without compute_cap": ("A100-SXM4-40GB, 40536, 40533, 450.142.00", "webgpu"),
    "compute_cap not told": ("NVIDIA GeForce RTX 3080, 10240, 9990, 550.54.14, [N/A]", "tensorrt-rtx"),
}
"""Lines as `--query-gpu=name,memory.total,memory.free,driver_version,compute_cap` prints them, and the choice."""

ERRORS = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMake sure that it runs.",
    "No devices were found",
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163",
    "Failed to initialize NVML: Unknown Error",
    "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error",
    'Field "compute_cap" is not a valid field to query.',
    "Sorry, the GPU, if any, is lost, reboot the system",
    "[Unknown Error], [Unknown Error], [Unknown Error], 550.90, [Unknown Error]",
    "",
)


@pytest.mark.parametrize("card", ANSWERS)
def test_each_card_gets_its_provider(card: str) -> None:
    """TensorRT-RTX where it builds engines, CUDA where the driver is new enough, WebGPU for the rest."""
    text, provider = ANSWERS[card]
    assert choose(parse(text)).name == provider


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_no_gpu(text: str) -> None:
    """An error keeps its words, and only the CPU is left: the sheet says whether that is accepted."""
    smi = parse(text)
    assert smi.gpus == ()
    assert smi.error == (" ".join(text.split()) or "nvidia-smi said nothing")
    assert choose(smi) is PROVIDERS["cpu"]


def test_facts_are_those_of_the_line() -> None:
    """Name, memory, driver and capability; a value that is not told is None, and the other GPUs are counted."""
    two = parse(ANSWERS["RTX 4090, two of them"][0])
    card = Gpu(
        name="NVIDIA GeForce RTX 4090", vram_mb=24564, vram_free_mb=24081, driver="570.124.06", compute_cap="8.9"
    )
    assert two.gpus[0] == card
    assert len(two.gpus) == 2
    assert parse("NVIDIA GB10, [N/A], [N/A], 580.95.05, 12.1").gpus[0].vram_mb is None
    assert parse("GeForce RTX 3090, 24268, ERR!, 460.91.03").gpus == (
        Gpu(name="GeForce RTX 3090", vram_mb=24268, driver="460.91.03"),
    )


def test_no_gpu_at_all_is_the_cpu() -> None:
    """Nobody asked, or nothing was there."""
    assert choose(None) is PROVIDERS["cpu"]
    assert choose(Smi()) is PROVIDERS["cpu"]


@pytest.mark.parametrize(
    ("compute_cap", "cuda", "provider"),
    [
        (860, 12.4, "tensorrt-rtx"),
        (890, 13.0, "tensorrt-rtx"),
        (1200, 12.8, "tensorrt-rtx"),
        (890, 11.8, None),
        (800, 13.0, "cuda"),
        (900, 13.1, "cuda"),
        (750, 13.0, "cuda"),
        (800, 12.8, None),
        (610, 13.0, None),
        (None, 13.0, None),
        (890, None, None),
    ],
)
def test_an_offer_is_judged_by_what_its_gpu_will_call_for(
    compute_cap: int | None, cuda: float | None, provider: str | None
) -> None:
    """What would end with WebGPU, which the default image cannot run, is not rented; nor is what is not told."""
    found = foreseen(compute_cap, cuda)
    assert (found.name if found else None) == provider
