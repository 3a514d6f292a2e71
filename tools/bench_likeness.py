"""How far two programs' results are apart, frame by frame: PSNR of luma, and of red, green and blue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
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
class Apart:
    """How far one picture is from another."""

    luma: float
    """PSNR in dB."""
    rgb: float
    shift: float
    """By how many code values the other's luma is higher, on average."""
    luma_unshifted: float
    """PSNR once each plane's mean difference is taken off: what is left are the pictures' details."""
    rgb_unshifted: float


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """That of every frame."""

    frames: tuple[Apart, ...]

    def __str__(self) -> str:
        return _shown([each.luma for each in self.frames], [each.rgb for each in self.frames])

    @property
    def unshifted(self) -> str:
        """The same without the mean difference of each plane, and how large that is in luma."""
        rest = _shown([each.luma_unshifted for each in self.frames], [each.rgb_unshifted for each in self.frames])
        return f"{rest}; {self.shift:+.2f}"

    @property
    def shift(self) -> float:
        """Give the mean difference of luma over all frames, in code values."""
        return fmean(each.shift for each in self.frames)


def likeness(one: Path, other: Path, matrix: Matrix, *, as_far_as_it_goes: bool = False) -> Likeness:
    """Compare two files of 8-bit 4:2:0, whatever their tags say.

    Raises ValueError where one has more frames than the other, unless only the beginning was made of one.
    """
    pairs = zip(_pictures(one), _pictures(other), strict=not as_far_as_it_goes)
    return Likeness(frames=tuple(apart(mine, yours, matrix) for mine, yours in pairs))


def apart(one: Sequence[Plane], other: Sequence[Plane], matrix: Matrix) -> Apart:
    """Compare the luma codes of two pictures, and their colours.

    Colours are those of limited-range 4:2:0, each chroma sample standing for its four pixels, and are not clipped: so
    the difference of two colours is the matrix times the difference of their codes.
    """
    planes = [yours.astype(np.float32) - mine for mine, yours in zip(one, other, strict=True)]
    luma, rgb = _errors(planes, matrix)
    shift = float(planes[0].mean(dtype=np.float64))
    luma_rest, rgb_rest = _errors([plane - plane.mean() for plane in planes], matrix)
    return Apart(luma=_db(luma), rgb=_db(rgb), shift=shift, luma_unshifted=_db(luma_rest), rgb_unshifted=_db(rgb_rest))


def _errors(planes: Sequence[NDArray[np.float32]], matrix: Matrix) -> tuple[float, float]:
    """Give the mean squared error of luma codes and of colours, of the planes' differences."""
    luma, blue, red = planes
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
    return _mean_square(luma), error


def _spread(plane: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return plane.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _mean_square(difference: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(difference), dtype=np.float64))


def _db(error: float) -> float:
    return min(EQUAL_DB, decibels(error, PEAK))


def _shown(luma: Sequence[float], rgb: Sequence[float]) -> str:
    return f"luma {fmean(luma):.1f} / {min(luma):.1f}, RGB {fmean(rgb):.1f} / {min(rgb):.1f}"


def _pictures(path: Path) -> Iterator[list[Plane]]:
    with av.open(f"file:{path}") as container:
        for frame in container.decode(video=0):
            if frame.format.name not in ("yuv420p", "yuvj420p"):
                raise ValueError(f"{path} is stored as {frame.format.name}, not as yuv420p")
            yield [_rows(plane) for plane in frame.planes]


def _rows(plane: VideoPlane) -> Plane:
    padded = np.frombuffer(cast("bytes", plane), np.uint8).reshape(plane.height, plane.line_size)
    return padded[:, : plane.width].copy()  # the decoder reuses its buffers
