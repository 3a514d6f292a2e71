"""The frame that flows between decode, enhance and encode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture in 8-bit 4:2:0 and the time at which it is shown. The planes belong to whoever holds the frame."""

    planes: tuple[NDArray[np.uint8], ...]
    """Y (H, W), then U and V (H/2, W/2): contiguous, without the padding that decoders put after each row."""
    pts: int
    """Presentation time in the source stream's time base."""
