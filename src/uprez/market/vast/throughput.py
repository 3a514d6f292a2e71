"""How fast a GPU is at our work, to compare offers by what a picture costs and not only an hour."""

from __future__ import annotations

from decimal import Decimal

FRAMES_PER_S: dict[str, Decimal] = {
    "RTX 3060 Ti": Decimal("7.83"),
    "RTX 3090": Decimal(21),
    "RTX 4090": Decimal("61.52"),
    "RTX 5090": Decimal("74.85"),
}
"""Output frames a second of Compact 2x (the kind of network that realesr-animevideov3 is), 1080p in, f16, TensorRT.

From the tables of VSGAN-tensorrt-docker's README: 4090 and 5090 of 2025 (decode and network, no encoder), 3060 Ti and
3090 of 2023 (through an encoder, so rather low). They compare GPUs roughly and do not foretell our own speed. Only
what was measured stands here: a guess from another score would rank a GPU that nobody has tried.
"""


def frames_per_s(gpu: str) -> Decimal | None:
    """Give a GPU's speed, None where nobody has measured it."""
    return FRAMES_PER_S.get(gpu.upper().replace(" TI", " Ti"))
