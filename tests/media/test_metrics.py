"""PSNR and SSIM: their known values, and those of FFmpeg's filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from uprez.media.metrics import decibels, mean_square, ssim


def noise(seed: int, shape: tuple[int, int] = (48, 64)) -> NDArray[np.float32]:
    """Code values of 8 bits."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def test_psnr_has_its_known_values() -> None:
    """An error of one level of 255 is 48.13 dB; none is infinite."""
    plane = noise(0)
    assert decibels(mean_square(plane, plane + 1), 255) == pytest.approx(48.1308, abs=1e-4)
    assert decibels(mean_square(plane, plane), 255) == math.inf


def test_equal_planes_are_alike() -> None:
    """SSIM of a picture and itself is 1, flat or not, and of any size."""
    for plane in (noise(1), np.full((16, 16), 7, np.float32), noise(2, (5, 3)), noise(3, (1, 1))):
        assert ssim(plane, plane, 255) == pytest.approx(1)


def test_a_window_follows_the_formula() -> None:
    """One window of 8x8 samples, computed as the paper has it."""
    one, other = noise(4, (8, 8)), noise(5, (8, 8))
    covariance = np.cov(one.ravel(), other.ravel())
    means, light, contrast = (one.mean(), other.mean()), 2.55**2, 7.65**2
    expected = (2 * means[0] * means[1] + light) * (2 * covariance[0, 1] + contrast)
    expected /= (means[0] ** 2 + means[1] ** 2 + light) * (covariance[0, 0] + covariance[1, 1] + contrast)
    assert ssim(one, other, 255) == pytest.approx(expected, rel=1e-5)


def test_structure_counts_more_than_light() -> None:
    """A little more light is nearly the same picture; as large an error of noise is not."""
    plane = np.add.outer(np.arange(48), np.arange(64)).astype(np.float32) * 2
    lighter = ssim(plane, plane + 10, 255)
    noisier = ssim(plane, plane + 10 * np.sign(noise(6) - 128), 255)
    assert lighter > 0.97
    assert noisier < 0.8
