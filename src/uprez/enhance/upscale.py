"""Enlarges frames: one model, one size, one session, held open for a whole segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from uprez.enhance.session import Session, open_session
from uprez.errors import ModelError
from uprez.job import Video
from uprez.media.frame import Frame
from uprez.media.target import Target
from uprez.models import Model
from uprez.models.graphs import GraphSpec, planes_graph
from uprez.models.networks import identity


class Upscaler:
    """Makes larger frames of the sizes it was opened for; a frame keeps its pts."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, frame: Frame) -> Frame:
        """Enlarge one frame. Raises ModelError where the provider fails."""
        return Frame(planes=self.session.run(frame.planes), pts=frame.pts)


def open_upscaler(
    network: Path | None,
    model: Model,
    video: Video,
    wanted: Target,
    *,
    families: Sequence[str],
    threads: int,
) -> Upscaler:
    """Open a model for frames of `video`, to be made as `wanted` says.

    `network` is what `weights.ensure` gave for the model. Raises ModelError where the size, the network or every
    accepted provider family fails.
    """
    _check(model, video, wanted.width, wanted.height)
    spec = GraphSpec(
        width=video.width,
        height=video.height,
        out_width=wanted.width,
        out_height=wanted.height,
        native_scale=model.native_scale,
        source=video.colour,
        target=wanted.colour,
        turn=video.turn,
    )
    graph = planes_graph(_load(network) if network else identity() if model.scales[1] == 1 else None, spec)
    return Upscaler(open_session(graph, families=families, threads=threads))


def _check(model: Model, video: Video, width: int, height: int) -> None:
    shown = video.shown_size
    if model.scales[1] == 1 and max(abs(width - shown[0]), abs(height - shown[1])) > 1:  # 1: to an even side
        raise ModelError(
            f"model {model.name} keeps the size; {shown[0]}x{shown[1]} cannot become {width}x{height}",
            hint="use --scale 1 or another model",
        )


def _load(network: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model(network)
    except OSError as error:
        raise ModelError(
            f"cannot read the network {network}: {error}", hint="delete the file; it is made again from the weights"
        ) from error
