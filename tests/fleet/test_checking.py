"""What is made of the ends of tasks, as a pass of the loop sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from uprez.errors import BusyError, InputError, VerifyError
from uprez.fleet import checking, checks
from uprez.fleet.checking import Blame, Checks
from uprez.fleet.work import INDEX, Piece, Work
from uprez.job import Pin
from uprez.report.console import Console
from uprez.report.results import Made, Output
from uprez.status import Done, Fault, Stage
from uprez.store.open import Home

MakeWork = Callable[[str, int], Work]
PIN = Pin(key="jobs/0/1/segment-0/a-1", size=1, etag="e", sha256="a" * 64)
OUTPUT = Output(
    url="", path="job.mkv", size=1, etag="", sha256="", frames=1, duration_s=1, width=2, height=2, audio_tracks=0
)
MADE = Made(plan=1, model="m", family="cpu", provider="p", precision="f32", encoder="e", ladder=(), segments=1)


@pytest.fixture
def shunned() -> list[str]:
    """List the machines that get no more work."""
    return []


@pytest.fixture
def others() -> list[bool]:
    """Say whether another machine is at the same work."""
    return [False]


@pytest.fixture
def heard() -> list[tuple[str, str]]:
    """List what came of each attempt."""
    return []


@pytest.fixture
def looking(
    home: Home, console: Console, shunned: list[str], others: list[bool], heard: list[tuple[str, str]]
) -> Checks:
    """Give the checks of a run on rented machines."""
    return Checks(
        home=home,
        console=console,
        segment_frames=None,
        planned=lambda: None,
        looked=lambda _: None,
        distrusted=lambda machine, *_: shunned.append(machine),
        affords=lambda _: None,
        alone=False,
        learn=lambda *_: None,
        others=lambda *_: others[0],
        came=lambda task, came: heard.append((task, came)),
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


Heard = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("found", "came"),
    [
        (PIN, "counts"),
        (VerifyError("spoilt"), "refused"),
        (InputError("not the source's"), "refused"),
        (checks.Spoilt(pins={}), "refused"),
        (checks.Published(output=OUTPUT, made=MADE), "raced"),
    ],
)
def test_what_came_of_an_attempt_is_told(
    looking: Checks, heard: Heard, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch, found: object, came: str
) -> None:
    """One that is right counts, one that is not is refused, and a job that another run has finished was raced for."""
    work = work_of("job", 2)
    said = Done(task="a-1", key="k")

    def look(*_: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(checks, "segment", look)

    async def run() -> None:
        looking.begin("machine-a", work, Piece("enhance", 0), said)
        await looking.settle()

    asyncio.run(run())
    assert heard == [("a-1", came)]


@pytest.mark.parametrize("fault", ["encode", "plan", "verify", "store", "model", "input", "defect", "stopped"])
def test_a_try_that_failed_is_told_of_at_once(
    looking: Checks, heard: Heard, others: list[bool], work_of: MakeWork, fault: Fault
) -> None:
    """Also beside another; one that merely stopped did not fail."""
    others[0] = True
    looking.begin("machine-a", work_of("job", 2), Piece("enhance", 0), Done(task="a-1", key="", fault=fault))
    assert heard == [("a-1", "stopped" if fault == "stopped" else "failed")]


def test_who_comes_too_late_was_raced(looking: Checks, heard: Heard, work_of: MakeWork) -> None:
    """What counts already is not looked at again."""
    work = work_of("job", 2)
    work.counted[0] = PIN
    looking.begin("machine-a", work, Piece("enhance", 0), Done(task="a-1", key="k"))
    assert heard == [("a-1", "raced")]


def test_a_plan_that_is_given_up_takes_what_counted_with_it(looking: Checks, heard: Heard, work_of: MakeWork) -> None:
    """The time of its finished segments was for nothing: each is named by the attempt that made it."""
    work = _on_nvenc(work_of("job", 3))
    work.counted[0] = replace(PIN, key="jobs/0/1/segment-0/a-7")
    for machine in ("a", "b"):
        done = Done(task=f"{machine}-1", key="", fault="encode", error="no NVENC here")
        looking.begin(f"machine-{machine}", work, Piece("enhance", 1), done)
    assert work.plan is None
    assert heard == [("a-1", "failed"), ("b-1", "failed"), ("a-7", "failed")]


@pytest.fixture
def blamed(looking: Checks) -> list[tuple[str, Blame]]:
    """List the machines that get no more work, with what they are to blame for."""
    found: list[tuple[str, Blame]] = []
    looking.distrusted = lambda machine, _, blame: found.append((machine, blame))
    return found


@pytest.mark.parametrize("error", [VerifyError("another video"), InputError("no frame in that part")])
def test_an_index_is_one_machines_word(
    looking: Checks,
    blamed: list[tuple[str, Blame]],
    work_of: MakeWork,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """One that cannot be right is tried on a second machine; two such fail the job at once, and blame nobody."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(checks, "survey", refuse)
    work = work_of("job", 0)

    async def run(machine: str) -> None:
        looking.begin(machine, work, INDEX, Done(task=f"{machine}-1", key="k"))
        await looking.settle()

    asyncio.run(run("m1"))
    assert (work.state, list(work.doubts)) == ("open", ["m1"])
    asyncio.run(run("m1"))
    assert work.state == "open", "the same machine once more"
    asyncio.run(run("m2"))
    assert work.state == "failed"
    assert "machine m1" in (work.error or "")
    assert "machine m2" in (work.error or "")
    assert blamed == []


@pytest.mark.parametrize("refused", [True, False])
def test_who_is_refuted_gets_no_more_work(
    looking: Checks,
    blamed: list[tuple[str, Blame]],
    work_of: MakeWork,
    monkeypatch: pytest.MonkeyPatch,
    refused: bool,
) -> None:
    """Another machine could use the input: the first has failed, or lied where it published what is not so."""
    work = work_of("job", 1)
    segment = Piece("enhance", 0)
    work.doubt("m1", segment, "no such frame", None)
    work.doubts["m1"] = work.doubts["m1"]._replace(refused=refused)
    monkeypatch.setattr(checks, "segment", lambda *_: PIN)

    async def run() -> None:
        looking.begin("m2", work, segment, Done(task="m2-1", key="k"))
        await looking.settle()

    asyncio.run(run())
    assert (work.doubts, list(work.counted)) == ({}, [0])
    assert blamed == [("m1", Blame(fault=True, lied=refused))]


def test_a_lie_is_told_with_its_evidence(
    looking: Checks, blamed: list[tuple[str, Blame]], work_of: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the refused segment's witness lies; an encoder that fails is no lie."""
    work = _on_nvenc(work_of("job", 2))

    def refuse(*_: object) -> Pin:
        raise VerifyError("black frames")

    monkeypatch.setattr(checks, "segment", refuse)

    async def run() -> None:
        looking.begin("m1", work, Piece("enhance", 0), Done(task="m1-1", key="jobs/job/1/segment-0/m1-1"))
        await looking.settle()

    asyncio.run(run())
    looking.begin("m2", work, Piece("enhance", 1), Done(task="m2-1", key="", fault="encode", error="no NVENC"))
    ((liar, lie), (other, blame)) = blamed
    assert (liar, lie.fault, lie.lied) == ("m1", True, True)
    assert (lie.evidence or "").endswith(f"jobs/job/evidence/{work.plan_id}/m1-1.json")
    assert (other, blame) == ("m2", Blame())


class Pausing:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.at = 1000.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds

    def now(self) -> float:
        """Give the time."""
        return self.at


@pytest.mark.parametrize(("away_s", "counts"), [(600, True), (5000, False)])
def test_a_check_waits_for_a_busy_store(
    looking: Checks, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch, away_s: float, counts: bool
) -> None:
    """What was published is paid for: it is looked at when the store is there again, and not given up before."""
    time = Pausing()
    back_at = time.at + away_s
    monkeypatch.setattr(checking, "time", time)
    monkeypatch.setattr(checking, "clock", time)

    def look(*_: object) -> Pin:
        if time.at < back_at:
            raise BusyError("status 503")
        return PIN

    monkeypatch.setattr(checks, "segment", look)
    work = work_of("job", 1)

    async def run() -> None:
        looking.begin("m1", work, Piece("enhance", 0), Done(task="m1-1", key="k"))
        while looking and time.at < 10_000:
            await looking.wait()
            looking.gather()
            assert looking.busy or work.counted or work.state == "failed"
            time.sleep(10)

    asyncio.run(run())
    assert bool(work.counted) == counts
    assert work.state == ("open" if counts else "failed")


def test_who_leaves_does_not_wait_for_a_busy_store(
    looking: Checks, work_of: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start adopts what lies there; no try is counted."""
    time = Pausing()
    monkeypatch.setattr(checking, "time", time)

    def away(*_: object) -> Pin:
        raise BusyError("status 503")

    monkeypatch.setattr(checks, "segment", away)
    work = work_of("job", 1)

    async def run() -> None:
        looking.begin("m1", work, Piece("enhance", 0), Done(task="m1-1", key="k"))
        await looking.settle()

    asyncio.run(run())
    assert not looking
    assert (work.state, +work.tries) == ("open", {})
