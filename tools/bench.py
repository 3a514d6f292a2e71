"""Time a model's network bare and inside its planes graph, against the rate at which this machine multiplies matrices.

All of it runs in one process and in turns, so that whatever else the machine does falls on all of them; medians are
shown. Nothing is written unless `--write FILE` is given.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from uprez.enhance.session import RUNGS, Session, open_session
from uprez.job import Colour, scaled
from uprez.models import MODELS, Model, weights
from uprez.models.graphs import GraphSpec, planes_graph

REPO = Path(__file__).resolve().parent.parent
SIZES = ((640, 272), (1280, 720))
SCALES = (Fraction(2), Fraction(4))
MATRIX = 2048
"""Side of the square matrices: large enough to reach the CPU's f32 limit, small enough to take a tenth of a second."""
SETTLE_S = 0.1
"""Pause before each run, so that the threads of the one before, which spin for a while, have let go of their cores."""
BUSY = 0.5
"""Load average from which on the figures are marked as taken on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One thing that was timed."""

    name: str
    flop: float
    """Operations of the network alone, so that rows compare: what conversion adds shows as a lower rate."""
    run: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Its median, in seconds a run."""

    size: str
    name: str
    seconds: float
    gflops: float


def main(arguments: Sequence[str]) -> int:
    """Time everything and print the table; gives the exit code."""
    options = _options(arguments)
    load = os.getloadavg()[0]
    model = MODELS[options.model]
    path = weights.ensure(model, options.cache, progress=_progress)
    if path is None:
        print(f"{model.name} has no network to time", file=sys.stderr)
        return 2
    network = onnx.load(path)
    rows: list[Row] = []
    runs_on = ""
    for width, height in SIZES:
        timed, runs_on = timed_for(model, network, width, height, options.threads)
        rows += interleaved(f"{width}x{height}", timed, options.rounds)
    text = report(model, rows, f"{options.threads} threads of {runs_on}", options.rounds, load)
    print(text)
    if options.write:
        options.write.write_text(text + _kept(options.write))
    return 0


def _kept(page: Path) -> str:
    """Give the page's other sections, which other commands made."""
    try:
        _, head, rest = page.read_text().partition("\n## ")
    except FileNotFoundError:
        return ""
    return head + rest


def timed_for(model: Model, network: onnx.ModelProto, width: int, height: int, threads: int) -> tuple[list[Timed], str]:
    """Give what is timed at one size (matrices, the network, the planes graph at each scale), and what runs it."""
    flop = 2.0 * model.macs_per_pixel * width * height
    generator = np.random.default_rng(0)
    square = generator.random((MATRIX, MATRIX), np.float32)
    sessions = [(scale, _planes(model, network, width, height, scale, threads)) for scale in SCALES]
    planes = [generator.integers(16, 236, shape, np.uint8) for shape in _shapes(width, height)]
    rgb = generator.random((1, 3, height, width), np.float32)
    like = sessions[0][1]
    timed = [
        Timed(name="matrix product", flop=2.0 * MATRIX**3, run=lambda: square @ square),
        Timed(name="network alone", flop=flop, run=_bare(network, rgb, like, threads)),
        *(
            Timed(name=f"planes graph, x{scale}", flop=flop, run=_runner(session, planes))
            for scale, session in sessions
        ),
    ]
    return timed, f"{like.provider} ({like.precision}) on {like.device}"


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
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        Row(size=size, name=item.name, seconds=medians[item.name], gflops=item.flop / medians[item.name] / 1e9)
        for item in timed
    ]


def report(model: Model, rows: Sequence[Row], runs_on: str, rounds: int, load: float) -> str:
    """Give the figures as a page in Markdown."""
    busy = f" **The machine was busy (load {load:.1f}): trust the ratios, not the seconds.**" if load > BUSY else ""
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "numpy", "uprez"))
    alone = {row.size: row.seconds for row in rows if row.name == "network alone"}
    lines = [
        f"# Benchmarks: {model.name}",
        "",
        f"By `make bench`: {runs_on}, {platform.system()} {platform.machine()}; {packages}.",
        f"Run in turns, medians of {rounds}; GFLOP/s counts the network's own operations only.{busy}",
        "",
        "| frame | what | s | GFLOP/s | against the network alone |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        against = "" if row.name == "matrix product" else f"{100 * (row.seconds / alone[row.size] - 1):+.1f} %"
        lines.append(f"| {row.size} | {row.name} | {row.seconds:.3f} | {row.gflops:.0f} | {against} |")
    return "\n".join(lines) + "\n"


def _planes(model: Model, network: onnx.ModelProto, width: int, height: int, scale: Fraction, threads: int) -> Session:
    colour = Colour(matrix="bt709", full_range=False, siting="left")
    spec = GraphSpec(
        width=width,
        height=height,
        out_width=scaled(width, scale),
        out_height=scaled(height, scale),
        native_scale=model.native_scale,
        source=colour,
        target=colour,
    )
    return open_session(planes_graph(network, spec), families=("openvino", "cpu"), threads=threads)


def _bare(network: onnx.ModelProto, rgb: NDArray[np.float32], like: Session, threads: int) -> Callable[[], object]:
    """Open the network alone, its size fixed as the planes graph's is, on the rung that runs the planes graph."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(network)
    for dimension, side in zip(fixed.graph.input[0].type.tensor_type.shape.dim, rgb.shape, strict=True):
        dimension.dim_value = side
    rung = next(rung for rung in RUNGS if (rung.provider, rung.precision) == (like.provider, like.precision))
    session, _ = rung.open(fixed.SerializeToString(), threads)
    feed = {fixed.graph.input[0].name: rgb}
    return lambda: session.run(None, feed)


def _runner(session: Session, planes: Sequence[NDArray[np.uint8]]) -> Callable[[], object]:
    return lambda: session.run(planes)


def _shapes(width: int, height: int) -> tuple[tuple[int, int], ...]:
    half = ((height + 1) // 2, (width + 1) // 2)
    return ((height, width), half, half)


def _progress(what: str, done: int, total: int) -> None:
    if done == 0:
        print(f"{what} ({total >> 20} MiB)", file=sys.stderr)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="realesr-animevideov3", choices=sorted(MODELS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of inference (default: all cores)")
    parser.add_argument("--rounds", type=int, default=5, help="runs that count (default: 5)")
    parser.add_argument("--cache", type=Path, default=REPO / ".cache" / "uprez", help="where the weights are kept")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
