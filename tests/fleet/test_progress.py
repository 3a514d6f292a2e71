"""How far a run is, as its lock file says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from uprez.fleet import locks, progress
from uprez.fleet.locks import Controller, Progress, batch_lock
from uprez.fleet.work import Work
from uprez.job import Pin

PIN = Pin(key="k", size=1, etag="e", sha256="a" * 64)


def test_frames_that_count_are_summed_over_all_jobs(work_of: Callable[[str, int], Work]) -> None:
    """A job without a plan has the frames that its header says; an input that is no job has failed."""
    planned, unplanned, failed = work_of("a" * 16, 4), work_of("b" * 16, 0), work_of("c" * 16, 2)
    planned.counted = {0: PIN, 2: PIN}
    failed.fail("it is broken")
    found = progress.measure([planned, unplanned, failed], failed=1)
    assert found == Progress(jobs=4, done=0, failed=2, frames=20, total=40 + 100 + 20)


def test_a_run_tells_how_far_it_is_while_it_works(
    tmp_path: Path, work_of: Callable[[str, int], Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock file follows the works, and an error in the work comes through."""
    monkeypatch.setattr(progress, "EVERY_S", 0.001)
    work = work_of("a" * 16, 4)

    async def until(frames: int) -> None:
        while locks.read(tmp_path, "b0000001") != replace(me, progress=progress.measure([work])):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert work.frames_counted == frames

    async def run() -> None:
        async with progress.told(tmp_path, "b0000001", [work]):
            await until(0)
            work.counted[1] = PIN
            await until(10)
            raise RuntimeError("the work's own")

    with batch_lock(tmp_path, "b0000001"):
        me = locks.read(tmp_path, "b0000001") or Controller()
        with pytest.raises(RuntimeError, match="the work's own"):
            asyncio.run(asyncio.wait_for(run(), 30))
