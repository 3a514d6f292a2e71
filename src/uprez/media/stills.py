"""Frames as pictures that a person can look at: evidence, and what `uprez compare` shows. HDR is not tone mapped."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from uprez.job import UPRIGHT, Colour, Turn
from uprez.media.frame import Frame
from uprez.media.reduction import Picture, reduced

Still: TypeAlias = NDArray[np.uint8]
"""(rows, columns, 3): R', G', B'."""

_DIVIDER_PX = 4
_DIVIDER = 255
_SEEN_PX = 384
"""Least longer side of a thumb that a person looks at."""


def rgb(frame: Frame, colour: Colour, turn: Turn = UPRIGHT) -> Still:
    """Give a frame at its own size, turned as it is to be shown."""
    rows, columns = frame.planes[0].shape
    return _bytes(reduced(frame, colour, (rows, columns) if turn.lies else (columns, rows), turn))


def seen(thumb: Picture) -> Still:
    """Give a thumb enlarged by a whole factor, so that its samples can be told apart."""
    factor = -(-_SEEN_PX // max(thumb.shape[:2]))
    return _bytes(thumb).repeat(factor, axis=0).repeat(factor, axis=1)


def side_by_side(left: Still, right: Still) -> Still:
    """Put two pictures beside each other at the taller one's height, with a thin white line between them."""
    height = max(left.shape[0], right.shape[0])
    line = np.full((height, _DIVIDER_PX, 3), _DIVIDER, np.uint8)
    return np.concatenate([_as_high(left, height), line, _as_high(right, height)], axis=1)


def png(picture: Still) -> bytes:
    """Give a picture as a PNG file."""
    context = VideoCodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = picture.shape[1], picture.shape[0], "rgb24"
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def _bytes(picture: Picture) -> Still:
    return (picture * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _as_high(picture: Still, height: int) -> Still:
    """Enlarge by repeating samples, which hides nothing of a picture."""
    rows, columns = picture.shape[:2]
    width = max(1, round(columns * height / rows))
    down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
    return picture if rows == height else picture[down][:, across]
