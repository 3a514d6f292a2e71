"""A plain video and what is known of it, for tests that need one and say only what matters to them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from uprez.job import Colour, Index, Video

COLOUR = Colour(matrix="bt709", full_range=False, siting="left")
VIDEO = Video(
    container="matroska,webm",
    size=1000,
    stream=0,
    codec="h264",
    width=320,
    height=180,
    pix_fmt="yuv420p",
    sar=Fraction(1),
    rate=Fraction(25),
    time_base=Fraction(1, 1000),
    duration=None,
    frames=None,
    colour=COLOUR,
)
"""8 bits of 4:2:0, BT.709, 25 frames a second; its header states no length."""


def counted(frames: int, **changes: object) -> Video:
    """The same with a header that states so many frames."""
    return replace(VIDEO, frames=frames, duration=Fraction(frames, 25), **changes)  # type: ignore[arg-type]


def indexed(video: Video, frames: int) -> Index:
    """An index of so many frames at 25 a second, one keyframe first."""
    step = int(1 / video.time_base / 25)
    pts = tuple(range(0, frames * step, step))
    return Index(video=video, time_base=video.time_base, pts=pts, keyframes=(0,), last_duration=step)
