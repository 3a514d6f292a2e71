"""Pictures for people: the right colours, upright, side by side, in a file that others read."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from plain import COLOUR
from uprez.job import Turn
from uprez.media.frame import Frame
from uprez.media.stills import png, rgb, seen, side_by_side

RED = tuple(
    np.full(shape, code, np.uint8) for shape, code in zip(((5, 7), (3, 4), (3, 4)), (63, 102, 240), strict=True)
)
"""BT.709 in limited range, of odd sides."""


def test_a_frame_has_its_colours_at_its_own_size() -> None:
    """Pure red is pure red, whatever chroma is shared."""
    still = rgb(Frame(planes=RED, pts=0), COLOUR)
    assert still.shape == (5, 7, 3)
    assert still.dtype == np.uint8
    assert np.abs(still.astype(int) - (255, 0, 0)).max() <= 1


def test_a_turned_frame_is_upright() -> None:
    """Its first row is the last column."""
    gray = replace(COLOUR, family="gray", across=1, down=1, full_range=True)
    plane = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    still = rgb(Frame(planes=(plane,), pts=0), gray, Turn(quarters=1))
    assert still[:, :, 0].tolist() == [[40, 10], [50, 20], [60, 30]]


def test_what_no_screen_shows_is_clipped() -> None:
    """Superwhite is white and superblack is black."""
    gray = replace(COLOUR, family="gray", across=1, down=1)
    still = rgb(Frame(planes=(np.array([[0, 255]], np.uint8),), pts=0), gray)
    assert still[0, :, 1].tolist() == [0, 255]


def test_two_pictures_share_a_height() -> None:
    """The lower one is enlarged by repeating its samples; a white line parts them."""
    left, right = np.full((2, 3, 3), 50, np.uint8), np.full((6, 4, 3), 90, np.uint8)
    both = side_by_side(left, right)
    assert both.shape == (6, 9 + 4 + 4, 3)
    assert (both[:, :9] == 50).all()
    assert (both[:, 9:13] == 255).all()
    assert (both[:, 13:] == 90).all()


@pytest.mark.parametrize("shape", [(36, 64), (1, 1), (8, 3)])
def test_a_thumb_is_enlarged_by_a_whole_factor(shape: tuple[int, int]) -> None:
    """Every sample becomes a square of the same size that a person sees."""
    thumb = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    picture = seen(thumb)
    factor = picture.shape[0] // shape[0]
    assert picture.shape == (shape[0] * factor, shape[1] * factor, 3)
    assert max(picture.shape) >= 384
    assert np.array_equal(picture[::factor, ::factor], (thumb * 255 + 0.5).astype(np.uint8))


def test_a_png_is_read_back_as_it_was() -> None:
    """Another reader finds the same samples."""
    picture = np.random.default_rng(1).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    with av.open(io.BytesIO(png(picture)), format="png_pipe") as container:
        frame = next(container.decode(video=0))
    assert np.array_equal(frame.to_ndarray(format="rgb24"), picture)
