"""Good clips that are hard to judge: grain, fades, flashes, night, nothing that moves, nothing but what moves.

Each is made of the materials' clips or of numbers, in memory: 8 bits of 4:2:0, BT.709, limited range.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from uprez.job import Colour, Video
from uprez.media.frame import Frame

FRAMES = 12
COLOUR = Colour(matrix="bt709", full_range=False, siting="left")
Planes: TypeAlias = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip."""

    name: str
    footage: str
    """What it is made of: a wrong picture is taken from a clip of other footage."""
    make: Callable[[Path, np.random.Generator], list[Planes]]
    """Makes it from the folder of materials and a generator of its own."""


def frames(clip: Clip, materials: Path) -> list[Frame]:
    """Make a clip, the same one every time."""
    planes = clip.make(materials, np.random.default_rng(zlib.crc32(clip.name.encode())))
    return [Frame(planes=tuple(np.ascontiguousarray(plane) for plane in each), pts=n) for n, each in enumerate(planes)]


def video(clip: list[Frame]) -> Video:
    """Say what a clip is, as a probe would."""
    rows, columns = clip[0].planes[0].shape
    return Video(
        container="matroska,webm",
        size=1,
        stream=0,
        codec="ffv1",
        width=columns,
        height=rows,
        pix_fmt="yuv420p",
        sar=Fraction(1),
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        duration=None,
        frames=len(clip),
        colour=COLOUR,
    )


# --- footage


@lru_cache(maxsize=8)
def read(path: Path, first: int, size: tuple[int, int], count: int = FRAMES) -> list[Planes]:
    """Give so many frames of a film at this size, each an average."""
    with av.open(f"file:{path}") as container:
        decoded = container.decode(video=0)
        for _ in range(first):
            next(decoded)
        return [_planes(next(decoded).reformat(*size, format="yuv420p", interpolation="AREA")) for _ in range(count)]


def _planes(frame: VideoFrame) -> Planes:
    found = []
    for plane in frame.planes:
        lines = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
        found.append(lines[:, : plane.width])
    return tuple(found)


def _head(materials: Path) -> list[Planes]:
    return read(materials / "carphone_pristine.mp4", 20, (176, 144))


def _bikes(materials: Path) -> list[Planes]:
    return read(materials / "bikes.mp4", 60, (224, 96))


def _bunny(materials: Path) -> list[Planes]:
    return read(materials / "bigbuckbunny.mp4", 60, (256, 144))


# --- what is done to it


def _codes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
    return codes


def _noisy(planes: Planes, rng: np.random.Generator, luma: float, chroma: float = 0, *, coarse: int = 0) -> Planes:
    """Add noise of these deviations, in code values; `coarse` smooths it, so that its grains are larger."""
    made = []
    for plane, level in zip(planes, (luma, chroma, chroma), strict=True):
        noise = rng.normal(0, 1, plane.shape)
        for _ in range(coarse):
            noise = noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))
        made.append(_codes(plane + level * noise / noise.std()))
    return tuple(made)


def _lit(planes: Planes, light: float) -> Planes:
    """Show a picture in so much of its light."""
    return tuple(
        _codes(black + (plane - float(black)) * light) for plane, black in zip(planes, (16, 128, 128), strict=True)
    )


def _gray(planes: Planes) -> Planes:
    return planes[0], np.full_like(planes[1], 128), np.full_like(planes[2], 128)


def _pan(materials: Path, step: int) -> list[Planes]:
    """Move a window of 192x112 over one large picture."""
    (wide,) = read(materials / "bigbuckbunny.mp4", 60, (640, 360), 1)
    return [
        tuple(
            plane[120 // share : 232 // share, (step * n) // share : (step * n + 192) // share]
            for plane, share in zip(wide, (1, 2, 2), strict=True)
        )
        for n in range(FRAMES)
    ]


def _static(rng: np.random.Generator) -> Planes:
    return tuple(rng.integers(16, 236, shape).astype(np.uint8) for shape in ((96, 160), (48, 80), (48, 80)))


def _dot(number: int) -> Planes:
    """Six columns of ten lines that move over dark gray."""
    luma = np.full((96, 160), 40, np.uint8)
    luma[60:70, 20 + 2 * number : 26 + 2 * number] = 220
    return luma, np.full((48, 80), 128, np.uint8), np.full((48, 80), 128, np.uint8)


def _flashes(planes: list[Planes]) -> list[Planes]:
    return [_lit(each, 2.2) if n in {4, 8} else each for n, each in enumerate(planes)]


def _cuts(materials: Path) -> list[Planes]:
    """Show another scene every three frames."""
    path = materials / "bigbuckbunny.mp4"
    return [each for first in (0, 50, 90, 125) for each in read(path, first, (256, 144), 3)]


CLIPS = (
    Clip(name="talking head", footage="head", make=lambda m, _: _head(m)),
    Clip(name="bikes", footage="bikes", make=lambda m, _: _bikes(m)),
    Clip(name="bunny", footage="bunny", make=lambda m, _: _bunny(m)),
    Clip(name="scene cuts", footage="bunny", make=lambda m, _: _cuts(m)),
    Clip(name="heavy grain", footage="bunny", make=lambda m, r: [_noisy(p, r, 30) for p in _bunny(m)]),
    Clip(name="coarse grain", footage="head", make=lambda m, r: [_noisy(p, r, 20, coarse=2) for p in _head(m)]),
    Clip(name="chroma noise", footage="bunny", make=lambda m, r: [_noisy(_gray(p), r, 3, 12) for p in _bunny(m)]),
    Clip(name="still", footage="bunny", make=lambda m, _: _bunny(m)[:1] * FRAMES),
    Clip(name="slow fade", footage="bunny", make=lambda m, _: [_lit(_bunny(m)[3], 1 - n / 100) for n in range(FRAMES)]),
    Clip(
        name="fade to black",
        footage="bunny",
        make=lambda m, _: [_lit(p, 1 - n / (FRAMES - 1)) for n, p in enumerate(_bunny(m))],
    ),
    Clip(
        name="dark fade",
        footage="bunny",
        make=lambda m, _: [_lit(_bunny(m)[3], 0.3 - 0.3 * n / FRAMES) for n in range(FRAMES)],
    ),
    Clip(name="flashes", footage="bunny", make=lambda m, _: _flashes(_bunny(m))),
    Clip(
        name="strobe",
        footage="bikes",
        make=lambda m, _: [_lit(p, 1 if n % 2 else 0.15) for n, p in enumerate(_bikes(m))],
    ),
    Clip(name="night", footage="bikes", make=lambda m, _: [_lit(p, 0.08) for p in _bikes(m)]),
    Clip(name="noisy night", footage="bikes", make=lambda m, r: [_noisy(_lit(p, 0.06), r, 8, 6) for p in _bikes(m)]),
    Clip(
        name="small and noisy",
        footage="bikes",
        make=lambda m, r: [_noisy(_lit(p, 0.25), r, 10, 8) for p in read(m / "bikes.mp4", 60, (64, 48))],
    ),
    Clip(name="gray", footage="head", make=lambda m, _: [_gray(p) for p in _head(m)]),
    Clip(name="pan", footage="bunny", make=lambda m, _: _pan(m, 4)),
    Clip(name="fast pan", footage="bunny", make=lambda m, _: _pan(m, 24)),
    Clip(name="on twos", footage="bunny", make=lambda m, _: [_bunny(m)[n // 2] for n in range(FRAMES)]),
    Clip(name="TV static", footage="none", make=lambda _, r: [_static(r) for _ in range(FRAMES)]),
    Clip(name="tiny object", footage="none", make=lambda _, __: [_dot(n) for n in range(FRAMES)]),
)
