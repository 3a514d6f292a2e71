"""How much memory a worker takes, in two runs that are too long for the tests.

    python tools/memory.py [--only long|small] [--write docs/memory.md]

- long: 20,000 frames through decoding, `lanczos` and x264 in one process, as a worker does it: its memory after 20,000
  must be that after 500, within 5 %.
- small: 1080p to 4K by the real network through `uprez run --memory 2GiB`: the worker's peak must stay under it. As
  many frames as x264 looks ahead, so that it holds all it ever holds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from uprez.enhance import pipeline
from uprez.enhance.engine import open_engine
from uprez.enhance.feed import Feed
from uprez.enhance.upscale import Means
from uprez.job import Options
from uprez.media import decode, encode, probe, timeline
from uprez.media.target import target

FRAMES, EARLY = 20_000, 500
WITHIN = 0.05
SIZE = (320, 180)
BUDGET = 2 << 30
HD, HD_FRAMES = (1920, 1080), 56
LOOK_S = 0.2


def main() -> int:
    """Run, print a table, and give 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("long", "small"))
    parser.add_argument("--write", type=Path, help="keep the figures in this file")
    chosen = parser.parse_args()
    runs = {"long": long, "small": small}
    with tempfile.TemporaryDirectory(prefix="uprez-memory-") as folder:
        found = [run(Path(folder)) for name, run in runs.items() if chosen.only in (None, name)]
    rows = "\n".join(
        f"| {what} | {bound} | {figure} | {'yes' if holds else 'NO'} |" for what, bound, figure, holds in found
    )
    text = f"# Memory\n\nBy `make memory`.\n\n| what | bound | found | holds |\n|---|---|---|---|\n{rows}\n"
    print(text)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    return 0 if all(holds for *_, holds in found) else 1


Row = tuple[str, str, str, bool]


def long(folder: Path) -> Row:
    """Many frames in one process."""
    source = folder / "long.mkv"
    _write(source, SIZE, FRAMES)
    url = source.as_uri()
    index = probe.index(url)
    options = Options(model="lanczos", scale=Fraction(2), codec="h264", encoder_preset="ultrafast")
    wanted, picture = target(index.video, options), encode.picture(index.video, options, target(index.video, options))
    engine = open_engine({}, options, index.video, wanted, Means(families=("cpu",), threads=2))
    encoding = encode.choose("h264", picture, crf=None, preset="ultrafast", threads=2).encoding
    times = timeline.asked(index, 0, FRAMES, options)
    feed = Feed(decode.frames(url, index, 0, FRAMES, threads=2, deinterlace="auto"), 0, index.video)
    seen: dict[int, int] = {}

    def look(count: int) -> None:
        if count in (EARLY, FRAMES):
            seen[count] = _resident(os.getpid())

    with encode.Encoder(folder / "made.mkv", encoding, picture) as encoder:
        pipeline.run(feed.shown(times.shown(0, FRAMES)), engine.frames, encoder.write, on_frame=look)
    share = seen[FRAMES] / seen[EARLY] - 1
    figure = f"{seen[EARLY] >> 20} MiB after {EARLY}, {seen[FRAMES] >> 20} MiB after {FRAMES} ({100 * share:+.1f} %)"
    return f"{FRAMES} frames, lanczos x2", "within 5 %", figure, abs(share) <= WITHIN


def small(folder: Path) -> Row:
    """A large picture in little memory."""
    source = folder / "hd.mkv"
    _write(source, HD, HD_FRAMES)
    command = [sys.executable, "-m", "uprez", "run", "--input", str(source), "--output-dir", str(folder / "out")]
    command += ["--scale", "2", "--memory", "2GiB"]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    most = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max([most, *(_peak(pid) for pid in _below(process.pid) if _is_worker(pid))])
            time.sleep(LOOK_S)
    made = next((folder / "out").glob("hd.x2.*"), None)
    figure = f"{most >> 20} MiB, code {process.returncode}, {'made' if made else 'not made'}"
    return (
        f"1080p to 4K, {HD_FRAMES} frames, animevideov3, x264 medium",
        "2,048 MiB",
        figure,
        bool(made) and most < BUDGET,
    )


def _write(path: Path, size: tuple[int, int], frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height = size
        for picture in _pictures(size, frames):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _pictures(size: tuple[int, int], frames: int) -> Iterator[av.VideoFrame]:
    """Give noise that moves, which no encoder finds easy."""
    noise = np.random.default_rng(0).integers(40, 200, (2 * size[1], 2 * size[0], 3), np.uint8)
    for number in range(frames):
        at = number % size[1], (3 * number) % size[0]
        yield av.VideoFrame.from_ndarray(noise[at[0] : at[0] + size[1], at[1] : at[1] + size[0]].copy(), format="rgb24")


def _resident(pid: int) -> int:
    return _figure(pid, "VmRSS")


def _peak(pid: int) -> int:
    return _figure(pid, "VmHWM")


def _figure(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), 0)


def _is_worker(pid: int) -> bool:
    try:
        return b"uprez\0work" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _below(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_below(child)]
    return found


if __name__ == "__main__":
    sys.exit(main())
