"""Assembly and its check, for tests that have a source, an index, a plan and the plan's segments as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uprez.job import Index, Pin, Plan
from uprez.media import mux, verify

Made = tuple[Index, Plan, list[Path]]


def pins(made: Made) -> list[Pin]:
    """Check the segments, and say what the controller remembers of those that count."""
    index, plan, paths = made
    walks = [
        verify.segment(path.as_uri(), plan=plan, index=index, segment=part)
        for path, part in zip(paths, plan.segments, strict=True)
    ]
    return [Pin(key="", size=0, etag="", sha256="", packets=walk.packets, delay=walk.delay) for walk in walks]


def assemble(folder: Path, source: Path, made: Made) -> Path:
    """Join the segments into `folder`, in the plan's container."""
    index, plan, paths = made
    target = folder / f"result.{plan.container}"
    delay = max(pin.delay for pin in pins(made))
    mux.assemble(target, plan=plan, index=index, segments=paths, delay=delay, source_url=source.as_uri())
    return target


def check(result: Path, source: Path, made: Made, *, at: Sequence[int] = ()) -> verify.Facts:
    """Check an assembled result against all it was made of."""
    index, plan, _ = made
    return verify.result(result.as_uri(), plan=plan, index=index, source_url=source.as_uri(), pins=pins(made), at=at)
