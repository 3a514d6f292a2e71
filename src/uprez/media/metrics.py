"""How far two pictures are apart, as the world measures it: PSNR and SSIM. Pure."""

from __future__ import annotations

from math import inf, log10

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_BLOCK = 4
_WINDOW = 2
"""Blocks a side of a window: 8x8 samples, one every 4."""
_K1, _K2 = 0.01, 0.03
"""Of SSIM, by Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004."""


def decibels(error: float, peak: float = 1.0) -> float:
    """Give the PSNR of a mean squared error; infinite of none."""
    return 10 * log10(peak**2 / error) if error else inf


def mean_square(one: Plane, other: Plane) -> float:
    """Give the mean squared difference."""
    return float(np.mean(np.square(one - other), dtype=np.float64))


def ssim(one: Plane, other: Plane, peak: float) -> float:
    """Give the mean SSIM of two planes over windows of 8x8 samples, all alike in weight, one every 4 samples.

    Statistics are those of samples (n - 1). Rows and columns beyond the last whole 4 are left out; what is smaller
    than 8 on a side is one window.
    """
    count, sums = _sums(one, other)
    mean_one, mean_other, square_one, square_other, product = (total / count for total in sums)
    unbiased = count / max(1, count - 1)
    variance = unbiased * (square_one - mean_one**2 + square_other - mean_other**2)
    covariance = unbiased * (product - mean_one * mean_other)
    light, contrast = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    above = (2 * mean_one * mean_other + light) * (2 * covariance + contrast)
    below = (mean_one**2 + mean_other**2 + light) * (variance + contrast)
    return float(np.mean(above / below))


def _sums(one: Plane, other: Plane) -> tuple[int, list[NDArray[np.float64]]]:
    """Give the number of samples in a window and, of each window, the sums of both, their squares and their product."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    values = (x, y, x * x, y * y, x * y)
    if min(one.shape) < _BLOCK * _WINDOW:
        return one.size, [value.sum() for value in values]
    return (_BLOCK * _WINDOW) ** 2, [_windows(value) for value in values]


def _windows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (side // _BLOCK for side in values.shape)
    whole = values[: rows * _BLOCK, : columns * _BLOCK]
    lines = whole.reshape(rows, _BLOCK, columns * _BLOCK).sum(axis=1)
    blocks = lines.reshape(rows, columns, _BLOCK).sum(axis=2)
    total: NDArray[np.float64] = blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]
    return total
