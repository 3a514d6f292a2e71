"""Which matrix, range and siting a video's code values have, how its result's have, and how that is said.

Pure. Tags are H.273 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from uprez.errors import InputError
from uprez.job import Colour, Matrix, Siting
from uprez.media.layouts import Layout, layout

UNSPECIFIED = 2
HDR_TRANSFERS = {16: "PQ (HDR10)", 18: "HLG"}

_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_REFUSED_MATRICES = {
    0: "GBR",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE ST 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived, constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-R",
    17: "YCgCo-R",
}


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The numbers to write into a result so that every player computes with the matrix that was used."""

    matrix: int
    primaries: int
    transfer: int
    colour_range: int
    """FFmpeg's AVCOL_RANGE: 1 limited, 2 full."""


def colour_of(
    *,
    pix_fmt: str | None,
    matrix: int,
    primaries: int,
    transfer: int,
    colour_range: int,
    siting: Siting | None,
    width: int,
    height: int,
) -> Colour:
    """Decide how to compute with a video from its tags and, where they are silent, from its size in pixels.

    Untagged video follows the players' rule: at most 576 lines and 1024 columns is BT.601, larger is BT.709. A
    result of RGB is BT.709. Raises InputError for what cannot be computed right: rare matrices and pixel formats.
    """
    how = layout(pix_fmt)
    if how.family == "yuv" and matrix in _REFUSED_MATRICES:
        raise InputError(
            f"colour matrix {_REFUSED_MATRICES[matrix]} is not supported; BT.601, BT.709, BT.2020, FCC and SMPTE 240M"
            " work"
        )
    known: Matrix = "bt709" if how.family == "rgb" else _MATRICES.get(matrix) or _untagged(primaries, width, height)
    full = _is_full(how, str(pix_fmt), colour_range)
    return Colour(
        matrix=known,
        full_range=full,
        siting=siting or _unstated_siting(full),
        depth=how.depth,
        family=how.family,
        across=how.across,
        down=how.down,
        tag_matrix=matrix,
        tag_primaries=primaries,
        tag_transfer=transfer,
    )


def _is_full(how: Layout, pix_fmt: str, colour_range: int) -> bool:
    """YUV is limited unless it says otherwise; RGB and gray are full unless they do, as FFmpeg takes them."""
    if how.family == "yuv":
        return colour_range == 2 or pix_fmt.startswith("yuvj")
    return colour_range != 1


def result_colour(colour: Colour, pix_fmt: str) -> Colour:
    """Say how a result in this pixel format is stored: the source's colour, as far as it can be kept.

    RGB becomes BT.709 in limited range. Chroma that the source has at every pixel gets the usual places.
    """
    how = layout(pix_fmt)
    whole = colour.across == colour.down == 1
    full = colour.full_range and colour.family != "rgb"
    usual: Siting = "topleft" if colour.matrix == "bt2020" and colour.depth > 8 else _unstated_siting(full)
    return replace(
        colour,
        full_range=full,
        siting=usual if whole else colour.siting,
        depth=how.depth,
        family=how.family,
        across=how.across,
        down=how.down,
    )


_PRORES_MATRICES: dict[Matrix, tuple[Matrix, int]] = {
    "bt601": ("bt601", 6),
    "fcc": ("bt601", 6),
    "bt709": ("bt709", 1),
    "smpte240m": ("bt709", 1),
    "bt2020": ("bt2020", 9),
}
_LIKE_BT709 = frozenset({6, 7, 14, 15})
"""Transfers with BT.709's curve, or so near it that nobody sees."""


def prores_colour(colour: Colour) -> Colour:
    """Say how a ProRes result is stored: in limited range, chroma on the left, and with the tags that ProRes has.

    It has no tag for the matrices of FCC and SMPTE 240M: those become BT.601 and BT.709, their neighbours.
    """
    matrix, tag = _PRORES_MATRICES[colour.matrix]
    transfer = colour.tag_transfer
    return replace(
        colour,
        matrix=matrix,
        full_range=False,
        siting="left",
        tag_matrix=tag,
        tag_primaries=6 if colour.tag_primaries == 7 else colour.tag_primaries,  # SMPTE 240M's are those of 170M
        tag_transfer=1 if _silent(transfer) or transfer in _LIKE_BT709 else transfer,
    )


def tags_for(colour: Colour, rate: Fraction) -> Tags:
    """Give the tags of a result: the source's where it has any, else those of what was computed.

    BT.601 has two sets of primaries, for 525-line (60 Hz) and 625-line (50 Hz) systems. A result's height no longer
    tells them apart but the source's `rate`, in frames a second, does: a multiple of 25 is the 50 Hz world.
    """
    matrix, primaries, transfer = _computed(colour.matrix, rate)
    return Tags(
        matrix=colour.tag_matrix if _MATRICES.get(colour.tag_matrix) == colour.matrix else matrix,
        primaries=primaries if _silent(colour.tag_primaries) else colour.tag_primaries,
        transfer=transfer if _silent(colour.tag_transfer) else colour.tag_transfer,
        colour_range=2 if colour.full_range else 1,
    )


def _computed(matrix: Matrix, rate: Fraction) -> tuple[int, int, int]:
    if matrix == "bt709":
        return 1, 1, 1
    if matrix == "bt2020":
        return 9, 9, 14
    if matrix == "fcc":
        return 4, 4, 4
    if matrix == "smpte240m":
        return 7, 7, 7
    return (5, 5, 6) if rate % 25 == 0 else (6, 6, 6)


def _untagged(primaries: int, width: int, height: int) -> Matrix:
    if primaries == 9:
        return "bt2020"
    return "bt601" if height <= 576 and width <= 1024 else "bt709"


def _unstated_siting(full_range: bool) -> Siting:
    """JPEG-like video sits in the centre, everything else on the left (H.273, MPEG-2)."""
    return "center" if full_range else "left"


def _silent(tag: int) -> bool:
    return tag in (0, UNSPECIFIED, 3)  # 0 and 3 are reserved
