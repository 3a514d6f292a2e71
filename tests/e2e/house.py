"""A house for tests: the real command in a process of its own, real workers, real files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from screen import Screen
from uprez.config.settings import Location
from waiting import until

REPO = Path(__file__).resolve().parents[2]


NO_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
"""Variables that say what a terminal can do, whatever it is."""


def located(path: Path) -> Location:
    """Name a path as the settings do."""
    return Location(text=str(path), folder=path)


class MakeClip(Protocol):
    """Makes a clip with sound in the house's input folder."""

    def __call__(
        self, name: str = "clip.mp4", *, frames: int = 50, size: tuple[int, int] = (160, 90), shade: int = 0
    ) -> Path:
        """Make one; another `shade` is another video."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, a line each."""
        return self.out.splitlines()


@dataclass(kw_only=True)
class House:
    """A folder with its own input, output and state, and the command that works in them."""

    top: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def inputs(self) -> Path:
        """Where clips go."""
        return self.top / "input"

    @property
    def outputs(self) -> Path:
        """Where results go."""
        return self.top / "output"

    def environment(self) -> dict[str, str]:
        """The environment of a command: state and cache in this folder."""
        return {**os.environ, "UPREZ_STATE_DIR": str(self.top / "state"), "UPREZ_CACHE_DIR": str(self.top / "cache")}

    def start(self, *arguments: str, program: tuple[str, ...] = ("-m", "uprez")) -> subprocess.Popen[str]:
        """Start the command, its lines readable as they come."""
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.top,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.running.append(process)
        return process

    def uprez(self, *arguments: str, program: tuple[str, ...] = ("-m", "uprez")) -> Ended:
        """Run the command to its end."""
        process = self.start(*arguments, program=program)
        out, err = process.communicate(timeout=200)
        return Ended(code=process.returncode, out=out, err=err)

    def on_terminal(self, *arguments: str) -> tuple[str, list[str]]:
        """Run the command on a terminal of 100 columns; gives all that it wrote, and the lines that are left."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environment = {name: value for name, value in self.environment().items() if name not in NO_TERMINAL}
        with subprocess.Popen(
            [sys.executable, "-m", "uprez", *arguments],
            cwd=self.top,
            env={**environment, "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        ) as process:
            os.close(slave)
            written = bytearray()
            with contextlib.suppress(OSError):  # nobody is on the other side any more
                while piece := os.read(master, 1 << 16):
                    written += piece
            os.close(master)
            assert process.wait(200) == 0, written.decode()
        screen = Screen(columns=100)
        screen.write(written.decode())
        return written.decode(), screen.lines

    def enhance(self, *arguments: str) -> Ended:
        """Run `uprez run` with the resampler, which needs no weights and little time."""
        return self.uprez("run", "--model", "lanczos", *arguments)

    def results(self, ended: Ended) -> dict[str, Any]:
        """Read the results.json that a run named."""
        line = next(line for line in ended.lines if line.startswith("[INFO] Results: "))
        found: dict[str, Any] = json.loads(Path(line.removeprefix("[INFO] Results: ")).read_text())
        return found

    def processes(self) -> list[int]:
        """List what still runs below this folder: dead-men and workers have it as their current folder."""
        return [pid for pid in _pids() if self.top in _folder(pid).parents]

    def worker(self) -> int:
        """Wait for the worker and give its process id."""
        return until(lambda: next((pid for pid in self.processes() if b"work" in _command(pid)), 0))


def write_clip(path: Path, frames: int, size: tuple[int, int], shade: int) -> None:
    """Write a clip of moving waves with a tone: H.264 with B-frames at 25 frames a second, AAC."""
    rate = Fraction(25)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"bf": "2", "g": "12", "preset": "veryfast"})
        video.width, video.height = size[0] & ~1, size[1] & ~1
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(_picture(number, video.width, video.height, shade), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        samples = int(frames / rate * 48000)
        tone = np.sin(np.arange(samples) * 440 * 2 * np.pi / 48000).astype(np.float32) * 0.3
        for start in range(0, samples, 1024):
            piece = av.AudioFrame.from_ndarray(
                np.stack([tone[start : start + 1024]] * 2), format="fltp", layout="stereo"
            )
            piece.sample_rate, piece.pts = 48000, start
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def _picture(number: int, width: int, height: int, shade: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    red = 128 + 100 * np.sin((across + 3 * number) / 9)
    green = 128 + 100 * np.cos((down - 2 * number) / 7)
    return np.stack([red, green, np.full_like(red, (shade + 4 * number) % 256)], axis=-1).astype(np.uint8)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _folder(pid: int) -> Path:
    try:
        return Path(str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)"))
    except OSError:
        return Path("/")


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
