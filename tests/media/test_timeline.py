"""Selection and times, for every index."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.errors import InputError
from uprez.job import Colour, Index, Video
from uprez.media.timeline import select, timeline

_VIDEO = Video(
    container="matroska,webm",
    size=1,
    stream=0,
    codec="h264",
    width=64,
    height=48,
    pix_fmt="yuv420p",
    sar=Fraction(1),
    rate=Fraction(25),
    time_base=Fraction(1, 1000),
    duration=None,
    frames=None,
    colour=Colour(matrix="bt601", full_range=False, siting="left"),
)


def _index(pts: list[int], time_base: Fraction = Fraction(1, 1000), last: int = 40) -> Index:
    return Index(video=_VIDEO, time_base=time_base, pts=tuple(pts), keyframes=(pts[0],), last_duration=last)


@st.composite
def _indexes(draw: st.DrawFn) -> Index:
    gaps = draw(st.lists(st.integers(1, 5000), max_size=60))
    pts = [draw(st.integers(-90000, 90000))]
    for gap in gaps:
        pts.append(pts[-1] + gap)
    bases = st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 12800)])
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
