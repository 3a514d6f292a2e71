"""What the source shows where a result is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import plain
from uprez.enhance.feed import Feed
from uprez.job import Index, Plan
from uprez.media import decode, likeness, scenes, timeline, witness
from uprez.media.frame import Frame, Moment
from uprez.media.likeness import Finding
from uprez.media.timeline import Factor, Shown
from uprez.media.witness import Looks, Window, Witness

MakeClip = Callable[..., Path]
Made = tuple[Index, Plan, list[Path]]


def _thumb(source: Path, index: Index, position: int) -> likeness.Thumb:
    (frame,) = decode.frames(source.as_uri(), index, position, 1, threads=1)
    return likeness.thumb(frame, index.video.colour, likeness.size_of(index.video), index.video.turn)


def _around(window: Window) -> list[str]:
    return [name for name, _ in window.others]


def _moments(frames: list[Frame], shown: Sequence[Shown], *, held: bool = False) -> Iterator[Moment]:
    """What a feed gives of frames that begin with the first shown."""
    for each in shown:
        left, right = (frames[at - shown[0].left] for at in (each.left, each.right))
        pair = (left, left, Fraction(0)) if held else (left, right, each.fraction)
        yield Moment(left=pair[0], right=pair[1], fraction=pair[2])


def test_a_window_has_the_frame_that_is_due_and_its_neighbours(
    make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Two frames on either side are named by how far they are, the nearest first, and none beyond the ends."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    found = witness.windows(source.as_uri(), plan=plan, index=index, numbers=[15], threads=2)
    assert _around(found[15]) == [f"the source's frame {n} {way}" for n in (1, 2) for way in ("earlier", "later")]
    assert found[15].sides == ()
    assert np.array_equal(found[15].due, _thumb(source, index, 15))
    assert np.array_equal(dict(found[15].others)["the source's frame 1 later"], _thumb(source, index, 16))
    ends = witness.windows(source.as_uri(), plan=plan, index=index, numbers=[0, 29], threads=2)
    assert _around(ends[0])[:2] == ["the source's frame 1 later", "the source's frame 2 later"]
    assert "the source's frame 29 later" in _around(ends[0]), "a picture that stands is told by frames far away"
    assert _around(ends[29])[:2] == ["the source's frame 1 earlier", "the source's frame 2 earlier"]


def test_neighbours_are_those_of_the_result(make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """At half the rate the next output frame is two source frames on; at twice the rate a repeat is no other frame."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    half = replace(plan, options=replace(plan.options, cfr=Fraction(25, 2)))
    found = witness.windows(source.as_uri(), plan=half, index=index, numbers=[5], threads=2)
    assert np.array_equal(found[5].due, _thumb(source, index, 10))
    assert np.array_equal(dict(found[5].others)["the source's frame 2 later"], _thumb(source, index, 12))
    assert len(found[5].others) == 4
    double = replace(plan, options=replace(plan.options, cfr=Fraction(50)))
    shown = witness.windows(source.as_uri(), plan=double, index=index, numbers=[20], threads=2)[20]
    assert np.array_equal(shown.due, _thumb(source, index, 10))
    assert len(shown.others) == 2, "21 repeats 20, and 18 repeats 19"


def test_a_worker_sees_the_same_as_the_controller(make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """Thumbs taken while moments pass equal those decoded anew, and a frame that repeats is no other."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    shown = timeline.planned(index, plan).shown(0, 12)
    seen = Witness.of(index, shown)
    frames = list(decode.frames(source.as_uri(), index, 0, 12, threads=2))
    assert [moment.left for moment in seen.seeing(_moments(frames, shown))] == frames
    due = witness.windows(source.as_uri(), plan=plan, index=index, numbers=range(12), threads=2)
    for place, window in seen.windows().items():
        assert np.array_equal(window.due, due[place].due)
        assert window.position == due[place].position
        assert _around(window)[:1] == _around(due[place])[:1]
    still = Witness.of(index, [shown[0]] * 3)
    list(still.seeing(_moments(frames, [shown[0]] * 3)))
    assert all(window.others == () for window in still.windows().values())


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Index], timeline.Timeline]:
    """Let plans ask for twice the frames, made between the source's."""

    def planned(index: Index, _: object = None) -> timeline.Timeline:
        return timeline.timeline(index, 0, len(index.pts), rate=Factor(Fraction(2)), between=True)

    monkeypatch.setattr(witness, "planned", planned)
    return planned


def test_between_two_frames_their_blend_is_due(
    make_clip: MakeClip, make_segments: Callable[..., Made], doubled: Callable[[Index], timeline.Timeline]
) -> None:
    """Told from frames that it is not made of, and from what lies as far between others; few are decoded for that."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    found = witness.windows(source.as_uri(), plan=plan, index=index, numbers=[20, 21], threads=2)
    left, right = (_thumb(source, index, at) for at in (10, 11))
    window = found[21]
    assert np.allclose(window.due, (left + right) / 2, atol=1e-6)
    assert [np.array_equal(*pair) for pair in zip(window.sides, (left, right), strict=True)] == [True, True]
    assert window.position == found[20].position == 10
    others = dict(window.others)
    assert list(others) == [
        "what lies 2 of the source's frames earlier",
        "what lies 1 of the source's frames earlier",
        "what lies 1 of the source's frames later",
        "what lies 2 of the source's frames later",
        "the source's frame 1 earlier",
        "the source's frame 1 later",
        "the source's frame 2 earlier",
        "the source's frame 2 later",
    ]
    assert np.array_equal(others["the source's frame 1 later"], _thumb(source, index, 12))
    later = others["what lies 1 of the source's frames later"]
    assert [np.array_equal(*pair) for pair in zip(later, (right, _thumb(source, index, 12)), strict=True)] == [True] * 2
    assert np.array_equal(found[20].due, left)
    assert found[20].sides == ()
    assert {"the source's frame 1 later", "the source's frame 2 earlier"} <= set(_around(found[20]))


def test_a_worker_and_the_controller_agree_between_frames_and_at_cuts(
    make_clip: MakeClip,
    make_segments: Callable[..., Made],
    doubled: Callable[[Index], timeline.Timeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing is made between two frames, the first is due, and the second is another."""
    source = make_clip(frames=8)
    index, plan, _ = make_segments(source, length=8)
    shown = doubled(index).shown(0, 16)
    monkeypatch.setattr(scenes, "holds", lambda left, *_: left.pts == index.pts[3])
    seen = Witness.of(index, shown)
    monkeypatch.setattr(seen, "places", tuple(range(16)))
    feed = Feed(decode.frames(source.as_uri(), index, 0, 8, threads=2), 0, index.video)
    for _ in seen.seeing(feed.shown(shown)):
        pass
    assert feed.held == 1
    due = witness.windows(source.as_uri(), plan=plan, index=index, numbers=range(16), threads=2)
    assert np.array_equal(due[7].due, _thumb(source, index, 3))
    assert due[7].sides == ()
    assert np.array_equal(dict(due[7].others)["the source's frame 1 later"], _thumb(source, index, 4))
    for place, window in seen.windows().items():
        assert np.array_equal(window.due, due[place].due)
        assert len(window.sides) == len(due[place].sides)
        assert _around(window)[:1] == _around(due[place])[:1]


def test_damage_on_either_side_makes_a_window_uncertain(
    make_clip: MakeClip,
    make_segments: Callable[..., Made],
    doubled: Callable[[Index], timeline.Timeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies between two frames is as uncertain as both."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    frames = decode.frames

    def spoilt(*given: object, **more: object) -> Iterator[Frame]:
        for frame in frames(*given, **more):  # type: ignore[arg-type]
            yield replace(frame, damaged=frame.pts == index.pts[11])

    monkeypatch.setattr(decode, "frames", spoilt)
    found = witness.windows(source.as_uri(), plan=plan, index=index, numbers=[11, 21, 23, 41], threads=2)
    assert {number: window.damaged for number, window in found.items()} == {11: False, 21: True, 23: True, 41: False}


def test_few_frames_are_decoded_for_what_lies_between(
    make_clip: MakeClip, make_segments: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of the source's frames for one place, however many are made between two."""
    source = make_clip()
    index, plan, _ = make_segments(source)
    times = timeline.timeline(index, 0, 30, rate=Factor(Fraction(8)), between=True)
    asked: list[tuple[int, int]] = []
    frames = decode.frames

    def counting(url: str, index: Index, first: int, count: int, **more: object) -> Iterator[Frame]:
        asked.append((first, count))
        return frames(url, index, first, count, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "frames", counting)
    monkeypatch.setattr(witness, "planned", lambda *_: times)
    witness.windows(source.as_uri(), plan=plan, index=index, numbers=[84], threads=2)
    assert asked == [(8, 6)]
    asked.clear()
    witness.windows(source.as_uri(), plan=plan, index=index, numbers=[0, 239], threads=2)
    assert asked == [(0, 3), (27, 3)], "after the last frame, which is held, too"


@pytest.mark.parametrize("change", [{"breaks": 1}, {"patched": 1}, {"keyframes": (0,)}])
def test_sources_that_cannot_be_sought_are_read_in_order(
    make_clip: MakeClip, make_segments: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """A clock that jumps, or one keyframe in 600 frames, means one reading for all places."""
    asked: list[tuple[int, int]] = []
    frames = decode.frames

    def counting(url: str, index: Index, first: int, count: int, **more: object) -> Iterator[Frame]:
        asked.append((first, count))
        return frames(url, replace(index, breaks=0, patched=0), first, count, **more)  # type: ignore[arg-type]

    source = make_clip(frames=700, size=(16, 16), options={"preset": "ultrafast"})
    index, plan, _ = make_segments(source, length=700)
    monkeypatch.setattr(decode, "frames", counting)
    witness.windows(source.as_uri(), plan=plan, index=index, numbers=[5, 690], threads=2)
    assert len(asked) == 2
    asked.clear()
    odd = replace(index, **change)  # type: ignore[arg-type]
    assert witness.reads_in_order(odd)
    witness.windows(source.as_uri(), plan=plan, index=odd, numbers=[5, 690], threads=2)
    assert asked == [(3, 690)]


@pytest.mark.parametrize(("count", "most", "expected"), [(1, 5, 1), (2, 5, 2), (4, 5, 4), (100, 5, 5), (100, 2, 2)])
def test_the_ends_are_always_looked_at(count: int, most: int, expected: int) -> None:
    """First and last frame are among the places, others are chosen by chance, and none comes twice."""
    found = witness.chosen(count, most)
    assert len(found) == expected == len(set(found))
    assert {0, count - 1} <= set(found) <= set(range(count))
    assert len({witness.chosen(1000, 5) for _ in range(20)}) > 1, "nobody can foresee them"


def _looks(picture: float, *, soft: bool) -> Looks:
    due = np.zeros((8, 8, 3), np.float32)
    due[:4] = 0.5
    window = Window(due=due, others=(), position=0, damaged=False)
    shown = np.full((8, 8, 3), picture, np.float32)
    return Looks(thumbs={3: shown}, windows={3: window}, findings={3: Finding(text="is far", soft=soft)})


def test_only_a_distance_is_outweighed_by_agreement() -> None:
    """Two attempts that show the same agree where both are merely far away, and never about what has a name."""
    assert _looks(0.9, soft=True).agrees(_looks(0.9, soft=True))
    assert not _looks(0.9, soft=True).agrees(_looks(0.6, soft=True))
    assert not _looks(0.9, soft=False).agrees(_looks(0.9, soft=True))
    assert not _looks(0.9, soft=True).agrees(_looks(0.9, soft=False))
    elsewhere = replace(_looks(0.9, soft=True), thumbs={})
    assert not _looks(0.9, soft=True).agrees(elsewhere)


def test_an_ordinary_source_is_sought_in() -> None:
    """A film with a keyframe every few seconds is not read whole for a few frames."""
    index = plain.indexed(plain.VIDEO, 1000)
    assert not witness.reads_in_order(replace(index, keyframes=index.pts[::250]))
