"""Whole programs against each other: the same clip, codec, preset, crf and number of frames, start-up included."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import bench_likeness
import bench_page
import bench_process
import materials
from bench_likeness import Likeness
from bench_page import Section, Setting
from bench_peers import TOOLS, Peers, environment
from bench_process import Ended
from uprez.job import Index
from uprez.media import probe

CLIP = materials.FOLDER / "bikes.mp4"
CRF, PRESET = 18, "medium"
WARM_FRAMES = 3
"""Of a run before those that count: weights are converted, caches filled and files read."""
US = "uprez"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one run is to make."""

    out: Path
    frames: int
    """Of the source."""
    crf: int
    index: Index


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One program, and how it is called."""

    command: Callable[[Asked], Sequence[str]]
    frames: int
    """It makes fewer than the others where it takes much longer; its time is then scaled."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Programs that make the same."""

    title: str
    about: str
    contenders: Mapping[str, Contender]
    idle: Callable[[Asked], Sequence[str]]
    """framelift-video with nothing to do: what it makes of the source then is its conversion of colours alone."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What became of one program."""

    seconds: float
    """Median, scaled to all frames."""
    spread: tuple[float, float]
    peak_mib: float
    like: Likeness | None = None
    """Its result beside uprez's."""
    like_lossless: Likeness | None = None
    """The same of a few frames that were encoded without loss."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured."""

    scores: Mapping[str, Score]
    idle: Likeness
    """framelift-video's copy of the source beside the source, without loss."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done."""

    frames: int
    ncnn_frames: int
    lossless_frames: int
    rounds: int
    threads: int
    folder: Path
    """Where results go; emptied on the way."""
    cache: Path
    """uprez's."""


def upscaling(plan: Plan, peers: Peers) -> Match:
    """Enlarge by realesr-animevideov3, four times."""

    def ours(asked: Asked) -> list[str]:
        return _uprez(asked, "--model", "realesr-animevideov3", "--scale", "4")

    def framelift(backend: str) -> Callable[[Asked], list[str]]:
        return lambda asked: _framelift(asked, peers, "--scale", "4", "--ai-strength", "1", "--backend", backend)

    def png(asked: Asked) -> list[str]:
        command = [str(peers.python), str(TOOLS / "bench_peers_ncnn.py"), str(CLIP), str(asked.out), str(asked.frames)]
        return [*command, str(peers.param), str(peers.bin), str(plan.threads), str(asked.crf), PRESET]

    few = min(plan.ncnn_frames, plan.frames)
    return Match(
        title=bench_page.TITLES[0],
        about=f"ncnn: frames to PNG, the network on {plan.threads} threads, PNGs to x264 ({TOOLS.name}/"
        f"bench_peers_ncnn.py); {few} frames, its time scaled to {plan.frames}.",
        contenders={
            US: Contender(command=ours, frames=plan.frames),
            "framelift-video, PyTorch": Contender(command=framelift("torch"), frames=plan.frames),
            "framelift-video, OpenVINO": Contender(command=framelift("openvino"), frames=plan.frames),
            "ncnn with PNG files": Contender(command=png, frames=few),
        },
        idle=_idle(peers),
    )


def interpolation(plan: Plan, peers: Peers) -> Match:
    """Make twice as many frames by RIFE."""

    def ours(asked: Asked) -> list[str]:
        return _uprez(asked, "--mode", "interp", "--factor", "2")

    def framelift(asked: Asked) -> list[str]:
        return _framelift(asked, peers, "--no-ai", "--same-resolution", "--interpolate")

    return Match(
        title=bench_page.TITLES[1],
        about="Both hold the last frame and those before a cut.",
        contenders={
            US: Contender(command=ours, frames=plan.frames),
            "framelift-video": Contender(command=framelift, frames=plan.frames),
        },
        idle=_idle(peers),
    )


def play(match: Match, plan: Plan) -> Result:
    """Run all programs in turns, `rounds` times after a short run that does not count, and compare their results."""
    index = probe.index(CLIP.as_uri())
    for name, contender in match.contenders.items():
        _once(name, contender, plan, index, frames=WARM_FRAMES)
    ended: dict[str, list[Ended]] = {name: [] for name in match.contenders}
    for number in range(plan.rounds):
        for name, contender in match.contenders.items():
            done = _once(name, contender, plan, index, frames=contender.frames)
            ended[name].append(done)
            print(f"round {number + 1}, {name}: {done.seconds:.1f} s, {done.peak_mib:.0f} MiB", flush=True)
    scores = {name: score(done, Fraction(plan.frames, match.contenders[name].frames)) for name, done in ended.items()}
    lossy = _compared(match, plan, index)
    for name, contender in match.contenders.items():
        _once(name, contender, plan, index, frames=plan.lossless_frames, crf=0)
    lossless = _compared(match, plan, index)
    return Result(
        scores={
            name: replace(found, like=lossy.get(name), like_lossless=lossless.get(name))
            for name, found in scores.items()
        },
        idle=_idling(match, plan, index),
    )


def score(done: Sequence[Ended], by: Fraction) -> Score:
    """Give the median of some runs, each so many times as long."""
    seconds = [float(each.seconds * by) for each in done]
    return Score(
        seconds=statistics.median(seconds),
        spread=(min(seconds), max(seconds)),
        peak_mib=max(each.peak_mib for each in done),
    )


def section(match: Match, result: Result, plan: Plan, setting: Setting, versions: Mapping[str, str]) -> Section:
    """Give what was measured as a section of the page."""
    scores = result.scores
    ours = scores[US].seconds
    rows = [_row(name, found, ours) for name, found in scores.items()]
    fastest = min((found.seconds, name) for name, found in scores.items() if name != US)
    head = ("program", "s", "uprez = 1", "peak MiB", "PSNR to uprez", "without loss", "without shift; shift")
    text = f"""{setting.remark(versions)}

The first {plan.frames} frames of {CLIP.name} (640x272), H.264 by x264, crf {CRF}, preset {PRESET}, no sound; whole
programs with start-up, in turns, medians of {plan.rounds} (least to most), each with its own choice of threads and its
own x264. Memory is that of all processes of a program together. {match.about}

{bench_page.table(head, rows)}
uprez is **{fastest[0] / ours:.2f}** times as fast as the fastest peer ({fastest[1]}). PSNR is in dB,
mean / worst of the decoded frames, both files' colours by one matrix. "Without loss": the first {plan.lossless_frames}
frames by a run of their own at crf 0, which x264 writes without loss, so that pictures are compared and not encoders.
"Without shift": the same with each plane's mean difference taken off, and by how many code values the program's luma is
higher than uprez's.

framelift-video with nothing to do (--no-ai --same-resolution --crf 0) is {result.idle} dB from the source, its luma
{result.idle.shift:+.2f} code values off: that is its conversion of colours. Frames that uprez only copies stay equal.
"""
    return Section.of(match.title, text)


def _row(name: str, found: Score, ours: float) -> tuple[str, ...]:
    least, most = found.spread
    return (
        name,
        f"{found.seconds:.1f} ({least:.1f} to {most:.1f})",
        f"{found.seconds / ours:.2f}",
        f"{found.peak_mib:.0f}",
        str(found.like or ""),
        str(found.like_lossless or ""),
        found.like_lossless.unshifted if found.like_lossless else "",
    )


def _uprez(asked: Asked, *options: str) -> list[str]:
    rate = asked.index.video.rate
    assert rate is not None
    command = [sys.executable, "-m", "uprez", "enhance", str(CLIP), str(asked.out), *options]
    command += ["--duration", f"{float(asked.frames / rate):.6f}", "--codec", "h264"]
    return [*command, "--crf", str(asked.crf), "--encoder-preset", PRESET]


def _framelift(asked: Asked, peers: Peers, *options: str) -> list[str]:
    command = [str(peers.python), "-m", "framelift", "-i", str(CLIP), "-o", str(asked.out), *options]
    command += ["-q", "--no-audio", "--max-frames", str(asked.frames), "--weights-dir", str(peers.weights)]
    return [*command, "--x264-preset", PRESET, "--crf", str(asked.crf)]


def _idle(peers: Peers) -> Callable[[Asked], list[str]]:
    return lambda asked: _framelift(asked, peers, "--no-ai", "--same-resolution")


def _idling(match: Match, plan: Plan, index: Index) -> Likeness:
    contender = Contender(command=match.idle, frames=plan.lossless_frames)
    _once("idle", contender, plan, index, frames=plan.lossless_frames, crf=0)
    made = _folder(plan, "idle") / "out.mp4"
    return bench_likeness.likeness(CLIP, made, index.video.colour.matrix, as_far_as_it_goes=True)


def _once(name: str, contender: Contender, plan: Plan, index: Index, *, frames: int, crf: int = CRF) -> Ended:
    """Run one program in a folder of its own, where its result stays until its next run."""
    folder = _folder(plan, name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    asked = Asked(out=folder / "out.mp4", frames=frames, crf=crf, index=index)
    links = " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), materials.FOLDER.as_uri()]))
    own = {"UPREZ_STATE_DIR": str(folder / "state"), "UPREZ_CACHE_DIR": str(plan.cache), "PIP_FIND_LINKS": links}
    return bench_process.run(contender.command(asked), environment={**environment(), **own}, folder=folder)


def _compared(match: Match, plan: Plan, index: Index) -> dict[str, Likeness]:
    """Compare the results that lie there with uprez's."""
    ours = _folder(plan, US) / "out.mp4"
    matrix = index.video.colour.matrix
    return {
        name: bench_likeness.likeness(
            ours, _folder(plan, name) / "out.mp4", matrix, as_far_as_it_goes=contender.frames < plan.frames
        )
        for name, contender in match.contenders.items()
        if name != US
    }


def _folder(plan: Plan, name: str) -> Path:
    return plan.folder / "".join(letter for letter in name if letter.isalnum())
