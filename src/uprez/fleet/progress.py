"""How far a run is, told beside its work to whoever asks on this computer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from uprez.fleet import estimate, locks
from uprez.fleet.locks import Progress
from uprez.fleet.work import Work

EVERY_S = 2.0


def measure(works: Sequence[Work], *, failed: int = 0) -> Progress:
    """Sum up the jobs of a run; `failed`: the inputs that never became one."""
    frames = [_frames(work) for work in works]
    known = [count for count in frames if count is not None]
    return Progress(
        jobs=len(works) + failed,
        done=sum(work.state == "done" for work in works),
        failed=failed + sum(work.state == "failed" for work in works),
        frames=sum(work.result.frames if work.result else work.frames_counted for work in works),
        total=sum(known) if len(known) == len(frames) else None,
    )


@contextlib.asynccontextmanager
async def told(folder: Path, batch: str, works: Sequence[Work], *, failed: int = 0) -> AsyncIterator[None]:
    """Keep the lock file of a run in step with its works while the block runs."""

    async def tell() -> None:
        while True:
            locks.sign(folder, batch, measure(works, failed=failed))
            await asyncio.sleep(EVERY_S)

    telling = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def _frames(work: Work) -> int | None:
    """Give the frames of a job's result; by its header, until it has a plan."""
    if work.result is not None:
        return work.result.frames
    return work.plan.frames if work.plan else estimate.result_frames(work.video, work.job.options)
