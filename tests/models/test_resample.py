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


@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_composed_rows_do_both_steps(size: int, middle: int, cosited: bool) -> None:
    """compose(outer, inner) is the product of both matrices."""
    inner = resample.lanczos(size, middle)
    outer = resample.chroma_down(middle, cosited=cosited)
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


@pytest.mark.parametrize("cosited", [True, False])
def test_chroma_lies_on_its_siting_in_both_directions(cosited: bool) -> None:
    """A chroma ramp lands on luma at k/2 when co-sited and k/2 - 1/4 when half-way; averaging down undoes it."""
    up = resample.chroma_up(40, cosited=cosited)
    expected = np.arange(40) / 2 - (0 if cosited else 0.25)
    assert np.allclose(_ramp(up)[6:-6], expected[6:-6])
    down = resample.chroma_down(40, cosited=cosited)
    assert np.allclose((down.dense() @ up.dense() @ np.arange(20))[4:-4], np.arange(20)[4:-4])


@given(st.integers(1, 99), st.booleans())
def test_chroma_sides_are_half_rounded_up(side: int, cosited: bool) -> None:
    """An odd side has a last chroma sample of its own, and every row sums to 1."""
    up = resample.chroma_up(side, cosited=cosited)
    down = resample.chroma_down(side, cosited=cosited)
    assert (up.size, up.rows) == ((side + 1) // 2, side)
    assert (down.size, down.rows) == (side, (side + 1) // 2)
    assert np.allclose(up.dense().sum(axis=1), 1)
    assert np.allclose(down.dense().sum(axis=1), 1)
