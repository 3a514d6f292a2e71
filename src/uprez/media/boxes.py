"""The boxes of MP4 and QuickTime files (ISO/IEC 14496-12), as far as FFmpeg must be kept from trusting them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from uprez.errors import InputError

_FIRST = (b"ftyp", b"wide", b"mdat", b"moov", b"styp")
_HEAD = 8
_MOST_MOOF = 64 << 20


@dataclass(frozen=True, kw_only=True)
class _Box:
    kind: bytes
    start: int
    """Of what it holds."""
    end: int


def ends_before_moov(file: BinaryIO, size: int) -> bool:
    """Say whether an MP4 lacks its index; False for anything else."""
    kinds = []
    for box in _top(file, size):
        if box.kind == b"moov":
            return False
        kinds.append(box.kind)
    return bool(kinds) and kinds[0] in _FIRST


def check_fragments(path: Path) -> None:
    """Raise InputError for a fragment with more samples than the file has bytes: FFmpeg makes room for them all."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            for box in _top(file, size):
                if box.kind == b"moof" and box.end - box.start <= _MOST_MOOF:
                    file.seek(box.start)
                    _check_moof(file.read(box.end - box.start), size, path)
    except OSError:
        return  # whoever opens it says why


def _check_moof(data: bytes, size: int, path: Path) -> None:
    for traf in _within(data, 0, len(data)):
        if traf.kind != b"traf":
            continue
        for trun in _within(data, traf.start, traf.end):
            if trun.kind == b"trun" and _samples(data, trun) > size:
                raise InputError(f"{path}: is damaged: a fragment of it lists {_samples(data, trun)} frames")


def _samples(data: bytes, trun: _Box) -> int:
    """Give the number of samples that a track run lists."""
    if trun.end - trun.start < _HEAD:
        return 0
    return int.from_bytes(data[trun.start + 4 : trun.start + 8], "big")


def _top(file: BinaryIO, size: int) -> Iterator[_Box]:
    """Walk the boxes of a file; nothing is given of what does not begin as an MP4 does."""
    offset = 0
    while offset + _HEAD <= size:
        file.seek(offset)
        head = file.read(16)
        if offset == 0 and head[4:8] not in _FIRST:
            return
        box = _box(head, offset, size)
        yield box
        offset = box.end


def _within(data: bytes, start: int, end: int) -> Iterator[_Box]:
    while start + _HEAD <= end:
        box = _box(data[start : start + 16], start, end)
        yield box
        start = box.end


def _box(head: bytes, offset: int, limit: int) -> _Box:
    """Read a box's head; one of length 0, or too short to be, reaches to the end."""
    large = head[:4] == b"\0\0\0\1"
    length = int.from_bytes(head[8:16] if large else head[:4], "big")
    body = 16 if large else _HEAD
    end = min(offset + length, limit) if length >= body else limit
    return _Box(kind=head[4:8], start=min(offset + body, end), end=end)
