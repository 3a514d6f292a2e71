"""What `uprez doctor` finds out about this machine: weights, inference, encoders, disks, Python, terminal."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib import metadata
from pathlib import Path

from uprez import __version__
from uprez.cli.findings import Finding, fail, ok, warn

LOW_BYTES = 5_000_000_000
"""Free bytes below which a disk is worth a word; a minute of 4K takes about 1 GB while it is made."""
LEAST_BYTES = 500_000_000
CODECS = ("h264", "hevc")
SIDE = (320, 180)
"""What encoders are tried with."""
PACKAGES = ("av", "numpy", "onnx", "onnxruntime", "obstore", "botocore", "urllib3")
_SAMPLE = "é Ж 😀"


def python() -> Iterator[Finding]:
    """Say what runs uprez."""
    found = f"uprez {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.platform != "linux":
        yield warn("python", found, "uprez is tested on Linux: elsewhere some things may not work")
        return
    yield ok("python", found)


def packages() -> Iterator[Finding]:
    """Say which libraries are here; a missing one is a broken installation."""
    there, missing = [], []
    for name in PACKAGES:
        try:
            there.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield fail("packages", f"missing: {', '.join(missing)}", "install uprez again, with its dependencies")
    else:
        yield ok("packages", ", ".join(there))


def terminal() -> Iterator[Finding]:
    """Say whether every name can be shown."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        _SAMPLE.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        text = f"{encoding} cannot show every name: what it lacks is escaped (\\u0416)"
        yield warn("terminal", text, "set PYTHONIOENCODING=utf-8, or a UTF-8 locale")
    else:
        yield ok("terminal", f"{encoding} shows every name")


def weights(cache: Path) -> Iterator[Finding]:
    """Say of each model whether a run needs the network for it."""
    from uprez.models import MODELS
    from uprez.models import weights as stored

    for model in MODELS.values():
        what = f"model {model.name}"
        if model.source is None:
            yield ok(what, "needs no weights")
        elif stored.is_cached(model, cache):
            yield ok(what, f"ready in {cache}")
        else:
            size = f"{model.source.size / 1e6:.0f} MB"
            yield warn(what, f"not fetched: its first run fetches {size}", f"uprez models pull {model.name}")


def inference() -> Iterator[Finding]:
    """Run a small graph, and say on what."""
    # ONNX Runtime 1.32 keeps a device id and a database of events in the home folder from its import on.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # for its weight

    from uprez.enhance.session import open_session
    from uprez.fleet.markets import CPU
    from uprez.job import Colour
    from uprez.models.graphs import GraphSpec, planes_graph

    width, height = SIDE
    colour = Colour(matrix="bt709", full_range=False, siting="left")
    spec = GraphSpec(
        width=width,
        height=height,
        out_width=2 * width,
        out_height=2 * height,
        native_scale=1,
        source=colour,
        target=colour,
    )
    session = open_session(lambda *_: planes_graph(None, spec), families=CPU, threads=os.cpu_count() or 1)
    found = f"{session.family} ({session.provider}, {session.precision}) on {session.device}"
    first = f"onnxruntime {onnxruntime.__version__}: {found}"
    if session.family == CPU[0]:
        yield ok("inference", f"{first}{_plugin()}")
    else:
        yield warn("inference", f"{first}; {session.ladder[0]}", "it works, and is slower than the best rung would be")


def _plugin() -> str:
    try:
        return f", plugin {metadata.version('onnxruntime-ep-openvino')}"
    except metadata.PackageNotFoundError:
        return ""


def encoders() -> Iterator[Finding]:
    """Encode a few frames with each codec that a result may have."""
    from uprez.errors import EncodeError
    from uprez.job import Colour
    from uprez.media.encode import Picture, choose

    width, height = SIDE
    colour = Colour(matrix="bt709", full_range=False, siting="left")
    picture = Picture(width=width, height=height, sar=Fraction(1), rate=Fraction(25), colour=colour)
    for codec in CODECS:
        what = f"encoder {codec}"
        try:
            choice = choose(codec, picture, crf=None, threads=os.cpu_count() or 1)
        except EncodeError as error:
            yield fail(what, error.message, "install PyAV from its wheel: pip install --force-reinstall av")
        else:
            passed = "".join(f"; {step}" for step in choice.ladder[:-1])
            yield ok(what, f"{choice.encoding.rung} encodes{passed}")


def disks(folders: Mapping[str, Path]) -> Iterator[Finding]:
    """Say how much is free where uprez writes."""
    for name, folder in {**folders, "temporary files": Path(tempfile.gettempdir())}.items():
        what = f"disk of {name}"
        there = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
        try:
            free = shutil.disk_usage(there).free
        except OSError as error:
            yield fail(what, f"{folder}: {error.strerror}", "choose another folder")
            continue
        text = f"{free / 1e9:.1f} GB free in {folder}"
        if not os.access(there, os.W_OK):
            yield fail(what, f"{folder} cannot be written", "change its rights, or choose another folder")
        elif free < LEAST_BYTES:
            yield fail(what, text, "free some space, or choose another folder")
        elif free < LOW_BYTES:
            yield warn(what, text, "free some space: long videos take several GB while they are made")
        else:
            yield ok(what, text)
