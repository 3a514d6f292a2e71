"""Clocks that jump are made to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.media import decode, probe
from uprez.media.packets import Clock, Stamp, clock_of, packets, straightened

MakeClip = Callable[..., Path]


def joined(path: Path, *parts: Path) -> Path:
    """Write files behind one another, as recordings are joined."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.fixture
def recording(make_clip: MakeClip, tmp_path: Path) -> Path:
    """Two transport streams in one file: the second begins at the time at which the first did."""
    one = make_clip(name="a.ts", frames=40, audio=("aac",))
    two = make_clip(name="b.ts", frames=30, audio=("aac",))
    return joined(tmp_path / "joined.ts", one, two)


def test_a_jump_is_counted_and_loses_no_frame(recording: Path) -> None:
    """Every frame of both parts has a time of its own, and the picture goes on where it was."""
    index = probe.index(recording.as_uri())
    assert (len(index.pts), index.breaks) == (70, 1)
    steps = [after - before for before, after in pairwise(index.pts)]
    assert steps[:39] == [3600] * 39
    assert 3600 <= steps[39] <= 3600 + 9000
    assert steps[40:] == [3600] * 29


def test_sound_and_picture_move_together(recording: Path) -> None:
    """After the jump the sound is as far from the picture as it was before; nothing overlaps."""
    seen: dict[str, list[tuple[int, int]]] = {"video": [], "audio": []}
    with av.open(str(recording)) as container:
        for packet in packets(container, clock_of(recording.as_uri())):
            seen[packet.stream.type].append((packet.dts or 0, packet.pts or 0))
    for entries in seen.values():
        assert all(after[0] > before[0] for before, after in pairwise(entries))
    audio = [pts for _, pts in seen["audio"]]
    with av.open(str(recording.with_name("a.ts"))) as container:
        second = sum(1 for packet in container.demux(audio=0) if packet.size)
    video = sorted(pts for _, pts in seen["video"])
    assert abs((video[40] - audio[second]) - (video[0] - audio[0])) <= 2


@pytest.mark.parametrize(("first", "count"), [(0, 70), (35, 10), (40, 5), (47, 20)])
def test_frames_behind_a_jump_are_found(recording: Path, first: int, count: int) -> None:
    """Any part, across the jump too, is decoded as in one pass over the whole."""
    index = probe.index(recording.as_uri())
    whole = [frame.planes[0] for frame in decode.frames(recording.as_uri(), index, 0, 70, threads=1)]
    part = list(decode.frames(recording.as_uri(), index, first, count, threads=2))
    assert [frame.pts for frame in part] == list(index.pts[first : first + count])
    assert all(np.array_equal(a.planes[0], b) for a, b in zip(part, whole[first : first + count], strict=True))


def test_a_clock_that_goes_on_is_left_alone(make_clip: MakeClip) -> None:
    """Without a jump no time changes, and other formats are not even looked at."""
    for name in ("plain.ts", "plain.mp4"):
        path = make_clip(name=name, frames=30, audio=("aac",))
        with av.open(str(path)) as container:
            raw = [(each.stream_index, each.pts, each.dts) for each in container.demux() if each.size]
        clock = clock_of(path.as_uri())
        assert (clock.breaks, clock.patched) == (0, 0)
        with av.open(str(path)) as container:
            assert [(each.stream_index, each.pts, each.dts) for each in packets(container, clock)] == raw
    assert clock == Clock()


def test_three_parts_are_three_parts(make_clip: MakeClip, tmp_path: Path) -> None:
    """Each jump adds to the ones before it."""
    part = make_clip(name="a.ts", frames=25)
    index = probe.index(joined(tmp_path / "joined.ts", part, part, part).as_uri())
    assert (len(index.pts), index.breaks) == (75, 2)
    assert {after - before for before, after in pairwise(index.pts)} == {3600}


def stamps(*parts: tuple[int, float, int]) -> list[Stamp]:
    """Packets of 40 ms: (stream, time of the first in seconds, how many), one part after the other."""
    made = []
    for stream, start, count in parts:
        for number in range(count):
            at = Fraction(str(start)) + number * Fraction(1, 25)
            made.append(Stamp(stream=stream, decoded=at, shown=at, length=Fraction(1, 25)))
    return made


def test_one_wrong_time_is_no_jump() -> None:
    """A packet whose time no neighbour shares is put where it is due, and moves nothing else."""
    times = stamps((0, 10, 20), (1, 10, 20))
    for place, by in ((7, 5000), (12, 2), (30, -3), (39, 100)):
        wrong, spoilt = times[place], list(times)
        spoilt[place] = replace(wrong, decoded=wrong.decoded + by, shown=wrong.shown + by)
        clock = straightened(spoilt)
        assert (clock.breaks, clock.patched) == (0, 1)
        assert [number for number, shift in enumerate(clock.shifts) if shift] == [place]
        assert spoilt[place].shown + clock.shifts[place] == wrong.shown


def test_a_part_without_sound_lies_between_two_with_it() -> None:
    """The picture jumps twice, the sound once; behind the second jump they are together again."""
    clock = straightened(stamps((0, 1, 25), (1, 1, 25), (0, 1, 25), (0, 1, 25), (1, 1, 25)))
    assert (clock.breaks, clock.patched) == (2, 0)
    video = [*clock.shifts[:25], *clock.shifts[50:100]]
    assert video == [0] * 25 + [1] * 25 + [2] * 25
    assert clock.shifts[25:50] == (0,) * 25
    assert clock.shifts[100:] == (2,) * 25


def test_the_longest_stream_decides_where_the_next_part_begins() -> None:
    """Sound that goes on for longer than the picture is not overlapped."""
    clock = straightened(stamps((0, 1, 25), (1, 1, 30), (0, 1, 25), (1, 1, 25)))
    assert set(clock.shifts[55:]) == {Fraction(30, 25)}


def test_a_jump_far_ahead_is_one_too() -> None:
    """A clock that leaps days ahead is taken back; a gap of a few seconds is a gap."""
    assert straightened(stamps((0, 1, 25), (0, 90000, 25))).shifts[25:] == (Fraction(-89998),) * 25
    assert straightened(stamps((0, 1, 25), (0, 9, 25))).breaks == 0


def test_subtitles_follow_what_is_around_them() -> None:
    """Their gaps are of any length, so they move as the file does at their place."""
    times = stamps((0, 1, 25), (0, 1, 25))
    late = Stamp(stream=2, decoded=Fraction(3, 2), shown=Fraction(3, 2), length=Fraction(1), sparse=True)
    clock = straightened([*times[:10], late, *times[10:40], late, *times[40:]])
    assert (clock.shifts[10], clock.shifts[41]) == (0, 1)
