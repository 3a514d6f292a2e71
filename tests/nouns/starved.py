"""A picture that takes much memory and little time to enlarge, for processes that have little of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pictures import Waves
from plain import COLOUR
from small import small_network
from uprez.enhance.upscale import Means, Upscaler
from uprez.media.frame import Frame
from uprez.models import MODELS
from uprez.models.graphs import GraphSpec


def large(side: int, channels: int, say: Callable[[str], None] = lambda _: None) -> tuple[Upscaler, Frame]:
    """Open a network of so many channels, for a square picture, on the CPU; and give such a picture."""
    spec = GraphSpec(
        width=side, height=side, out_width=side, out_height=side, native_scale=1, source=COLOUR, target=COLOUR
    )
    model = replace(MODELS["realesr-animevideov3"], native_scale=1, halo_px=3)
    means = Means(families=("cpu",), threads=1, say=say)
    frame = Waves(width=side, height=side, colour=COLOUR).at(0)
    return Upscaler(small_network(1, channels=channels), model, spec, means), frame
