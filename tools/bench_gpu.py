"""uprez's pipeline on a GPU: decode and inference, nothing encoded, beside what others state of theirs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import bench_clips
import bench_page
import materials
from bench_page import Section, Setting
from bench_stream import stream
from uprez.enhance.engine import Engine, open_engine
from uprez.enhance.upscale import Means
from uprez.errors import ModelError
from uprez.fleet.markets import GPU
from uprez.job import Index, Options
from uprez.media import probe
from uprez.media.target import target

TITLE = bench_page.TITLES[4]
WARM = 20
"""Output frames before the clock starts: the queues are full then."""
HEAD = ("what", "frames a second", "RTX 4090", "RTX 5090", "by")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured."""

    name: str
    options: Options
    size: tuple[int, int]
    published: tuple[str, str]
    """Frames a second that others state for RTX 4090 and 5090."""


UPSCALE = Options(model="realesr-animevideov3", scale=Fraction(2))
INTERPOLATE = Options(mode="interp", factor=Fraction(2))
HD, FULL_HD = (1280, 720), (1920, 1080)
CASES = (
    Case(name="Compact 2x, 720p", options=UPSCALE, size=HD, published=("139.7", "167 (10 streams)")),
    Case(name="Compact 2x, 1080p", options=UPSCALE, size=FULL_HD, published=("61.5", "75 (10 streams)")),
    Case(name="RIFE 2x, 720p", options=INTERPOLATE, size=HD, published=("829", "")),
    Case(name="RIFE 2x, 1080p", options=INTERPOLATE, size=FULL_HD, published=("410", "")),
)


def measure(
    networks: Mapping[str, Path], folder: Path, *, frames: int, threads: int, rounds: int
) -> list[tuple[str, ...]]:
    """Measure each case on the first GPU family that runs it; gives the table's rows."""
    rows: list[tuple[str, ...]] = []
    for case in CASES:
        clip = folder / f"{case.size[1]}p-{frames}.mp4"
        if not clip.is_file():
            bench_clips.write_large(materials.FOLDER / "bigbuckbunny.mp4", clip, case.size, frames)
        index = probe.index(clip.as_uri())
        means = Means(families=GPU, threads=threads)
        engine = open_engine(networks, case.options, index.video, target(index.video, case.options), means)
        rates = [_steady(clip, index, engine, case.options, threads) for _ in range(rounds)]
        session = engine.session
        by = f"{session.provider} ({session.precision}), {session.device}"
        rows.append((case.name, f"{statistics.median(rates):.1f}", *case.published, by))
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def skipped(networks: Mapping[str, Path]) -> str | None:
    """Say why no family of GPUs works here, each by name; None where one does."""
    said = []
    video = probe.index((materials.FOLDER / "bikes.mp4").as_uri()).video
    for family in GPU:
        try:
            open_engine(networks, UPSCALE, video, target(video, UPSCALE), Means(families=(family,), threads=1))
        except ModelError as error:
            said.append(error.message)
        else:
            return None
    return "; ".join(said)


def section(rows: Sequence[Sequence[str]], *, frames: int, rounds: int, setting: Setting) -> Section:
    """Give the figures as a section of the page."""
    text = f"""{setting.remark(bench_page.our_versions())}

Frames of the result a second: {frames} frames of H.264 (bigbuckbunny.mp4) decoded and put through the model, nothing
encoded; from output frame {WARM} on, median of {rounds}. Compact is realesr-animevideov3, whose network is x4 and costs
the same at every scale. VSGAN-tensorrt-docker states the figures of the RTX cards: TensorRT f16, decode, model and
pipe, no encoder; its Compact is a network of x2, its RIFE 4.26.

{bench_page.table(HEAD, rows)}"""
    return Section.of(TITLE, text)


def section_skipped(why: str, setting: Setting) -> Section:
    """Say in the page that there was none."""
    return Section.of(TITLE, f"{setting.remark(bench_page.our_versions())}\n\nSkipped: no GPU. {why}\n")


def _steady(clip: Path, index: Index, engine: Engine, options: Options, threads: int) -> float:
    """Give the frames a second once the queues are full."""
    times: list[float] = []
    stream(
        *(clip, index, engine, options, lambda _: None),
        threads=threads,
        frames=len(index.pts),
        note=lambda _: times.append(time.perf_counter()),
    )
    return (len(times) - 1 - WARM) / (times[-1] - times[WARM])
