"""Makes frames between others by RIFE: two sessions, held open for a whole segment."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import onnx

from uprez.enhance.rungs import Array
from uprez.enhance.session import samples
from uprez.enhance.upscale import Means, load
from uprez.media.frame import Frame, Moment
from uprez.models import Precision
from uprez.models.graphs import PLANES
from uprez.models.ifnet import PAD_PX, Weights
from uprez.models.motion import LAYERS_OUT, LEFT, RIGHT, TIMESTEP, MotionSpec, between_graph, head_graph
from uprez.models.networks import weights_of


class Interpolator:
    """Makes frames as those it is given are: of one size, stored in one way. Not for two threads at once."""

    def __init__(self, network: onnx.ModelProto, spec: MotionSpec, means: Means) -> None:
        """Raises ModelError where the weights are not RIFE's or every accepted provider family fails."""
        self._weights: Weights = weights_of(network)
        self._spec = spec
        self._head = means.open(self._head_graph, spec.colour, spec.colour)
        self.session = means.open(self._between_graph, spec.colour, spec.colour)
        self._seen: deque[tuple[Frame, Array]] = deque(maxlen=2)

    def __call__(self, moment: Moment) -> Frame:
        """Give the frame at a moment: the left one itself where that is shown. Raises ModelError where that fails."""
        if moment.left is moment.right:
            return moment.left
        feed = {LEFT: self._layers(moment.left), RIGHT: self._layers(moment.right)}
        feed[TIMESTEP] = np.full((1, 1, 1, 1), float(moment.fraction), np.float32)
        planes = self.session.call(feed).values()
        damaged = moment.left.damaged or moment.right.damaged
        return Frame(planes=tuple(samples(plane) for plane in planes), pts=moment.left.pts, damaged=damaged)

    def _layers(self, frame: Frame) -> Array:
        """Give a frame's layers, made once for all the frames on both sides of it."""
        for seen, layers in self._seen:
            if seen is frame:
                return layers
        names = PLANES[self._spec.colour.family]
        layers = self._head.call(dict(zip(names, frame.planes, strict=True)))[LAYERS_OUT]
        self._seen.append((frame, layers))
        return layers

    def _head_graph(self, precision: Precision, small: bool) -> onnx.ModelProto:
        return head_graph(self._weights, self._made_for(precision, small))

    def _between_graph(self, precision: Precision, small: bool) -> onnx.ModelProto:
        return between_graph(self._weights, self._made_for(precision, small))

    def _made_for(self, precision: Precision, small: bool) -> MotionSpec:
        width, height = (PAD_PX, PAD_PX) if small else (self._spec.width, self._spec.height)
        return MotionSpec(width=width, height=height, colour=self._spec.colour, half=precision == "f16")


def open_interpolator(network: Path, spec: MotionSpec, means: Means) -> Interpolator:
    """Open RIFE from what `weights.ensure` gave; raises ModelError where that is not it or nothing runs it."""
    return Interpolator(load(network), spec, means)
