"""The resampler's rows: where samples lie, what they sum to, and that blocks say the same as the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.models import resample
from uprez.models.resample import Taps

sides = st.integers(1, 200)


@given(sides, sides)
@settings(deadline=None)
def test_a_constant_stays_constant_and_sizes_are_exact(size: int, rows: int) -> None:
    """For any two sizes, Lanczos gives exactly `rows` samples, each from weights that sum to 1."""
    matrix = resample.lanczos(size, rows).dense()
    assert matrix.shape == (rows, size)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-12)


@given(sides, sides, st.integers(1, 40))
@settings(deadline=None)
def test_blocks_say_the_same_as_the_rows(size: int, rows: int, block: int) -> None:
    """The dense blocks, put back together, are the rows' matrix."""
    taps = resample.lanczos(size, rows)
    cut = resample.blocks(taps, block)
    assert cut.windows.min() >= 0
    assert cut.windows.max() < size
    joined = np.zeros((len(cut.windows) * block, size))
    for number, window in enumerate(cut.windows):
        joined[number * block : (number + 1) * block, window] += cut.matrices[number]
    assert np.allclose(joined[:rows], taps.dense(), atol=1e-6)
    assert not joined[rows:].any()


PLACES = [(1, 0), (2, 0), (2, 0.5), (2, 1), (4, 0), (4, 1.5)]
"""Luma samples for a chroma sample, and where the first of these lies."""


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(PLACES))
@settings(deadline=None)
def test_composed_rows_do_both_steps(size: int, middle: int, place: tuple[int, float]) -> None:
    """compose(outer, inner) is the product of both matrices."""
    inner = resample.lanczos(size, middle)
    outer = resample.chroma_down(middle, factor=place[0], offset=place[1])
    both = resample.compose(outer, inner)
    assert np.allclose(both.dense(), outer.dense() @ inner.dense(), atol=1e-12)


def _ramp(taps: Taps) -> np.ndarray:
    return taps.dense() @ np.arange(taps.size)


@pytest.mark.parametrize(("size", "rows"), [(400, 200), (400, 100), (100, 150), (100, 138), (100, 400), (300, 400)])
def test_samples_lie_where_their_pixels_centres_are(size: int, rows: int) -> None:
    """Away from the edges, a ramp comes out as the ramp at (k + 1/2) * size / rows - 1/2: no shift at any ratio."""
    expected = (np.arange(rows) + 0.5) * size / rows - 0.5
    edge = int(4 * max(1, rows / size)) + 1
    # 0.02 samples: Lanczos reproduces a ramp only nearly; half a sample of shift would be 0.5.
    assert np.abs(_ramp(resample.lanczos(size, rows)) - expected)[edge:-edge].max() < 0.02


@pytest.mark.parametrize("ratio", [2, 4])
def test_reducing_removes_what_the_smaller_picture_cannot_hold(ratio: int) -> None:
    """A wave above the smaller grid's limit nearly vanishes; one well below it is kept."""
    k = np.arange(400)
    matrix = resample.lanczos(400, 400 // ratio).dense()
    fine, coarse = (matrix @ np.exp(2j * np.pi * k * f / ratio) for f in (0.8, 0.1))
    assert np.abs(fine[10:-10]).max() < 0.02
    assert 0.98 < np.abs(coarse[10:-10]).min() <= np.abs(coarse[10:-10]).max() < 1.02


def test_keeping_the_size_changes_nothing() -> None:
    """Lanczos to the same size is the identity, and says so."""
    taps = resample.lanczos(77, 77)
    assert taps.is_identity
    assert np.array_equal(taps.dense(), np.eye(77))


@pytest.mark.parametrize(("factor", "offset"), PLACES)
def test_chroma_lies_on_its_siting_in_both_directions(factor: int, offset: float) -> None:
    """A chroma ramp lands on luma where its sample says; averaging down undoes it."""
    up = resample.chroma_up(80, factor=factor, offset=offset)
    expected = (np.arange(80) - offset) / factor
    assert np.allclose(_ramp(up)[12:-12], expected[12:-12])
    down = resample.chroma_down(80, factor=factor, offset=offset)
    chroma = np.arange(80 // factor)
    assert np.allclose((down.dense() @ up.dense() @ chroma)[5:-5], chroma[5:-5])


@pytest.mark.parametrize(
    ("offset", "even", "odd"),
    [(0, (0, 1, 0, 0), (-1 / 16, 9 / 16, 9 / 16, -1 / 16)), (0.5, (-3, 29, 111, -9), (-9, 111, 29, -3))],
)
def test_the_cubic_has_its_published_weights(offset: float, even: tuple[float, ...], odd: tuple[float, ...]) -> None:
    """Catmull-Rom's weights on a sample, half-way and a quarter of the way between two."""
    rows = resample.chroma_up(40, offset=offset).dense()[20:22]
    found = [row[np.flatnonzero(row)] for row in rows]
    for got, due in zip(found, (even, odd), strict=True):
        wanted = np.array([weight for weight in due if weight])
        assert np.allclose(got, wanted / (128 if offset else 1))


@given(st.integers(1, 99), st.sampled_from(PLACES))
def test_chroma_sides_are_the_share_rounded_up(side: int, place: tuple[int, float]) -> None:
    """An odd side has a last chroma sample of its own, and every row sums to 1."""
    factor, offset = place
    up = resample.chroma_up(side, factor=factor, offset=offset)
    down = resample.chroma_down(side, factor=factor, offset=offset)
    assert (up.size, up.rows) == (-(-side // factor), side)
    assert (down.size, down.rows) == (side, -(-side // factor))
    assert np.allclose(up.dense().sum(axis=1), 1)
    assert np.allclose(down.dense().sum(axis=1), 1)
