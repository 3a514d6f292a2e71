"""What a job will be, before anything is rented: frames, picture size, work. Pure; headers give estimates only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from uprez.job import Options, Video, scaled
from uprez.models import MODELS


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
    work = MODELS[options.model].macs_per_pixel * video.width * video.height / 1e9
    return Estimate(
        frames=frames,
        width=scaled(video.width, options.scale),
        height=scaled(video.height, options.scale),
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
