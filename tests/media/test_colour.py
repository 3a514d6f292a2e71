"""How colour is decided and how it is tagged."""

from __future__ import annotations

from fractions import Fraction

import pytest

from uprez.errors import InputError
from uprez.job import Colour, Siting
from uprez.media.colour import colour_of, result_colour, tags_for


def _colour(
    *,
    matrix: int = 2,
    primaries: int = 2,
    transfer: int = 2,
    full_range: bool = False,
    siting: Siting | None = "left",
    size: tuple[int, int] = (1280, 720),
    pix_fmt: str = "yuv420p",
) -> Colour:
    return colour_of(
        pix_fmt=pix_fmt,
        matrix=matrix,
        primaries=primaries,
        transfer=transfer,
        colour_range=2 if full_range else 1,
        siting=siting,
        width=size[0],
        height=size[1],
    )


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((720, 576), "bt601"),
        ((1024, 576), "bt601"),
        ((1025, 576), "bt709"),
        ((720, 578), "bt709"),
        ((176, 144), "bt601"),
    ],
)
def test_untagged_video_is_decided_by_its_size(size: tuple[int, int], matrix: str) -> None:
    """Up to 576 lines and 1024 columns an untagged video is BT.601, beyond either it is BT.709."""
    assert _colour(size=size).matrix == matrix


@pytest.mark.parametrize(("tag", "matrix"), [(1, "bt709"), (5, "bt601"), (6, "bt601"), (9, "bt2020")])
def test_a_stated_matrix_wins_over_the_size(tag: int, matrix: str) -> None:
    """A matrix tag is believed at any size, and kept as it is."""
    colour = _colour(matrix=tag, size=(176, 144) if tag == 1 else (1920, 1080))
    assert colour.matrix == matrix
    assert tags_for(colour, Fraction(30)).matrix == tag


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_keeps_its_transfer(transfer: int) -> None:
    """PQ and HLG code values are computed with as they are, and the result says what they are."""
    colour = _colour(matrix=9, primaries=9, transfer=transfer, pix_fmt="yuv420p10le")
    assert (colour.matrix, colour.depth) == ("bt2020", 10)
    tags = tags_for(result_colour(colour, "yuv420p10le"), Fraction(24))
    assert (tags.matrix, tags.primaries, tags.transfer) == (9, 9, transfer)


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_rare_matrices_are_refused(matrix: int) -> None:
    """What cannot be computed right is refused rather than guessed."""
    with pytest.raises(InputError, match="matrix"):
        _colour(matrix=matrix)


@pytest.mark.parametrize("siting", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_every_siting_is_kept(siting: Siting) -> None:
    """Chroma stays where the source says it is."""
    assert result_colour(_colour(siting=siting), "yuv420p10le").siting == siting


@pytest.mark.parametrize(("pix_fmt", "full_range"), [("rgb24", True), ("gray", True), ("yuv444p", False)])
def test_an_unsaid_range_is_the_formats(pix_fmt: str, full_range: bool) -> None:
    """RGB and gray are full where nothing is said, YUV is limited."""
    colour = colour_of(
        pix_fmt=pix_fmt, matrix=2, primaries=2, transfer=2, colour_range=0, siting=None, width=64, height=48
    )
    assert colour.full_range == full_range


def test_rgb_becomes_limited_709() -> None:
    """A result of RGB is BT.709 in limited range and says so, whatever its size."""
    source = _colour(matrix=0, pix_fmt="gbrp", full_range=True, size=(320, 240))
    made = result_colour(source, "yuv420p")
    assert (made.matrix, made.full_range, made.siting, made.family) == ("bt709", False, "left", "yuv")
    assert tags_for(made, Fraction(25)).matrix == 1


@pytest.mark.parametrize(("tag", "matrix"), [(4, "fcc"), (7, "smpte240m")])
def test_old_matrices_are_computed_with(tag: int, matrix: str) -> None:
    """FCC and SMPTE 240M are what their tags say."""
    colour = _colour(matrix=tag)
    assert colour.matrix == matrix
    assert tags_for(colour, Fraction(30)).matrix == tag


def test_siting_without_a_tag_depends_on_the_range() -> None:
    """Untagged chroma sits on the left, in full-range (JPEG-like) video in the centre."""
    assert _colour(siting=None).siting == "left"
    assert _colour(siting=None, full_range=True).siting == "center"


@pytest.mark.parametrize(
    ("size", "rate", "expected"),
    [
        ((1280, 720), Fraction(25), (1, 1, 1)),
        ((720, 576), Fraction(25), (5, 5, 6)),
        ((720, 480), Fraction(30000, 1001), (6, 6, 6)),
    ],
)
def test_a_result_is_tagged_with_what_was_computed(
    size: tuple[int, int], rate: Fraction, expected: tuple[int, int, int]
) -> None:
    """An untagged source's result carries matrix, primaries and transfer of the system it was computed in."""
    tags = tags_for(_colour(size=size), rate)
    assert (tags.matrix, tags.primaries, tags.transfer) == expected


def test_full_range_stays_full() -> None:
    """The range is tagged as it is, never relabelled."""
    assert tags_for(_colour(full_range=True), Fraction(25)).colour_range == 2
    assert tags_for(_colour(full_range=False), Fraction(25)).colour_range == 1
