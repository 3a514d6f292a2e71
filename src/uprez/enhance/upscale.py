"""Enlarges frames: one model, one size, one session, held open for a whole segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from uprez.enhance.session import Session, open_session
from uprez.errors import InputError, ModelError
from uprez.job import Video
from uprez.media.frame import Frame
from uprez.models import Model
from uprez.models.graphs import GraphSpec, planes_graph


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
    width: int,
    height: int,
    *,
    families: Sequence[str],
    threads: int,
) -> Upscaler:
    """Open a model for frames of `video`, to be made `width` x `height` pixels (both even).

    `network` is what `weights.ensure` gave for the model. Raises InputError for a video this graph cannot take, and
    ModelError where the size, the network or every accepted provider family fails.
    """
    _check(model, video, width, height)
    colour = video.colour
    spec = GraphSpec(
        width=video.width,
        height=video.height,
        out_width=width,
        out_height=height,
        native_scale=model.native_scale,
        matrix=colour.matrix,
        full_range=colour.full_range,
        siting=colour.siting,
    )
    graph = planes_graph(_load(network) if network else None, spec)
    return Upscaler(open_session(graph, families=families, threads=threads))


def _check(model: Model, video: Video, width: int, height: int) -> None:
    if video.colour.depth != 8:
        raise InputError(
            f"{video.colour.depth}-bit video ({video.pix_fmt}) is not supported yet",
            hint="convert it to 8-bit 4:2:0 first",
        )
    if width % 2 or height % 2:
        raise ModelError(f"an output of {width}x{height} pixels has an odd side; 4:2:0 needs even ones")
    if model.scales[1] == 1 and (width, height) != (video.width, video.height):
        raise ModelError(
            f"model {model.name} keeps the size; {video.width}x{video.height} cannot become {width}x{height}",
            hint="use --scale 1 or another model",
        )


def _load(network: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model(network)
    except OSError as error:
        raise ModelError(
            f"cannot read the network {network}: {error}", hint="delete the file; it is made again from the weights"
        ) from error
