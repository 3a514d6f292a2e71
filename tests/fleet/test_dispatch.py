"""What goes on a sheet, and what follows a failed try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.fleet import dispatch
from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.job import Pin
from uprez.status import Fault

MakeWork = Callable[[str, int], Work]
PIN = Pin(key="k", size=1, etag="e", sha256="a")


def dress(work: Work, state: int, counted: set[int], assembled: bool) -> Work:
    """Bring a job to some point of its life."""
    work.state = ("open", "open", "open", "done", "skipped", "failed")[state]
    segments = work.plan.segments if work.plan else ()
    work.counted = {segment.number: PIN for segment in segments if segment.number in counted}
    work.assembled = assembled
    return work


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data())
def test_choice_is_what_is_wanted_and_free(work_of: MakeWork, data: st.DataObject) -> None:
    """What is chosen is wanted and not busy, jobs and pieces in order, as much as there is room for."""
    shapes = st.tuples(st.integers(0, 5), st.integers(0, 5), st.sets(st.integers(0, 4)), st.booleans())
    works = [
        dress(work_of(f"job{number}", segments), state, counted, assembled and not number)
        for number, (segments, state, counted, assembled) in enumerate(data.draw(st.lists(shapes, max_size=4)))
    ]
    every = [(work, piece) for work in works for piece in dispatch.wanted(work)]
    names = [(work.job.id, piece) for work, piece in every]
    busy = data.draw(st.sets(st.sampled_from(names))) if names else set()
    room = data.draw(st.integers(-1, 6))
    free = [(work, piece) for work, piece in every if (work.job.id, piece) not in busy]
    chosen = dispatch.choose(works, busy, room)
    assert chosen == free[: max(0, room)]
    assert all(work.state == "open" and not work.assembled for work, _ in chosen)


@settings(deadline=None)  # a busy machine is no failure
@given(segments=st.integers(1, 6), counted=st.sets(st.integers(0, 5)))
def test_assembly_waits_for_every_segment(work_of: MakeWork, segments: int, counted: set[int]) -> None:
    """A job's wanted pieces are its missing segments in order, and the assembly exactly when none is missing."""
    work = dress(work_of("job", segments), 0, counted, assembled=False)
    missing = [number for number in range(segments) if number not in counted]
    expected = [Piece("enhance", number) for number in missing] or [ASSEMBLE]
    assert list(dispatch.wanted(work)) == expected


def test_job_without_plan_wants_its_index(work_of: MakeWork) -> None:
    """Before the plan there is nothing to do but the index, once."""
    work = work_of("job", 0)
    assert list(dispatch.wanted(work)) == [INDEX]
    assert dispatch.choose([work], [("job", INDEX)], 3) == []


@pytest.mark.parametrize("state", ["done", "skipped", "failed"])
def test_ended_job_wants_nothing(work_of: MakeWork, state: str) -> None:
    """A job that ended gets no more work, whatever it is missing."""
    for segments in (0, 2):
        work = work_of("job", segments)
        work.state = state  # type: ignore[assignment]
        assert list(dispatch.wanted(work)) == []


ENHANCE = Piece("enhance", 0)


@pytest.mark.parametrize(
    ("piece", "fault", "follows"),
    [
        (INDEX, "input", ["failed"]),
        (ENHANCE, "input", ["failed"]),
        (ASSEMBLE, "input", ["failed"]),
        (ENHANCE, "plan", ["again", "new plan"]),
        (ENHANCE, "encode", ["again", "again", "failed"]),
        (ENHANCE, "model", ["again", "new plan"]),
        (ENHANCE, "verify", ["again", "again", "failed"]),
        (ENHANCE, "store", ["again", "again", "failed"]),
        (ENHANCE, "lost", ["again", "again", "failed"]),
        (ENHANCE, "defect", ["again", "again", "failed"]),
        (INDEX, "encode", ["again", "again", "failed"]),
        (INDEX, "plan", ["again", "again", "failed"]),
        (ASSEMBLE, "plan", ["again", "again", "failed"]),
        (ASSEMBLE, "verify", ["again", "again", "failed"]),
        (ENHANCE, "stopped", [None, None, None, None]),
    ],
)
def test_what_follows_a_fault(work_of: MakeWork, piece: Piece, fault: Fault, follows: list[str | None]) -> None:
    """A bad input fails at once; a machine that cannot follow leads to a new plan; the rest has three tries."""
    work = work_of("job", 0 if piece == INDEX else 2)
    found = [dispatch.after_fault(work, piece, fault, "it broke", "mend it") for _ in follows]
    assert found == follows
    failed = follows[-1] == "failed"
    assert (work.state, work.error, work.hint) == (
        ("failed", "it broke", "mend it") if failed else ("open", None, None)
    )


def test_new_plan_begins_with_a_new_index(work_of: MakeWork) -> None:
    """When a plan is given up, nothing made by it counts and the job starts with its index."""
    work = dress(work_of("job", 3), 0, {1}, assembled=False)
    found = [dispatch.after_fault(work, ENHANCE, "plan", "other extradata", None) for _ in range(2)]
    assert found == ["again", "new plan"]
    assert work.counted == {}
    assert list(dispatch.wanted(work)) == [INDEX]


def test_new_plans_do_not_go_on_for_ever(work_of: MakeWork) -> None:
    """Tries are counted across plans: a segment whose every plan fails ends its job at the third."""
    work = work_of("job", 2)
    plan = work.plan
    found: list[str | None] = []
    while work.state == "open" and len(found) < 10:
        work.plan = plan
        found.append(dispatch.after_fault(work, ENHANCE, "plan", "other extradata", None))
    assert found == ["again", "new plan", "failed"]


def test_tries_of_one_segment_are_its_own(work_of: MakeWork) -> None:
    """Failures of different segments do not add up."""
    work = work_of("job", 3)
    for number in range(3):
        for _ in range(2):
            assert dispatch.after_fault(work, Piece("enhance", number), "lost", "gone", None) == "again"
    assert work.state == "open"


def _on_nvenc(work: Work) -> Work:
    """The same job, its plan made where NVENC worked."""
    assert work.plan is not None
    ready = work.plan.preflight
    encoding = replace(ready.encoding, rung="h264_nvenc")
    work.plan = replace(work.plan, preflight=replace(ready, encoding=encoding))
    return work


@pytest.mark.parametrize(("alone", "first"), [(True, "again"), (False, "elsewhere")])
def test_an_encoder_that_fails_twice_is_given_up(work_of: MakeWork, alone: bool, first: str) -> None:
    """The first failure leads to another machine, or another try; the second to a plan without the encoder."""
    work = dress(_on_nvenc(work_of("job", 3)), 0, {1}, assembled=False)
    assert dispatch.after_fault(work, ENHANCE, "encode", "no device", None, alone=alone) == first
    assert dispatch.after_fault(work, Piece("enhance", 2), "encode", "no device", None, alone=alone) == "new plan"
    assert [(each.plan, each.rung, each.reason, each.frames) for each in work.given_up] == [
        (1, "h264_nvenc", "no device", 10)
    ]
    assert list(dispatch.wanted(work)) == [INDEX]
    assert work.state == "open"


def test_failures_far_apart_do_not_add_up(work_of: MakeWork) -> None:
    """An encoder that made segments in between keeps its place, unless it fails at the same segment again."""
    work = _on_nvenc(work_of("job", 3))
    assert dispatch.after_fault(work, ENHANCE, "encode", "hiccup", None) == "again"
    work.failures = 0  # as after a segment that counts
    assert dispatch.after_fault(work, Piece("enhance", 2), "encode", "hiccup", None) == "again"
    work.failures = 0
    assert dispatch.after_fault(work, ENHANCE, "encode", "hiccup", None) == "new plan"


def test_a_machine_lost_twice_at_the_first_segment_blames_the_encoder(work_of: MakeWork) -> None:
    """A driver that brings the machine down is not tried a third time; where segments counted, others are to blame."""
    work = _on_nvenc(work_of("job", 3))
    found = [dispatch.after_fault(work, ENHANCE, "lost", "gone", None) for _ in range(2)]
    assert found == ["again", "new plan"]
    counted = dress(_on_nvenc(work_of("job", 3)), 0, {1}, assembled=False)
    found = [dispatch.after_fault(counted, ENHANCE, "lost", "gone", None) for _ in range(3)]
    assert found == ["again", "again", "failed"]


def test_a_machine_that_cannot_follow_keeps_the_plan_of_the_others(work_of: MakeWork) -> None:
    """One rented machine without the plan's encoder is passed over; the second in a row leads to a new plan."""
    work = dress(work_of("job", 3), 0, {1}, assembled=False)
    assert dispatch.after_fault(work, ENHANCE, "plan", "no NVENC", None, alone=False) == "elsewhere"
    assert work.counted
    assert dispatch.after_fault(work, Piece("enhance", 2), "plan", "no NVENC", None, alone=False) == "new plan"
    assert not work.given_up
