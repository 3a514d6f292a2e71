"""The frame that flows between decode, enhance and encode."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""One plane: uint8 of 8-bit video, uint16 of everything deeper, (rows, columns)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture and the time at which it is shown. The planes belong to whoever holds the frame."""

    planes: tuple[Samples, ...]
    """Code values: Y, U, V or Y alone or G, B, R; contiguous, without the padding that decoders put after each row."""
    pts: int
    """Presentation time in the source stream's time base."""
    damaged: bool = False
    """It could not be decoded whole: the decoder's best, or its neighbour's picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one output frame is made of: a frame of the source, or two that it lies between."""

    left: Frame
    right: Frame
    """The next frame; `left` itself where that is shown as it is."""
    fraction: Fraction = Fraction(0)
    """How far from left to right, at least 0 and below 1; 0 where and only where they are the same."""
