"""Make a job's plan from what the first lease found out; pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from uprez.fleet.estimate import Estimate
from uprez.job import Encoding, GivenUp, Index, Options, Plan, Segment, Survey
from uprez.media import timeline
from uprez.media.layouts import layout
from uprez.media.target import target
from uprez.media.timeline import Timeline

SEGMENT_OUTPUT_S = 60
SEGMENT_WORK_S = 300
SEGMENT_BYTES = 4_500_000_000
"""One PUT takes 5 GB."""
FILLED = 0.8
"""Of its bound, what a piece is cut for: so its borders have room to move."""
NOISE = ((18, Fraction(7, 10)), (8, Fraction(21, 20)), (0, Fraction(8, 5)))
"""From which quality on noise takes at most which part of its samples' bytes; see `share_of_raw`."""
LOSSLESS_NOISE, PRORES_NOISE = Fraction(11, 10), Fraction(1, 2)
SEGMENT_FRAMES_LEAST = 12
"""A segment is at most 60 s of output and 5 minutes of work, but not shorter than 12 frames."""


def make(
    job: str,
    number: int,
    options: Options,
    survey: Survey,
    *,
    container: str,
    given_up: tuple[GivenUp, ...] = (),
    segment_frames: int | None = None,
) -> Plan:
    """Fix everything that must be the same in every segment; raises InputError when the wanted part holds no frame."""
    index = survey.index
    first, count = timeline.select(index, options.start, options.duration)
    ready = survey.preflight
    wanted = target(index.video, options)
    times = timeline.asked(index, first, count, options)
    most = frames_in_one_put(wanted.width, wanted.height, ready.encoding)
    rate = timeline.rate_of(index.video, options)
    if segment_frames:
        segments = cut(times.frames, min(segment_frames, most))
    else:
        most = min(most, frames_at_most(rate, ready.seconds_per_frame))
        segments = cut_at(borders(times.frames, most, keyframes(index, times)))
    return Plan(
        number=number,
        job=job,
        options=options,
        first=first,
        count=count,
        width=wanted.width,
        height=wanted.height,
        container=container,
        preflight=ready,
        segments=segments,
        given_up=given_up,
    )


def pieces(found: Estimate, segment_frames: int | None) -> int:
    """Reckon in how many segments a job will be cut of which only the header is known."""
    if found.frames is None:
        return 1
    most = segment_frames or round((found.fps or 25) * SEGMENT_OUTPUT_S)
    return max(1, math.ceil(found.frames / max(1, most)))


def frames_at_most(rate: Fraction | None, seconds_per_frame: float) -> int:
    """Give the most frames of a segment: few enough to keep it short; up to 23, so that none need have under 12."""
    by_time = math.floor(SEGMENT_OUTPUT_S * (rate or 25))
    by_work = math.floor(SEGMENT_WORK_S / max(seconds_per_frame, 1e-9))
    return max(2 * SEGMENT_FRAMES_LEAST - 1, min(by_time, by_work))


Near = Callable[[int], Sequence[int]]
"""Gives the places nearest to an output frame where a border would best be: one before it or at it, one behind it."""


def keyframes(index: Index, times: Timeline) -> Near:
    """Find the output frames that are the first to show a keyframe of the source.

    Encoders put keyframes at scene cuts; and where a segment begins at one, its decoder has nothing to skip.
    """

    def near(number: int) -> list[int]:
        behind = bisect_right(index.keyframes, index.pts[_left(times, number)])
        around = index.keyframes[max(0, behind - 1) : behind + 1]
        firsts = (_first(times, bisect_left(index.pts, pts)) for pts in around)
        return [first for first in firsts if first is not None]

    return near


def _left(times: Timeline, number: int) -> int:
    return times.shown(number, 1)[0].left


def _first(times: Timeline, position: int) -> int | None:
    """Give the first output frame that shows this source frame or a later one."""
    found = bisect_left(range(times.frames), position, key=lambda number: _left(times, number))
    return found if found < times.frames else None


def borders(count: int, most: int, near: Near) -> list[int]:
    """Cut `count` frames into near equal pieces of at least 12 and at most `most` (23 or more): (0, ..., count).

    A border moves to a place that is `near` where that is within a quarter of a piece and the bounds allow.
    """
    if count <= most:
        return [0, count]
    least = SEGMENT_FRAMES_LEAST
    # Pieces that are cut at the bound could not move a border.
    number = min(math.ceil(count / math.floor(most * FILLED)), count // least)
    made, left = [0], number
    while left > 1:
        even = made[-1] + (count - made[-1]) // left
        reach = max(1, (even - made[-1]) // 4)
        low, high = max(made[-1] + least, count - (left - 1) * most), min(made[-1] + most, count - (left - 1) * least)
        places = [at for at in near(even) if max(low, even - reach) <= at <= min(high, even + reach)]
        made.append(min(places, key=lambda at: abs(at - even), default=min(max(even, low), high)))
        left -= 1
    return [*made, count]


def frames_in_one_put(width: int, height: int, encoding: Encoding) -> int:
    """Say how many frames a segment may have at most, so that a store takes it in one PUT whatever the picture is."""
    return max(1, SEGMENT_BYTES // max(1, bytes_at_most(width, height, encoding)))


def bytes_at_most(width: int, height: int, encoding: Encoding) -> int:
    """Give the bytes that a frame becomes at most, whatever the picture is."""
    how = layout(encoding.pix_fmt)
    samples = width * height * (1 + Fraction(2, how.across * how.down))
    return math.ceil(samples * how.depth / 8 * share_of_raw(encoding))


def share_of_raw(encoding: Encoding) -> Fraction:
    """Say how large noise, which nothing predicts, becomes at most, as a part of its samples' bytes.

    Measured with FFmpeg 8.1 on noise of the full range, 320x240, 8 bits (of 10 it is less, but for SVT-AV1's 1):

    | quality | 0 | 1 | 4 | 8 | 12 | 16 | 18 | 24 |
    |---|---|---|---|---|---|---|---|---|
    | libx264, ultrafast | 1.60 | 1.31 | | 1.02 | | | 0.69 | |
    | libx264, medium | 1.01 | 1.05 | 0.92 | 0.79 | 0.68 | 0.58 | 0.54 | 0.41 |
    | libx265, ultrafast | 1.16 | | | 0.92 | | | 0.66 | |
    | libx265, medium | 0.95 | | 0.89 | 0.81 | 0.71 | 0.61 | 0.57 | 0.43 |
    | libsvtav1, 0 to 12 | | 1.37 | 1.02 | 0.84 | 0.72 | 0.66 | 0.65 | 0.58 |

    ffv1 1.10; ProRes proxy 0.06, lt 0.14, standard 0.21, hq and 4444 0.31, 4444xq 0.46. NVENC's scale is taken for
    its codec's.
    """
    if encoding.codec in ("ffv1", "prores"):
        return LOSSLESS_NOISE if encoding.codec == "ffv1" else PRORES_NOISE
    options = dict(encoding.options)
    text = options.get("crf") or options.get("cq") or ""
    quality = int(text) if text.isdecimal() else 0  # a worker wrote it
    return next(share for least, share in NOISE if quality >= least)


def cut(count: int, size: int) -> tuple[Segment, ...]:
    """Cut `count` frames into pieces of `size`; the last has what is left."""
    starts = range(0, count, size)
    return tuple(
        Segment(number=number, first=first, count=min(size, count - first)) for number, first in enumerate(starts)
    )


def cut_at(borders: Sequence[int]) -> tuple[Segment, ...]:
    """Make segments from their borders."""
    return tuple(
        Segment(number=number, first=first, count=last - first)
        for number, (first, last) in enumerate(pairwise(borders))
    )
