"""Where a scene ends, and which frames are the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import likeness_clips
from plain import COLOUR
from uprez.job import Colour
from uprez.media import decode, probe, scenes
from uprez.media.frame import Frame, Samples

BIKES_CUTS = (30, 76, 137, 187, 242)
"""Frames of bikes.mp4 at which a scene begins, seen by eye."""


def scene(seed: int, size: tuple[int, int] = (192, 108)) -> NDArray[np.float64]:
    """Soft blobs on gray, in values from 0 to 1."""
    rng, (columns, rows) = np.random.default_rng(seed), size
    down, across = np.mgrid[0:rows, 0:columns]
    picture = np.full((rows, columns), 0.3)
    for _ in range(30):
        row, column, radius = rng.uniform(0, rows), rng.uniform(0, columns), rng.uniform(8, 25)
        picture += rng.uniform(-0.3, 0.4) * np.exp(-((down - row) ** 2 + (across - column) ** 2) / radius**2)
    return picture.clip(0, 1)


def framed(picture: NDArray[np.float64], colour: Colour = COLOUR) -> Frame:
    """Store a picture as luma, or as three planes alike; chroma says nothing."""
    top, kind = (1 << colour.depth) - 1, np.uint8 if colour.depth == 8 else np.uint16
    low, span = (0, top) if colour.full_range else (16 << (colour.depth - 8), 219 << (colour.depth - 8))
    plane: Samples = np.rint(low + span * picture).astype(kind)
    if colour.family == "rgb":
        return Frame(planes=(plane, plane, plane), pts=0)
    flat = np.full(tuple(side // 2 for side in plane.shape), 1 << (colour.depth - 1), kind)
    return Frame(planes=(plane,) if colour.family == "gray" else (plane, flat, flat), pts=0)


def cut(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    """Ask for two pictures."""
    return scenes.is_cut(framed(left), framed(right), COLOUR)


@pytest.mark.parametrize(
    "colour",
    [
        COLOUR,
        replace(COLOUR, full_range=True),
        replace(COLOUR, depth=10),
        replace(COLOUR, depth=16, family="gray", across=1, down=1),
        replace(COLOUR, family="rgb", full_range=True, across=1, down=1),
    ],
    ids=["8 bits", "full", "10 bits", "gray 16", "rgb"],
)
@pytest.mark.parametrize("size", [(192, 108), (108, 192), (16, 16), (1000, 20)])
def test_another_scene_is_a_cut_however_it_is_stored(colour: Colour, size: tuple[int, int]) -> None:
    """Of any depth, range and family, wide or tall or tiny; and a frame and itself are none."""
    one, other = (framed(scene(seed, size), colour) for seed in (1, 2))
    assert scenes.is_cut(one, other, colour)
    assert not scenes.is_cut(one, one, colour)


def test_motion_and_light_are_no_cuts() -> None:
    """A pan by a tenth of the picture, a fade's step, a flash that leaves a picture, noise, a dissolve's step."""
    wide = scene(3, (230, 140))
    here = wide[:108, :192]
    noise = np.random.default_rng(0).normal(0, 0.1, here.shape)
    for later in (wide[:108, 19:211], wide[11:119, :192], here * 0.6, here * 0.15, here * 0.3 + 0.7, here + noise):
        assert not cut(here, later.clip(0, 1))
    assert not cut(here, 0.6 * here + 0.4 * scene(4))


def test_scenes_in_the_dark_are_told_apart() -> None:
    """Where a measure with a floor for contrast would call everything alike."""
    assert cut(0.1 * scene(5), 0.1 * scene(6))
    assert cut(scene(5), np.zeros((108, 192)))
    assert not cut(np.zeros((108, 192)), np.full((108, 192), 0.002))


def test_cuts_of_a_film_are_found(materials: Path) -> None:
    """All five, and no other in ten seconds of streets; none in a cartoon that moves calmly."""
    for name, due in (("bikes.mp4", BIKES_CUTS), ("bigbuckbunny.mp4", ())):
        url = (materials / name).as_uri()
        index = probe.index(url)
        frames = decode.frames(url, index, 0, len(index.pts), threads=2)
        pairs = enumerate(pairwise(frames), 1)
        assert [at for at, pair in pairs if scenes.is_cut(*pair, index.video.colour)] == list(due), name


def test_clips_of_other_footage_are_cuts(materials: Path) -> None:
    """Each joined to each, as they are and in the dark."""
    chosen = [clip for clip in likeness_clips.CLIPS if clip.name in {"talking head", "bikes", "bunny"}]
    firsts = [likeness_clips.frames(clip, materials)[0] for clip in chosen]
    dark = [
        Frame(planes=tuple(np.ascontiguousarray(plane) for plane in likeness_clips._lit(frame.planes, 0.1)), pts=0)
        for frame in firsts
    ]
    for group in (firsts, dark):
        for one in group:
            assert [scenes.is_cut(one, other, COLOUR) for other in group] == [one is not other for other in group]


def test_the_same_is_the_same_to_the_last_bit() -> None:
    """One sample of one plane makes another picture; time and damage do not."""
    one = framed(scene(1))
    copied = Frame(planes=tuple(plane.copy() for plane in one.planes), pts=7, damaged=True)
    assert scenes.same(one, copied)
    assert scenes.holds(one, copied, COLOUR)
    copied.planes[2][5, 3] += 1
    assert not scenes.same(one, copied)
    assert not scenes.holds(one, copied, COLOUR)
