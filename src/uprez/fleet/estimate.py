"""What a job will be, before anything is rented: frames, picture size, work. Pure; headers give estimates only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from uprez.job import Options, Video
from uprez.media.target import target
from uprez.models import MODELS

LOSSY_BITS = 0.25
LOSSLESS_BITS = 6.0
"""Of a pixel; crf 18 of x264 writes about 0.1, ffv1 about 5 of a clean picture."""
UNKNOWN_FRAMES = 2 * 3600 * 25


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One job in figures."""

    frames: int | None
    """About; None when the header does not say."""
    width: int
    height: int
    work_gmac: float | None
    """Multiply-accumulates of the network, in 10^9."""


def estimate(video: Video, options: Options) -> Estimate:
    """Estimate one job."""
    frames = part_frames(video, options)
    wanted = target(video, options)
    work = MODELS[options.model].macs_per_pixel * video.width * video.height / 1e9
    return Estimate(
        frames=frames,
        width=wanted.width,
        height=wanted.height,
        work_gmac=None if frames is None else frames * work,
    )


def part_frames(video: Video, options: Options) -> int | None:
    """Count the frames between --start and --duration, by the header's figures."""
    whole = video.duration
    if whole is None or not video.rate:
        return video.frames if not options.start and options.duration is None else None
    rest = max(Fraction(0), whole - options.start)
    part = rest if options.duration is None else min(rest, options.duration)
    if part == whole and video.frames is not None:
        return video.frames
    return round(part * video.rate)


def result_bytes(video: Video, options: Options) -> int:
    """Estimate the size of a result, generously: what is not known counts as two hours of pictures."""
    figures = estimate(video, options)
    frames = UNKNOWN_FRAMES if figures.frames is None else figures.frames
    bits = LOSSLESS_BITS if options.codec == "ffv1" else LOSSY_BITS
    return round(frames * figures.width * figures.height * bits / 8)
