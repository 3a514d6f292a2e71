"""Selection, times, and what each output frame shows, for every index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import floor

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from plain import VIDEO
from uprez.errors import InputError
from uprez.job import Index, Mode, Options
from uprez.media.timeline import (
    KEEP,
    MOST_TICKS,
    Constant,
    Factor,
    Rate,
    Shown,
    Timeline,
    asked,
    rate_of,
    select,
    timeline,
)


def _index(pts: list[int], time_base: Fraction = Fraction(1, 1000), last: int = 40) -> Index:
    return Index(video=VIDEO, time_base=time_base, pts=tuple(pts), keyframes=(pts[0],), last_duration=last)


_BASES = st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 12800)])
_ANY_BASE = st.builds(Fraction, st.integers(1, 2000), st.integers(1, 2_000_000))
_FINE_BASE = st.builds(Fraction, st.integers(1, 2000), st.integers(2_000_000, MOST_TICKS))


@st.composite
def _indexes(draw: st.DrawFn, bases: st.SearchStrategy[Fraction] = _BASES | _ANY_BASE) -> Index:
    gaps = draw(st.lists(st.integers(1, 5000), max_size=60))
    pts = [draw(st.integers(-90000, 90000))]
    for gap in gaps:
        pts.append(pts[-1] + gap)
    return _index(pts, draw(bases), draw(st.integers(1, 5000)))


_SECONDS = st.fractions(min_value=0, max_value=20, max_denominator=1001)


@given(index=_indexes(), start=_SECONDS, duration=st.none() | _SECONDS)
def test_selection_is_what_its_definition_says(index: Index, start: Fraction, duration: Fraction | None) -> None:
    """The frames taken are those shown from start until before start + duration, counted from the first."""
    due = [
        place
        for place, pts in enumerate(index.pts)
        if start <= (pts - index.pts[0]) * index.time_base
        and (duration is None or (pts - index.pts[0]) * index.time_base < start + duration)
    ]
    if due:
        assert select(index, start, duration) == (due[0], len(due))
    else:
        with pytest.raises(InputError, match="no frame between"):
            select(index, start, duration)


@given(index=_indexes(), data=st.data())
def test_gaps_are_the_sources_and_a_cut_begins_at_zero(index: Index, data: st.DataObject) -> None:
    """Times between frames never change; the whole video keeps its offset, a part begins at 0."""
    first = data.draw(st.integers(0, len(index.pts) - 1))
    count = data.draw(st.integers(1, len(index.pts) - first))
    times = timeline(index, first, count)
    assert [pts + times.origin for pts in times.pts] == list(index.pts[first : first + count])
    assert times.end > times.pts[-1]
    if count == len(index.pts):
        assert times.origin == 0
    else:
        assert times.pts[0] == 0
    if first + count < len(index.pts):
        assert times.end + times.origin == index.pts[first + count]


def test_two_seconds_of_25_frames_are_50_frames() -> None:
    """The demo's cut: two seconds from the first."""
    index = _index(list(range(0, 67584, 512)), Fraction(1, 12800), 512)
    assert select(index, Fraction(0), Fraction(2)) == (0, 50)
    assert select(index, Fraction(1), Fraction(2)) == (25, 50)


def test_a_range_outside_the_index_is_our_defect() -> None:
    """A plan that does not fit its index is not a person's mistake."""
    with pytest.raises(ValueError, match="of an index of 2"):
        timeline(_index([0, 40]), 1, 2)


# --- the requested rate


_FACTORS = st.sampled_from([Fraction(2), Fraction(5, 2), Fraction(1001, 400), Fraction(2, 3), Fraction(1)])
_RATES = st.sampled_from([Fraction(60), Fraction(24000, 1001), Fraction(60000, 1001), Fraction(1, 7)])
_ANY_FACTOR = st.fractions(min_value=Fraction(1, 20), max_value=8, max_denominator=50)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A part of a source, what is asked of it, and its timeline."""

    index: Index
    first: int
    count: int
    rate: Rate
    times: Timeline

    def seconds(self, position: Fraction) -> Fraction:
        """Give when the source shows this position in the index, in seconds of the result."""
        pts = (*self.index.pts, self.index.pts[-1] + self.index.last_duration)
        left = floor(position)
        gap = pts[left + 1] - pts[left] if position > left else 0
        ticks = pts[left] + gap * (position - left)
        return ticks * self.index.time_base - self.times.origin * self.times.time_base


@st.composite
def _cases(draw: st.DrawFn, *, exact: bool = False) -> Case:
    """Draw any part of any source at a rate that gives at most some hundred frames."""
    index = draw(_indexes(_BASES | _ANY_BASE | _FINE_BASE))
    first = draw(st.integers(0, len(index.pts) - 1))
    count = draw(st.integers(1, len(index.pts) - first))
    rate = draw(_rates(index, first, count))
    between = draw(st.sampled_from([True, True, False]))
    try:
        times = timeline(index, first, count, rate=rate, between=between)
    except InputError:
        reject()  # closer than any clock tells apart
    assume(not exact or _exact(times))
    return Case(index=index, first=first, count=count, rate=rate, times=times)


@st.composite
def _rates(draw: st.DrawFn, index: Index, first: int, count: int) -> Rate:
    if draw(st.booleans()):
        return Factor(draw(_FACTORS | _ANY_FACTOR))
    source = timeline(index, first, count)
    usual = count / ((source.end - source.pts[0]) * source.time_base)
    fps = draw(_RATES | _ANY_FACTOR.map(lambda factor: factor * usual))
    return Constant(min(fps, usual * 20))


def _exact(times: Timeline) -> bool:
    """Say whether the clock is fine enough for every time (see `timeline`)."""
    split = times.part.tick / times.time_base
    return split % (times.rate.ratio.numerator if isinstance(times.rate, Factor) else 1) == 0


def _whole(times: Timeline) -> tuple[Shown, ...]:
    return times.shown(0, times.frames)


@given(case=_cases())
def test_times_ascend(case: Case) -> None:
    """No two output frames are shown at the same time, and the last one is shown for some time."""
    times = case.times
    ends = (*times.pts, times.end)
    assert all(earlier < later for earlier, later in pairwise(ends))
    assert times.time_base.denominator <= MOST_TICKS


@given(case=_cases())
def test_a_part_begins_at_0_and_the_whole_keeps_its_offset(case: Case) -> None:
    """The first output frame is the first source frame, at its time: to the tick where the clock is fine enough."""
    times = case.times
    begin = case.index.pts[case.first] * case.index.time_base
    off = abs((times.pts[0] + times.origin) * times.time_base - begin)
    assert off == 0 if _exact(times) else off <= times.time_base / 2
    assert times.pts[0] == 0 or (times.origin == 0 and case.count == len(case.index.pts))
    assert _whole(times)[0] == Shown(left=case.first, right=case.first, fraction=Fraction(0), pts=times.pts[0])


@given(case=_cases())
def test_the_result_lasts_as_long_as_the_source(case: Case) -> None:
    """A factor ends exactly with the source; a constant rate within half an output frame of it."""
    times, last = case.times, case.first + case.count
    lasts = (times.end - times.pts[0]) * times.time_base
    due = case.seconds(Fraction(last)) - case.seconds(Fraction(case.first))
    if isinstance(case.rate, Constant):
        assert abs(lasts - due) <= 1 / case.rate.fps / 2 or times.frames == 1
        assert lasts == times.frames / case.rate.fps
    else:
        assert lasts == due
        assert times.frames == max(1, floor(case.count * case.rate.ratio + Fraction(1, 2)))


@given(case=_cases())
def test_a_frame_lies_between_two_neighbours_of_the_part(case: Case) -> None:
    """Fractions are in [0, 1), 0 where one source frame is shown, and nothing outside the part is used."""
    times = case.times
    for frame in _whole(times):
        assert 0 <= frame.fraction < 1
        assert frame.right == (frame.left if frame.fraction == 0 else frame.left + 1)
        assert case.first <= frame.left <= frame.right < case.first + case.count
    assert [frame.pts for frame in _whole(times)] == list(times.pts)


@given(case=_cases(exact=True))
def test_a_frame_made_is_shown_when_its_place_is_due(case: Case) -> None:
    """The source's time at (left + fraction) is the output's, exactly; what is held was the last one shown by then."""
    for frame in _whole(case.times):
        at = frame.pts * case.times.time_base
        if frame.fraction:
            assert case.seconds(frame.left + frame.fraction) == at
        else:
            assert case.seconds(Fraction(frame.left)) <= at < case.seconds(Fraction(frame.left + 1))


@given(case=_cases(exact=True))
def test_only_the_end_and_the_wish_hold_a_frame(case: Case) -> None:
    """Between two frames something is due, whatever they show; after the last frame or unasked never."""
    times, last = case.times, case.first + case.count - 1
    for frame in _whole(times):
        on_time = case.seconds(Fraction(frame.left)) == frame.pts * times.time_base
        held = frame.left == last or not times.between
        assert (frame.fraction == 0) == (on_time or held)


@given(case=_cases())
def test_the_wish_to_make_nothing_moves_no_frame(case: Case) -> None:
    """What is held keeps its place and its time: nothing is dropped or shortened."""
    plain = timeline(case.index, case.first, case.count, rate=case.rate)
    assert (case.times.pts, case.times.end, case.times.origin) == (plain.pts, plain.end, plain.origin)
    held, whole = ([(frame.left, frame.pts) for frame in _whole(times)] for times in (case.times, plain))
    assert held == whole
    assert tuple(pts for _, pts in held) == plain.pts


@given(case=_cases(), data=st.data())
def test_segments_join_to_the_whole(case: Case, data: st.DataObject) -> None:
    """However the output is cut, its segments show together what the whole shows."""
    frames = case.times.frames
    borders = sorted({0, frames, *data.draw(st.lists(st.integers(0, frames), max_size=5))})
    segments = [case.times.shown(begin, end - begin) for begin, end in pairwise(borders)]
    assert tuple(frame for segment in segments for frame in segment) == _whole(case.times)


@given(case=_cases(), data=st.data())
def test_a_segment_needs_just_what_it_shows(case: Case, data: st.DataObject) -> None:
    """The source frames needed reach from the first one used to the last one used."""
    begin = data.draw(st.integers(0, case.times.frames - 1))
    count = data.draw(st.integers(1, case.times.frames - begin))
    used = [place for frame in case.times.shown(begin, count) for place in (frame.left, frame.right)]
    assert case.times.needed(begin, count) == (min(used), max(used) + 1 - min(used))


@given(index=_indexes(), data=st.data())
def test_factor_1_changes_nothing(index: Index, data: st.DataObject) -> None:
    """Every source frame at its own time, by default and by name."""
    first = data.draw(st.integers(0, len(index.pts) - 1))
    count = data.draw(st.integers(1, len(index.pts) - first))
    times = timeline(index, first, count)
    assert times == timeline(index, first, count, rate=KEEP) == timeline(index, first, count, rate=Factor(Fraction(1)))
    assert times.time_base == index.time_base
    assert [frame.left for frame in _whole(times)] == list(range(first, first + count))
    assert not any(frame.fraction for frame in _whole(times))


@given(index=_indexes(), factor=st.integers(1, 7))
def test_a_whole_factor_keeps_every_source_frame(index: Index, factor: int) -> None:
    """Each source frame itself is shown at its own time, once."""
    times = timeline(index, 0, len(index.pts), rate=Factor(Fraction(factor)))
    shown = {frame.left: frame.pts * times.time_base for frame in _whole(times)[::factor] if frame.fraction == 0}
    assert shown == {place: pts * index.time_base for place, pts in enumerate(index.pts)}


# --- worked by hand


def _film(frames: int, fps: Fraction, time_base: Fraction, begin: int = 0) -> Index:
    step = int(1 / fps / time_base)
    return _index([begin + place * step for place in range(frames)], time_base, step)


def test_film_to_60_is_a_ratio_of_2_5025() -> None:
    """24000 frames of 24000/1001 are 1001 s: 60060 frames at 60, each 1/2.5025 of a source frame after the last."""
    times = timeline(_film(24000, Fraction(24000, 1001), Fraction(1, 24000)), 0, 24000, rate=Constant(Fraction(60)))
    assert (times.frames, times.time_base, times.end) == (60060, Fraction(1, 24000), 1001 * 24000)
    assert [(frame.left, frame.fraction) for frame in times.shown(0, 4)] == [
        (0, 0),
        (0, Fraction(400, 1001)),
        (0, Fraction(800, 1001)),
        (1, Fraction(199, 1001)),
    ]
    assert 1 / times.shown(1, 1)[0].fraction == Fraction("2.5025")


def test_film_times_2_5025_is_60_frames_a_second() -> None:
    """The same film by a factor: the same frames at the same times."""
    index = _film(2400, Fraction(24000, 1001), Fraction(1, 24000))
    by_factor, by_rate = (
        timeline(index, 0, 2400, rate=rate) for rate in (Factor(Fraction("2.5025")), Constant(Fraction(60)))
    )
    assert by_factor.frames == by_rate.frames == 6006
    assert [pts * by_factor.time_base for pts in by_factor.pts] == [pts * by_rate.time_base for pts in by_rate.pts]
    assert [frame.fraction for frame in _whole(by_factor)] == [frame.fraction for frame in _whole(by_rate)]


@pytest.mark.parametrize(
    ("source", "target", "time_base"),
    [
        (Fraction(25), Fraction(60), Fraction(1, 38400)),
        (Fraction(30000, 1001), Fraction(60), Fraction(1, 30000)),
        (Fraction(30000, 1001), Fraction(60000, 1001), Fraction(1, 60000)),
    ],
)
def test_usual_rates_are_exact(source: Fraction, target: Fraction, time_base: Fraction) -> None:
    """Frame n is shown at n / rate seconds after the start offset, with no remainder."""
    ticks = Fraction(1, 12800) if source == 25 else Fraction(1, 30000)
    times = timeline(_film(100, source, ticks, begin=-7), 0, 100, rate=Constant(target))
    assert times.time_base == time_base
    assert [pts * time_base for pts in times.pts] == [number / target - 7 * ticks for number in range(times.frames)]


def test_twice_145_frames_are_290() -> None:
    """Duration is kept by holding the last frame: (N - 1) k + 1 would be 289 and end half a frame early."""
    times = timeline(_film(145, Fraction(25), Fraction(1, 1000)), 0, 145, rate=Factor(Fraction(2)))
    assert (times.frames, times.end * times.time_base) == (290, Fraction(145, 25))
    assert times.shown(287, 3) == (
        Shown(left=143, right=144, fraction=Fraction(1, 2), pts=143 * 80 + 40),
        Shown(left=144, right=144, fraction=Fraction(0), pts=144 * 80),
        Shown(left=144, right=144, fraction=Fraction(0), pts=144 * 80 + 40),
    )


def test_unequal_gaps_are_halved() -> None:
    """Three frames at 10, 110 and 150 ms, the last for 60 ms: each new one is in the middle of its gap."""
    times = timeline(_index([10, 110, 150], last=60), 0, 3, rate=Factor(Fraction(2)))
    assert (times.time_base, times.pts, times.end) == (Fraction(1, 2000), (20, 120, 220, 260, 300, 360), 420)
    assert [(frame.left, frame.right) for frame in _whole(times)] == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 2)]


def test_unequal_gaps_at_a_constant_rate() -> None:
    """The same three frames at 20 a second: 200 ms are four frames, 50 ms apart, from 10 ms on."""
    times = timeline(_index([10, 110, 150], last=60), 0, 3, rate=Constant(Fraction(20)))
    assert (times.time_base, times.pts, times.end) == (Fraction(1, 1000), (10, 60, 110, 160), 210)
    assert [(frame.left, frame.fraction) for frame in _whole(times)] == [(0, 0), (0, Fraction(1, 2)), (1, 0), (2, 0)]


def test_without_a_model_frames_are_repeated_and_left_out() -> None:
    """25 to 30 frames a second shows every fifth frame twice, 25 to 20 leaves every fifth out."""
    index = _film(10, Fraction(25), Fraction(1, 1000))
    more, fewer = (
        timeline(index, 0, 10, rate=Constant(Fraction(fps)), between=False).shown(0, count)
        for fps, count in ((30, 12), (20, 8))
    )
    assert [frame.left for frame in more] == [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert [frame.left for frame in fewer] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert {frame.fraction for frame in more + fewer} == {Fraction(0)}


def test_a_factor_below_1_leaves_frames_out() -> None:
    """Half of five frames is three, a half counting as one, and they last as long."""
    times = timeline(_index([0, 40, 80, 120, 160]), 0, 5, rate=Factor(Fraction(1, 2)))
    assert ([frame.left for frame in _whole(times)], times.pts, times.end) == ([0, 2, 4], (0, 80, 160), 200)


def test_one_frame_is_held() -> None:
    """There is nothing to go to from the only frame; a rate too low for it still shows it once."""
    index = _index([5])
    assert [frame.pts for frame in _whole(timeline(index, 0, 1, rate=Factor(Fraction(4))))] == [20, 60, 100, 140]
    assert timeline(index, 0, 1, rate=Factor(Fraction(1, 9))).frames == 1
    assert timeline(index, 0, 1, rate=Constant(Fraction(1))).pts == (5,)


def test_neighbours_share_the_frame_on_both_sides() -> None:
    """Cut where something is made, a segment needs the source frame with which the next one begins."""
    times = timeline(_index([0, 40, 80, 120]), 1, 3, rate=Factor(Fraction(2)))
    assert (times.needed(0, 2), times.needed(2, 2), times.needed(2, 1)) == ((1, 2), (2, 2), (2, 1))


def test_a_segment_costs_what_it_holds() -> None:
    """The end of a hundred hours at 1000 frames a second is had without the rest."""
    day = _index([0, 1], Fraction(180_000), 1)
    times = timeline(day, 0, 2, rate=Constant(Fraction(1000)))
    assert times.frames == 360_000_000
    (last,) = times.shown(times.frames - 1, 1)
    assert (last.left, last.pts * times.time_base) == (1, 360_000 - Fraction(1, 1000))
    assert times.needed(times.frames // 2 - 2, 2) == (0, 2)


# --- as options ask for it


def _due(index: Index, fps: Fraction | None, factor: Fraction) -> list[Fraction]:
    """Work out when each output frame is shown, in seconds, from nothing but the definition."""
    marks = [pts * index.time_base for pts in (*index.pts, index.pts[-1] + index.last_duration)]
    if fps is not None:
        count = floor((marks[-1] - marks[0]) * fps + Fraction(1, 2))
        return [marks[0] + number / fps for number in range(count)]
    places = [number / factor for number in range(floor(len(index.pts) * factor + Fraction(1, 2)))]
    return [
        marks[floor(place)] + (marks[floor(place) + 1] - marks[floor(place)]) * (place - floor(place))
        for place in places
    ]


_VFR = _index([0, 33, 66, 500, 520, 1520, 1530, 1600], Fraction(1, 1000), 25)
_FILM = _film(240, Fraction(24000, 1001), Fraction(1, 24000))
_PAL = _film(250, Fraction(25), Fraction(1, 12800), begin=-7)
_NTSC = _film(300, Fraction(30000, 1001), Fraction(1, 90000), begin=1001)


@pytest.mark.parametrize("mode", ["interp", "both"])
@pytest.mark.parametrize(
    ("index", "fps", "factor", "frames"),
    [
        (_FILM, None, None, 480),
        (_PAL, None, Fraction(2), 500),
        (_FILM, Fraction(60), None, 601),
        (_PAL, Fraction(60), None, 600),
        (_NTSC, Fraction(60), None, 601),
        (_FILM, None, Fraction(5, 2), 600),
        (_FILM, Fraction(60000, 1001), None, 600),
        (_VFR, None, Fraction(2), 16),
        (_VFR, Fraction(60), None, 98),
    ],
)
def test_what_options_ask_for_is_exact(
    mode: Mode, index: Index, fps: Fraction | None, factor: Fraction | None, frames: int
) -> None:
    """Every frame is due at the very time its definition says, and lies there between the source's two frames."""
    options = Options(mode=mode, target_fps=fps, factor=factor)
    times = asked(index, 0, len(index.pts), options)
    due = _due(index, fps, factor or Fraction(2))
    assert times.frames == frames == len(due)
    assert [(pts + times.origin) * times.time_base for pts in times.pts] == due
    marks = [pts * index.time_base for pts in index.pts]
    for at, frame in zip(due, _whole(times), strict=True):
        if frame.left == len(marks) - 1:
            assert frame.fraction == 0, "after the last frame there is none to go to"
        else:
            assert marks[frame.left] + (marks[frame.left + 1] - marks[frame.left]) * frame.fraction == at
    assert any(frame.fraction for frame in _whole(times))


def test_a_variable_rate_stays_one_by_a_factor_and_none_by_a_rate() -> None:
    """Twice the frames of a telephone's video are as uneven as these; at 60 a second they are even."""
    by_factor, by_rate = (
        asked(_VFR, 0, len(_VFR.pts), options)
        for options in (Options(mode="interp"), Options(mode="interp", target_fps=Fraction(60)))
    )
    gaps = [{later - earlier for earlier, later in pairwise(times.pts)} for times in (by_factor, by_rate)]
    assert (len(gaps[0]) > 5, len(gaps[1])) == (True, 1)
    ends = [(times.end + times.origin) * times.time_base for times in (by_factor, by_rate)]
    assert ends[0] == Fraction(1625, 1000)
    assert abs(ends[1] - ends[0]) <= Fraction(1, 120)


def test_without_interpolation_nothing_is_due_between_frames() -> None:
    """The mode upscale shows the source's frames, at their own times or at a constant rate."""
    same = asked(_PAL, 0, 250, Options(target_fps=Fraction(60), factor=Fraction(3)))
    assert same == timeline(_PAL, 0, 250, between=False)
    repeated = asked(_PAL, 0, 250, Options(cfr=Fraction(60)))
    assert {frame.fraction for frame in _whole(repeated)} == {Fraction(0)}
    assert repeated.pts == asked(_PAL, 0, 250, Options(mode="both", target_fps=Fraction(60))).pts


@pytest.mark.parametrize(
    ("options", "rate", "due"),
    [
        (Options(), Fraction(25), Fraction(25)),
        (Options(), None, None),
        (Options(cfr=Fraction(30)), None, Fraction(30)),
        (Options(mode="both"), Fraction(24000, 1001), Fraction(48000, 1001)),
        (Options(mode="interp", factor=Fraction(5, 2)), Fraction(24000, 1001), Fraction(60000, 1001)),
        (Options(mode="interp", factor=Fraction(5, 2)), None, None),
        (Options(mode="interp", target_fps=Fraction(60)), Fraction(25), Fraction(60)),
        (Options(target_fps=Fraction(60)), Fraction(25), Fraction(25)),
    ],
)
def test_the_rate_of_a_result_is_the_one_asked_for(
    options: Options, rate: Fraction | None, due: Fraction | None
) -> None:
    """Encoders, cuts and people are told the result's rate and not the source's."""
    assert rate_of(replace(VIDEO, rate=rate), options) == due


def test_a_rate_of_numbers_that_encoders_do_not_take_is_the_nearest() -> None:
    """Their fields have 32 bits; times do not come from it."""
    video, factor = replace(VIDEO, rate=Fraction(23_976_024, 1_000_001)), Fraction("2.123456789")
    rate = rate_of(video, Options(mode="interp", factor=factor))
    assert rate is not None
    assert max(rate.as_integer_ratio()) <= MOST_TICKS
    assert abs(float(rate) - 23.976 * 2.123456789) < 1e-4


# --- clocks that containers cannot keep


def test_a_clock_too_fine_begins_at_the_nearest_tick() -> None:
    """Nanoseconds and 60000/1001 have no common tick in 32 bits: distances stay exact, the offset is rounded."""
    index = _index([7, 40_000_007, 80_000_007], Fraction(1, 10**9), 40_000_000)
    times = timeline(index, 0, 3, rate=Constant(Fraction(60000, 1001)))
    assert times.time_base.denominator <= MOST_TICKS
    assert abs(times.pts[0] * times.time_base - Fraction(7, 10**9)) <= times.time_base / 2 < Fraction(1, 10**6)
    assert {(later - earlier) * times.time_base for earlier, later in pairwise(times.pts)} == {Fraction(1001, 60000)}
    assert times.shown(1, 1)[0].fraction == Fraction(1001, 2400)
    part = timeline(index, 1, 2, rate=Constant(Fraction(60000, 1001)))
    assert part.pts[0] == 0
    assert abs(part.origin * part.time_base - Fraction(40_000_007, 10**9)) <= part.time_base / 2


def test_a_factor_too_fine_is_rounded_to_the_clock() -> None:
    """Thirds of a nanosecond are more than 32 bits: the source's times stay exact, those between are rounded."""
    times = timeline(_index([0, 10, 25], Fraction(1, 10**9), 10), 0, 3, rate=Factor(Fraction(3)))
    assert (times.time_base, times.end) == (Fraction(1, 2 * 10**9), 70)
    assert times.pts == (0, 7, 13, 20, 30, 40, 50, 57, 63)


def test_frames_closer_than_any_clock_are_refused() -> None:
    """Seven frames in a nanosecond cannot be told apart."""
    with pytest.raises(InputError, match="closer than a container's clock"):
        timeline(_index([0, 1], Fraction(1, 10**9), 1), 0, 2, rate=Factor(Fraction(7)))


def test_a_rate_that_no_container_states_is_refused() -> None:
    """A rate's own numbers must fit in 32 bits."""
    with pytest.raises(InputError, match="no container states a rate"):
        timeline(_index([0, 40]), 0, 2, rate=Constant(Fraction(2**31 * 30 + 1, 2**31)))


@pytest.mark.parametrize("rate", [Factor, Constant])
def test_a_rate_is_above_0(rate: type[Rate]) -> None:
    """Nothing can be shown at no rate: flags are checked before."""
    with pytest.raises(ValueError, match="must be above 0"):
        rate(Fraction(0))


def test_frames_that_a_result_does_not_have_are_our_defect() -> None:
    """A segment that does not fit its timeline is not a person's mistake."""
    times = timeline(_index([0, 40]), 0, 2, rate=Factor(Fraction(2)))
    for first, count in ((-1, 2), (0, 0), (3, 2)):
        with pytest.raises(ValueError, match="of a result of 4"):
            times.shown(first, count)
