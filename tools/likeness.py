"""Measure what `uprez.media.likeness` decides by: good clips that must pass, and wrong pictures that must not.

Each clip of tools/likeness_clips.py is enlarged twice by each model, through the product's own graphs, and encoded and
decoded again by its own encoder. Every frame is judged; then wrong pictures are put in its place. Ends with 1 where a
good frame is blamed. Then the clips go through `uprez run`, where nothing may be doubted. Three minutes of two cores.
With --between, frames that are made between others instead.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import likeness_between
import likeness_clips
import likeness_whole
import materials
from likeness_clips import CLIPS
from likeness_made import QUALITIES, Measured, Version, measure
from uprez.media import likeness
from uprez.media.likeness import APART_DB, Thumb

REPO = Path(__file__).resolve().parent.parent
NETWORKS = ("lanczos", "realesr-animevideov3")
REACH = 2
"""Neighbours on either side that a wrong picture is judged beside."""
KINDS = {
    "time": (),
    "channels": ("swapped", "for red"),
    "colour lost": (),
    "black": ("is black",),
    "mirrors": ("mirrored", "upside down"),
}
"""Alternatives by words of theirs; the two without any are no faults of one picture."""

WHOLE = """
## The same clips through `uprez run`

As ffv1 files, cut into segments of 6 frames, each looked at by its worker and by the controller, and each result by the
controller: {said}. Refused, doubted or warned of: {refused}.
"""

HEADER = """# Likeness

Made by `make likeness`: {clips} good clips that are hard to judge (`tools/likeness_clips.py`), enlarged twice by
{models}, as made and by x264 at crf {qualities}; {frames} frames.

Whether a result's frame shows the source's is decided on thumbs of at most {side} samples a side, averages of exact
areas of at least {cell}x{cell} pixels of the source, in which a model's work is small. With r the result's thumb, s
that of the source's frame and v a wrong alternative:

- p = <r-s, v-s> / |v-s|^2 is 0 for the right picture and 1 for the wrong one. It may be at most **{projection}**: noise
  that a model removes and another frame does not have gives up to 0.5, and the largest of a good frame below is
  {largest:.2f}.
- An alternative counts where its PSNR with s is less than **{apart:g} dB**: closer ones differ less than what models
  and encoders change. At 38 dB slow fades and night scenes gave false alarms.
- r and s, each channel's mean taken off, correlate by at least **{correlation}**: good frames do by far more, other
  pictures hardly. Only where s has a contrast, less than **{contrast:g} dB** to its mean colour, or a quarter of it
  less than **{quarter:g} dB**: what is flatter is mostly noise.
- PSNR of r and s is at least **{floor:g} dB**: a last net, below what TV static gives. Two attempts that agree
  outweigh this rule and no other.

Alternatives are other frames of the source; red, green and blue in any other order; U and V swapped; colour lost, on
means of 2x2 samples, where noise of colour is no colour; black, a quarter's too; both mirrors; upside down. PSNR is
over R', G' and B' of the thumbs.

## Good frames

Judged beside every other frame of the clip. The worst of each clip; p by kind of alternative, "-" where none is far
enough from the frame.

| clip | contrast, dB | PSNR, lanczos | PSNR, network | correlation | a quarter's | {kinds} | blamed |
|---|---|---|---|---|---|{lines}---|
"""
WRONG_HEADER = """
## Wrong pictures

Put in the place of every good frame from which they differ by less than {apart:g} dB, and judged beside the two frames
on either side, unless another number is named.

| instead of it | frames | found | missed in |
|---|---|---|---|
"""


@dataclass(kw_only=True)
class Rate:
    """How often a wrong picture is found."""

    frames: int = 0
    found: int = 0
    missed: Counter[str] = field(default_factory=Counter)


def main() -> int:
    """Measure and print; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [clip.name for clip in (*CLIPS, *likeness_between.MOVING)]
    parser.add_argument("--clip", action="append", choices=names, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--model", action="append", choices=NETWORKS, help="only this one; repeatable")
    parser.add_argument("--cache", type=Path, default=REPO / ".cache" / "uprez", help="folder of converted networks")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the tables in this file")
    parser.add_argument("--between", action="store_true", help="measure frames made between others, and only these")
    given = parser.parse_args()
    if given.between:
        return between(given.cache, given.clip or [], given.write)
    models = tuple(given.model or NETWORKS)
    chosen = [clip for clip in CLIPS if not given.clip or clip.name in given.clip]
    measured = []
    for clip in chosen:
        measured.append(measure(clip, materials.FOLDER, models, given.cache))
        print(row(measured[-1]), flush=True)
    page = HEADER.format(**_facts(measured, models)) + "".join(f"{row(each)}\n" for each in measured)
    found = "".join(f"{line}\n" for line in wrong_rows(measured))
    print(found)
    blamed = [(each.clip.name, *fault) for each in measured for fault in blames(each)]
    for fault in blamed:
        print("blamed:", *fault)
    said, doubts = likeness_whole.run(chosen, materials.FOLDER, models)
    whole = WHOLE.format(said="; ".join(said), refused=len(doubts))
    print(whole, *doubts, sep="\n")
    if given.write:
        given.write.write_text(page + WRONG_HEADER.format(apart=APART_DB) + found + whole + _kept(given.write)[1])
    return 1 if blamed or doubts else 0


def between(cache: Path, names: Sequence[str], write: Path | None) -> int:
    """Measure frames made between others; keeps only their section."""
    section, blamed = likeness_between.run(materials.FOLDER, cache, names)
    for fault in blamed:
        print("blamed:", fault)
    if write:
        write.write_text(_kept(write)[0] + section)
    return 1 if blamed else 0


def _kept(path: Path) -> tuple[str, str]:
    """Give what a page has of the two measurements."""
    before, heading, after = (path.read_text() if path.exists() else "").partition(likeness_between.HEADING)
    return before, heading + after


# --- good frames


def blames(measured: Measured) -> list[tuple[str, int | None, int, str]]:
    """List the good frames that are blamed: model, quality, number, why."""
    return [
        (version.model, version.quality, number, found.text)
        for version in measured.versions
        for number, result in enumerate(version.thumbs)
        if (found := measured.judged(result, number, len(measured.due))) is not None
    ]


def row(measured: Measured) -> str:
    """Give a clip's line of the table."""
    pairs = [pair for version in measured.versions for pair in zip(version.thumbs, measured.due, strict=True)]
    contrast = min(_contrast(due) for due in measured.due)
    cells = [measured.clip.name, _decibels(contrast)]
    cells += [_decibels(_worst_psnr(measured, model)) for model in NETWORKS]
    cells += [_least([likeness.correlation(*pair) for pair in pairs if _contrast(pair[1]) < likeness.CONTRAST_DB])]
    cells += [_least([likeness.correlation(*part) for pair in pairs for part in _quarters(*pair)])]
    largest = _largest(measured)
    cells += ["-" if math.isinf(largest[kind]) else f"{max(0.0, largest[kind]):.2f}" for kind in KINDS]
    return f"| {' | '.join([*cells, str(len(blames(measured)))])} |"


def _worst_psnr(measured: Measured, model: str) -> float:
    mine = [version for version in measured.versions if version.model == model]
    return min(
        (likeness.psnr(*pair) for v in mine for pair in zip(v.thumbs, measured.due, strict=True)), default=math.nan
    )


def _quarters(result: Thumb, due: Thumb) -> Iterator[tuple[Thumb, Thumb]]:
    """Give the quarters that have enough in them."""
    rows, columns = due.shape[0] // 2, due.shape[1] // 2
    for down in (slice(rows), slice(rows, None)):
        for across in (slice(columns), slice(columns, None)):
            if _contrast(due[down, across]) < likeness.QUARTER_CONTRAST_DB:
                yield result[down, across], due[down, across]


def _contrast(due: Thumb) -> float:
    return likeness.psnr(np.broadcast_to(due.mean(axis=(0, 1)), due.shape), due)


def _largest(measured: Measured) -> dict[str, float]:
    """Give the largest p of a good frame by kind of alternative."""
    largest: dict[str, float] = {}
    for number, due in enumerate(measured.due):
        results = [version.thumbs[number] for version in measured.versions]
        tried = [("time", wrong) for _, wrong in measured.around(number, len(measured.due))]
        tried += [(_kind(text), wrong) for text, wrong in likeness.alternatives(due)]
        found = [(kind, _projection(results, due, wrong)) for kind, wrong in tried]
        left, there = [_colour(result) for result in results], _colour(due)
        found.append(("colour lost", _projection(left, there, np.zeros_like(there))))
        for kind, p in found:
            largest[kind] = max(p, largest.get(kind, -math.inf))
    return largest


def _colour(picture: Thumb) -> Thumb:
    return likeness.colour_of(likeness.halved(picture))


def _kind(text: str) -> str:
    return next(kind for kind, words in KINDS.items() if any(word in text for word in words))


def _projection(results: Sequence[Thumb], due: Thumb, wrong: Thumb) -> float:
    """Give the largest p of several results; minus infinity where the alternative does not count."""
    if likeness.psnr(wrong, due) >= APART_DB:
        return -math.inf
    return max(likeness.projection(result, due, wrong) for result in results)


# --- wrong ones

Wrong = Callable[[Measured, Version, int], Thumb | None]
"""Gives what stands in a frame's place; None where there is nothing."""


def _shifted(step: int) -> Wrong:
    def wrong(_: Measured, version: Version, number: int) -> Thumb | None:
        return version.thumbs[number + step] if 0 <= number + step < len(version.thumbs) else None

    return wrong


def _blackened(_: Measured, version: Version, number: int) -> Thumb:
    """The lower half is missing, as where a decoder gave up."""
    result = version.thumbs[number].copy()
    result[result.shape[0] // 2 :] = 0
    return result


FROZEN = "the first frame, 3 or more frames later"
WRONGS: dict[str, Wrong] = {
    "the frame 1 later": _shifted(1),
    "the frame 1 earlier": _shifted(-1),
    "the frame 2 later": _shifted(2),
    "the frame 2 earlier": _shifted(-2),
    FROZEN: lambda _, v, n: v.thumbs[0] if n > REACH else None,
    "red and blue swapped": lambda _, v, n: v.thumbs[n][:, :, ::-1],
    "red and green swapped": lambda _, v, n: v.thumbs[n][:, :, [1, 0, 2]],
    "U and V swapped": lambda _, v, n: v.exchanged[n],
    "another clip": lambda m, _, n: m.other[n],
    "another clip, as bright": lambda m, _, n: m.other[n] * np.float32(m.due[n].mean() / m.other[n].mean()),
    "black": lambda _, v, n: np.zeros_like(v.thumbs[n]),
    "gray": lambda _, v, n: np.full_like(v.thumbs[n], 0.5),
    "colour lost": lambda _, v, n: v.gray[n],
    "mirrored left to right": lambda _, v, n: v.thumbs[n][:, ::-1],
    "mirrored top to bottom": lambda _, v, n: v.thumbs[n][::-1],
    "lower half black": _blackened,
    "rolled by 1/16 to the right": lambda _, v, n: np.roll(v.thumbs[n], v.thumbs[n].shape[1] // 16, axis=1),
}


def rate(measured: Sequence[Measured], wrong: Wrong, *, reach: int = REACH) -> Rate:
    """Put a wrong picture in every frame's place from which it differs enough, and count where it is found."""
    counted = Rate()
    for each in measured:
        for version in each.versions:
            for number, right in enumerate(version.thumbs):
                picture = wrong(each, version, number)
                if picture is None or likeness.psnr(picture, right) >= APART_DB:
                    continue
                found = each.judged(picture, number, reach) is not None
                counted.frames, counted.found = counted.frames + 1, counted.found + found
                counted.missed[each.clip.name] += not found
    return counted


def wrong_rows(measured: Sequence[Measured]) -> Iterator[str]:
    """Give the lines of the second table."""
    tries = [(name, wrong, REACH) for name, wrong in WRONGS.items()]
    tries.append((f"{FROZEN}, beside all {likeness_clips.FRAMES}", WRONGS[FROZEN], likeness_clips.FRAMES))
    for name, wrong, reach in tries:
        counted = rate(measured, wrong, reach=reach)
        missed = ", ".join(f"{clip} {count}" for clip, count in counted.missed.most_common(4) if count)
        share = f"{100 * counted.found / counted.frames:.1f} %" if counted.frames else "-"
        yield f"| {name} | {counted.frames} | {share} | {missed} |"


# --- words


def _facts(measured: Sequence[Measured], models: Sequence[str]) -> dict[str, object]:
    return {
        "clips": len(measured),
        "models": " and ".join(models),
        "qualities": " and ".join(str(quality) for quality in QUALITIES),
        "frames": sum(len(version.thumbs) for each in measured for version in each.versions),
        "side": likeness.SIDE,
        "cell": likeness.CELL_PX,
        "projection": likeness.PROJECTION,
        "largest": max(p for each in measured for p in _largest(each).values()),
        "apart": APART_DB,
        "correlation": likeness.CORRELATION,
        "contrast": likeness.CONTRAST_DB,
        "quarter": likeness.QUARTER_CONTRAST_DB,
        "floor": likeness.FLOOR_DB,
        "kinds": " | ".join(f"p, {kind}" for kind in KINDS),
        "lines": "---|" * len(KINDS),
    }


def _decibels(value: float) -> str:
    return "-" if math.isnan(value) else "equal" if math.isinf(value) else f"{value:.1f}"


def _least(values: Sequence[float]) -> str:
    return f"{min(values):.2f}" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
