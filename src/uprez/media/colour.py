"""Which matrix, range and siting a video's code values have, and how the result says so.

Pure. Tags are H.273 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from uprez.errors import InputError
from uprez.job import Colour, Matrix, Siting

UNSPECIFIED = 2

_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_REFUSED_MATRICES = {0: "GBR", 4: "FCC", 7: "SMPTE 240M", 8: "YCgCo", 10: "BT.2020 constant luminance"}
_REFUSED_TRANSFERS = {16: "PQ (HDR10)", 18: "HLG"}
_SITINGS: dict[str, Siting] = {"left": "left", "center": "center", "topleft": "topleft"}


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The numbers to write into a result so that every player computes with the matrix that was used."""

    matrix: int
    primaries: int
    transfer: int
    colour_range: int
    """FFmpeg's AVCOL_RANGE: 1 limited, 2 full."""


def colour_of(
    *, matrix: int, primaries: int, transfer: int, full_range: bool, siting: str | None, width: int, height: int
) -> Colour:
    """Decide how to compute with a video from its tags and, where they are silent, from its size in pixels.

    Untagged video follows the players' rule: at most 576 lines and 1024 columns is BT.601, larger is BT.709.
    Raises InputError for what cannot be computed right: PQ, HLG, rare matrices, rare sitings.
    """
    if transfer in _REFUSED_TRANSFERS:
        raise InputError(f"HDR video with {_REFUSED_TRANSFERS[transfer]} transfer is not supported; SDR video works")
    if matrix in _REFUSED_MATRICES:
        raise InputError(f"colour matrix {_REFUSED_MATRICES[matrix]} is not supported; BT.601, BT.709 and BT.2020 work")
    known = _MATRICES.get(matrix) or _untagged(primaries, width, height)
    return Colour(
        matrix=known,
        full_range=full_range,
        siting=_siting(siting, full_range),
        tag_matrix=matrix,
        tag_primaries=primaries,
        tag_transfer=transfer,
    )


def tags_for(colour: Colour, rate: Fraction) -> Tags:
    """Give the tags of a result: the source's where it has any, else those of what was computed.

    BT.601 has two sets of primaries, for 525-line (60 Hz) and 625-line (50 Hz) systems. A result's height no longer
    tells them apart but its `rate`, in frames a second, does: a multiple of 25 is the 50 Hz world.
    """
    matrix, primaries, transfer = _computed(colour.matrix, rate)
    return Tags(
        matrix=colour.tag_matrix if colour.tag_matrix in _MATRICES else matrix,
        primaries=primaries if _silent(colour.tag_primaries) else colour.tag_primaries,
        transfer=transfer if _silent(colour.tag_transfer) else colour.tag_transfer,
        colour_range=2 if colour.full_range else 1,
    )


def _computed(matrix: Matrix, rate: Fraction) -> tuple[int, int, int]:
    if matrix == "bt709":
        return 1, 1, 1
    if matrix == "bt2020":
        return 9, 9, 14
    return (5, 5, 6) if rate % 25 == 0 else (6, 6, 6)


def _untagged(primaries: int, width: int, height: int) -> Matrix:
    if primaries == 9:
        return "bt2020"
    return "bt601" if height <= 576 and width <= 1024 else "bt709"


def _siting(name: str | None, full_range: bool) -> Siting:
    if name is None:  # JPEG-like video sits in the centre, everything else on the left (H.273, MPEG-2)
        return "center" if full_range else "left"
    if name not in _SITINGS:
        raise InputError(f'chroma location "{name}" is not supported; {", ".join(_SITINGS)} work')
    return _SITINGS[name]


def _silent(tag: int) -> bool:
    return tag in (0, UNSPECIFIED, 3)  # 0 and 3 are reserved
