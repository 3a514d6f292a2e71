"""Kill the controller of one local batch again and again at random moments, then start it once more to its end.

Videos go through the real network. It holds when each kill meets a living batch, the last start ends right, each
result is whole, no segment that counted was begun again by any worker in any start, every pin lasted until its video
was done, and nothing is left.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av

REPO = Path(__file__).resolve().parent.parent
sys.path += [str(REPO / "tests" / folder) for folder in ("e2e", "nouns")]
from house import write_clip  # noqa: E402  the tests' own

VIDEOS, FRAMES, SEGMENT, SIZE = 6, 150, 6, (176, 144)
"""Enough for a batch that outlasts all kills on a machine that nothing else slows down."""
HEADING = "## One batch, killed again and again"
LEASE_AND_GRACE_S = 70.0
BEGUN = re.compile(r"\[LOG\] \S+ (?:[0-9a-f]{8} )?Enhancing (\S+), segment (\d+) of")


@dataclass(kw_only=True)
class Played:
    """What came of it."""

    kills: list[tuple[float, int]] = field(default_factory=list)
    """After how many seconds, and how many segments counted then."""
    begun: set[str] = field(default_factory=set)
    """Segments that workers were seen to begin, in all starts."""
    seconds: float = 0.0
    """Of the last start."""
    faults: list[str] = field(default_factory=list)


def play(times: int, seed: int) -> Played:
    """Kill a batch so often, then let it end; says what did not hold."""
    chance = random.Random(seed)  # noqa: S311  moments, not secrets
    with tempfile.TemporaryDirectory(prefix="uprez-kills-") as folder:
        top, played = Path(folder), Played()
        _films(top / "input")
        pins: dict[str, bytes] = {}
        for _ in range(times):
            after_s = chance.uniform(0.5, 14.0)
            run = _start(top)
            time.sleep(after_s)
            if run.poll() is not None:
                played.faults.append(
                    f"kill {len(played.kills) + 1} came too late: the batch had ended with {run.returncode}"
                )
            run.kill()
            out, _ = run.communicate()
            _look(out, pins, top, played)
            played.kills.append((after_s, len(pins)))
            print(f"killed after {after_s:.1f} s: {len(pins)} segments count", flush=True)
        began = time.monotonic()
        run = _start(top)
        out, _ = run.communicate()
        played.seconds = time.monotonic() - began
        _look(out, pins, top, played)
        if run.returncode != 0:
            played.faults.append(f"the last start ended with {run.returncode}: {out[-300:]}")
        played.faults += _wrong(top)
    return played


def _films(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(VIDEOS):
        write_clip(folder / f"film{number}.mp4", FRAMES, SIZE, number)


def _start(top: Path) -> subprocess.Popen[str]:
    state = {"UPREZ_STATE_DIR": str(top / "state"), "UPREZ_CACHE_DIR": str(REPO / ".cache" / "models")}
    return subprocess.Popen(
        [sys.executable, "-m", "uprez", "run", "--segment-frames", str(SEGMENT)],
        cwd=top,
        env={**os.environ, **state},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _look(out: str, pins: dict[str, bytes], top: Path, played: Played) -> None:
    """Take note of one start: what its workers began that had counted, what no longer counts, what counts by now."""
    state = top / "output" / ".uprez"
    jobs = _jobs(state, top)
    before = set(pins)
    for film, number in BEGUN.findall(out):
        key = f"{film}/{int(number) - 1}"
        played.begun.add(key)
        if key in before:
            played.faults.append(f"segment {number} of {film} had counted, and was begun again")
    for path in state.glob("jobs/*/*/segment-*.json"):
        film = jobs.get(path.parent.parent.name, "")
        key, data = f"{film}/{path.stem.rpartition('-')[2]}", path.read_bytes()
        if pins.setdefault(key, data) != data:
            played.faults.append(f"another object counts for {key} than before")
    for key in before:
        film, _, number = key.partition("/")
        job = next((job for job, name in jobs.items() if name == film), "")
        there = list(state.glob(f"jobs/{job}/*/segment-{number}.json"))
        if not there and not (state / "jobs" / job / "result.json").exists():
            played.faults.append(f"{key} counted and does so no more, and {film} is not done")


def _jobs(state: Path, top: Path) -> dict[str, str]:
    """Give each job's video, as results and plans name it."""
    found = {}
    for path in state.glob("jobs/*/result.json"):
        found[path.parent.name] = json.loads(path.read_bytes())["input"]
    logs = "".join(path.read_text(errors="replace") for path in (top / "state" / "logs").glob("*.log"))
    current = ""
    for line in logs.splitlines():
        if match := re.search(r"Reading the index of (\S+)|Enhancing (\S+), segment|Assembling (\S+) from", line):
            current = next(filter(None, match.groups()))
        elif (match := re.search(r"Upload complete: jobs/([0-9a-f]{16})/", line)) and current:
            found[match[1]] = current
    return found


def _wrong(top: Path) -> Iterator[str]:
    """Name each result that is not whole, and each process that is left."""
    for number in range(VIDEOS):
        path = top / "output" / f"film{number}.x2.mp4"
        frames = _count(path) if path.exists() else 0
        if frames != FRAMES:
            yield f"{path.name} has {frames} frames of {FRAMES}"
    end = time.monotonic() + LEASE_AND_GRACE_S
    while (left := list(_processes(top))) and time.monotonic() < end:
        time.sleep(0.5)
    if left:
        yield f"processes are left: {left}"


def _count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _processes(top: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and top / "state" in (entry / "cwd").readlink().parents:
                yield int(entry.name)
        except OSError:
            continue


def table(played: Played, seed: int) -> str:
    """Write the part of the page."""
    segments = VIDEOS * FRAMES // SEGMENT
    kills = ", ".join(f"{after_s:.1f} s ({counted})" for after_s, counted in played.kills)
    verdict = "; ".join(played.faults) or "all results are whole, nothing is left, nothing that counted was begun again"
    return (
        f"{HEADING}\n\n"
        f"{VIDEOS} videos of {FRAMES} frames in {segments} segments, through realesr-animevideov3, x2 (seed {seed}).\n"
        f"SIGKILL of the controller {len(played.kills)} times, after (segments that counted then): {kills}.\n"
        f"Then one start, {played.seconds:.0f} s: {verdict}.\n"
        f"{len(played.begun)} of {segments} segments were seen being begun; of the others a controller was killed\n"
        "before it could tell.\n"
    )
