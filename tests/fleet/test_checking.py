"""What is made of the ends of tasks, as a pass of the loop sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from uprez.errors import VerifyError
from uprez.fleet import checks
from uprez.fleet.checking import Checks
from uprez.fleet.work import Piece, Work
from uprez.job import Pin
from uprez.report.console import Console
from uprez.status import Done, Fault, Stage
from uprez.store.open import Home

MakeWork = Callable[[str, int], Work]
PIN = Pin(key="jobs/0/1/segment-0/a-1", size=1, etag="e", sha256="a" * 64)


@pytest.fixture
def shunned() -> list[str]:
    """List the machines that get no more work."""
    return []


@pytest.fixture
def others() -> list[bool]:
    """Say whether another machine is at the same work."""
    return [False]


@pytest.fixture
def looking(home: Home, console: Console, shunned: list[str], others: list[bool]) -> Checks:
    """Give the checks of a run on rented machines."""
    return Checks(
        home=home,
        console=console,
        segment_frames=None,
        planned=lambda: None,
        looked=lambda _: None,
        distrusted=lambda machine, _: shunned.append(machine),
        affords=lambda _: None,
        alone=False,
        others=lambda *_: others[0],
    )


def _on_nvenc(work: Work) -> Work:
    assert work.plan is not None
    encoding = replace(work.plan.preflight.encoding, rung="h264_nvenc")
    work.plan = replace(work.plan, preflight=replace(work.plan.preflight, encoding=encoding))
    return work


@pytest.mark.parametrize("fault", ["encode", "plan"])
def test_one_machine_is_heard_once(looking: Checks, shunned: list[str], work_of: MakeWork, fault: Fault) -> None:
    """All tasks of a sheet fail on a machine without the encoder: that is one failure, and nothing is thrown away."""
    work = _on_nvenc(work_of("job", 5))
    work.counted = {0: PIN, 1: PIN}
    for segment in (2, 3, 4):
        done = Done(task=f"b-{segment}", key="", fault=fault, error="no NVENC here")
        looking.begin("machine-b", work, Piece("enhance", segment), done)
    assert len(work.counted) == 2
    assert work.plan is not None
    assert shunned == ["machine-b"]
    looking.begin("machine-c", work, Piece("enhance", 2), Done(task="c-1", key="", fault=fault, error="nor here"))
    assert work.plan is None, "the second machine in a row"


@pytest.mark.parametrize("fault", ["encode", "plan", "verify", "store", "defect", "input"])
def test_a_try_that_fails_beside_another_costs_nothing(
    looking: Checks, others: list[bool], work_of: MakeWork, fault: Fault
) -> None:
    """Whoever loses a race fails no job and no plan: the other attempt may count."""
    work = _on_nvenc(work_of("job", 2))
    others[0] = True
    for number in range(5):
        done = Done(task=f"b-{number}", key="", fault=fault, error="broken")
        looking.begin(f"machine-{number}", work, Piece("enhance", 0), done)
        looking.lost(work, Piece("enhance", 0), replace(done, fault="lost"))
    assert (work.state, work.failures, +work.tries) == ("open", 0, {})
    assert work.plan is not None


def test_what_a_segment_took_is_kept_when_it_counts(
    looking: Checks, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stages and the frames that needed no work are those of segments that count, and of no others."""
    work = work_of("job", 3)

    def found(*arguments: object) -> Pin:
        if arguments[2] == 1:
            raise VerifyError("spoilt")
        return PIN

    monkeypatch.setattr(checks, "segment", found)
    stages = (Stage(name="decode", seconds=1.5, frames=10),)

    async def run() -> None:
        for segment in (0, 1):
            done = Done(task=f"a-{segment}", key="k", stages=stages, reused=4, held=1)
            looking.begin("machine-a", work, Piece("enhance", segment), done)
        await looking.settle()

    asyncio.run(run())
    assert (work.computed, work.reused, work.held) == (1, 4, 1)
    assert work.stages == {"decode": stages[0]}


def test_a_check_of_a_plan_that_was_given_up_is_nobodys(
    looking: Checks, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread finds about a segment of plan 1 neither counts in plan 2 nor is held against it."""
    work = _on_nvenc(work_of("job", 3))
    plan = work.plan

    def found(*arguments: object) -> Pin:
        if arguments[2] == 0:
            return PIN
        raise VerifyError("spoilt")

    monkeypatch.setattr(checks, "segment", found)

    async def run() -> None:
        for segment in (0, 1):
            looking.begin("machine-a", work, Piece("enhance", segment), Done(task=f"a-{segment}", key="k"))
        work.give_up("struck")
        assert plan is not None
        work.plan = replace(plan, number=2)
        await looking.settle()

    asyncio.run(run())
    assert work.counted == {}
    assert not work.tries
