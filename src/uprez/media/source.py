"""The one place that opens media for reading: what may be opened, and what goes wrong said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import av
from av.container import InputContainer
from av.error import FFmpegError

from uprez.errors import InputError

DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "yuv4mpegpipe")
"""Formats that hold their own frames. Playlists (concat, hls, dash, image sequences) open other files: never these."""


class Ratio(Protocol):
    """A rational number of either PyAV."""

    @property
    def numerator(self) -> int: ...  # noqa: D102
    @property
    def denominator(self) -> int: ...  # noqa: D102


_OPTIONS = {
    "format_whitelist": ",".join(DEMUXERS),
    "protocol_whitelist": "file",
    # FFmpeg's own 5 MB misses sound that begins late in a transport stream; more than this is a slow probe.
    "probesize": "20000000",
    "analyzeduration": "20000000",
    "max_streams": "100",
}


def local_path(url: str) -> Path:
    """Give the path of a "file://" URL. Raises InputError for any other URL."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise InputError(f"{url}: only file:// URLs of this machine can be read", hint="give a path on this machine")
    return Path(unquote(parts.path))


@contextmanager
def opened(url: str) -> Iterator[InputContainer]:
    """Open a media file and close it again. FFmpeg's errors, then and while it is read, are raised as InputError."""
    path = local_path(url)
    # "file:" keeps FFmpeg from taking the front of a name such as "http:1.mp4" for a protocol.
    with reading(path), _open(f"file:{path}") as container:
        yield container


def fraction(ratio: Ratio) -> Fraction:
    """Make a Fraction of what PyAV gives for rates and time bases: 18 has Fractions, 19 a type of its own."""
    return Fraction(ratio.numerator, ratio.denominator)


def _open(name: str) -> InputContainer:
    if int(av.__version__.split(".", 1)[0]) >= 19:  # it takes metadata that is not UTF-8 as it is
        return av.open(name, "r", options=dict(_OPTIONS))
    wanted = {"metadata_errors": "replace"}
    container: InputContainer = av.open(name, "r", options=dict(_OPTIONS), **wanted)  # type: ignore[call-overload]
    return container


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors into InputError with one line that names the file and what is wrong with it."""
    try:
        yield
    except FFmpegError as error:
        raise InputError(f"{path}: {_why(path, error)}") from error


def _why(path: Path, error: FFmpegError) -> str:
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "is not a file"
    if isinstance(error, PermissionError):
        return "may not be read by this user"
    if path.stat().st_size == 0:
        return "the file is empty"
    if _ends_before_moov(path):
        return "its index (the moov atom) is missing: the file is truncated or was never finished"
    return f"cannot be read as a video ({_plain(error)})"


def _plain(error: FFmpegError) -> str:
    return f"FFmpeg: {error.strerror or type(error).__name__}"


def _ends_before_moov(path: Path) -> bool:
    """Walk the top-level boxes of an MP4 or QuickTime file; False for anything else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset + 8 <= size:
            file.seek(offset)
            head = file.read(16)
            if offset == 0 and head[4:8] not in (b"ftyp", b"wide", b"mdat"):
                return False
            if head[4:8] == b"moov":
                return False
            length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
            if length < 8:  # 0: "to the end of the file"; 1 to 7: damaged
                return True
            offset += length
    return offset > 0
