"""Measure uprez against its peers and against the machine's limits; `--write docs/benchmarks.md` keeps the tables.

Parts, each a section of the page:

    upscale    whole programs: uprez, framelift-video by PyTorch and by OpenVINO, ncnn with PNG files; x4
    interp     whole programs: uprez and framelift-video; RIFE 2x
    inference  the network, bare and in its stage, beside the machine's matrix product
    twos       a clip of which every picture is there twice, with and without reuse
    gpu        models on a GPU beside published figures; skipped where there is none

All of it takes forty minutes of two quiet cores, and once 1 GB for the peers. The peers come into .cache/bench, or
UPREZ_BENCH_PEERS names a Python that has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import bench_gpu
import bench_inference
import bench_page
import bench_peers
import bench_twos
import bench_whole
from bench_page import Section, Setting
from uprez.market.local import cores
from uprez.models import MODELS, weights

REPO = Path(__file__).resolve().parent.parent
LEAST_FRAMES = 100
"""Of figures that are kept: with fewer, start-up counts for too much."""


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for and print it; gives the exit code."""
    given = _options(arguments)
    setting = bench_page.setting(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    networks = _networks(given.cache)
    made = []
    for name in given.only or PARTS:
        print(f"# {name}", flush=True)
        section = PARTS[name](given, networks, setting)
        print(f"\n## {section.title}\n\n{section.text}", flush=True)
        made.append(section)
    if given.write:
        old = given.write.read_text() if given.write.is_file() else ""
        given.write.write_text(bench_page.page(old, [section for section in made if _is_news(section, old)]))
    return 0


def _upscale(given: argparse.Namespace, networks: Mapping[str, Path], setting: Setting) -> Section:
    return _whole(given, setting, bench_whole.upscaling)


def _interp(given: argparse.Namespace, networks: Mapping[str, Path], setting: Setting) -> Section:
    return _whole(given, setting, bench_whole.interpolation)


def _whole(
    given: argparse.Namespace,
    setting: Setting,
    kind: Callable[[bench_whole.Plan, bench_peers.Peers], bench_whole.Match],
) -> Section:
    peers = bench_peers.ready(given.folder)
    plan = bench_whole.Plan(
        frames=given.frames,
        ncnn_frames=given.ncnn_frames,
        lossless_frames=given.lossless_frames,
        rounds=given.rounds,
        threads=given.threads,
        folder=given.folder / "runs",
        cache=given.cache,
    )
    match = kind(plan, peers)
    result = bench_whole.play(match, plan)
    return bench_whole.section(match, result, plan, setting, {**bench_page.our_versions(), **peers.versions})


def _inference(given: argparse.Namespace, networks: Mapping[str, Path], setting: Setting) -> Section:
    rounds = given.inference_rounds
    rows, runs_on = bench_inference.measure(networks, given.threads, rounds)
    return bench_inference.section(rows, runs_on, rounds, setting)


def _twos(given: argparse.Namespace, networks: Mapping[str, Path], setting: Setting) -> Section:
    much = {"frames": given.frames, "rounds": given.rounds}
    found = bench_twos.measure(networks, given.folder, threads=given.threads, **much)
    return bench_twos.section(found, setting=setting, **much)


def _gpu(given: argparse.Namespace, networks: Mapping[str, Path], setting: Setting) -> Section:
    if why := bench_gpu.skipped(networks):
        return bench_gpu.section_skipped(why, setting)
    much = {"frames": given.gpu_frames, "rounds": given.rounds}
    rows = bench_gpu.measure(networks, given.folder, threads=given.threads, **much)
    return bench_gpu.section(rows, setting=setting, **much)


PARTS: dict[str, Callable[[argparse.Namespace, Mapping[str, Path], Setting], Section]] = {
    "upscale": _upscale,
    "interp": _interp,
    "inference": _inference,
    "twos": _twos,
    "gpu": _gpu,
}


def _networks(cache: Path) -> dict[str, Path]:
    """Bring the weights here before anything is timed."""
    found = {}
    for name in ("realesr-animevideov3", "rife"):
        path = weights.ensure(MODELS[name], cache, progress=lambda *_: None)
        assert path is not None
        found[name] = path
    return found


def _is_news(section: Section, old: str) -> bool:
    """Say whether a section is to be kept: one without figures does not replace another machine's."""
    return "| --- |" in section.text or "| --- |" not in bench_page.sections(old).get(section.title, "")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help="this part; repeatable")
    parser.add_argument("--frames", type=int, default=100, help="of the source (default: 100)")
    parser.add_argument("--rounds", type=int, default=3, help="runs that count (default: 3)")
    parser.add_argument("--inference-rounds", type=int, default=5, help="of the inference stage alone (default: 5)")
    parser.add_argument("--ncnn-frames", type=int, default=24, help="of ncnn's runs, which take long (default: 24)")
    parser.add_argument("--lossless-frames", type=int, default=8, help="compared without loss (default: 8)")
    parser.add_argument("--gpu-frames", type=int, default=500, help="of the source, on a GPU (default: 500)")
    parser.add_argument("--threads", type=int, default=cores(), help="of uprez and ncnn (default: all cores)")
    parser.add_argument("--cache", type=Path, default=REPO / ".cache" / "uprez", help="where uprez keeps its networks")
    parser.add_argument("--folder", type=Path, default=REPO / ".cache" / "bench", help="for peers, clips and results")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the tables into FILE")
    given = parser.parse_args(arguments)
    if given.write and given.frames < LEAST_FRAMES:
        parser.error(f"figures that are kept need at least {LEAST_FRAMES} frames")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
