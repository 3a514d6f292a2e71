"""The shape of a picture's samples in a Matroska file, which PyAV has no way to have written (as of 19.0).

The place for it comes out of the picture's name: `padded` lengthens that before the file is written, and
`state_shape` takes the padding out of the finished header and puts the size for display in (RFC 9559, section 5.1.4).
The header keeps its length, so that nothing behind it moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from uprez.errors import VerifyError

_PADDING = " " * 60
_HEADER_BYTES = 1 << 20
_HEAD_BYTES = 4096
_SEGMENT, _TRACKS, _ENTRY = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_TYPE, _NAME, _VIDEO, _VOID, _CRC = b"\x83", b"\x53\x6e", b"\xe0", b"\xec", b"\xbf"
_WIDTH, _HEIGHT, _UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_LARGEST = 4
"""How many times larger than the picture the size for display may be, to be exact."""

Element = tuple[bytes, bytes]
"""Id and contents."""


def padded(title: str) -> str:
    """Lengthen the name of a picture's stream by what `state_shape` needs."""
    return title + _PADDING


def state_shape(path: Path, width: int, height: int, sar: Fraction) -> None:
    """Write how a picture of width x height samples is to be shown; its stream has a `padded` name.

    Raises VerifyError where the file's header is not as FFmpeg writes it.
    """
    with path.open("r+b") as file:
        head = file.read(_HEADER_BYTES)
        start, end = _find(head, 0, len(head), (_SEGMENT, _TRACKS))
        file.seek(start)
        file.write(_restated(head[start:end], *display(width, height, sar), path))


def cut_short(path: Path) -> bool:
    """Say whether a file is shorter than its header says; a header may say nothing (a recording that was streamed)."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        at = _element(head, 0)[2]
        kind, start, end = _element(head, at)
    except IndexError:
        return False
    unknown = (1 << 7 * (start - at - len(kind))) - 1
    return kind == _SEGMENT and end - start != unknown and end > path.stat().st_size


def display(width: int, height: int, sar: Fraction) -> tuple[int, int]:
    """Give the smallest size in square pixels that has exactly this shape and holds the picture.

    Where that is far larger than the picture, its own height and the nearest width.
    """
    shape = width * sar / height
    times = max(-(-height // shape.denominator), -(-width * sar // shape.numerator))
    exact = (shape.numerator * int(times), shape.denominator * int(times))
    return exact if exact[1] <= _LARGEST * height else (max(1, round(width * sar)), height)


def _restated(tracks: bytes, wide: int, high: int, path: Path) -> bytes:
    """Give the Tracks element's contents with the first picture's size for display, in the same length."""
    children = list(_elements(tracks))
    for place, (kind, entry) in enumerate(children):
        fields = dict(_elements(entry)) if kind == _ENTRY else {}
        if fields.get(_TYPE) == b"\x01" and fields.get(_NAME, b"").endswith(_PADDING.encode()):
            children[place] = (kind, _shaped(entry, wide, high))
            made = _joined(child for child in children if child[0] != _CRC)
            head = len(_written(_CRC, bytes(4))) if children[0][0] == _CRC else 0
            made += _void(len(tracks) - head - len(made))
            return (_written(_CRC, zlib.crc32(made).to_bytes(4, "little")) if head else b"") + made
    raise VerifyError(f"{path}: its picture's name is not where it was written")


def _shaped(entry: bytes, wide: int, high: int) -> bytes:
    made = []
    for kind, data in _elements(entry):
        if kind == _VIDEO:
            kept = [child for child in _elements(data) if child[0] not in (_WIDTH, _HEIGHT, _UNIT)]
            size = ((_WIDTH, wide.to_bytes(4, "big")), (_HEIGHT, high.to_bytes(4, "big")))
            made.append((kind, _joined((*kept, *size))))
        elif kind == _NAME:
            title = data.removesuffix(_PADDING.encode())
            made += [(kind, title)] if title else []
        else:
            made.append((kind, data))
    return _joined(made)


def _void(length: int) -> bytes:
    """Give an element of so many bytes that means nothing."""
    return _VOID + (0x4000 | (length - 3)).to_bytes(2, "big") + bytes(length - 3)


def _joined(elements: Iterable[Element]) -> bytes:
    return b"".join(_written(*element) for element in elements)


def _written(kind: bytes, data: bytes) -> bytes:
    length = next(count for count in range(1, 9) if len(data) < (1 << 7 * count) - 1)
    return kind + (len(data) | 1 << 7 * length).to_bytes(length, "big") + data


def _elements(data: bytes) -> Iterator[Element]:
    at = 0
    while at < len(data):
        kind, start, end = _element(data, at)
        yield kind, data[start:end]
        at = end


def _find(data: bytes, at: int, end: int, path: tuple[bytes, ...]) -> tuple[int, int]:
    """Give where the contents of an element begin and end."""
    while at < end:
        kind, start, stop = _element(data, at)
        if kind == path[0]:
            return (start, stop) if len(path) == 1 else _find(data, start, end, path[1:])
        at = stop
    raise VerifyError("a Matroska file without a list of its tracks")


def _element(data: bytes, at: int) -> tuple[bytes, int, int]:
    """Read an element's head: id, and where its contents begin and end."""
    id_length = 9 - data[at].bit_length()
    kind = data[at : at + id_length]
    at += id_length
    length = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return kind, at + length, at + length + size
