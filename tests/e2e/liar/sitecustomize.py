"""A worker that lies, or whose encoder dies: what UPREZ_LIE names, at its first segment or (UPREZ_LIE_ALWAYS) at all.

Python imports this before anything else where it is on PYTHONPATH. Everything but the lie is the real worker.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

LIE = os.environ.get("UPREZ_LIE", "")
ONCE = Path(os.environ.get("UPREZ_LIE_ONCE", "/nowhere"))
ALWAYS = "UPREZ_LIE_ALWAYS" in os.environ
DIES_AT = 4
lying = threading.Event()


def begin() -> None:
    """Lie from the beginning of a segment to its end, or until it is sent."""
    from uprez import worker

    enhance = worker._Worker._enhance

    def enhancing(self: Any, task: Any, part: Path) -> int:
        if ALWAYS or not ONCE.exists():
            ONCE.touch()
            lying.set()
        try:
            return enhance(self, task, part)
        finally:
            if LIE not in ("truncated", "overwritten"):
                lying.clear()

    worker._Worker._enhance = enhancing


def encode_else() -> None:
    """Encode other pictures than are given, or die at the fourth; a trial is no segment."""
    import numpy as np

    from uprez.media import encode

    write = encode.Encoder.write

    def writing(self: Any, frame: Any) -> None:
        if lying.is_set() and self._path.name != "trial.mkv":
            luma, blue, red = frame.planes
            if LIE == "black":
                frame = replace(frame, planes=(np.full_like(luma, 16), np.full_like(blue, 128), np.full_like(red, 128)))
            if LIE == "swapped":
                frame = replace(frame, planes=(luma, red, blue))
            if LIE == "dies" and self._count + 1 >= DIES_AT and self._encoding.rung != "prores_ks":
                raise encode.EncodeError("the encoder was struck by the test")
        write(self, frame)

    encode.Encoder.write = writing


def add_encoder() -> None:
    """Put an encoder before the one that works, as a GPU's is."""
    from uprez.media import ladders

    first = ladders.LADDERS["prores"][0]
    ladders.LADDERS["prores"] = (replace(first, encoder="prores_aw", presets=None, settings=()), first)


def shift() -> None:
    """Show each frame one too late."""
    from uprez.enhance.feed import Feed

    shown = Feed.shown

    def showing(self: Any, wanted: Any) -> Iterator[Any]:
        before = None
        for frame in shown(self, wanted):
            yield before if lying.is_set() and before is not None else frame
            before = frame

    Feed.shown = showing


def decode_another() -> None:
    """Read another video."""
    from uprez.media import decode, probe

    frames, other = decode.frames, os.environ["UPREZ_LIE_FILE"]

    def decoding(url: str, index: Any, first: int, count: int, **more: Any) -> Iterator[Any]:
        if lying.is_set():
            url, index = other, probe.index(other)
        return frames(url, index, first, count, **more)

    decode.frames = decoding


def put_else() -> None:
    """Send a part of a segment, or send it whole and change it when it counts."""
    from uprez import worker
    from uprez.store import urls

    put = worker._Worker._put

    def putting(self: Any, task: Any, part: Path) -> None:
        mine = lying.is_set() and task.kind == "enhance"
        if mine and LIE == "truncated":
            os.truncate(part, part.stat().st_size * 6 // 10)
        put(self, task, part)
        if mine:
            lying.clear()
        if mine and LIE == "overwritten":
            threading.Thread(target=overwrite, args=(urls.path_of(task.put.url),), daemon=True).start()

    worker._Worker._put = putting


def overwrite(path: Path) -> None:
    """Once a segment counts, put other bytes in its place."""
    pin = path.parent.with_name(f"{path.parent.name}.json")
    while not pin.exists():
        time.sleep(0.01)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    beside = path.with_name("other")
    beside.write_bytes(data)
    beside.replace(path)


LIES: dict[str, Callable[[], None]] = {
    "black": encode_else,
    "swapped": encode_else,
    "dies": encode_else,
    "shifted": shift,
    "another": decode_another,
    "truncated": put_else,
    "overwritten": put_else,
}

if LIE and "work" in sys.orig_argv:
    begin()
    LIES[LIE]()
    if "UPREZ_LIE_LADDER" in os.environ:
        add_encoder()
