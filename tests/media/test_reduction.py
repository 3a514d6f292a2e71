"""Pictures reduced by exact areas: what stays the same, for every way to store samples."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from matrix_colours import COLOURS, PUBLISHED
from plain import COLOUR
from uprez.job import Colour, Siting, Turn
from uprez.media.frame import Frame
from uprez.media.reduction import luma_weights, reduced, reduced_luma, turned

KINDS = [
    replace(COLOUR, siting="center", across=across, down=down, depth=depth, full_range=full)
    for (across, down), depth, full in product(((2, 2), (2, 1), (1, 1), (1, 2), (4, 1)), (8, 10), (False, True))
] + [
    replace(COLOUR, family=family, across=1, down=1, depth=depth, full_range=full)
    for family, depth, full in product(("gray", "rgb"), (8, 16), (False, True))
]
"""Every layout, with chroma in the middle of the pixels that it belongs to."""


def shapes(colour: Colour, width: int, height: int) -> list[tuple[int, int]]:
    """(rows, columns) of a picture's planes."""
    chroma = (-(-height // colour.down), -(-width // colour.across))
    return [(height, width)] + {"yuv": [chroma] * 2, "gray": [], "rgb": [(height, width)] * 2}[colour.family]


def samples(values: NDArray[np.generic], colour: Colour) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Code values in the type of their depth."""
    return values.astype(np.uint8) if colour.depth == 8 else values.astype(np.uint16)


def noise(colour: Colour, width: int, height: int, seed: int = 0) -> Frame:
    """A frame of any code values."""
    rng = np.random.default_rng(seed)
    planes = (rng.integers(0, 1 << colour.depth, shape) for shape in shapes(colour, width, height))
    return Frame(planes=tuple(samples(plane, colour) for plane in planes), pts=0)


def enlarged(frame: Frame, factor: int) -> Frame:
    """Each sample repeated."""
    return Frame(planes=tuple(p.repeat(factor, axis=0).repeat(factor, axis=1) for p in frame.planes), pts=0)


@given(
    st.sampled_from(KINDS),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.tuples(*[st.integers(1, 12)] * 2),
)
def test_an_enlargement_reduces_to_the_same(
    colour: Colour, columns: int, rows: int, factor: int, size: tuple[int, int]
) -> None:
    """A picture and its enlargement by a whole factor give the same picture at any size."""
    frame = noise(colour, columns * colour.across, rows * colour.down)
    small, large = (reduced(each, colour, size) for each in (frame, enlarged(frame, factor)))
    assert np.allclose(small, large, atol=1e-5)


@given(st.sampled_from(KINDS), st.integers(1, 70), st.integers(1, 70), st.tuples(*[st.integers(1, 80)] * 2))
def test_a_picture_of_one_colour_keeps_it(colour: Colour, width: int, height: int, size: tuple[int, int]) -> None:
    """Of any size, odd ones too, at any size."""
    level = (1 << colour.depth) // 3
    planes = tuple(samples(np.full(shape, level), colour) for shape in shapes(colour, width, height))
    picture = reduced(Frame(planes=planes, pts=0), colour, size)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.float32
    assert np.allclose(picture, picture[0, 0], atol=1e-5)


@pytest.mark.parametrize("key", PUBLISHED, ids=str)
def test_code_values_are_the_published_colours(key: tuple[str, bool, int]) -> None:
    """Each colour of the tables comes out, to the rounding of its code values."""
    matrix, full, depth = key
    colour = replace(COLOUR, matrix=matrix, full_range=full, depth=depth)
    for name, codes in PUBLISHED[key].items():
        planes = tuple(samples(np.full((4, 4), code), colour) for code in codes)
        picture = reduced(Frame(planes=planes, pts=0), colour, (2, 2))
        assert np.allclose(picture, np.array(COLOURS[name], np.float32), atol=2 / 219), name


def test_planes_of_rgb_are_in_ffmpegs_order() -> None:
    """G, B and R become red, green and blue; a gray picture's light is all three."""
    rgb = replace(COLOUR, family="rgb", across=1, down=1, full_range=True)
    planes = tuple(np.full((2, 2), level, np.uint8) for level in (51, 102, 255))
    assert np.allclose(reduced(Frame(planes=planes, pts=0), rgb, (1, 1)), (1.0, 0.2, 0.4))
    gray = replace(rgb, family="gray", full_range=False)
    assert np.allclose(reduced(Frame(planes=(np.full((2, 2), 235, np.uint8),), pts=0), gray, (1, 1)), 1.0)


@pytest.mark.parametrize("siting", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_chroma_is_averaged_where_it_lies(siting: Siting) -> None:
    """A slope of colour sampled at any siting is the slope of the picture with colour at every pixel."""
    whole, shared = replace(COLOUR, across=1, down=1), replace(COLOUR, siting=siting)
    column, row = shared.chroma_at
    luma = np.full((64, 64), 128, np.uint8)

    def slope(count: int, share: int, across: float, down: float) -> NDArray[np.uint8]:
        at = np.arange(count) * share
        return (2 * (at[None, :] + across) + (at[:, None] + down)).astype(np.uint8)

    dense, sparse = slope(64, 1, 0, 0), slope(32, 2, column, row)
    expected = reduced(Frame(planes=(luma, dense, dense), pts=0), whole, (8, 8))
    got = reduced(Frame(planes=(luma, sparse, sparse), pts=0), shared, (8, 8))
    assert np.abs(got - expected)[1:-1, 1:-1].max() < 0.6 / 112  # the half that a code value is rounded by


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turn_is_mirrored_then_clockwise(quarters: int, mirrored: bool) -> None:
    """The first row of a picture lies where it is to be shown."""
    picture = np.zeros((2, 3, 3), np.float32)
    picture[0, :, 0] = (1, 2, 3)
    due = picture[0, ::-1, 0] if mirrored else picture[0, :, 0]
    got = turned(picture, Turn(quarters=quarters, mirrored=mirrored))[:, :, 0]
    line = {0: got[0], 1: got[:, -1], 2: got[-1, ::-1], 3: got[::-1, 0]}[quarters]
    assert got.shape == ((3, 2) if quarters % 2 else (2, 3))
    assert list(line) == list(due)


def test_a_turned_source_is_reduced_to_the_size_it_is_shown_at() -> None:
    """Its reduction is that of the upright picture, turned."""
    frame, turn = noise(COLOUR, 32, 16), Turn(quarters=1)
    assert np.array_equal(reduced(frame, COLOUR, (4, 8), turn), turned(reduced(frame, COLOUR, (8, 4)), turn))


@given(st.sampled_from([colour for colour in KINDS if colour.family != "rgb"]))
def test_luma_alone_is_that_of_the_whole(colour: Colour) -> None:
    """Luma from the first plane is luma from R'G'B'."""
    frame, turn = noise(colour, 24, 16), Turn(quarters=3)
    whole = reduced(frame, colour, (4, 6), turn) @ luma_weights(colour)
    assert np.allclose(reduced_luma(frame, colour, (4, 6), turn), whole, atol=1e-4)
