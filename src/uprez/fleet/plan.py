"""Make a job's plan from what the first lease found out; pure."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from uprez.job import Encoding, Options, Plan, Segment, Survey
from uprez.media import mux, timeline
from uprez.media.layouts import layout
from uprez.media.target import target

SEGMENT_OUTPUT_S = 60
SEGMENT_WORK_S = 300
SEGMENT_BYTES = 4_500_000_000
"""One PUT takes 5 GB."""
NOISE = ((18, Fraction(7, 10)), (8, Fraction(21, 20)), (0, Fraction(8, 5)))
"""From which quality on noise takes at most which part of its samples' bytes; see `share_of_raw`."""
LOSSLESS_NOISE, PRORES_NOISE = Fraction(11, 10), Fraction(1, 2)
SEGMENT_FRAMES_LEAST = 12
"""A segment is at most 60 s of output and 5 minutes of work, but not shorter than 12 frames."""


def make(job: str, number: int, options: Options, survey: Survey, *, segment_frames: int | None = None) -> Plan:
    """Fix everything that must be the same in every segment; raises InputError when the wanted part holds no frame."""
    index = survey.index
    first, count = timeline.select(index, options.start, options.duration)
    ready, chosen = survey.preflight, options.container
    wanted = target(index.video, options)
    frames = timeline.frames(index, first, count, options)
    most = frames_in_one_put(wanted.width, wanted.height, ready.encoding)
    rate = options.cfr or index.video.rate
    segments = (
        cut(frames, min(segment_frames, most))
        if segment_frames
        else cut_evenly(frames, max(pieces(frames, rate, ready.seconds_per_frame), math.ceil(frames / most)))
    )
    return Plan(
        number=number,
        job=job,
        options=options,
        first=first,
        count=count,
        width=wanted.width,
        height=wanted.height,
        container=mux.container_for(index.video, ready.encoding.codec) if chosen == "auto" else chosen,
        preflight=ready,
        segments=segments,
    )


def pieces(count: int, rate: Fraction | None, seconds_per_frame: float) -> int:
    """Give the number of segments: enough to keep each short, but none of them under 12 frames."""
    by_time = math.floor(SEGMENT_OUTPUT_S * (rate or 25))
    by_work = math.floor(SEGMENT_WORK_S / max(seconds_per_frame, 1e-9))
    most = max(SEGMENT_FRAMES_LEAST, min(by_time, by_work))
    return max(1, min(math.ceil(count / most), count // SEGMENT_FRAMES_LEAST))


def frames_in_one_put(width: int, height: int, encoding: Encoding) -> int:
    """Say how many frames a segment may have at most, so that a store takes it in one PUT whatever the picture is."""
    how = layout(encoding.pix_fmt)
    samples = width * height * (1 + Fraction(2, how.across * how.down))
    per_frame = math.ceil(samples * how.depth / 8 * share_of_raw(encoding))
    return max(1, SEGMENT_BYTES // max(1, per_frame))


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


def cut_evenly(count: int, pieces: int) -> tuple[Segment, ...]:
    """Cut `count` frames into pieces of lengths that differ by one frame at most."""
    borders = [count * number // pieces for number in range(pieces + 1)]
    return tuple(
        Segment(number=number, first=first, count=last - first)
        for number, (first, last) in enumerate(pairwise(borders))
    )
