"""How far two programs' results are apart, frame by frame: PSNR of luma, and of red, green and blue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from uprez.job import LUMA_WEIGHTS, Matrix
from uprez.media.metrics import decibels

EQUAL_DB = 100.0
"""Stands for equal pictures, whose PSNR is infinite."""
PEAK = 255

Plane = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """PSNR in dB of every frame."""

    luma: tuple[float, ...]
    rgb: tuple[float, ...]

    def __str__(self) -> str:
        return f"luma {_shown(self.luma)}, RGB {_shown(self.rgb)}"


def likeness(one: Path, other: Path, matrix: Matrix, *, as_far_as_it_goes: bool = False) -> Likeness:
    """Compare two files of 8-bit 4:2:0, whatever their tags say.

    Raises ValueError where one has more frames than the other, unless only the beginning was made of one.
    """
    pairs = zip(_pictures(one), _pictures(other), strict=not as_far_as_it_goes)
    found = [psnr(mine, yours, matrix) for mine, yours in pairs]
    return Likeness(luma=tuple(luma for luma, _ in found), rgb=tuple(rgb for _, rgb in found))


def psnr(one: Sequence[Plane], other: Sequence[Plane], matrix: Matrix) -> tuple[float, float]:
    """Give the PSNR of two pictures' luma codes, and of their colours, in dB.

    Colours are those of limited-range 4:2:0, each chroma sample standing for its four pixels, and are not clipped: so
    the difference of two colours is the matrix times the difference of their codes.
    """
    luma, blue, red = (mine.astype(np.float32) - yours for mine, yours in zip(one, other, strict=True))
    whole = luma * np.float32(PEAK / 219)
    blue, red = (_spread(plane * np.float32(PEAK / 224), whole.shape) for plane in (blue, red))
    of_red, of_blue = LUMA_WEIGHTS[matrix]
    to_red, to_blue = 2 * (1 - of_red), 2 * (1 - of_blue)
    of_green = 1 - of_red - of_blue
    colours = (
        whole + np.float32(to_red) * red,
        whole - np.float32(of_red * to_red / of_green) * red - np.float32(of_blue * to_blue / of_green) * blue,
        whole + np.float32(to_blue) * blue,
    )
    error = sum(_mean_square(colour) for colour in colours) / len(colours)
    return _db(_mean_square(luma)), _db(error)


def _spread(plane: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return plane.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _mean_square(difference: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(difference), dtype=np.float64))


def _db(error: float) -> float:
    return min(EQUAL_DB, decibels(error, PEAK))


def _shown(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1f} mean, {min(values):.1f} worst"


def _pictures(path: Path) -> Iterator[list[Plane]]:
    with av.open(f"file:{path}") as container:
        for frame in container.decode(video=0):
            if frame.format.name not in ("yuv420p", "yuvj420p"):
                raise ValueError(f"{path} is stored as {frame.format.name}, not as yuv420p")
            yield [_rows(plane) for plane in frame.planes]


def _rows(plane: VideoPlane) -> Plane:
    padded = np.frombuffer(cast("bytes", plane), np.uint8).reshape(plane.height, plane.line_size)
    return padded[:, : plane.width].copy()  # the decoder reuses its buffers
