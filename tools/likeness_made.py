"""What becomes of a clip, for tools/likeness.py: enlarged by the product's graphs, encoded and decoded again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

import likeness_clips
from likeness_clips import CLIPS, COLOUR, Clip
from uprez.enhance.upscale import Means, Upscaler, open_upscaler
from uprez.job import Encoding, Options, Video
from uprez.media import decode, encode, likeness, probe
from uprez.media.frame import Frame
from uprez.media.likeness import Thumb
from uprez.media.target import target
from uprez.models import MODELS, weights

QUALITIES = (18, 28)
"""Of x264: the default, and one that shows."""
THREADS = 2
MEANS = Means(families=("openvino", "cpu"), threads=THREADS)


@dataclass(frozen=True, kw_only=True)
class Version:
    """What became of a clip."""

    model: str
    quality: int | None
    """crf; None: as the model made it."""
    thumbs: list[Thumb]
    exchanged: list[Thumb]
    """Those of the same frames with their chroma planes swapped."""
    gray: list[Thumb]
    """And without chroma."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A clip, its thumbs and those of its versions."""

    clip: Clip
    due: list[Thumb]
    other: list[Thumb]
    """Of a clip of other footage."""
    versions: list[Version]

    def around(self, number: int, reach: int) -> list[tuple[str, Thumb]]:
        """So many frames on either side of one, with their names."""
        near = range(max(0, number - reach), min(len(self.due), number + reach + 1))
        return [(f"the frame {n - number:+d}", self.due[n]) for n in near if n != number]

    def judged(self, result: Thumb, number: int, reach: int) -> likeness.Finding | None:
        """Judge a picture that stands in a frame's place."""
        return likeness.judge(result, self.due[number], self.around(number, reach))


def measure(clip: Clip, folder: Path, models: Sequence[str], cache: Path) -> Measured:
    """Enlarge a clip, encode and decode it, and take the thumbs of it all."""
    made = likeness_clips.frames(clip, folder)
    facts = likeness_clips.video(made)
    size = likeness.size_of(facts)
    footage = next(each for each in CLIPS if each.footage not in {clip.footage, "none"})
    other = likeness_clips.frames(footage, folder)
    return Measured(
        clip=clip,
        due=[likeness.thumb(frame, COLOUR, size) for frame in made],
        other=[likeness.thumb(frame, COLOUR, size) for frame in other],
        versions=[version for model in models for version in _versions(model, facts, made, size, cache)],
    )


def _versions(model: str, facts: Video, made: list[Frame], size: tuple[int, int], cache: Path) -> Iterator[Version]:
    upscaler = _upscaler(model, facts, cache)
    results = [upscaler(frame) for frame in made]
    for quality in (None, *QUALITIES):
        seen = results if quality is None else encoded(results, quality)
        yield Version(
            model=model,
            quality=quality,
            thumbs=[likeness.thumb(frame, COLOUR, size) for frame in seen],
            exchanged=[likeness.thumb(_exchanged(frame), COLOUR, size) for frame in seen],
            gray=[likeness.thumb(_gray(frame), COLOUR, size) for frame in seen],
        )


def _upscaler(model: str, facts: Video, cache: Path) -> Upscaler:
    wanted = target(facts, Options(scale=Fraction(2), model=model))
    network = weights.ensure(MODELS[model], cache, progress=progress)
    return open_upscaler(network, MODELS[model], facts, wanted, MEANS)


def encoded(frames: list[Frame], quality: int) -> list[Frame]:
    """Give frames as x264 leaves them."""
    rows, columns = frames[0].planes[0].shape
    picture = encode.Picture(width=columns, height=rows, sar=Fraction(1), rate=Fraction(25), colour=COLOUR)
    options = (("crf", str(quality)), ("preset", "medium"))
    encoding = Encoding(codec="h264", rung="libx264", pix_fmt="yuv420p", options=options, threads=THREADS)
    with tempfile.TemporaryDirectory(prefix="uprez-likeness-") as folder:
        path = Path(folder) / "clip.mkv"
        with encode.Encoder(path, encoding, picture) as encoder:
            for frame in frames:
                encoder.write(frame)
        url = path.as_uri()
        return list(decode.frames(url, probe.index(url), 0, len(frames), threads=THREADS))


def _exchanged(frame: Frame) -> Frame:
    y, u, v = frame.planes
    return Frame(planes=(y, v, u), pts=frame.pts)


def _gray(frame: Frame) -> Frame:
    luma, *chroma = frame.planes
    return Frame(planes=(luma, *(np.full_like(plane, 128) for plane in chroma)), pts=frame.pts)


def progress(text: str, _done: int, _total: int) -> None:
    """Say what takes long."""
    print(text, flush=True)
