"""The inference stage alone, the encoder idle, against the rate at which this machine multiplies matrices.

All of it runs in one process and in turns, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import onnx

import bench_page
import materials
from bench_page import Section, Setting
from uprez.enhance.engine import open_engine
from uprez.enhance.ncnn_net import Cut, Net
from uprez.enhance.rungs import RUNGS, How
from uprez.enhance.session import Session
from uprez.enhance.upscale import Means
from uprez.fleet.markets import CPU
from uprez.job import Options, Video
from uprez.media import decode, probe
from uprez.media.frame import Frame, Moment
from uprez.media.target import target
from uprez.models import MODELS
from uprez.models.graphs import GraphSpec, planes_graph

TITLE = bench_page.TITLES[2]
MODEL = "realesr-animevideov3"
CLIPS = ("bikes.mp4", "bigbuckbunny.mp4")
"""640x272 and 1280x720."""
SCALES = (Fraction(2), Fraction(4))
MATRICES = (2048, 3072)
"""Sides of square matrices: the better rate of these is the practical limit of f32."""
SETTLE_S = 0.1
"""Pause before each run, so that the threads of the one before, which spin for a while, have let go of their cores."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One thing that is timed."""

    name: str
    flop: float
    """Operations of the network alone, so that rows compare: what conversion adds shows as a lower rate."""
    run: Callable[[], object]
    is_matrix: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """Its median."""

    size: str
    name: str
    seconds: float
    gflops: float
    share: float
    """Of the best matrix product of the same turns."""


def measure(networks: Mapping[str, Path], threads: int, rounds: int) -> tuple[list[Row], str]:
    """Time all sizes; gives the rows, and what ran the network."""
    rows: list[Row] = []
    runs_on = ""
    for clip in CLIPS:
        url = (materials.FOLDER / clip).as_uri()
        index = probe.index(url)
        (frame,) = decode.frames(url, index, 0, 1, threads=threads)
        timed, runs_on = timed_for(networks, index.video, frame, threads)
        rows += interleaved(f"{index.video.width}x{index.video.height}", timed, rounds)
    return rows, runs_on


def timed_for(networks: Mapping[str, Path], video: Video, frame: Frame, threads: int) -> tuple[list[Timed], str]:
    """Give what is timed at one size (matrices, the network, the whole stage at each scale), and what runs it."""
    flop = 2.0 * MODELS[MODEL].macs_per_pixel * video.width * video.height
    means = Means(families=CPU, threads=threads)
    stages = []
    for scale in SCALES:
        options = Options(model=MODEL, scale=scale)
        stages.append(open_engine(networks, options, video, target(video, options), means, reuse=False))
    moment = Moment(left=frame, right=frame)
    like = stages[0].session
    timed = [
        *(_product(side) for side in MATRICES),
        Timed(name="network alone", flop=flop, run=_bare(networks[MODEL], video, like, threads)),
        *(
            Timed(name=f"network and conversion, x{scale}", flop=flop, run=partial(stage.frame, moment))
            for scale, stage in zip(SCALES, stages, strict=True)
        ),
    ]
    return timed, f"{like.provider} ({like.precision}), {threads} threads"


def interleaved(size: str, timed: Sequence[Timed], rounds: int) -> list[Row]:
    """Run each in turn, `rounds` times after one that does not count."""
    seconds: dict[str, list[float]] = {item.name: [] for item in timed}
    for number in range(rounds + 1):
        for item in timed:
            time.sleep(SETTLE_S)
            start = time.perf_counter()
            item.run()
            if number:
                seconds[item.name].append(time.perf_counter() - start)
    rates = {item.name: item.flop / statistics.median(seconds[item.name]) / 1e9 for item in timed}
    limit = max(rates[item.name] for item in timed if item.is_matrix)
    return [
        Row(
            size=size,
            name=item.name,
            seconds=item.flop / rates[item.name] / 1e9,
            gflops=rates[item.name],
            share=rates[item.name] / limit,
        )
        for item in timed
    ]


def section(rows: Sequence[Row], runs_on: str, rounds: int, setting: Setting) -> Section:
    """Give the figures as a section of the page."""
    lines = [
        (row.size, row.name, f"{row.seconds:.3f}", f"{row.gflops:.0f}", f"{100 * row.share:.0f} %") for row in rows
    ]
    head = ("frame", "what", "s", "GFLOP/s", "of the matrix product")
    text = f"""{setting.remark(bench_page.our_versions())}

{MODEL} by {runs_on}, the encoder idle; all in turns in one process, medians of {rounds}. GFLOP/s counts the network's
own operations only. The matrix product is NumPy's in f32, on all cores; the last column is against the better of both.

{bench_page.table(head, lines)}"""
    return Section.of(TITLE, text)


def _product(side: int) -> Timed:
    square = np.random.default_rng(0).random((side, side), np.float32)
    return Timed(name=f"matrix product, {side}", flop=2.0 * side**3, run=lambda: square @ square, is_matrix=True)


def _bare(path: Path, video: Video, like: Session, threads: int) -> Callable[[], object]:
    """Open the network alone, its size fixed as the whole stage's is, on the rung that runs that."""
    network = onnx.load_model(path)
    if like.provider == "ncnn":
        return _bare_ncnn(network, video, threads)
    given = network.graph.input[0]
    shape = (1, 3, video.height, video.width)
    for dimension, side in zip(given.type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = side
    rung = next(rung for rung in RUNGS if (rung.provider, rung.precision) == (like.provider, like.precision))
    running, _ = rung.open(network.SerializeToString(), How(threads=threads))
    feed = {given.name: np.random.default_rng(0).random(shape, np.float32)}
    return lambda: running.run(running.outputs, feed)


def _bare_ncnn(network: onnx.ModelProto, video: Video, threads: int) -> Callable[[], object]:
    """Open what ncnn is given of a stage: all convolutions, without the shuffle of their result."""
    width, height = video.width, video.height
    spec = GraphSpec(
        width=width,
        height=height,
        out_width=width,
        out_height=height,
        native_scale=4,
        source=video.colour,
        target=video.colour,
    )
    net = Net(Cut(planes_graph(network, spec)), threads)
    return partial(net, np.random.default_rng(0).random((1, 3, video.height, video.width), np.float32))
