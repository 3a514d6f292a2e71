"""What a job will be, before anything is rented: frames, picture size, work. Pure; headers give estimates only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from uprez.job import Options, Video
from uprez.media.target import Target, target
from uprez.media.timeline import Factor, rate_asked, rate_of
from uprez.models import MODELS
from uprez.models.needed import INTERPOLATOR, models_of

LOSSY_BITS = 0.25
LOSSLESS_BITS = 6.0
"""Of a pixel; crf 18 of x264 writes about 0.1, ffv1 about 5 of a clean picture."""
UNKNOWN_FRAMES = 2 * 3600 * 25


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One job in figures."""

    source_frames: int | None
    """That are processed, about; None when the header does not say."""
    frames: int | None
    """Of the result, likewise."""
    fps: Fraction | None
    """Of the result, on average."""
    width: int
    height: int
    work_gmac: float | None
    """Multiply-accumulates of the networks, in 10^9."""


def estimate(video: Video, options: Options) -> Estimate:
    """Estimate one job."""
    source, frames = part_frames(video, options), result_frames(video, options)
    wanted = target(video, options)
    return Estimate(
        source_frames=source,
        frames=frames,
        fps=rate_of(video, options),
        width=wanted.width,
        height=wanted.height,
        work_gmac=None if (macs := network_gmac(video, options)) is None else sum(macs.values()),
    )


def network_gmac(video: Video, options: Options) -> dict[str, float] | None:
    """Give the multiply-accumulates of each network, in 10^9; None where the header does not say how many frames."""
    source, frames = part_frames(video, options), result_frames(video, options)
    if source is None or frames is None:
        return None
    return _gmac(video, options, target(video, options), source, frames)


def _gmac(video: Video, options: Options, wanted: Target, source: int, frames: int) -> dict[str, float]:
    """Count the networks' multiply-accumulates; a frame that is shown again is not computed again."""
    first = options.interpolates and not options.interpolates_last
    size, result_size = video.width * video.height, wanted.width * wanted.height
    larger = (frames if first else min(source, frames)) * size
    between = frames * (size if first else result_size)
    pixels = {name: between if name == INTERPOLATOR else larger for name in models_of(options)}
    return {name: MODELS[name].macs_per_pixel * count / 1e9 for name, count in pixels.items()}


def result_frames(video: Video, options: Options) -> int | None:
    """Count the frames of a result, by the header's figures."""
    source, rate = part_frames(video, options), rate_asked(options)
    if source is None:
        return None
    if isinstance(rate, Factor):
        return round(source * rate.ratio)
    seconds = part_seconds(video, options)
    if seconds is None:
        return round(source / video.rate * rate.fps) if video.rate else None
    return round(seconds * rate.fps)


def part_seconds(video: Video, options: Options) -> Fraction | None:
    """Give the length between --start and --duration, by the header's figures."""
    if video.duration is None:
        return None
    rest = max(Fraction(0), video.duration - options.start)
    return rest if options.duration is None else min(rest, options.duration)


def part_frames(video: Video, options: Options) -> int | None:
    """Count the frames between --start and --duration, by the header's figures."""
    part = part_seconds(video, options)
    if part is None or not video.rate:
        return video.frames if not options.start and options.duration is None else None
    if part == video.duration and video.frames is not None:
        return video.frames
    return round(part * video.rate)


def result_bytes(video: Video, options: Options) -> int:
    """Estimate the size of a result, generously: what is not known counts as two hours of pictures."""
    figures = estimate(video, options)
    frames = UNKNOWN_FRAMES if figures.frames is None else figures.frames
    bits = LOSSLESS_BITS if options.codec == "ffv1" else LOSSY_BITS
    return round(frames * figures.width * figures.height * bits / 8)
