"""How fast a GPU is at our work, to compare offers by what a picture costs and not only an hour."""

from __future__ import annotations

from decimal import Decimal

FRAMES_PER_S: dict[str, Decimal] = {
    "RTX 3090": Decimal(21),
    "RTX 4090": Decimal("61.5"),
    "RTX 5090": Decimal(75),
}
"""Output frames a second of Compact 2x (the kind of network that realesr-animevideov3 is), 1080p in, f16, TensorRT.

Published with VideoJaNai's and vs-mlrt's benchmarks (decode, network and pipe, no encoder; the 5090 with 10 streams).
They compare GPUs with each other; they do not foretell our own speed. Only what was measured stands here: a guess from
another score would rank a GPU that nobody has tried.
"""


def frames_per_s(gpu: str) -> Decimal | None:
    """Give a GPU's speed, None where nobody has measured it."""
    return FRAMES_PER_S.get(gpu.upper())
