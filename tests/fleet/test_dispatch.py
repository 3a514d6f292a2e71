"""What goes on a sheet, and what follows a failed try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.fleet import dispatch
from uprez.fleet.dispatch import Hand, Name
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


def seconds(_: Name) -> float:
    """Every piece takes ten seconds."""
    return 10.0


def names(pieces: Iterable[int], job: str = "job0") -> list[Name]:
    """Name segments of a job."""
    return [(job, Piece("enhance", number)) for number in pieces]


def draw_works(work_of: MakeWork, data: st.DataObject) -> list[Work]:
    """Draw some jobs at any points of their lives."""
    shapes = st.tuples(st.integers(0, 5), st.integers(0, 5), st.sets(st.integers(0, 4)), st.booleans())
    return [
        dress(work_of(f"job{number}", segments), state, counted, assembled and not number)
        for number, (segments, state, counted, assembled) in enumerate(data.draw(st.lists(shapes, max_size=4)))
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data())
def test_one_machine_gets_what_is_wanted_in_order(work_of: MakeWork, data: st.DataObject) -> None:
    """Wanted and not busy, jobs and pieces in order, as much as there is room for."""
    works = draw_works(work_of, data)
    every = [(work.job.id, piece) for work in works for piece in dispatch.wanted(work)]
    busy = data.draw(st.sets(st.sampled_from(every))) if every else set()
    queue = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=dispatch.AHEAD)) if every else []
    free = [name for name in every if name not in busy and name not in queue]
    room = dispatch.AHEAD - len(queue)
    given_ = dispatch.assign(works, [Hand(lease="a", queue=list(queue))], busy, seconds)
    assert given_.new == {"a": free[:room]}
    assert given_.taken == {"a": []}
    assert all(work.state == "open" and not work.assembled for work in works if list(dispatch.wanted(work)))


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_several_machines_share_what_is_wanted(work_of: MakeWork, data: st.DataObject) -> None:
    """Nothing twice but in a race, nothing that is busy, none idle while another hoards, no sheet too long."""
    works = draw_works(work_of, data)
    every = [(work.job.id, piece) for work in works for piece in dispatch.wanted(work)]
    checking = data.draw(st.sets(st.sampled_from(every))) if every else set()
    left = [name for name in every if name not in checking]
    hands = []
    for lease in "abcd"[: data.draw(st.integers(1, 4))]:
        queue = data.draw(st.lists(st.sampled_from(left), unique=True, max_size=dispatch.AHEAD)) if left else []
        left = [name for name in left if name not in queue]
        ready = data.draw(st.booleans())
        current = queue[0] if queue and ready and data.draw(st.booleans()) else None
        slowness = data.draw(st.sampled_from([0.5, 1.0, 4.0]))
        current_s = data.draw(st.floats(0, 100)) if current else 0.0
        hands.append(
            Hand(lease=lease, queue=queue, current=current, current_s=current_s, slowness=slowness, ready=ready)
        )
    before = {hand.lease: list(hand.queue) for hand in hands}
    given_ = dispatch.assign(works, hands, checking, seconds)
    after = {
        lease: [name for name in queue if name not in given_.taken[lease]] + given_.new[lease]
        for lease, queue in before.items()
    }
    assert after == {hand.lease: hand.queue for hand in hands}
    assert all(len(queue) <= dispatch.AHEAD and len(set(queue)) == len(queue) for queue in after.values())
    held = Counter(name for queue in after.values() for name in queue)
    doing = {hand.current for hand in hands}
    assert set(held) <= set(every) - checking
    assert all(count == 1 or (count == 2 and name in doing) for name, count in held.items())
    if left and set(left) - set(held):
        assert all(after.values()), "work is left, and somebody has none"
    for hand in hands:
        assert hand.current is None or hand.current in after[hand.lease], "what is being done stays"


def test_each_goes_on_with_the_video_it_has(work_of: MakeWork) -> None:
    """Then one begins a video that no other machine has read, and only then joins another's."""
    works = [work_of("job0", 4), work_of("job1", 4), work_of("job2", 0)]
    hands = [Hand(lease="a", source="job0"), Hand(lease="b", source="job1"), Hand(lease="c")]
    given_ = dispatch.assign(works, hands, (), seconds)
    assert given_.new["a"] == names([0, 1, 2])
    assert given_.new["b"] == names([0, 1, 2], "job1")
    assert given_.new["c"][0] == ("job2", INDEX)


def test_a_machine_that_boots_gets_what_no_other_has_room_for(work_of: MakeWork) -> None:
    """It may never come up; of the first machine of all there is no other."""
    works = [work_of("job0", 2)]
    assert dispatch.assign(works, [Hand(lease="a", ready=False)], (), seconds).new == {"a": names([0, 1])}
    hands = [Hand(lease="a", ready=False), Hand(lease="b", queue=names([1]), current=names([1])[0], current_s=5)]
    assert dispatch.assign(works, hands, (), seconds).new == {"a": [], "b": names([0])}


def test_who_has_nothing_takes_over_what_another_has_not_begun(work_of: MakeWork) -> None:
    """The last of its queue, of whoever needs longest; not what would be done there as soon."""
    works = [work_of("job0", 3)]

    def idle_beside(current_s: float, slowness: float = 1.0) -> dispatch.Assignment:
        busy = Hand(lease="a", queue=names([0, 1, 2]), current=names([0])[0], current_s=current_s)
        return dispatch.assign(works, [busy, Hand(lease="b", slowness=slowness)], (), seconds)

    shared = idle_beside(5)
    assert (shared.taken["a"], shared.new["b"]) == (names([2]), names([2]))
    shared = idle_beside(5, slowness=3)
    assert (shared.taken["a"], shared.new["b"]) == ([], [])


@pytest.mark.parametrize(("current_s", "own_s", "taken"), [(100, 20, [2]), (100, 300, []), (5, 1, [])])
def test_who_is_at_its_last_piece_takes_over_what_another_comes_to_much_later(
    work_of: MakeWork, current_s: float, own_s: float, taken: list[int]
) -> None:
    """So no machine stands still before it has more; what the other may begin before it has heard stays where it is."""
    works = [work_of("job0", 4)]
    slow = Hand(lease="a", queue=names([0, 2]), current=names([0])[0], current_s=current_s)
    quick = Hand(lease="b", queue=names([1]), current=names([1])[0], current_s=own_s, slowness=0.1)
    shared = dispatch.assign(works, [slow, quick], [("job0", Piece("enhance", 3))], seconds)
    assert (shared.taken["a"], shared.new["b"]) == (names(taken), names(taken))


def test_a_queue_at_a_machine_that_boots_is_taken_over(work_of: MakeWork) -> None:
    """Nobody knows when it begins."""
    hands = [Hand(lease="a", queue=names([0]), ready=False), Hand(lease="b")]
    shared = dispatch.assign([work_of("job0", 1)], hands, (), seconds)
    assert (shared.taken["a"], shared.new["b"]) == (names([0]), names([0]))


@pytest.mark.parametrize(
    ("current_s", "slowness", "races"), [(100, 1, True), (11, 1, False), (100, 9, False), (float("inf"), 9, True)]
)
def test_the_last_segments_are_raced_where_that_ends_sooner(
    work_of: MakeWork, current_s: float, slowness: float, races: bool
) -> None:
    """By a machine that is clearly faster, or where nothing moves; one race at a time, and of segments alone."""
    works = [work_of("job0", 1)]

    def slow() -> Hand:
        return Hand(lease="a", queue=names([0]), current=names([0])[0], current_s=current_s)

    shared = dispatch.assign(works, [slow(), Hand(lease="b", slowness=slowness)], (), seconds)
    assert shared.new == {"a": [], "b": names([0]) if races else []}
    again = dispatch.assign(works, [slow(), Hand(lease="b", queue=names([0])), Hand(lease="c")], (), seconds)
    assert again.new["c"] == []
    index = Hand(lease="a", queue=[("job1", INDEX)], current=("job1", INDEX), current_s=1000)
    assert dispatch.assign([work_of("job1", 0)], [index, Hand(lease="b")], (), seconds).new["b"] == []


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_nothing_is_begun_that_is_not_paid_for(work_of: MakeWork, data: st.DataObject) -> None:
    """What is given out ends within the room of a lease, and is of no job that its machine gets no more of."""
    works = [work_of(f"job{number}", data.draw(st.integers(0, 4))) for number in range(3)]
    hands = [
        Hand(
            lease=lease,
            ready=data.draw(st.booleans()),
            slowness=data.draw(st.sampled_from([0.5, 1.0, 4.0])),
            barred=frozenset(data.draw(st.sets(st.sampled_from(["job0", "job1", "job2"])))),
            room_s=data.draw(st.sampled_from([0.0, 15.0, 45.0, float("inf")])),
        )
        for lease in "abc"[: data.draw(st.integers(1, 3))]
    ]
    for _ in range(2):  # the second time some have nothing to do, and others a queue
        given_ = dispatch.assign(works, hands, (), seconds)
        for hand in hands:
            assert sum(hand.piece_s(name, seconds) for name in hand.queue) <= hand.room_s
            assert not hand.barred.intersection(job for job, _ in given_.new[hand.lease])
        for hand in hands:
            hand.current = hand.queue[0] if hand.queue and hand.ready else None
            hand.current_s = hand.piece_s(hand.current, seconds) if hand.current else 0.0


def test_what_no_longer_fits_is_taken_back(work_of: MakeWork) -> None:
    """Not what is being done; and what is short is kept though something long before it is not."""
    del work_of
    queue = [*names([0, 1]), ("job1", ASSEMBLE)]
    hand = Hand(lease="a", queue=queue, current=queue[0], current_s=12, room_s=25, slowness=2)
    assert dispatch.overdue(hand, seconds) == names([1])
    assert dispatch.overdue(replace(hand, room_s=float("inf")), seconds) == []
    assert dispatch.overdue(replace(hand, room_s=1), seconds) == queue[1:]


def test_near_its_end_a_lease_ends_a_job_before_it_begins_a_segment(work_of: MakeWork) -> None:
    """An assembly is short, and its job is done."""
    works = [work_of("job0", 3), dress(work_of("job1", 1), 0, {0}, assembled=False)]
    near, far = Hand(lease="a", room_s=15), Hand(lease="a")
    assert dispatch.assign(works, [near], (), seconds).new["a"] == [("job1", ASSEMBLE)]
    assert dispatch.assign(works, [far], (), seconds).new["a"] == names([0, 1, 2])


def test_a_job_is_for_whoever_has_not_given_it_up(work_of: MakeWork) -> None:
    """A machine that could not use an input gets no more of it, not even to have something to do."""
    works = [work_of("job0", 1), work_of("job1", 0)]
    first, second = Hand(lease="a", barred=frozenset({"job0"})), Hand(lease="b", queue=[("job1", INDEX)])
    assert dispatch.assign(works, [first, second], (), seconds).new == {"a": [], "b": names([0])}
    slow = Hand(lease="b", queue=names([0]), current=names([0])[0], current_s=1000)
    assert dispatch.assign(works[:1], [replace(first, queue=[]), slow], (), seconds).new["a"] == []


def test_demand_is_what_could_keep_machines_busy(work_of: MakeWork) -> None:
    """An assembly to come keeps one machine; a result that is being checked needs none."""
    work = work_of("job0", 3)
    assert dispatch.demand(work, 9, ()) == 3
    assert dispatch.demand(work, 9, names([0, 1])) == 1
    assert dispatch.demand(work, 9, names([0, 1, 2])) == 1
    work.counted = dict.fromkeys(range(3), PIN)
    assert dispatch.demand(work, 9, ()) == 1
    assert dispatch.demand(work, 9, [("job0", ASSEMBLE)]) == 0
    assert dispatch.demand(work_of("job1", 0), 9, [("job1", INDEX)]) == 9
    work.state = "failed"
    assert dispatch.demand(work, 9, ()) == 0


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
    assert dispatch.assign([work], [Hand(lease="a")], [("job", INDEX)], seconds).new == {"a": []}


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


@pytest.mark.parametrize("piece", [INDEX, ENHANCE, ASSEMBLE])
def test_a_bad_input_needs_two_words_where_machines_are_rented(work_of: MakeWork, piece: Piece) -> None:
    """One may lie, however often it says so; the error names both."""
    work = work_of("job", 0 if piece == INDEX else 2)

    def says(machine: str, error: str) -> str | None:
        return dispatch.after_fault(work, piece, "input", error, "mend it", machine=machine, alone=False)

    assert [says("m1", "it broke") for _ in range(4)] == ["another is to try"] * 4
    assert work.state == "open"
    assert says("m2", "it is no video") == "failed"
    assert work.state == "failed"
    assert work.error == "it broke (on machine m1; machine m2 says so too: it is no video)"
    assert work.hint == "mend it"


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
