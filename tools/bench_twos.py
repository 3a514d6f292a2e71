"""A clip on twos through uprez's pipeline: with reuse of the result of identical frames, and without."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
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
from uprez.fleet.markets import CPU
from uprez.job import Index, Options
from uprez.media import encode, probe
from uprez.media.frame import Frame
from uprez.media.target import target

TITLE = bench_page.TITLES[3]
MODEL = "realesr-animevideov3"
QUICK = "ultrafast"
"""So that the encoder is not what is waited for."""


@dataclass(frozen=True, kw_only=True)
class Twos:
    """A clip on twos, made both ways."""

    with_reuse: float
    """Frames a second, median."""
    without: float
    reused: int
    equal: bool
    """All planes of all frames are the same, bit for bit."""
    runs_on: str

    @property
    def ratio(self) -> float:
        """How many times faster reuse makes it."""
        return self.with_reuse / self.without


def measure(networks: Mapping[str, Path], folder: Path, *, frames: int, threads: int, rounds: int) -> Twos:
    """Measure in turns."""
    clip = folder / "twos.mkv"
    bench_clips.write_on_twos(materials.FOLDER / "bikes.mp4", clip, frames, threads)
    index = probe.index(clip.as_uri())
    options = Options(model=MODEL, scale=Fraction(4))
    means = Means(families=CPU, threads=threads)
    rates: dict[bool, list[float]] = {True: [], False: []}
    digests: set[str] = set()
    reused = 0
    engines = {
        reuse: open_engine(networks, options, index.video, target(index.video, options), means, reuse=reuse)
        for reuse in rates
    }
    for engine in engines.values():
        _encoded(clip, index, engine, options, folder, threads=threads, frames=2)  # not counted
    for number in range(rounds):
        for reuse, engine in engines.items():
            seconds, digest = _encoded(clip, index, engine, options, folder, threads=threads, frames=frames)
            rates[reuse].append(frames / seconds)
            digests.add(digest)
            print(f"round {number + 1}, {'with' if reuse else 'without'} reuse: {frames / seconds:.2f} fps", flush=True)
            if reuse:
                reused = engine.reused
    session = engines[True].session
    return Twos(
        with_reuse=statistics.median(rates[True]),
        without=statistics.median(rates[False]),
        reused=reused,
        equal=len(digests) == 1,
        runs_on=f"{session.provider} ({session.precision}), {threads} threads",
    )


def section(found: Twos, *, frames: int, rounds: int, setting: Setting) -> Section:
    """Give it as a section of the page."""
    rows = [
        ("with reuse", f"{found.with_reuse:.2f}", f"{found.ratio:.2f}"),
        ("without", f"{found.without:.2f}", "1.00"),
    ]
    equal = "equal bit for bit" if found.equal else "**NOT equal**"
    text = f"""{setting.remark(bench_page.our_versions())}

{frames} frames of bikes.mp4 (640x272), every picture twice, kept without loss (ffv1, and read again to see that pairs
are identical); {MODEL} x4 by {found.runs_on}. Decode, inference and x264 (crf 18, {QUICK}) in one process, sessions
open; in turns, medians of {rounds}. The planes of all output frames are {equal}; {found.reused} frames were an earlier
one's result.

{bench_page.table(("", "frames a second", "ratio"), rows)}"""
    return Section.of(TITLE, text)


def _encoded(
    clip: Path, index: Index, engine: Engine, options: Options, folder: Path, *, threads: int, frames: int
) -> tuple[float, str]:
    """Make and encode the first frames; gives the seconds and a digest of all planes."""
    digest = hashlib.sha256()
    wanted = target(index.video, options)
    picture = encode.picture(index.video, options, wanted)
    encoding = encode.encoding("h264", "libx264", picture, crf=18, preset=QUICK, threads=threads)
    began = time.perf_counter()
    with ExitStack() as stack:
        encoder = stack.enter_context(encode.Encoder(folder / "twos-out.mkv", encoding, picture))

        def write(frame: Frame) -> None:
            for plane in frame.planes:
                digest.update(plane.tobytes())
            encoder.write(frame)

        stream(clip, index, engine, options, write, threads=threads, frames=frames)
    return time.perf_counter() - began, digest.hexdigest()
