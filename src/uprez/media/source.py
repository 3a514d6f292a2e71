"""The one place that opens media for reading: what may be opened, and what goes wrong said in one line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream as AvStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uprez import http
from uprez.errors import InputError
from uprez.media.boxes import check_fragments, ends_before_moov

AnyPacket: TypeAlias = "Packet[AvStream]"  # generic in PyAV's stubs only

MAX_PIXELS = 8192 * 4352
"""Of a picture; 8K is 7680x4320. Decoders hold up to 17 frames: beyond this they alone would need gigabytes."""
DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "yuv4mpegpipe")
"""Formats that hold their own frames. Playlists (concat, hls, dash, image sequences) open other files: never these."""


_ONCE_BYTES = 1 << 20
_STRAYS = 10_000
"""Packets in a row of streams that the header does not name."""
NO_INDEX = "its index (the moov atom) is missing: the file is truncated or was never finished"


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None: ...  # noqa: D102


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


def shown(url: str) -> str:
    """Name a URL for people: a file by its path, anything else without its query, which may hold a signature."""
    return str(local_path(url)) if urlsplit(url).scheme == "file" else http.shown(url)


@contextmanager
def opened(url: str, *, ahead: int = 32) -> Iterator[InputContainer]:
    """Open a media file (file://) or object (http://, https://, by range requests) and close it again.

    `ahead` is how many blocks of 256 KiB are read ahead at most where an object is read in order.

    FFmpeg's errors, then and while it is read, are raised as InputError; those of the connection, which say nothing
    about the video, as FetchError.
    """
    if urlsplit(url).scheme == "file":
        path = local_path(url)
        check_fragments(path)
        # "file:" keeps FFmpeg from taking the front of a name such as "http:1.mp4" for a protocol.
        with _reading(url), _open(f"file:{path}") as container:
            yield container
        return
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url[:80]}: only file://, http:// and https:// can be read")
    # Our own reader, not FFmpeg's: it retries, sees that the object stays the same, and can open nothing else.
    with http.RangeFile(url, ahead=ahead) as file, _reading(url, file), _open(cast("BinaryIO", file)) as container:
        yield container


@contextmanager
def opened_once(url: str, digest: Digest) -> Iterator[InputContainer]:
    """Open a media file or object to read it once, from its beginning to its end; the digest is given every byte.

    Nothing can be sought in it, so an MP4 must have its index at the front. Raises as `opened`.
    """
    with ExitStack() as stack:
        if urlsplit(url).scheme == "file":
            check_fragments(local_path(url))
            file = cast("BinaryIO", stack.enter_context(local_path(url).open("rb")))
        else:
            file = cast("BinaryIO", io.BufferedReader(stack.enter_context(http.RangeFile(url)), _ONCE_BYTES))
        once = _Once(file, digest)
        try:
            with _open(cast("BinaryIO", once)) as container:
                yield container
        except FFmpegError as error:
            raise InputError(f"{shown(url)}: {_not_a_video(error)}") from error
        while once.read():
            pass


class _Once:
    """What FFmpeg reads a file by that it cannot seek in."""

    def __init__(self, file: BinaryIO, digest: Digest) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = 1 << 20) -> bytes:
        """Give the next bytes, none at the end."""
        data = self._file.read(size)
        self._digest.update(data)
        return data


def demuxed(container: InputContainer, *streams: AvStream) -> Iterator[AnyPacket]:
    """Give the packets of the streams, or of all; PyAV ends with empty ones, by which decoders are flushed.

    Those of a stream that comes up in mid-file are passed over. Raises InputError where there is nothing else.
    """
    strays = 0
    while strays < _STRAYS:
        try:
            for packet in container.demux(*streams):
                strays = 0
                yield packet
        except IndexError:  # PyAV knows the streams of the header only; reading goes on behind the packet
            strays += 1
        else:
            return
    raise InputError("its streams are not those that its header names", hint="remux it to Matroska first")


def decoded(stream: VideoStream, packets: Iterable[AnyPacket]) -> Iterator[VideoFrame]:
    """Decode the packets of a stream; one that cannot be is passed over, and what follows it is not lost."""
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a damaged header may say anything
    for packet in packets:
        try:
            yield from cast("list[VideoFrame]", packet.decode())
        except FFmpegError:
            continue


def local_path(url: str) -> Path:
    """Give the path of a file:// URL; raises InputError for another."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise InputError(f"{url[:80]}: not a file:// URL of this machine")
    return Path(unquote(parts.path))


def fraction(ratio: Ratio) -> Fraction:
    """Make a Fraction of what PyAV gives for rates and time bases: 18 has Fractions, 19 a type of its own."""
    return Fraction(ratio.numerator, ratio.denominator)


def _open(name: str | BinaryIO) -> InputContainer:
    if int(av.__version__.split(".", 1)[0]) >= 19:  # it takes metadata that is not UTF-8 as it is
        return av.open(name, "r", options=dict(_OPTIONS))
    wanted = {"metadata_errors": "replace"}
    container: InputContainer = av.open(name, "r", options=dict(_OPTIONS), **wanted)  # type: ignore[call-overload]
    return container


@contextmanager
def _reading(url: str, remote: http.RangeFile | None = None) -> Iterator[None]:
    """Turn FFmpeg's errors into InputError with one line that names the place and what is wrong with it."""
    try:
        yield
    except FFmpegError as error:
        why = _why_remote(remote, error) if remote else _why(local_path(url), error)
        raise InputError(f"{shown(url)}: {why}") from error


def _why(path: Path, error: FFmpegError) -> str:
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "is not a file"
    if isinstance(error, PermissionError) and not os.access(path, os.R_OK):
        return "may not be read by this user"
    if path.stat().st_size == 0:
        return "the file is empty"
    with path.open("rb") as file:
        return NO_INDEX if ends_before_moov(file, path.stat().st_size) else _not_a_video(error)


def _why_remote(file: http.RangeFile, error: FFmpegError) -> str:
    if not file.size:
        return "the object is empty"
    return NO_INDEX if ends_before_moov(cast("BinaryIO", file), file.size) else _not_a_video(error)


def _not_a_video(error: FFmpegError) -> str:
    return f"cannot be read as a video ({_plain(error)})"


def _plain(error: FFmpegError) -> str:
    return f"FFmpeg: {error.strerror or type(error).__name__}"
