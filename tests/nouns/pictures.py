"""Pictures of which one can say what lies between two of them: waves that move, at any time and any size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from uprez.job import Colour
from uprez.media.frame import Frame, Samples
from uprez.models.graphs import plane_shapes

Levels = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A pattern that moves evenly: the same pattern, so far on, at every position of the source."""

    width: int
    height: int
    colour: Colour
    motion: tuple[float, float] = (5.0, -3.0)
    """Pixels from one frame to the next, to the right and downwards."""
    seed: int = 0
    """Another one is another scene."""
    low: float = 0.15
    high: float = 0.85
    """Of luma, black being 0 and white 1."""

    def at(self, position: Fraction | float, *, pts: int = 0, damaged: bool = False) -> Frame:
        """Give the frame at a position, which need not be a whole one."""
        names = plane_shapes(self.width, self.height, self.colour)
        planes = [stored(self.level(name, position), self.colour, chroma=name in "uv") for name in names]
        return Frame(planes=tuple(planes), pts=pts, damaged=damaged)

    def level(self, plane: str, position: Fraction | float, scale: int = 1) -> Levels:
        """Give one plane of a picture `scale` times as large, in 0-1; those of RGB are all alike."""
        colour = self.colour
        shape = plane_shapes(scale * self.width, scale * self.height, colour)[plane]
        down, across = (colour.down, colour.across) if plane in "uv" else (1, 1)
        column, row = colour.chroma_at if plane in "uv" else (0.0, 0.0)
        y = (np.arange(shape[0]) * down + row + 0.5) / scale - 0.5 - self.motion[1] * float(position)
        x = (np.arange(shape[1]) * across + column + 0.5) / scale - 0.5 - self.motion[0] * float(position)
        number = "uv".find(plane) + 1
        rng, total = np.random.default_rng((self.seed, number)), np.zeros(shape)
        for _ in range(_WAVES):
            angle, length, phase = rng.uniform(0, 2 * np.pi), rng.uniform(9, 40), rng.uniform(0, 2 * np.pi)
            per_px = 2j * np.pi / length
            total += np.outer(np.exp(per_px * np.sin(angle) * y + 1j * phase), np.exp(per_px * np.cos(angle) * x)).real
        share = 0.5 + total / _WAVES * (0.5 if number else 1.4)
        return np.clip(self.low + (self.high - self.low) * share, self.low, self.high)


_WAVES = 12


def stored(level: Levels, colour: Colour, *, chroma: bool = False) -> Samples:
    """Give codes of levels in 0-1; of chroma 0.5 is gray."""
    unit, top = 1 << (colour.depth - 8), (1 << colour.depth) - 1
    low, span = (0, top) if colour.full_range else (16 * unit, (224 if chroma else 219) * unit)
    codes = np.clip(np.floor(low + span * level + 0.5), 0, top)
    return codes.astype(np.uint8) if colour.depth == 8 else codes.astype(np.uint16)


def psnr(one: Samples, other: Samples, *, depth: int = 8, edge: int = 0) -> float:
    """Give how near two planes are, in decibels, `edge` samples from the border not counted."""
    inside = (slice(edge, -edge or None),) * 2
    square = np.square(one[inside].astype(np.float64) - other[inside]).mean()
    return float("inf") if square == 0 else float(10 * np.log10(((1 << depth) - 1) ** 2 / square))
