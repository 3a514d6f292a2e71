"""Pictures made smaller by exact area weights, and what their samples are as R'G'B'. Pure.

A cell of the smaller picture is the mean of the area that it covers, so that a picture and its enlargement by a perfect
scaler give the same one. Chroma is averaged where it lies, whatever its siting. All of it is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from uprez.job import LUMA_WEIGHTS, UPRIGHT, Colour, Turn
from uprez.media.frame import Frame, Samples

Size = tuple[int, int]
"""Columns and rows."""
Picture: TypeAlias = NDArray[np.float32]
"""(rows, columns, 3): R', G', B', from 0 to 1 but for what lies outside the range (superwhite); not clipped."""

_BLOCK_SAMPLES = 16
"""About as many does a block cover: fewer mean more calls, more mean products with zeros. 4K to a thumb takes 2 ms."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Neighbouring cells of one side."""

    first: int
    """First of the samples that they cover."""
    after: int
    weights: NDArray[np.float32]
    """(cells, samples); each row sums to 1."""


def reduced(frame: Frame, colour: Colour, size: Size, turn: Turn = UPRIGHT) -> Picture:
    """Give a frame at this size, turned as it is to be shown; a size beyond the frame's own enlarges."""
    columns, rows = (size[1], size[0]) if turn.lies else size
    luma, others = frame.planes[0], frame.planes[1:]
    planes = [_plane(luma, (columns, rows))]
    if colour.family == "yuv":
        planes += [_chroma(plane, (columns, rows), luma.shape, colour) for plane in others]
    else:
        planes += [_plane(plane, (columns, rows)) for plane in others]
    return turned(_rgb(planes, colour), turn)


def reduced_luma(frame: Frame, colour: Colour, size: Size, turn: Turn = UPRIGHT) -> NDArray[np.float32]:
    """Give the luma alone, 0 for black and 1 for white; of the family "rgb", green."""
    codes = _plane(frame.planes[0], (size[1], size[0]) if turn.lies else size)
    low, span, _ = code_range(colour)
    return turned((codes - np.float32(low)) / np.float32(span), turn)


def turned(picture: NDArray[np.float32], turn: Turn) -> NDArray[np.float32]:
    """Mirror and turn a picture as it is to be shown."""
    seen = picture[:, ::-1] if turn.mirrored else picture
    return np.ascontiguousarray(np.rot90(seen, -turn.quarters))


def luma_weights(colour: Colour) -> NDArray[np.float32]:
    """Give the shares of R', G' and B' in luma."""
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    return np.array((kr, 1 - kr - kb, kb), np.float32)


# --- areas


def _plane(plane: Samples, size: Size) -> NDArray[np.float32]:
    rows, columns = plane.shape
    return _averaged(plane, _blocks(columns, columns, size[0], 1, 0.0), _blocks(rows, rows, size[1], 1, 0.0))


def _chroma(plane: Samples, size: Size, shape: tuple[int, ...], colour: Colour) -> NDArray[np.float32]:
    """Average a plane of chroma of a picture of this shape."""
    rows, columns = plane.shape
    column, row = colour.chroma_at
    across = _blocks(columns, shape[1], size[0], colour.across, column)
    return _averaged(plane, across, _blocks(rows, shape[0], size[1], colour.down, row))


def _averaged(plane: Samples, across: tuple[_Block, ...], down: tuple[_Block, ...]) -> NDArray[np.float32]:
    lines = np.concatenate([block.weights @ plane[block.first : block.after].astype(np.float32) for block in down])
    return np.concatenate([lines[:, block.first : block.after] @ block.weights.T for block in across], axis=1)


@lru_cache(maxsize=64)
def _blocks(samples: int, side: int, cells: int, share: int, start: float) -> tuple[_Block, ...]:
    """Cut a side of `side` pixels into cells; sample k covers `share` pixels around pixel `share` * k + `start`.

    Samples at the ends cover what lies beyond them.
    """
    edges = np.arange(cells + 1) * (side / cells)
    places = (edges - start + (share - 1) / 2) / share
    step = max(1, _BLOCK_SAMPLES * cells // samples)
    return tuple(_block(places[at : at + step + 1], samples) for at in range(0, cells, step))


def _block(edges: NDArray[np.float64], samples: int) -> _Block:
    first = int(np.clip(np.floor(edges[0]), 0, samples - 1))
    after = int(np.clip(np.ceil(edges[-1]), first + 1, samples))
    numbers = np.arange(first, after)
    begins, ends = numbers.astype(np.float64), numbers + 1.0
    begins[numbers == 0], ends[numbers == samples - 1] = -np.inf, np.inf
    shared = np.minimum(ends, edges[1:, None]) - np.maximum(begins, edges[:-1, None])
    weights = np.maximum(shared, 0) / np.diff(edges)[:, None]
    return _Block(first=first, after=after, weights=weights.astype(np.float32))


# --- colour


def _rgb(planes: list[NDArray[np.float32]], colour: Colour) -> Picture:
    """Compute R'G'B' from code values by H.273; written apart from the graphs, whose pictures it helps to check."""
    low, span, chroma_span = code_range(colour)
    first = (planes[0] - np.float32(low)) / np.float32(span)
    if colour.family == "gray":
        return np.stack([first] * 3, axis=-1)
    if colour.family == "rgb":
        blue, red = ((plane - np.float32(low)) / np.float32(span) for plane in planes[1:])
        return np.stack([red, first, blue], axis=-1)
    middle = np.float32(1 << (colour.depth - 1))
    u, v = ((plane - middle) / np.float32(chroma_span) for plane in planes[1:])
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    red, blue = first + np.float32(2 - 2 * kr) * v, first + np.float32(2 - 2 * kb) * u
    green = (first - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
    return np.stack([red, green, blue], axis=-1)


def code_range(colour: Colour) -> tuple[int, int, int]:
    """Give the code value of black, and the spans of luma and of chroma."""
    top, unit = (1 << colour.depth) - 1, 1 << (colour.depth - 8)
    return (0, top, top) if colour.full_range else (16 * unit, 219 * unit, 224 * unit)
