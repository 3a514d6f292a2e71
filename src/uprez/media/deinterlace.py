"""Interlaced pictures made whole: FFmpeg's bwdif, one picture for each frame, so that no time changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from uprez.errors import InputError
from uprez.job import FieldOrder

_TICK = Fraction(1, 1000)
"""Of the pictures' numbers, which stand in for their times: the filter only asks which comes first."""


def deinterlaced(frames: Iterable[VideoFrame], order: FieldOrder, *, flagged_only: bool) -> Iterator[VideoFrame]:
    """Give each frame deinterlaced, in order; its times are not kept. Frames of one size and format.

    A picture is made from its frame and the one before and after. `order` counts where the frames do not say which
    field is first; `flagged_only` leaves alone those that say that they are progressive. Raises InputError where the
    filter does not take such pictures.
    """
    graph: Graph | None = None
    given = ""
    try:
        for number, frame in enumerate(frames):
            if graph is None:
                graph, given = _graph(frame, order, flagged_only=flagged_only), frame.format.name
            frame.pts, frame.time_base = number, _TICK
            graph.vpush(frame)
            yield from _ready(graph, given)
        if graph is not None:
            graph.vpush(None)
            yield from _ready(graph, given)
    except (FFmpegError, ValueError) as error:
        raise InputError(f"these pictures cannot be deinterlaced: {error}", hint="use --deinterlace off") from error


def _graph(frame: VideoFrame, order: FieldOrder, *, flagged_only: bool) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TICK)
    which = "interlaced" if flagged_only else "all"
    parity = {"top": "tff", "bottom": "bff"}.get("" if flagged_only else order, "auto")
    filtered = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint={which}")
    graph.link_nodes(source, filtered, graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Graph, given: str) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        if frame.format.name != given:  # FFmpeg converts what the filter does not take, and changes code values
            raise ValueError(f"pixel format {given}")
        yield frame
