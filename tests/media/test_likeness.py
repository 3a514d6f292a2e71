"""Whether a result's frame shows the source's: each rule, on pictures made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import likeness as measuring
import likeness_clips
import likeness_made
from plain import COLOUR, VIDEO
from uprez.job import Turn
from uprez.media.frame import Frame
from uprez.media.likeness import (
    APART_DB,
    CORRELATION,
    Finding,
    Other,
    Thumb,
    agree,
    alternatives,
    blend,
    colour_of,
    correlation,
    judge,
    psnr,
    size_of,
    thumb,
)

ROWS, COLUMNS = 36, 64


def scene(number: float = 0, *, seed: int = 0) -> Thumb:
    """Soft blobs of many colours that move two cells to the right a frame."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
    picture = np.full((ROWS, COLUMNS, 3), 0.1, np.float32)
    for _ in range(12):
        row, column, size = rng.uniform(0, ROWS), rng.uniform(0, COLUMNS), rng.uniform(3, 8)
        blob = np.exp(-((rows - row) ** 2 + (columns - column - 2 * number) ** 2) / size**2)
        picture += blob[:, :, None] * rng.uniform(0, 0.6, 3).astype(np.float32)
    return picture.clip(0, 1).astype(np.float32)


def noise(level: float, seed: int) -> Thumb:
    """What a model does to a picture, or an encoder."""
    return np.random.default_rng(seed).normal(0, level, (ROWS, COLUMNS, 3)).astype(np.float32)


def neighbours(number: int = 0) -> list[tuple[str, Thumb]]:
    """The frames around one."""
    words = {-2: "2 earlier", -1: "1 earlier", 1: "1 later", 2: "2 later"}
    return [(f"the frame {text}", scene(number + step)) for step, text in words.items()]


pictures = st.builds(
    lambda seed, base, spread: (
        np.random.default_rng(seed).normal(base, spread, (6, 8, 3)).clip(0, 1).astype(np.float32)
    ),
    st.integers(0, 2**32),
    st.floats(0, 1),
    st.sampled_from([0, 0.01, 0.1, 1]),
)
"""Any picture, flat and black ones too."""


@given(pictures, st.lists(pictures, max_size=4))
def test_a_picture_is_like_itself(picture: Thumb, others: list[Thumb]) -> None:
    """Whatever it is, and whatever its neighbours are."""
    assert judge(picture, picture, [("another", other) for other in others]) is None


@given(pictures)
def test_every_alternative_that_differs_is_found(picture: Thumb) -> None:
    """Channels exchanged in any order, U and V swapped, black, mirrored: named as what is shown."""
    for text, wrong in alternatives(picture):
        if psnr(wrong, picture) < APART_DB:
            found = judge(wrong, picture)
            assert found is not None, text
            assert not found.soft
            assert any(
                np.allclose(wrong, same, atol=1e-6) for name, same in alternatives(picture) if name == found.text
            )


@pytest.mark.parametrize("step", [-2, -1, 1, 2])
def test_a_neighbour_is_named(step: int) -> None:
    """A result that is a frame too early or too late says so, through noise and softening."""
    found = judge(scene(step) * 0.97 + noise(0.03, 1), scene(), neighbours())
    assert found == Finding(text=f"shows the frame {abs(step)} {'later' if step > 0 else 'earlier'}", of_time=True)


def test_a_models_work_is_no_fault() -> None:
    """Noise taken out, contrast raised, a little more light: still the source's frame."""
    source = scene() + noise(0.05, 2)
    for result in (scene(), 1.1 * scene(), scene() + 0.04, source + noise(0.02, 3)):
        assert judge(result.astype(np.float32), source, neighbours()) is None


def test_noise_of_colour_may_go() -> None:
    """An encoder that removes it from a gray picture takes no colour away."""
    gray = scene() - colour_of(scene())
    assert psnr(gray + noise(0.03, 15), gray) < APART_DB
    assert judge(gray, gray + noise(0.03, 15), neighbours()) is None


def test_repeated_frames_are_told_from_none() -> None:
    """A neighbour that shows the same picture is no alternative."""
    assert judge(scene() + noise(0.02, 4), scene(), [("the frame 1 later", scene())]) is None


def test_another_video_does_not_look_like_the_source() -> None:
    """Of the same brightness, and without a rule for what it is: its correlation says so."""
    found = judge(scene(seed=9), scene(), neighbours())
    assert found is not None
    assert found.text.startswith("does not look like the source (correlation ")
    assert not found.soft


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (np.zeros((ROWS, COLUMNS, 3), np.float32), "is black"),
        (scene()[:, :, ::-1], "has red and blue swapped"),
        (scene()[:, :, [1, 0, 2]], "has red and green swapped"),
        (scene() - colour_of(scene()), "has lost its colour"),
        (scene()[:, ::-1], "is mirrored left to right"),
        (scene()[::-1], "is mirrored top to bottom"),
        (scene()[::-1, ::-1], "is turned upside down"),
        (np.full((ROWS, COLUMNS, 3), 0.5, np.float32), "does not look like the source (correlation 0.00)"),
        (noise(0.3, 5) + 0.5, "does not look like the source (correlation "),
    ],
)
def test_faults_are_said_in_words(result: Thumb, text: str) -> None:
    """What a result shows instead, for people."""
    found = judge(result, scene(), neighbours())
    assert found is not None
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (np.float32(0), "is black in its lower left quarter"),
        (np.float32(0.4), "does not look like the source in its lower left quarter (correlation "),
        (scene(seed=9)[ROWS // 2 :, : COLUMNS // 2], "does not look like the source in its lower left quarter"),
    ],
)
def test_a_spoilt_quarter_is_told(part: Thumb, text: str) -> None:
    """A picture that is right but for a part of it, which is black, flat or from elsewhere."""
    result = scene(seed=3)
    result[ROWS // 2 :, : COLUMNS // 2] = part
    found = judge(result, scene(seed=3), neighbours())
    assert found is not None
    assert found.text.startswith(text)
    assert not found.soft


def test_the_last_net_is_soft() -> None:
    """A result that correlates and is far off is told by its distance, and only that may be overridden."""
    source = 0.4 * scene()
    found = judge(source + 0.55, source)
    assert found is not None
    assert found.soft
    assert found.text == "is far from the source (5.2 dB)"


def test_flat_pictures_are_judged_by_distance_alone() -> None:
    """Where there is nothing to correlate, neither noise nor a shade of light is a fault; another colour is."""
    gray = np.full((ROWS, COLUMNS, 3), 0.4, np.float32)
    assert judge(gray + noise(0.01, 6), gray) is None
    assert judge(gray + 0.05, gray) is None
    found = judge(gray + 0.4, gray)
    assert found is not None
    assert found.soft


def test_two_attempts_agree_when_they_are_closer_to_each_other() -> None:
    """What a model makes of noise twice agrees; two different faults, and two equal frames far apart, do not."""
    due = noise(0.3, 7) + 0.5
    model = due * 0.2 + 0.4
    assert agree(model + noise(0.01, 8), model + noise(0.01, 9), due)
    assert not agree(due + noise(0.3, 10), due + noise(0.3, 11), due)
    assert not agree(model, due + noise(0.05, 12), due)
    assert not agree(due + noise(0.01, 13), due + noise(0.01, 14), due)


def test_correlation_has_its_known_values() -> None:
    """1 with itself in other light, -1 with its negative, 0 with what is flat."""
    assert correlation(scene() * 0.5 + 0.2, scene()) == pytest.approx(1, abs=1e-5)
    assert correlation(1 - scene(), scene()) == pytest.approx(-1, abs=1e-5)
    assert correlation(np.zeros_like(scene()), scene()) == 0


@pytest.mark.parametrize(
    ("width", "height", "quarters", "size"),
    [
        (1920, 1080, 0, (64, 36)),
        (1920, 1080, 1, (36, 64)),
        (256, 144, 0, (64, 36)),
        (176, 144, 0, (44, 36)),
        (48, 32, 3, (8, 12)),
        (10, 8, 0, (4, 4)),
        (16, 4000, 0, (4, 64)),
        (4000, 3, 0, (64, 3)),
        (1, 1, 0, (1, 1)),
    ],
)
def test_a_thumb_keeps_the_shape_and_averages_enough(
    width: int, height: int, quarters: int, size: tuple[int, int]
) -> None:
    """64 on the longer side as shown, 4x4 pixels a sample of what is small, and 4 samples a side where there are."""
    video = replace(VIDEO, width=width, height=height, turn=Turn(quarters=quarters))
    assert size_of(video) == size


def test_a_turned_source_has_the_thumb_of_its_upright_result() -> None:
    """The source's frame is stored turned, the result's is not, and both are judged as they are shown."""
    gray = replace(COLOUR, family="gray", across=1, down=1)
    stored = (scene()[:, :, 0] * 200 + 16).astype(np.uint8)
    turn = Turn(quarters=1)
    size = size_of(replace(VIDEO, width=COLUMNS, height=ROWS, turn=turn))
    assert size == (9, 16)
    upright = np.ascontiguousarray(np.rot90(stored, -1)).repeat(2, axis=0).repeat(2, axis=1)
    due = thumb(Frame(planes=(stored,), pts=0), gray, size, turn)
    result = thumb(Frame(planes=(upright,), pts=0), gray, size)
    assert np.allclose(result, due, atol=1e-5)


# --- between two frames


def between(result: Thumb, left: float, right: float, *, others: Sequence[Other] = ()) -> Finding | None:
    """Judge what stands halfway between two frames of the scene."""
    sides = (scene(left), scene(right))
    return judge(result.astype(np.float32), blend(*sides, 0.5), others, sides)


def around(left: int, step: int = 1) -> list[Other]:
    """The frames and the pairs around a pair."""
    frames: list[Other] = [(f"frame {at}", scene(at)) for at in (left - step, left + 2 * step)]
    pairs: list[Other] = [(f"pair {at}", (scene(at), scene(at + step))) for at in (left - step, left + step)]
    return frames + pairs


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_what_is_between_may_be_anywhere_there(share: float) -> None:
    """Nearer to one frame than it should be, or that frame itself: networks do so where nothing moves evenly."""
    assert between(scene(share) + noise(0.02, 20), 0, 1, others=around(0)) is None


def test_what_moves_far_is_found_moved() -> None:
    """Halfway in a fast pan nothing is where the blend has it."""
    left, made, right = stripes(0), stripes(3), stripes(6)
    assert correlation(made, blend(left, right, 0.5)) < CORRELATION
    assert judge(made, blend(left, right, 0.5), (), (left, right)) is None
    assert judge(made, blend(left, right, 0.5)) is not None, "of a frame of the source it would be a fault"
    assert judge(made[:, ::-1], blend(left, right, 0.5), (), (left, right)) is not None


def stripes(number: int) -> Thumb:
    """Fine columns of many grays that move a sample to the right a frame, in light that stays."""
    columns = np.random.default_rng(3).uniform(0, 1, COLUMNS + 12)[12 - number : 12 - number + COLUMNS]
    return np.broadcast_to(columns[None, :, None], (ROWS, COLUMNS, 3)).astype(np.float32)


def test_a_flash_is_no_fault() -> None:
    """A network may show either frame, and of a stroboscope the frame after both is like one of them."""
    dark = 0.15 * scene(0)
    for made in (dark, scene(1), blend(dark, scene(1), 0.2)):
        found = judge(made, blend(dark, scene(1), 0.5), [("the next", 0.15 * scene(0.2))], (dark, scene(1)))
        assert found is None


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (scene(-2), "shows frame -2"),
        (scene(4), "shows frame 4"),
        (scene(3), "shows pair 2"),
        (scene(-1), "shows pair -2"),
        (np.zeros((ROWS, COLUMNS, 3), np.float32), "is black"),
        (scene(1)[:, :, ::-1], "has red and blue swapped"),
        (scene(1)[::-1], "is mirrored top to bottom"),
        (scene(seed=9), "does not look like the source"),
        (np.full((ROWS, COLUMNS, 3), 0.5, np.float32), "does not look like the source"),
    ],
)
def test_faults_between_frames_are_said_in_words(result: Thumb, text: str) -> None:
    """Other frames, what lies between others, other colours, no picture."""
    found = between(result, 0, 2, others=around(0, 2))
    assert found is not None
    assert found.text.startswith(text)
    assert not found.soft
    assert found.of_time == text.startswith(("shows", "does not look"))


def test_a_black_quarter_between_frames_is_told() -> None:
    """Though it is nearer to a darker one of the two."""
    made = scene(0.5, seed=3)
    made[ROWS // 2 :, : COLUMNS // 2] = 0
    sides = (scene(0, seed=3), scene(1, seed=3))
    found = judge(made, blend(*sides, 0.5), (), sides)
    assert found == Finding(text="is black in its lower left quarter")


# --- on real pictures; `make likeness` does the same with the network too


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(clip, id=clip.name, marks=[pytest.mark.long("longer")] if number % 2 else [])
        for number, clip in enumerate(likeness_clips.CLIPS)
    ],  # every second one in the suite
)
def test_a_good_clip_passes(clip: likeness_clips.Clip, materials: Path, tmp_path: Path) -> None:
    """Enlarged by Lanczos, and by x264 at two qualities, no frame is blamed."""
    measured = likeness_made.measure(clip, materials, ["lanczos"], tmp_path)
    assert measuring.blames(measured) == []


def test_wrong_pictures_are_found(materials: Path, tmp_path: Path) -> None:
    """In three clips with enough in them, every wrong picture is."""
    chosen = [clip for clip in likeness_clips.CLIPS if clip.name in {"talking head", "bunny", "heavy grain"}]
    measured = [likeness_made.measure(clip, materials, ["lanczos"], tmp_path) for clip in chosen]
    for name, wrong in measuring.WRONGS.items():
        rate = measuring.rate(measured, wrong, reach=likeness_clips.FRAMES)
        assert rate.frames, name
        assert rate.found == rate.frames, name
