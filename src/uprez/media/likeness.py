"""Whether a result's frame shows the source's frame. Pure; the constants are measured, see docs/likeness.md.

Both are brought to one small picture, a thumb, in which a model's work is small and another picture is not. A wrong
picture is told by what it shows instead: with r the result, s the source and v a wrong alternative, the projection
p = <r-s, v-s> / |v-s|^2 is 0 for the right picture and 1 for the wrong one, whatever noise a model removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from uprez.job import LUMA_WEIGHTS, UPRIGHT, Colour, Turn, Video
from uprez.media.frame import Frame
from uprez.media.metrics import decibels
from uprez.media.reduction import Picture, Size, reduced

Thumb = Picture
"""A small picture: float32 R'G'B' from 0 to 1, (rows, columns, 3)."""

SIDE = 64
"""The longer side of a thumb, of videos from 256 pixels on."""
CELL_PX = 4
"""A sample of a thumb averages at least so many pixels of the source a side. With 1, what x264 does to noise at crf 28
had 245 of 2,160 good frames of clips of 16 to 128 pixels blamed; with 2 it was 22, and with 3 or 4 none."""
FEW = 64
"""Samples below which a thumb, of a picture under some 32 pixels a side, does not tell one time from another."""
LEAST_SIDE = 4
"""Of a thumb, where the picture has as many."""
PROJECTION = 0.75
"""p above which a result shows the alternative."""
PAIR_PROJECTION = 0.9
"""The same of an alternative that is the blend nearest to the result: p of a good frame is larger then, up to 0.8."""
APART_DB = 36.0
"""An alternative that is closer to the source than this is not told from it: models change so much themselves."""
CORRELATION = 0.5
"""Least correlation of a result with its source, each channel's mean taken off."""
CONTRAST_DB = 32.0
"""A source that is closer than this to its own mean colour has too little in it to correlate with."""
QUARTER_CONTRAST_DB = 26.0
"""The same of a quarter of it, where noise weighs more."""
FLOOR_DB = 14.0
"""The last net: least PSNR."""
AGREEING_DB = 30.0
"""Least PSNR between two results of one frame that agree."""
CLOSER_DB = 6.0
"""By so much two results that agree are closer to each other than to the source."""

REACH = 1 / 12
"""How far what is between two frames may lie from where it is in the nearer, in sides of the picture."""

Alternative = tuple[str, Thumb]
"""A wrong picture, and what a result that is it does, in words."""

Sides = tuple[Thumb, Thumb]
"""The frames before and after one that was made between them."""
Other = tuple[str, Thumb | Sides]
"""A frame of the source, or two between which something lies, by name."""
Area = tuple[slice, slice]
"""Rows and columns."""

_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why a result's frame is not taken for the source's."""

    text: str
    """For people, to follow the frame's name: "shows the frame 1 later"."""
    soft: bool = False
    """Only so far from the source that no rule explains it: two attempts that `agree` outweigh it."""
    of_time: bool = False
    """It may be another moment of the source, or what a decoder makes of damage; False: nothing in a source is so."""


def size_of(video: Video) -> Size:
    """Give the size of a video's thumbs, in the shape in which it is shown."""
    width, height = video.shown_size
    share = min(1 / CELL_PX, SIDE / max(width, height))
    columns, rows = (max(min(side, LEAST_SIDE), round(side * share)) for side in (width, height))
    return columns, rows


def thumb(frame: Frame, colour: Colour, size: Size, turn: Turn = UPRIGHT) -> Thumb:
    """Give the thumb of a frame that is stored as `colour` says and to be shown turned; of a result with no turn."""
    return reduced(frame, colour, size, turn)


def blend(left: Thumb, right: Thumb, share: float) -> Thumb:
    """Give what is nearest to a frame at this share of the way from one to another, as long as little moves."""
    mixed: Thumb = left + np.float32(share) * (right - left)
    return mixed


def judge(result: Thumb, due: Thumb, others: Sequence[Other] = (), sides: Sides | tuple[()] = ()) -> Finding | None:
    """Say why a result's frame is not the source's frame `due`; None: it is.

    `others` are further frames of the source, each with its name ("the frame 1 later"); all thumbs have one size. Of
    a frame that was made between two, `sides`, `due` is their blend: what moved may lie elsewhere, and a wrong picture
    has to be told from the nearest of all blends of the two as well.
    """
    if result.shape[0] * result.shape[1] < FEW:
        others = ()  # so little of a tiny picture is alike at many times
    near = nearest(result, sides) if sides else due
    wrong = _shown_instead(result, near, others) if _shown_instead(result, due, others) else None
    unlike = _unlike(result, due, sides)
    if wrong is not None and (unlike is None or _explains(wrong[1], result, near)):
        return Finding(text=wrong[0], of_time=any(wrong[0] == f"shows {name}" for name, _ in others))
    if unlike is not None:
        return unlike
    distance, least = psnr(result, due), min(FLOOR_DB, psnr(*sides)) if sides else FLOOR_DB
    return Finding(text=f"is far from the source ({distance:.1f} dB)", soft=True) if distance < least else None


def nearest(result: Thumb, sides: Sides) -> Thumb:
    """Give the blend of two frames that is nearest to a result."""
    left, right = sides
    way = right - left
    length = _square(way)
    share = float(np.vdot(result - left, way)) / length if length else 0.0
    return blend(left, right, min(1.0, max(0.0, share)))


def agree(first: Thumb, second: Thumb, due: Thumb) -> bool:
    """Say whether two results of the frame `due` are so alike that what differs from it is the model's work."""
    least = max(AGREEING_DB, *(CLOSER_DB + psnr(result, due) for result in (first, second)))
    return psnr(first, second) >= least


def psnr(one: Thumb, other: Thumb) -> float:
    """Give the PSNR of two thumbs in dB, over all channels; infinite where they are equal."""
    return decibels(_square(one - other) / one.size)


def correlation(result: Thumb, due: Thumb) -> float:
    """Give the correlation of two thumbs, each channel's mean taken off; 0 where either is flat."""
    one, other = (each - each.mean(axis=(0, 1)) for each in (result, due))
    spread = (_square(one) * _square(other)) ** 0.5
    return float(np.vdot(one, other)) / spread if spread else 0.0


def projection(result: Thumb, due: Thumb, wrong: Thumb) -> float:
    """Give p: how far a result went from its source towards an alternative that differs from it."""
    way = wrong - due
    return float(np.vdot(result - due, way)) / _square(way)


def alternatives(due: Thumb) -> Iterator[Alternative]:
    """Give the wrong pictures that faults of programs and drivers make of a frame, all but one without its colour."""
    yield from ((_exchanged(order), due[:, :, order]) for order in permutations(range(3)) if order != (0, 1, 2))
    yield "has its two chroma planes swapped", _swapped(due)
    yield "is black", np.zeros_like(due)
    yield "is mirrored left to right", due[:, ::-1]
    yield "is mirrored top to bottom", due[::-1]
    yield "is turned upside down", due[::-1, ::-1]


def colour_of(picture: Thumb) -> Thumb:
    """Give what a picture has beyond its luma, which other light leaves as it is."""
    return picture - (picture @ _LUMA)[:, :, None]


def halved(picture: Thumb) -> Thumb:
    """Give the means of 2x2 samples: a picture's colour stays, and its noise, which an encoder removes, does not."""
    rows, columns = (max(1, side // 2) for side in picture.shape[:2])
    down, across = picture.shape[0] // rows, picture.shape[1] // columns
    whole = picture[: rows * down, : columns * across]
    means: Thumb = whole.reshape(rows, down, columns, across, 3).mean(axis=(1, 3))
    return means


def _shown_instead(result: Thumb, due: Thumb, others: Sequence[Other]) -> Alternative | None:
    """Give the alternative that a result shows, of several the closest."""
    frames = [(f"shows {name}", other) for name, other in others if not isinstance(other, tuple)]
    found = [(text, wrong) for text, wrong in (*frames, *alternatives(due)) if _is(result, due, wrong)]
    pairs = [(f"shows {name}", nearest(result, other)) for name, other in others if isinstance(other, tuple)]
    found += [(text, wrong) for text, wrong in pairs if _is(result, due, wrong, PAIR_PROJECTION)]
    left, there = (colour_of(halved(picture)) for picture in (result, due))
    if _is(left, there, np.zeros_like(there)):
        found.append(("has lost its colour", due - colour_of(due)))
    return min(found, key=lambda each: _square(each[1] - result), default=None)


def _explains(wrong: Thumb, result: Thumb, due: Thumb) -> bool:
    """Say whether an alternative accounts for most of the difference: any dark picture is a little like black."""
    return _square(result - wrong) < 0.5 * _square(result - due)


def _unlike(result: Thumb, due: Thumb, sides: Sides | tuple[()]) -> Finding | None:
    """Look at what is in the whole, then at each quarter, of which one may be spoilt alone."""
    rows, columns = due.shape[:2]
    if (found := _uncorrelated(result, due, (slice(rows), slice(columns)), sides, CONTRAST_DB)) is not None:
        return Finding(text=f"does not look like the source (correlation {found:.2f})", of_time=True)
    for name, place in _quarters(due.shape):
        near, black = nearest(result, sides)[place] if sides else due[place], np.zeros_like(due[place])
        if _is(result[place], near, black):
            return Finding(text=f"is black in its {name} quarter")
        if (found := _uncorrelated(result, due, place, sides, QUARTER_CONTRAST_DB)) is not None:
            what = f"does not look like the source in its {name} quarter (correlation {found:.2f})"
            return Finding(text=what, of_time=True)
    return None


def _uncorrelated(result: Thumb, due: Thumb, place: Area, sides: Sides | tuple[()], contrast: float) -> float | None:
    """Give the correlation of a part where it is too low; None where it is not, or says nothing."""
    part = due[place]
    flat = np.broadcast_to(part.mean(axis=(0, 1)), part.shape)
    found = correlation(result[place], part) if psnr(flat, part) < contrast else 1.0
    if found < CORRELATION and sides:
        found = max(found, *(moved(result, side, place) for side in sides))
    return found if found < CORRELATION else None


def moved(result: Thumb, side: Thumb, place: Area) -> float:
    """Give the largest correlation of a part with what lies near it in another picture."""
    rows, columns = (range(*each.indices(length)) for each, length in zip(place, result.shape, strict=False))
    down, across = (max(1, round(length * REACH)) for length in result.shape[:2])
    return max(
        correlation(result[high][:, wide], side[high_there][:, wide_there])
        for high, high_there in _shifts(rows, down, result.shape[0])
        for wide, wide_there in _shifts(columns, across, result.shape[1])
    )


def _shifts(part: range, reach: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Give what of a part is inside when it is moved, before and after that."""
    for by in range(-reach, reach + 1):
        first, after = max(part.start, -by), min(part.stop, length - by)
        yield slice(first, after), slice(first + by, after + by)


def _is(result: Thumb, due: Thumb, wrong: Thumb, most: float = PROJECTION) -> bool:
    return psnr(wrong, due) < APART_DB and projection(result, due, wrong) > most


def _quarters(shape: tuple[int, ...]) -> list[tuple[str, Area]]:
    rows, columns = shape[0] // 2, shape[1] // 2
    if min(rows, columns) < LEAST_SIDE:
        return []  # a few samples correlate with anything
    down = (("upper", slice(rows)), ("lower", slice(rows, None)))
    across = (("left", slice(columns)), ("right", slice(columns, None)))
    return [(f"{row} {column}", (high, wide)) for row, high in down for column, wide in across]


def _square(values: NDArray[np.float32]) -> float:
    return float(np.vdot(values, values))


# --- channels

_LUMA = np.array((LUMA_WEIGHTS["bt709"][0], 1 - sum(LUMA_WEIGHTS["bt709"]), LUMA_WEIGHTS["bt709"][1]), np.float32)
"""For alternatives; those by another matrix are close enough."""


def _exchanged(order: tuple[int, ...]) -> str:
    moved = [_CHANNELS[place] for place, channel in enumerate(order) if place != channel]
    return f"has {' and '.join(moved)} swapped" if len(moved) == 2 else f"has {_CHANNELS[order[0]]} for red, and so on"


def _swapped(due: Thumb) -> Thumb:
    """Exchange U and V: the differences of blue and of red from luma, each in its own scale."""
    luma = due @ _LUMA
    red_share, green_share, blue_share = _LUMA
    red = luma + (due[:, :, 2] - luma) * ((1 - red_share) / (1 - blue_share))
    blue = luma + (due[:, :, 0] - luma) * ((1 - blue_share) / (1 - red_share))
    return np.stack([red, (luma - red_share * red - blue_share * blue) / green_share, blue], axis=-1)
