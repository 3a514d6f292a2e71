"""Makes frames between others by RIFE: two sessions, held open for a whole segment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from uprez.enhance.rungs import Array
from uprez.enhance.session import GraphMaker, Session, samples
from uprez.enhance.upscale import ON_CPU, Means, load
from uprez.media.frame import Frame, Moment
from uprez.media.scenes import same
from uprez.models import Precision
from uprez.models.graphs import PLANES
from uprez.models.ifnet import PAD_PX, Weights
from uprez.models.motion import LAYERS_OUT, LEFT, RIGHT, TIMESTEP, MotionSpec, between_graph, head_graph, pair_graph
from uprez.models.networks import weights_of


class Interpolator:
    """Makes frames as those it is given are: of one size, stored in one way. Not for two threads at once."""

    def __init__(self, network: onnx.ModelProto, spec: MotionSpec, means: Means) -> None:
        """Raises ModelError where the weights are not RIFE's or every accepted provider family fails."""
        self._weights: Weights = weights_of(network)
        self._spec = spec
        self._names = PLANES[spec.colour.family]
        self._head: Session | None = None
        if ON_CPU.issuperset(means.families):
            self.session = means.open(self._graph(between_graph), spec.colour, spec.colour)
            self._head = replace(means, families=(self.session.family,)).open(
                self._graph(head_graph), spec.colour, spec.colour
            )
        else:
            self.session = means.open(self._graph(pair_graph), spec.colour, spec.colour)
        self._seen: deque[tuple[Frame, Array]] = deque(maxlen=2)

    def __call__(self, moment: Moment) -> Frame:
        """Give the frame at a moment: the left one itself where that is shown. Raises ModelError where that fails."""
        if moment.left is moment.right:
            return moment.left
        feed: dict[str, Array] = {}
        for side, frame in ((LEFT, moment.left), (RIGHT, moment.right)):
            if self._head:
                feed[side] = self._layers(self._head, frame)
            else:
                feed |= {f"{side}_{name}": plane for name, plane in zip(self._names, frame.planes, strict=True)}
        feed[TIMESTEP] = np.full((1, 1, 1, 1), float(moment.fraction), np.float32)
        planes = self.session.call(feed).values()
        damaged = moment.left.damaged or moment.right.damaged
        return Frame(planes=tuple(samples(plane) for plane in planes), pts=moment.left.pts, damaged=damaged)

    def _layers(self, head: Session, frame: Frame) -> Array:
        """Give a frame's layers, made once for all the frames on both sides of it."""
        for seen, layers in self._seen:
            if seen is frame or same(seen, frame):
                return layers
        layers = head.call(dict(zip(self._names, frame.planes, strict=True)))[LAYERS_OUT]
        self._seen.append((frame, layers))
        return layers

    def _graph(self, build: Callable[[Weights, MotionSpec], onnx.ModelProto]) -> GraphMaker:
        def make(precision: Precision, small: bool) -> onnx.ModelProto:
            width, height = (PAD_PX, PAD_PX) if small else (self._spec.width, self._spec.height)
            spec = MotionSpec(width=width, height=height, colour=self._spec.colour, half=precision == "f16")
            return build(self._weights, spec)

        return make


def open_interpolator(network: Path, spec: MotionSpec, means: Means) -> Interpolator:
    """Open RIFE from what `weights.ensure` gave; raises ModelError where that is not it or nothing runs it."""
    return Interpolator(load(network), spec, means)
