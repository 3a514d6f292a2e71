"""How samples are stored: each of FFmpeg's pixel formats that can be read, and the planar one it is brought to.

Bringing a picture to its planar format moves samples and drops alpha; it changes no code value of 8 bits or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from av.video.format import VideoFormat

from uprez.errors import InputError
from uprez.job import Colour, Family

DEPTHS = (8, 9, 10, 12, 14, 16)
_SHARES = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411"}
"""Luma samples for each chroma sample, across and down, and the name that has."""
_NAMES = {"gray": "gray", "rgb": "gbrp"}
_SIDE = 64
"""Of a picture that the shares of a format are measured on."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a pixel format stores samples."""

    planar: str
    """The format that a picture is brought to: planes of whole samples, little-endian, without alpha."""
    family: Family
    depth: int
    """Bits per sample."""
    across: int
    down: int
    alpha: bool


@cache
def layout(pix_fmt: str | None) -> Layout:
    """Say how a pixel format, by FFmpeg's name, stores samples; raises InputError for one that cannot be read."""
    try:
        found = VideoFormat(pix_fmt or "none", _SIDE, _SIDE)
    except ValueError as error:
        raise _unknown(pix_fmt) from error
    colours = [part for part in found.components if not part.is_alpha]
    family: Family = "rgb" if found.is_rgb or found.has_palette else "yuv" if len(colours) == 3 else "gray"
    shares = (_SIDE // max(1, found.chroma_width()), _SIDE // max(1, found.chroma_height()))
    depth = max((8, *(part.bits for part in colours)))
    # FFmpeg 8 makes other values of deep planar RGB with alpha and big-endian samples.
    garbled = found.name.startswith("gbrap") and found.name.endswith("be")
    strange = garbled or found.name.startswith(("xyz", "bayer")) or shares not in _SHARES
    if strange or depth not in DEPTHS or not colours:
        raise _unknown(pix_fmt)
    across, down = shares if family == "yuv" else (1, 1)
    name = planar(family, depth, across, down)
    if name is None:
        raise _unknown(pix_fmt)
    alpha = len(colours) < len(found.components)
    return Layout(planar=name, family=family, depth=depth, across=across, down=down, alpha=alpha)


def planar(family: Family, depth: int, across: int, down: int) -> str | None:
    """Name the planar format that stores such samples; None where FFmpeg has none."""
    kind = _NAMES.get(family) or f"yuv{_SHARES[across, down]}p"
    name = kind if depth == 8 else f"{kind}{depth}le"
    try:
        VideoFormat(name, _SIDE, _SIDE)
    except ValueError:
        return None
    return name


def stored(colour: Colour) -> str:
    """Name the planar format of frames with this colour."""
    name = planar(colour.family, colour.depth, colour.across, colour.down)
    if name is None:
        raise ValueError(f"no pixel format stores {colour}")
    return name


def _unknown(pix_fmt: str | None) -> InputError:
    if not pix_fmt:
        return InputError(
            "its pixel format is unknown: the video's headers are damaged, or its codec cannot be decoded"
        )
    return InputError(
        f"pixel format {pix_fmt} is not supported; gray, RGB and YUV (4:2:0, 4:2:2, 4:4:4, 4:4:0, 4:1:1) of 8 to 16"
        " bits work"
    )
