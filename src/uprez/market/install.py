"""Makes the virtual environment of a rented machine: uprez's own wheel and pinned dependencies, all checked by hash.

Standard library only: it runs out of the wheel, before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

LEAST_PIP = (22, 3)
"""The first that installs into another environment (`--python`), which saves making a pip in each."""
LARGE = 5_000_000
"""Bytes from which on a package tells something about the speed of the line."""
_DOWNLOADING = re.compile(r"\s*Downloading \S+ \(([\d.]+) (bytes|kB|MB|GB)\)")
_UNITS = {"bytes": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_SECRET = re.compile(r"(?i)((?:x-amz-[a-z-]+|signature|token|key|password)=)[^&\s]+|(?<=://)[^/@\s]+@")


class InstallError(Exception):
    """The environment cannot be made; the text says why."""


@dataclass(kw_only=True)
class Traffic:
    """What pip says it fetched, to three digits or so, and how quickly the larger files came."""

    down_bytes: int = 0
    _large_bytes: int = 0
    _large_s: float = 0.0
    _current: tuple[int, float] | None = field(default=None, repr=False)

    def line(self, text: str, now: float) -> None:
        """Take note of one line of pip's output: a download ends with the line after its own."""
        if self._current:
            size, began = self._current
            self._large_bytes += size
            self._large_s += now - began
            self._current = None
        if found := _DOWNLOADING.match(text):
            size = round(float(found[1]) * _UNITS[found[2]])
            self.down_bytes += size
            if size >= LARGE:
                self._current = (size, now)

    @property
    def mbps(self) -> float | None:
        """Megabits a second; None when no large file came."""
        return round(self._large_bytes * 8 / 1e6 / self._large_s, 1) if self._large_s > 0 else None


def pins(provider: str) -> bytes:
    """Give the requirements, with hashes, of one of the providers."""
    return resources.files("uprez.market").joinpath("pins", f"{provider}.txt").read_bytes()


def install(folder: Path, wheel: Path, wanted: bytes) -> Traffic:
    """Make `folder`/venv hold the wheel and what is wanted: requirements with hashes.

    One that is whole already stays. A container that was killed in between leaves no stamp, and the environment is made
    anew. Raises InstallError.
    """
    venv = folder / "venv"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    stamp = venv / f"whole-{hashlib.sha256(wanted + digest.encode()).hexdigest()[:16]}"
    traffic = Traffic()
    if stamp.exists():
        return traffic
    shutil.rmtree(venv, ignore_errors=True)
    requirements = folder / "requirements.txt"
    requirements.write_bytes(wanted + f"\n{wheel} --hash=sha256:{digest}\n".encode())
    pip = _make(venv, folder / "venv.log")
    command = [*pip, "install", *_FLAGS, "--require-hashes", "--no-deps", "--no-compile", "-r", str(requirements)]
    _run(command, folder / "pip.log", traffic)
    stamp.touch()
    return traffic


_FLAGS = ("--disable-pip-version-check", "--no-input", "--progress-bar=off", "--no-cache-dir", "--only-binary=:all:")


def _make(venv: Path, log: Path) -> list[str]:
    """Make an empty environment; gives the command of a pip that installs into it."""
    python = str(venv / "bin" / "python")
    if _pip_here() >= LEAST_PIP:
        _run([sys.executable, "-m", "venv", "--without-pip", str(venv)], log, Traffic())
        return [sys.executable, "-m", "pip", "--python", python]
    _run([sys.executable, "-m", "venv", str(venv)], log, Traffic())
    return [python, "-m", "pip"]


def _pip_here() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in importlib.metadata.version("pip").split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ()


def _run(command: list[str], log: Path, traffic: Traffic) -> None:
    """Run a command, its output in a file; raises InstallError with its last lines."""
    last: list[str] = []
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child,
    ):
        for line in child.stdout or ():
            traffic.line(line, time.monotonic())
            file.write(line)
            last = [*last[-3:], line.strip()]
    if child.returncode:
        raise InstallError(f"{command[2]} ended with {child.returncode}: {redacted(' | '.join(last))}")


def _environment() -> dict[str, str]:
    """Give our environment without the wheel that we run from: pip would take it for an installed package."""
    kept = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and not path.endswith(".whl")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(kept)} if kept else _without("PYTHONPATH")


def _without(*names: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


def redacted(text: str) -> str:
    """Take signatures, keys and passwords out of a text."""
    return _SECRET.sub(lambda found: f"{found[1] or ''}...", text)
