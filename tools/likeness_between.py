"""Measure how frames that RIFE made between others are judged: for `tools/likeness.py --between`. Six minutes.

The clips of tools/likeness_clips.py and some with more motion; every pair that uprez makes anything between, at three
places, as made and as x264 leaves it. Frames are judged beside all others of the clip; then wrong ones replace them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

import likeness_clips
import likeness_made
from likeness_clips import CLIPS, COLOUR, FRAMES, Clip, Planes
from uprez.enhance.interpolate import Interpolator, open_interpolator
from uprez.job import Index, Video
from uprez.media import likeness, scenes
from uprez.media.frame import Frame, Moment
from uprez.media.likeness import APART_DB, Finding, Thumb
from uprez.media.timeline import Shown
from uprez.media.witness import NEIGHBOURS, Place, Seen, Window
from uprez.models import MODELS, weights
from uprez.models.motion import MotionSpec
from uprez.models.needed import INTERPOLATOR

FRACTIONS = (Fraction(1, 4), Fraction(2, 5), Fraction(1, 2))
QUALITY = 28
"""Of x264, crf."""
HEADING = "\n## Between two frames\n"


def _every(path: str, size: tuple[int, int], step: int) -> Callable[[Path, np.random.Generator], list[Planes]]:
    return lambda m, _: likeness_clips.read(m / path, 20, size, FRAMES * step)[::step]


def _pan(path: str, size: tuple[int, int], step: int) -> Callable[[Path, np.random.Generator], list[Planes]]:
    """Move a window of half the width over one picture, `step` columns a frame."""

    def make(materials: Path, _: np.random.Generator) -> list[Planes]:
        (wide,) = likeness_clips.read(materials / path, 50, size, 1)
        half = size[0] // 2
        return [
            tuple(plane[:, at // share : (at + half) // share] for plane, share in zip(wide, (1, 2, 2), strict=True))
            for at in range(0, min(half, FRAMES * step), step)
        ]

    return make


def _text(_: Path, rng: np.random.Generator) -> list[Planes]:
    """Lines of words that move up by six rows a frame."""
    page = np.full((400, 320), 20, np.uint8)
    for line in range(0, 400, 24):
        for column in rng.integers(0, 310, 30):
            page[line : line + 12, column : column + 6] = 220
    flat = np.full((96, 160), 128, np.uint8)
    return [(page[at : at + 192], flat, flat) for at in range(0, 6 * FRAMES, 6)]


MOVING = (
    Clip(name="bikes, every 2nd", footage="bikes", make=_every("bikes.mp4", (320, 136), 2)),
    Clip(name="bikes, every 4th", footage="bikes", make=_every("bikes.mp4", (320, 136), 4)),
    Clip(name="bunny, every 4th", footage="bunny", make=_every("bigbuckbunny.mp4", (320, 180), 4)),
    Clip(name="talking head, every 4th", footage="head", make=_every("carphone_pristine.mp4", (176, 144), 4)),
    Clip(name="bunny, panned by 10 %", footage="bunny", make=_pan("bigbuckbunny.mp4", (640, 360), 32)),
    Clip(name="bunny, panned by 20 %", footage="bunny", make=_pan("bigbuckbunny.mp4", (640, 360), 64)),
    Clip(name="bikes, panned by 10 %", footage="bikes", make=_pan("bikes.mp4", (640, 272), 32)),
    Clip(name="bikes, panned by 20 %", footage="bikes", make=_pan("bikes.mp4", (640, 272), 64)),
    Clip(name="text that scrolls", footage="none", make=_text),
)
"""Further clips, with more motion."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A clip, and what was made between its frames."""

    clip: Clip
    due: dict[int, Thumb]
    other: list[Thumb]
    """Of a clip of other footage."""
    results: dict[tuple[int, Fraction], list[Thumb]]
    """As made and as encoded, by the left frame's number and the place."""
    exchanged: dict[tuple[int, Fraction], Thumb]
    """With the chroma planes swapped."""
    held: int
    """Pairs between which nothing is made."""
    index: Index

    def window(self, left: int, fraction: Fraction, reach: int) -> Window:
        """Give what is due at a place, beside so many frames on either side."""
        near = {at: thumb for at, thumb in self.due.items() if left - reach <= at <= left + 1 + reach}
        place = Place(shown=Shown(left=left, right=left + 1, fraction=fraction, pts=0), near=frozenset(near))
        return Seen(index=self.index, needed=place.near, thumbs=near).window(place, held=False)

    def judged(self, result: Thumb, left: int, fraction: Fraction, reach: int) -> Finding | None:
        """Judge a picture that stands at a place."""
        seen = self.window(left, fraction, reach)
        return likeness.judge(result, seen.due, seen.others, seen.sides)


def run(materials: Path, cache: Path, names: Sequence[str]) -> tuple[str, list[str]]:
    """Measure clips, all of them where none is named; gives the section and the good frames that are blamed."""
    network = weights.ensure(MODELS[INTERPOLATOR], cache, progress=likeness_made.progress)
    if network is None:
        raise AssertionError("the interpolator has weights")
    made, blamed = [], []
    rows = [
        f"| clip | made | held pairs | {' | '.join(_COLUMNS)} | blamed |",
        f"|---|---|---|{'---|' * len(_COLUMNS)}---|",
    ]
    for clip in (*CLIPS, *MOVING):
        if names and clip.name not in names:
            continue
        made.append(_made(clip, materials, network))
        faults = blames(made[-1])
        blamed += [f"{clip.name}: {fault}" for fault in faults]
        rows.append(_row(made[-1], len(faults)))
        print(rows[-1], *faults[:3], flush=True)
    wrong = [_rate(made, name) for name in WRONGS]
    print(*wrong, sep="\n")
    results = sum(len(each) for one in made for each in one.results.values())
    page = _TEXT.format(
        clips=len(made),
        results=results,
        quality=QUALITY,
        good="\n".join(rows),
        wrong="\n".join(wrong),
        apart=APART_DB,
        pairs=likeness.PAIR_PROJECTION,
        reach=round(100 * likeness.REACH),
    )
    return page, blamed


def _made(clip: Clip, materials: Path, network: Path) -> Made:
    frames = likeness_clips.frames(clip, materials)
    video = likeness_clips.video(frames)
    size = likeness.size_of(video)
    footage = next(each for each in CLIPS if each.footage not in {clip.footage, "none"})
    pairs = [at for at in range(len(frames) - 1) if not scenes.holds(frames[at], frames[at + 1], COLOUR)]
    made = _interpolated(network, frames, pairs)
    coded = (
        likeness_made.encoded([replace(frame, pts=n) for n, frame in enumerate(made.values())], QUALITY) if made else []
    )
    return Made(
        clip=clip,
        due={at: likeness.thumb(frame, COLOUR, size) for at, frame in enumerate(frames)},
        other=[likeness.thumb(frame, COLOUR, size) for frame in likeness_clips.frames(footage, materials)],
        results={
            place: [likeness.thumb(each, COLOUR, size) for each in (frame, lossy)]
            for (place, frame), lossy in zip(made.items(), coded, strict=True)
        },
        exchanged={
            place: likeness.thumb(replace(frame, planes=(frame.planes[0], *frame.planes[:0:-1])), COLOUR, size)
            for place, frame in made.items()
        },
        held=len(frames) - 1 - len(pairs),
        index=Index(
            video=video, time_base=Fraction(1, 25), pts=tuple(range(len(frames))), keyframes=(0,), last_duration=1
        ),
    )


def _index(video: Video, frames: int) -> Index:
    pts = tuple(range(frames))
    return Index(video=video, time_base=Fraction(1, 25), pts=pts, keyframes=(0,), last_duration=1)


def _interpolated(network: Path, frames: list[Frame], pairs: list[int]) -> dict[tuple[int, Fraction], Frame]:
    rows, columns = frames[0].planes[0].shape
    spec = MotionSpec(width=columns, height=rows, colour=COLOUR)
    interpolate: Interpolator = open_interpolator(network, spec, likeness_made.MEANS)
    return {
        (at, fraction): interpolate(Moment(left=frames[at], right=frames[at + 1], fraction=fraction))
        for at in pairs
        for fraction in FRACTIONS
    }


# --- good frames

_COLUMNS = ("two frames, dB", "blend, dB", "correlation", "moved")


def blames(made: Made) -> list[str]:
    """List the good frames that are blamed, beside the neighbours and beside the whole clip."""
    return [
        f"{left} + {fraction}: {found.text}"
        for (left, fraction), results in made.results.items()
        for result in results
        for reach in (NEIGHBOURS, FRAMES)
        if (found := made.judged(result, left, fraction, reach)) is not None
    ]


def _row(made: Made, blamed: int) -> str:
    """Give the least of a clip: of both frames, and of results with what is due."""
    apart, near, alike, moved = [], [], [], []
    for (left, fraction), results in made.results.items():
        seen = made.window(left, fraction, 0)
        apart.append(likeness.psnr(*seen.sides) if seen.sides else 0)
        near += [likeness.psnr(result, seen.due) for result in results]
        alike += [likeness.correlation(result, seen.due) for result in results]
        whole = (slice(seen.due.shape[0]), slice(seen.due.shape[1]))
        moved += [max(likeness.moved(result, side, whole) for side in seen.sides) for result in results]
    cells = [made.clip.name, str(len(near)), str(made.held)]
    cells += [f"{min(apart):.1f}", f"{min(near):.1f}", f"{min(alike):.2f}", f"{min(moved):.2f}"] if near else ["-"] * 4
    return f"| {' | '.join([*cells, str(blamed)])} |"


# --- wrong ones

Wrong = Callable[[Made, int, Fraction, Thumb], Thumb | None]


def _shifted(step: int) -> Wrong:
    def wrong(made: Made, left: int, fraction: Fraction, _: Thumb) -> Thumb | None:
        results = made.results.get((left + step, fraction))
        return results[0] if results else None

    return wrong


def _elsewhere(made: Made, left: int, _: Fraction, result: Thumb) -> Thumb:
    """Another clip at this size, by the nearest samples."""
    other = made.other[left % len(made.other)]
    down, across = (np.arange(side) * of // side for side, of in zip(result.shape[:2], other.shape[:2], strict=True))
    picture: Thumb = other[down][:, across]
    return picture


def _blackened(_: Made, __: int, ___: Fraction, result: Thumb) -> Thumb:
    spoilt = result.copy()
    spoilt[result.shape[0] // 2 :] = 0
    return spoilt


WRONGS: dict[str, Wrong] = {
    "what lies 1 of the source's frames later": _shifted(1),
    "what lies 1 of the source's frames earlier": _shifted(-1),
    "what lies 2 of the source's frames later": _shifted(2),
    "what lies 2 of the source's frames earlier": _shifted(-2),
    "the frame after both": lambda m, left, _, __: m.due.get(left + 2),
    "the frame before both": lambda m, left, _, __: m.due.get(left - 1),
    "red and blue swapped": lambda _, __, ___, result: result[:, :, ::-1],
    "U and V swapped": lambda m, left, fraction, _: m.exchanged[left, fraction],
    "another clip": _elsewhere,
    "black": lambda _, __, ___, result: np.zeros_like(result),
    "gray": lambda _, __, ___, result: np.full_like(result, 0.5),
    "mirrored left to right": lambda _, __, ___, result: result[:, ::-1],
    "lower half black": _blackened,
}


def _rate(made: Sequence[Made], name: str) -> str:
    """Put a wrong picture in every frame's place where it differs enough from what would do there."""
    frames = found = 0
    missed = Counter[str]()
    for each, left, fraction, result in _places(made):
        picture, sides = WRONGS[name](each, left, fraction, result), (each.due[left], each.due[left + 1])
        if picture is None or max(likeness.psnr(picture, would) for would in (result, *sides)) >= APART_DB:
            continue
        is_found = each.judged(picture, left, fraction, NEIGHBOURS) is not None
        frames, found = frames + 1, found + is_found
        missed[each.clip.name] += not is_found
    worst = ", ".join(f"{clip} {count}" for clip, count in missed.most_common(5) if count)
    return f"| {name} | {frames} | {100 * found / max(1, frames):.1f} % | {worst} |"


def _places(made: Sequence[Made]) -> Iterator[tuple[Made, int, Fraction, Thumb]]:
    for each in made:
        for (left, fraction), results in each.results.items():
            yield each, left, fraction, results[0]


_TEXT = (
    HEADING
    + """
Made by `make likeness LIKENESS_ARGS="--between --write docs/likeness.md"`: {clips} clips, those above and some with
more motion, between whose frames RIFE made others at 1/4, 2/5 and 1/2, as made and by x264 at crf {quality}; {results}
frames.

What lies between two frames, L and R, has no picture in the source that it could be compared with. Due is their blend,
(1-f) L + f R. What moves far, or flashes, is not as that has it. So, of such a frame alone:

- A wrong picture is told by p with the blend for s, and with that blend of L and R, whatever its f, which is nearest to
  the result: of a stroboscope the network shows L or R at f = 1/2, and the frame after R is more like those than their
  even blend is. Alternatives are all other frames of the source and, of each pair up to two frames away, the blend
  that is nearest to the result. Of these p may be at most **{pairs}**: noise of colour after x264 gives up to 0.8.
- A correlation below its bound counts where L and R moved by up to {reach} % of the sides do not correlate better: a
  pan of 10 % a frame is found again that way.
- The last net hangs lower where L and R are further apart than it.

A result that shows L or R itself passes.

The least of each clip: PSNR of L and R, PSNR and correlation of results with the blend, correlation with L or R moved.

{good}

Wrong pictures, put in the place of every frame as made from which, and from L and R, they differ by less than
{apart:g} dB, and judged beside two frames on either side:

| instead of it | frames | found | missed in |
|---|---|---|---|
{wrong}
"""
)
