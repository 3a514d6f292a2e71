"""What of a machine's memory a model may take, once the program, frames on their way and the encoder have theirs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uprez.errors import MemoryShortError
from uprez.job import Encoding, Video
from uprez.media.target import Target
from uprez.models.graphs import plane_shapes

PROGRAM_BYTES = 170 << 20
"""Python with PyAV, ONNX Runtime and OpenVINO, and a converted network. Measured: 100 to 170 MiB."""
QUEUE_DEPTH = 4
"""Frames between two stages at most."""
_QUEUE_SHARE = 64
"""A queue may hold this part of the memory."""
_SPARE = 0.9
"""Of the memory that is there or allowed; the rest is for what nobody reckons with."""
_LEAST_BYTES = 48 << 20
"""For the model: small tiles."""
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_bytes() -> int:
    """Give the main memory that this process may use: the machine's, or its container's where that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUPS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return min(found)


def queue_depth(total: int, video: Video, wanted: Target) -> int:
    """Say how many frames may wait between two stages."""
    largest = max(_frame_bytes(video, wanted))
    return max(1, min(QUEUE_DEPTH, total // _QUEUE_SHARE // largest))


def for_model(total: int, video: Video, wanted: Target, encoding: Encoding) -> int:
    """Give the bytes of main memory that inference on this machine's CPU may take of `total`.

    Raises MemoryShortError where hardly any are left.
    """
    source, result = _frame_bytes(video, wanted)
    depth = queue_depth(total, video, wanted)
    frames = (2 * depth + 4) * source + (depth + 4) * result
    encoder = encoder_bytes(encoding, wanted)
    left = int(total * _SPARE) - PROGRAM_BYTES - frames - encoder
    if left < _LEAST_BYTES:
        needed = (PROGRAM_BYTES + frames + encoder + _LEAST_BYTES) / _SPARE
        raise MemoryShortError(
            f"{total >> 20} MiB are too little for {wanted.width}x{wanted.height} by {encoding.rung}: it takes about"
            f" {encoder >> 20} MiB itself, frames on their way {frames >> 20}, all together {int(needed) >> 20}",
            hint="allow more with --memory, or choose a faster --encoder-preset, which looks at fewer frames",
        )
    return left


@dataclass(frozen=True, kw_only=True)
class _Appetite:
    """Bytes an encoder takes for each pixel of 8 bits; measured at 3840x2160 with 2 and 16 threads."""

    base: float
    thread: float
    ahead: float = 0
    """For each frame that it looks ahead."""


_APPETITES = {
    "libx264": _Appetite(base=52, thread=7.7, ahead=3.1),
    "libx265": _Appetite(base=84, thread=3.4, ahead=5),
    "libsvtav1": _Appetite(base=217, thread=49),
}
_OTHERS = _Appetite(base=12, thread=6)
"""ProRes, FFV1; and of a GPU's encoders what they take here."""
_AHEAD = {
    "libx264": {"ultrafast": 0, "superfast": 0, "veryfast": 10, "faster": 20, "fast": 30, "slow": 50, "slower": 60},
    "libx265": {"ultrafast": 5, "superfast": 10, "veryfast": 15, "faster": 15, "fast": 15, "slow": 25, "slower": 40},
}
"""Frames that presets look ahead, where it is not that of "medium"."""
_AHEAD_OTHERWISE = {"libx264": 40, "libx265": 20}
_SLOWEST = {"veryslow": 60, "placebo": 60}


def encoder_bytes(encoding: Encoding, wanted: Target) -> int:
    """Estimate the memory that an encoder takes."""
    appetite = _APPETITES.get(encoding.rung, _OTHERS)
    preset = dict(encoding.options).get("preset", "medium")
    known = {**_AHEAD.get(encoding.rung, {}), **_SLOWEST}
    ahead = known.get(preset, _AHEAD_OTHERWISE.get(encoding.rung, 0))
    per_px = appetite.base + appetite.thread * encoding.threads + appetite.ahead * ahead
    return int(per_px * wanted.width * wanted.height * (1 if wanted.colour.depth == 8 else 2))


def _frame_bytes(video: Video, wanted: Target) -> tuple[int, int]:
    """Give the bytes of a source's frame and of a result's."""
    sizes = ((video.width, video.height, video.colour), (wanted.width, wanted.height, wanted.colour))
    found = [
        _samples(plane_shapes(width, height, colour).values()) * (1 if colour.depth == 8 else 2)
        for width, height, colour in sizes
    ]
    return found[0], found[1]


def _samples(shapes: Iterable[tuple[int, int]]) -> int:
    return sum(rows * columns for rows, columns in shapes)
