"""uprez's own pipeline in this process, on an engine that is open already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from uprez.enhance import pipeline
from uprez.enhance.engine import Engine
from uprez.enhance.feed import Feed
from uprez.job import Index, Options
from uprez.media import decode, timeline
from uprez.media.frame import Frame


def stream(
    clip: Path,
    index: Index,
    engine: Engine,
    options: Options,
    write: Callable[[Frame], None],
    *,
    threads: int,
    frames: int,
    note: Callable[[int], None] = lambda _: None,
) -> None:
    """Send the first frames of a clip through the pipeline, as a worker does with a segment."""
    times = timeline.asked(index, 0, frames, options)
    first, count = times.needed(0, times.frames)
    feed = Feed(decode.frames(clip.as_uri(), index, first, count, threads=threads), first, index.video)
    engine.begin()
    pipeline.run(feed.shown(times.shown(0, times.frames)), engine.frames, write, on_frame=note)
