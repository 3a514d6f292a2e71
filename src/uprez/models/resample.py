"""Separable resampling as sparse rows of weights, in NumPy: what the graphs multiply with, and nothing that runs.

A row says how one output sample is made of neighbouring input samples. Sample k of n covers [k, k + 1) of a side of
length n, so that first and last edges of the input and output meet. Beyond an edge, the edge sample repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LANCZOS_LOBES = 3


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Rows of weights over a side of `size` samples; each row sums to 1."""

    size: int
    starts: NDArray[np.int64]
    """First input sample of each row; start + width never passes `size`."""
    weights: NDArray[np.float64]
    """(rows, width)."""

    @property
    def rows(self) -> int:
        """Number of output samples."""
        return int(self.starts.size)

    @property
    def is_identity(self) -> bool:
        """True where every output sample is the input sample of the same number."""
        return self.rows == self.size and self.weights.shape[1] == 1

    def dense(self) -> NDArray[np.float64]:
        """Give the same weights as a (rows, size) matrix."""
        matrix = np.zeros((self.rows, self.size))
        columns = self.starts[:, None] + np.arange(self.weights.shape[1])
        matrix[np.arange(self.rows)[:, None], columns] = self.weights
        return matrix


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Taps cut into blocks of neighbouring rows: small dense matrices, each over one window of the input."""

    windows: NDArray[np.int64]
    """(blocks, window): the input samples of each block."""
    matrices: NDArray[np.float32]
    """(blocks, rows a block, window); rows past the last one are zero."""


def keep(size: int) -> Taps:
    """Leave a side as it is."""
    return Taps(size=size, starts=np.arange(size), weights=np.ones((size, 1)))


def lanczos(size: int, rows: int) -> Taps:
    """Take a side from `size` to `rows` samples by Lanczos with 3 lobes, widened when reducing against aliasing."""
    if size == rows:
        return keep(size)
    stretch = max(1.0, size / rows)
    centres = (np.arange(rows) + 0.5) * size / rows - 0.5
    first = np.ceil(centres - _LANCZOS_LOBES * stretch).astype(np.int64)
    count = int(np.ceil(2 * _LANCZOS_LOBES * stretch)) + 1
    distance = (first[:, None] + np.arange(count) - centres[:, None]) / stretch
    weights = np.where(np.abs(distance) < _LANCZOS_LOBES, np.sinc(distance) * np.sinc(distance / _LANCZOS_LOBES), 0)
    return _folded(size, first, weights / weights.sum(axis=1, keepdims=True))


def chroma_up(rows: int, *, factor: int = 2, offset: float) -> Taps:
    """Take a chroma side to the luma side of `rows` samples, by Catmull-Rom.

    Chroma sample k lies on luma sample `factor` * k + `offset`: 0 is co-sited, (factor - 1) / 2 half-way.
    """
    if factor == 1:
        return keep(rows)
    positions = (np.arange(rows) - offset) / factor
    first = np.floor(positions).astype(np.int64) - 1
    weights = _catmull_rom(positions[:, None] - (first[:, None] + np.arange(4)))
    return _folded(-(-rows // factor), first, weights)


def chroma_down(size: int, *, factor: int = 2, offset: float) -> Taps:
    """Average a full side of `size` samples down to its chroma side, by Catmull-Rom; places as in `chroma_up`.

    A plain average of 2 or 3 samples dims what `chroma_up` sharpened: by 4 code values of 112 at 12 chroma samples a
    wave, where these weights lose less than one.
    """
    if factor == 1:
        return keep(size)
    centres = factor * np.arange(-(-size // factor)) + offset
    first = np.ceil(centres - 2 * factor).astype(np.int64)
    distance = (first[:, None] + np.arange(4 * factor + 1) - centres[:, None]) / factor
    weights = _catmull_rom(distance)
    return _folded(size, first, weights / weights.sum(axis=1, keepdims=True))


def to_planes(size: int, rows: int, factor: int, offset: float) -> tuple[Taps, Taps]:
    """Take a side of a picture to a result's luma side of `rows` samples, and to its chroma side in one step.

    Chroma sample k lies on luma sample `factor` * k + `offset` of the result.
    """
    luma = lanczos(size, rows)
    return luma, compose(chroma_down(luma.rows, factor=factor, offset=offset), luma)


def _catmull_rom(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the cubic's weights by the distance in samples (Keys 1981, a = -1/2)."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def compose(outer: Taps, inner: Taps) -> Taps:
    """Give the rows that do what `inner` followed by `outer` does."""
    if inner.is_identity:
        return outer
    width = inner.weights.shape[1]
    reach = np.where(outer.weights != 0, 1, 0)
    starts = np.empty(outer.rows, np.int64)
    rows: list[NDArray[np.float64]] = []
    for row in range(outer.rows):
        used = outer.starts[row] + np.flatnonzero(reach[row])
        low, high = int(inner.starts[used].min()), int(inner.starts[used].max()) + width
        merged = np.zeros(high - low)
        for part in used:
            at = int(inner.starts[part]) - low
            merged[at : at + width] += outer.weights[row, part - outer.starts[row]] * inner.weights[part]
        starts[row] = low
        rows.append(merged)
    count = max(row.size for row in rows)
    padded = np.stack([np.pad(row, (0, count - row.size)) for row in rows])
    return _folded(inner.size, starts, padded)


def block_window(taps: Taps, rows: int) -> int:
    """Give how many input samples a block of `rows` output samples needs at most."""
    groups = [taps.starts[first : first + rows] for first in range(0, taps.rows, rows)]
    return max(int(group.max() - group.min()) for group in groups) + int(taps.weights.shape[1])


def part(taps: Taps, first: int, count: int, *, start: int, size: int) -> Taps:
    """Give `count` of the rows, over a part of the side that begins at sample `start` and has `size` of them.

    The rows may not reach out of that part.
    """
    starts = taps.starts[first : first + count] - start
    return Taps(size=size, starts=starts, weights=taps.weights[first : first + count])


def blocks(taps: Taps, rows: int, window: int | None = None) -> Blocks:
    """Cut taps into blocks of `rows` output samples, each over so many input samples (None: as few as will do).

    A block's matrix is dense over its window, so its products run at the speed of a matrix product; the zeros in it
    cost less than the sparse form's strided reads.
    """
    count = -(-taps.rows // rows)
    width = taps.weights.shape[1]
    groups = [taps.starts[k * rows : (k + 1) * rows] for k in range(count)]
    window = window or block_window(taps, rows)
    firsts = np.array([min(int(group.min()), taps.size - window) for group in groups])
    matrices = np.zeros((count, rows, window), np.float32)
    for row in range(taps.rows):
        block, line = divmod(row, rows)
        at = int(taps.starts[row] - firsts[block])
        matrices[block, line, at : at + width] = taps.weights[row]
    return Blocks(windows=firsts[:, None] + np.arange(window), matrices=matrices)


def _folded(size: int, first: NDArray[np.int64], weights: NDArray[np.float64]) -> Taps:
    """Bring rows that reach over an edge back onto the edge sample."""
    rows, count = weights.shape
    width = min(count, size)
    starts = np.clip(first, 0, size - width)
    columns = np.clip(first[:, None] + np.arange(count), 0, size - 1) - starts[:, None]
    folded = np.zeros((rows, width))
    np.add.at(folded, (np.broadcast_to(np.arange(rows)[:, None], columns.shape), columns), weights)
    return Taps(size=size, starts=starts, weights=folded)
