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
    return FRAMES_PER_S.get(_name(gpu))


FULL_HD = 1920 * 1080
COMPACT_2X_MACS = 598_464
"""Of a source's pixel: 16 convolutions of 64 features, the first from 3, the last to 12 (as realesr-animevideov3)."""
RRDB_MACS, IFNET_MACS = 17_926_848, 20_702
"""Of the rows of MODELS that have these networks."""
PUBLISHED_FPS: dict[str, tuple[tuple[str, int, str], ...]] = {
    "srvgg": (
        *((gpu, COMPACT_2X_MACS, str(fps)) for gpu, fps in FRAMES_PER_S.items()),
        ("A100 SXM4", COMPACT_2X_MACS, "12.42"),
    ),
    "rrdb": (
        ("RTX 3060 Ti", RRDB_MACS, "0.29"),
        ("RTX 3090", RRDB_MACS, "0.7"),
        ("RTX 4090", RRDB_MACS, "1.2"),
        ("A100 SXM4", RRDB_MACS, "1.1"),
    ),
    "ifnet": (("RTX 4090", IFNET_MACS, "409.53"),),
}
"""Frames a second at 1080p, f16, TensorRT, by architecture: GPU, multiply-accumulates of a pixel, frames.

VSGAN-tensorrt-docker's README: Compact as above; RRDB with 23 blocks, of 2023; RIFE 4.26 at twice the frames, of 2025.
The A100 is Colab's; like the 3060 Ti and the 3090 it was measured through an encoder.
"""


def gmac_per_s(gpu: str, architecture: str) -> float | None:
    """Give the published rate of a GPU at a kind of network, in 10^9 multiply-accumulates; None where there is none.

    With decoding and without fetching, and mostly without encoding: our own rate is below it.
    """
    name = _name(gpu)
    rows = PUBLISHED_FPS.get(architecture, ())
    return next((float(fps) * FULL_HD * macs / 1e9 for known, macs, fps in rows if known == name), None)


def published() -> tuple[str, ...]:
    """Name the GPUs that anything was published of."""
    return tuple(dict.fromkeys(gpu for rows in PUBLISHED_FPS.values() for gpu, _, _ in rows))


def _name(gpu: str) -> str:
    """Write a GPU's name as the tables do."""
    return gpu.upper().replace(" TI", " Ti")
