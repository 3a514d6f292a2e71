"""Encoders: a ladder per codec, each rung proved by a real encode, and the writer of one segment."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from uprez.errors import EncodeError, InputError
from uprez.job import Colour, Encoding, Mastering, Options, Video
from uprez.media import hdr
from uprez.media.colour import tags_for
from uprez.media.frame import Frame, Samples
from uprez.media.layouts import stored
from uprez.media.source import opened
from uprez.media.target import Target

GOP_FRAMES = 250
_TRIAL_FRAMES = 5

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One encoder of a codec's ladder."""

    encoder: str
    """FFmpeg's name."""
    quality: str | None
    """Option that takes the constant quality, 0 to 51; None for a lossless encoder."""
    default: int | None
    """Constant quality unless a person asks for another."""
    settings: Settings
    """The other options; {threads} and {frame_threads} stand for numbers, {hdr} for HDR metadata."""


_X264: Settings = (("preset", "medium"), ("flags", "+cgop"), ("g", str(GOP_FRAMES)))
_X265: Settings = (
    ("preset", "medium"),
    ("g", str(GOP_FRAMES)),
    # x265 takes no thread count from FFmpeg, writes to stderr by itself, and opens GOPs unless told not to.
    ("x265-params", "log-level=none:info=0:open-gop=0:pools={threads}:frame-threads={frame_threads}{hdr}"),
)
_NVENC: Settings = (
    ("preset", "p5"),
    ("tune", "hq"),
    ("rc", "vbr"),
    ("b", "0"),
    ("forced-idr", "1"),
    ("g", str(GOP_FRAMES)),
)
_FFV1: Settings = (("level", "3"), ("g", "1"), ("slices", "4"), ("slicecrc", "1"))

LADDERS: dict[str, tuple[Rung, ...]] = {
    "h264": (
        Rung(encoder="h264_nvenc", quality="cq", default=18, settings=_NVENC),
        Rung(encoder="libx264", quality="crf", default=18, settings=_X264),
    ),
    "hevc": (
        Rung(encoder="hevc_nvenc", quality="cq", default=20, settings=_NVENC),
        Rung(encoder="libx265", quality="crf", default=20, settings=_X265),
    ),
    "ffv1": (Rung(encoder="ffv1", quality=None, default=None, settings=_FFV1),),
}


_OF_ENCODERS = {("h264_nvenc", "yuv420p10le"): "p010le", ("hevc_nvenc", "yuv420p10le"): "p010le"}
"""The same samples in the order that an encoder takes them."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What an encoder must be told about its frames."""

    width: int
    height: int
    sar: Fraction
    rate: Fraction
    """Frames a second, for rate control only: the times of a result come from its timeline."""
    colour: Colour
    """Of the frames that are written; of the family "yuv"."""
    mastering: Mastering | None = None

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name for how its frames are stored."""
        return stored(self.colour)


def picture(video: Video, options: Options, wanted: Target) -> Picture:
    """Say what an encoder must be told about the frames of a video's result."""
    return Picture(
        width=wanted.width,
        height=wanted.height,
        sar=video.shown_sar,
        rate=options.cfr or video.rate or Fraction(25),
        colour=wanted.colour,
        mastering=video.mastering,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The rung that works here."""

    encoding: Encoding
    extradata_sha256: str
    """SHA-256 of the extradata that the trial's file has; every segment must have the same."""
    ladder: tuple[str, ...]
    """Each rung tried, with why it was passed over or that it was chosen."""


def choose(codec: str, picture: Picture, *, crf: int | None, threads: int, without: Collection[str] = ()) -> Choice:
    """Try the rungs of a codec's ladder, best first, with a real encode of this picture's size and format.

    `codec` is a key of LADDERS; the encoders named in `without` failed before. Raises EncodeError when none works.
    """
    tried: list[str] = []
    for rung in LADDERS[codec]:
        if rung.encoder in without:
            tried.append(f"{rung.encoder}: failed at this video before")
            continue
        encoding = _encoding(codec, rung, crf, threads, picture)
        if picture.mastering and rung.settings is _NVENC:
            tried.append(f"{rung.encoder}: writes no HDR metadata")
            continue
        try:
            sha256 = trial(encoding, picture)
        except (EncodeError, InputError) as error:  # InputError: the trial's file cannot be read back
            tried.append(f"{rung.encoder}: {error.message}")
            continue
        return Choice(encoding=encoding, extradata_sha256=sha256, ladder=(*tried, f"{rung.encoder}: chosen"))
    raise EncodeError(f"no encoder for {codec} at {picture.width}x{picture.height} works here: {'; '.join(tried)}")


def extradata_sha256(stream: VideoStream) -> str:
    """Give the SHA-256 of a stream's extradata (the decoder's settings), in hex."""
    return hashlib.sha256(stream.codec_context.extradata or b"").hexdigest()


def _encoding(codec: str, rung: Rung, crf: int | None, threads: int, picture: Picture) -> Encoding:
    return Encoding(
        codec=codec,
        rung=rung.encoder,
        pix_fmt=picture.pix_fmt,
        options=(*_quality(codec, rung, crf), *_filled(rung.settings, threads, hdr.x265_params(picture.mastering))),
        threads=threads,
    )


def _filled(settings: Settings, threads: int, said: str) -> Settings:
    values = {"threads": threads, "frame_threads": max(1, min(4, threads // 2)), "hdr": said}
    return tuple((name, value.format_map(values)) for name, value in settings)


def _quality(codec: str, rung: Rung, crf: int | None) -> Settings:
    if rung.quality is None:
        if crf is not None:
            raise EncodeError(f"{codec} is lossless, so a quality of {crf} means nothing to it", hint="leave out --crf")
        return ()
    if crf is not None and not 0 <= crf <= 51:
        raise EncodeError(f"a quality of {crf} is out of range for {codec}", hint="choose --crf 0 (best) to 51")
    return ((rung.quality, str(rung.default if crf is None else crf)),)


def trial(encoding: Encoding, picture: Picture) -> str:
    """Prove an encoder by encoding a few frames and give the SHA-256 of the extradata; raises EncodeError."""
    with TemporaryDirectory(prefix="uprez-trial-") as folder:
        path = Path(folder) / "trial.mkv"
        with Encoder(path, encoding, picture) as encoder:
            for number in range(_TRIAL_FRAMES):
                encoder.write(_trial_frame(picture, number))
        with opened(path.as_uri()) as container:
            stream = container.streams.video[0]
            got = sum(1 for packet in container.demux(stream) if packet.size)
            if got != _TRIAL_FRAMES:
                raise EncodeError(f"{got} of {_TRIAL_FRAMES} trial frames came back")
            return extradata_sha256(stream)


def _trial_frame(picture: Picture, number: int) -> Frame:
    ramp = np.arange(picture.width, dtype=np.uint32)[None, :] + np.arange(picture.height, dtype=np.uint32)[:, None]
    colour = picture.colour
    unit = 1 << (colour.depth - 8)
    luma = ((ramp + 8 * number) % 200 + 16) * unit
    chroma = np.full((-(-picture.height // colour.down), -(-picture.width // colour.across)), 128 * unit)
    return Frame(planes=tuple(_samples(plane, colour.depth) for plane in (luma, chroma, chroma)), pts=number)


def _samples(values: NDArray[np.integer[Any]], depth: int) -> Samples:
    return values.astype(np.uint8) if depth == 8 else values.astype(np.uint16)


class Encoder:
    """Writes frames, in display order, into one Matroska file that begins with an IDR frame and has a global header.

    As a context manager it leaves a finished file, or none when the block raised. Frame times in the file are frame
    number over `picture.rate`: assembly replaces them. Raises EncodeError.
    """

    def __init__(self, path: Path, encoding: Encoding, picture: Picture) -> None:
        self._path = path
        self._encoding = encoding
        self._picture = picture
        self._count = 0
        try:
            self._container = av.open(f"file:{path}", "w", format="matroska")
        except FFmpegError as error:
            raise self._failed(error) from error
        try:
            self._stream = self._add_stream()
            self._container.start_encoding()
        except (FFmpegError, UnknownCodecError, ValueError) as error:
            self._discard()
            raise self._failed(error) from error

    def _add_stream(self) -> VideoStream:
        encoding, picture = self._encoding, self._picture
        options = dict(encoding.options) | {"chroma_sample_location": picture.colour.siting}
        stream = cast("VideoStream", self._container.add_stream(encoding.rung, rate=picture.rate, options=options))
        context = stream.codec_context
        context.width, context.height = picture.width, picture.height
        context.pix_fmt = _OF_ENCODERS.get((encoding.rung, encoding.pix_fmt), encoding.pix_fmt)
        context.time_base = 1 / picture.rate
        context.sample_aspect_ratio = picture.sar
        context.thread_count = encoding.threads
        context.thread_type = "AUTO"  # PyAV's own, "SLICE", makes x264 cut each picture into slices
        tags = tags_for(picture.colour, picture.rate)
        context.colorspace, context.color_primaries = tags.matrix, tags.primaries
        context.color_trc, context.color_range = tags.transfer, tags.colour_range
        return stream

    def write(self, frame: Frame) -> None:
        """Encode the next frame; its own pts is not used."""
        try:
            self._container.mux(self._stream.encode(self._to_ffmpeg(frame)))
        except FFmpegError as error:
            raise self._failed(error) from error
        self._count += 1

    def close(self) -> None:
        """Take the last packets out of the encoder and finish the file."""
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except FFmpegError as error:
            self._discard()
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _discard(self) -> None:
        with suppress(FFmpegError):  # the file is removed, and the error that brought us here is the one to show
            self._container.close()
        self._path.unlink(missing_ok=True)

    def _to_ffmpeg(self, frame: Frame) -> VideoFrame:
        pix_fmt = self._encoding.pix_fmt
        picture = VideoFrame(self._picture.width, self._picture.height, pix_fmt)
        for plane, rows in zip(picture.planes, frame.planes, strict=True):
            if rows.shape != (plane.height, plane.width):
                raise ValueError(f"a plane of {rows.shape} where {(plane.height, plane.width)} is due")
            memory = np.frombuffer(cast("bytearray", plane), rows.dtype)
            padded = memory.reshape(plane.height, plane.line_size // rows.itemsize)
            padded[:, : plane.width] = rows
        taken = _OF_ENCODERS.get((self._encoding.rung, pix_fmt), pix_fmt)
        if taken != pix_fmt:
            picture = picture.reformat(format=taken, threads=1)  # as in `decode`
        picture.pts = self._count
        picture.time_base = 1 / self._picture.rate
        return picture

    def _failed(self, error: Exception) -> EncodeError:
        reason = error.strerror if isinstance(error, FFmpegError) else error
        return EncodeError(f"{self._encoding.rung} at {self._picture.width}x{self._picture.height} fails: {reason}")
