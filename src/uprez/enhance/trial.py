"""Which of a CPU's families is the fastest at a job, by trying: it differs from CPU to CPU and from network to network.

Here, on an AMD EPYC, ncnn makes pictures larger 1.6 times as fast as OpenVINO, which finds motion 2.4 times as fast as
ONNX Runtime's own provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from uprez.enhance.upscale import Means
from uprez.errors import NoProviderError
from uprez.job import Options, Video
from uprez.media.frame import Frame, Moment
from uprez.media.target import Target
from uprez.models import MODELS
from uprez.models.graphs import plane_shapes
from uprez.models.needed import models_of

_TRIAL_PX, _TRIAL_MACS = 64 * 48, 16_000_000_000
"""Pixels of a picture at least, and multiply-accumulates about: a fifth of a second on two cores."""
_TRIALS = 4
"""The best counts: the first ones fill caches, and a runtime's threads may at first share a core."""
_LEAST_SIDE = 32


_WORTH_S = 12.0
"""Seconds of work from which on a trial pays, which takes three."""
_MACS_PER_S = {"upscale": 100e9, "interp": 15e9}
"""Of a kind of model on two cores, about: what moves is looked up all over the picture, and waits for memory."""


class Makes(Protocol):
    """What makes frames of moments."""

    @property
    def providers(self) -> str:
        """What runs the models, by name."""

    def begin(self) -> None:
        """Forget what was made: nothing is reused."""

    def frame(self, moment: Moment) -> Frame:
        """Make the frame of one moment."""


def is_worth(options: Options, video: Video, frames: int) -> bool:
    """Say whether a job of so many of the source's frames is long enough for a trial to pay."""
    models = [MODELS[name] for name in models_of(options)]
    per_px = sum(model.macs_per_pixel / _MACS_PER_S[model.kind] for model in models if model.macs_per_pixel)
    return per_px * video.width * video.height * frames >= _WORTH_S


def by_speed(
    families: list[str],
    open_: Callable[[Video, Target, Means], Makes],
    options: Options,
    video: Video,
    wanted: Target,
    means: Means,
    work: Callable[[str], float] = lambda _: 1.0,
) -> tuple[list[str], list[str]]:
    """Order families of one CPU, and say why: `open_` opens the models for a small picture, which is made on each.

    `work` gives how much more a family does in the whole picture, where its memory holds only tiles. Those that do not
    open come first: their reasons are told when they are opened in earnest.
    """
    if len(families) < 2:
        return families, []
    macs = sum(MODELS[name].macs_per_pixel for name in models_of(options))
    small, made = _smaller(video, wanted, max(_TRIAL_PX, _TRIAL_MACS // macs))
    shown = moments(_noise(small), between=options.interpolates)
    took: dict[str, float] = {}
    said: list[str] = []
    for family in families:
        only = replace(means, families=(family,), memory_bytes=None)
        try:
            engine = open_(small, made, only)
        except NoProviderError:
            continue
        took[family] = min(sum(_took(engine, moment) for moment in shown) for _ in range(_TRIALS))
        milliseconds = round(1000 * took[family])
        tiles = f", {work(family):.1f} times that in tiles" if work(family) > 1 else ""
        said.append(f"{family}: {milliseconds} ms for {small.width}x{small.height} ({engine.providers}){tiles}")
    ordered = sorted(families, key=lambda family: took[family] * work(family) if family in took else 0.0)
    return ordered, said if len(took) > 1 else []


def seconds_per_frame(engine: Makes, shown: Sequence[Moment], between: Fraction) -> float:
    """Measure the seconds of an output frame, of which a part lie between the source's; sessions have run before."""
    took = [_took(engine, moment) for moment in shown]
    return float(took[0] * (1 - between) + took[-1] * between)


def moments(frames: Sequence[Frame], *, between: bool) -> list[Moment]:
    """Give what an output frame may be made of, the most work last: a frame and, if so, a place between two."""
    made = [Moment(left=frames[0], right=frames[0])]
    if between and len(frames) > 1:
        made.append(Moment(left=frames[0], right=frames[1], fraction=Fraction(1, 2)))
    return made


def _took(engine: Makes, moment: Moment) -> float:
    engine.begin()
    began = time.perf_counter()
    engine.frame(moment)
    return time.perf_counter() - began


def _smaller(video: Video, wanted: Target, most_px: int) -> tuple[Video, Target]:
    """Give a video of so many pixels at most, and its result, as much larger."""
    share = min(1.0, (most_px / (video.width * video.height)) ** 0.5)
    width, height = (max(_LEAST_SIDE, int(side * share) // 4 * 4) for side in (video.width, video.height))
    width, height = min(width, most_px // height // 4 * 4), min(height, most_px // width // 4 * 4)
    small = replace(video, width=width, height=height)
    by = wanted.width / video.shown_size[0]
    made = replace(
        wanted, width=round(small.shown_size[0] * by / 2) * 2, height=round(small.shown_size[1] * by / 2) * 2
    )
    return small, made


def _noise(video: Video) -> list[Frame]:
    """Give two pictures of noise."""
    random = np.random.default_rng(0)
    low, high, kind = (64, 192, np.uint8) if video.colour.depth == 8 else (256, 768, np.uint16)
    shapes = plane_shapes(video.width, video.height, video.colour).values()
    return [
        Frame(planes=tuple(random.integers(low, high, shape, kind) for shape in shapes), pts=number)
        for number in range(2)
    ]
