"""The choice of an encoder, proved by a real encode, and the writer of one segment."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from uprez.errors import EncodeError, InputError, StoreError, UprezError
from uprez.job import Colour, Encoding, Mastering, Options, Video
from uprez.media import hdr, ladders, svt
from uprez.media.colour import tags_for
from uprez.media.frame import Frame, Samples
from uprez.media.ladders import Rung, Settings
from uprez.media.layouts import stored
from uprez.media.source import opened
from uprez.media.target import Target
from uprez.media.timeline import rate_of

UNKNOWN_RATE = Fraction(25)
"""Frames a second of a video that states none."""
_FASTEST = {"av1": Fraction(240)}
"""Frames a second beyond which a codec's encoders refuse to be opened (SVT-AV1); the times are the timeline's."""
_TRIAL_FRAMES = 5
DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT})
"""Errors of writing that say nothing of the encoder."""
_OF_ENCODERS = {(f"{codec}_nvenc", "yuv420p10le"): "p010le" for codec in ("h264", "hevc", "av1")}
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
    source_rate: Fraction | None = None
    """By which a colour that nobody stated is told (see `tags_for`); None: by `rate`."""
    mastering: Mastering | None = None

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name for how its frames are stored."""
        return stored(self.colour)


def picture(video: Video, options: Options, wanted: Target) -> Picture:
    """Say what an encoder must be told about the frames of a video's result."""
    rate = rate_of(video, options) or UNKNOWN_RATE
    return Picture(
        width=wanted.width,
        height=wanted.height,
        sar=video.shown_sar,
        rate=min(rate, _FASTEST.get(wanted.codec, rate)),
        colour=wanted.colour,
        source_rate=video.rate or UNKNOWN_RATE,
        mastering=video.mastering,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The rung that works here."""

    encoding: Encoding
    extradata_sha256: str
    """SHA-256 of the extradata that the trial's file has; every segment must have the same."""
    seconds_per_frame: float
    """Of the trial, from opening the encoder to reading its file back."""
    ladder: tuple[str, ...]
    """Each rung tried, with why it was passed over or that it was chosen."""


def choose(
    codec: str,
    picture: Picture,
    *,
    crf: int | None,
    threads: int,
    preset: str | None = None,
    without: Collection[str] = (),
) -> Choice:
    """Try the rungs of a codec's ladder, best first, with a real encode of this picture's size and format.

    `codec` is a key of LADDERS; the encoders named in `without` failed before. Raises EncodeError when none works.
    """
    said: list[str] = []
    for rung in ladders.rungs(codec, picture.pix_fmt):
        if reason := _unfit(rung, codec, picture, crf, preset, without):
            said.append(f"{rung.encoder}: {reason}")
            continue
        made = encoding(codec, rung.encoder, picture, crf=crf, preset=preset, threads=threads)
        try:
            tried = _tried(made, picture)
        except (EncodeError, InputError) as error:  # InputError: the trial's file cannot be read back
            said.append(f"{rung.encoder}: {error.message}")
            continue
        return Choice(
            encoding=replace(made, decoded_as="" if tried.pix_fmt == made.pix_fmt else tried.pix_fmt),
            extradata_sha256=tried.extradata_sha256,
            seconds_per_frame=tried.seconds_per_frame,
            ladder=(*said, f"{rung.encoder}: chosen"),
        )
    raise EncodeError(f"no encoder for {codec} at {picture.width}x{picture.height} works here: {'; '.join(said)}")


def _unfit(
    rung: Rung, codec: str, picture: Picture, crf: int | None, preset: str | None, without: Collection[str]
) -> str | None:
    if rung.encoder in without:
        return "failed at this video before"
    if svt.hangs(rung.encoder, picture.width, picture.height):
        return "never ends at such a shape"
    said = any(each.says_hdr for each in ladders.rungs(codec, picture.pix_fmt))
    if picture.mastering and said and not rung.says_hdr:
        return "writes no HDR metadata"
    return ladders.unfit(rung, crf, preset)


def encoding(
    codec: str, encoder: str, picture: Picture, *, crf: int | None, preset: str | None, threads: int
) -> Encoding:
    """Give the settings of an encoder, which follow from what is asked and not from the machine.

    `decoded_as` is left out: that is found by trying. Raises EncodeError where the codec's ladder has no such encoder,
    or it cannot do what is asked.
    """
    rung = ladders.rung(codec, encoder, picture.pix_fmt)
    if reason := ladders.unfit(rung, crf, preset):
        raise EncodeError(f"{encoder}: {reason}")
    return Encoding(
        codec=codec,
        rung=encoder,
        pix_fmt=picture.pix_fmt,
        options=(*_asked(rung, crf, preset), *_filled(rung.settings, threads, picture.mastering)),
        threads=threads,
    )


def _asked(rung: Rung, crf: int | None, preset: str | None) -> Settings:
    quality, presets = rung.quality, rung.presets
    of_quality = ((quality.option, str(quality.default if crf is None else crf)),) if quality else ()
    return (*of_quality, *(((presets.option, preset or presets.default),) if presets else ()))


def _filled(settings: Settings, threads: int, mastering: Mastering | None) -> Settings:
    values = {
        "threads": threads,
        "frame_threads": max(1, min(4, threads // 2)),
        "level": min(6, 1 + (threads - 1).bit_length()),
        "x265_hdr": hdr.x265_params(mastering),
        "svt_hdr": hdr.svt_params(mastering),
    }
    return tuple((name, value.format_map(values)) for name, value in settings)


def extradata_sha256(stream: VideoStream) -> str:
    """Give the SHA-256 of a stream's extradata (the decoder's settings), in hex."""
    return hashlib.sha256(stream.codec_context.extradata or b"").hexdigest()


def pix_fmt_of(stream: VideoStream) -> str:
    """Give the pixel format that a stream decodes as."""
    # FFmpeg names full range twice: in the range, and in the old yuvj formats that its decoders still give.
    return (stream.pix_fmt or "").replace("yuvj", "yuv")


@dataclass(frozen=True, kw_only=True)
class _Tried:
    extradata_sha256: str
    pix_fmt: str
    seconds_per_frame: float


def trial(encoding: Encoding, picture: Picture) -> str:
    """Prove an encoder by encoding a few frames and give the SHA-256 of the extradata; raises EncodeError."""
    return _tried(encoding, picture).extradata_sha256


def _tried(encoding: Encoding, picture: Picture) -> _Tried:
    with TemporaryDirectory(prefix="uprez-trial-") as folder:
        path = Path(folder) / "trial.mkv"
        with Encoder(path, encoding, picture) as encoder:
            encoder.write(_trial_frame(picture, 0))
            began = time.monotonic()  # opening an encoder is no part of a frame
            for number in range(1, _TRIAL_FRAMES):
                encoder.write(_trial_frame(picture, number))
        took_s = time.monotonic() - began
        with opened(path.as_uri()) as container:
            stream = container.streams.video[0]
            got = sum(1 for packet in container.demux(stream) if packet.size)
            if got != _TRIAL_FRAMES:
                raise EncodeError(f"{got} of {_TRIAL_FRAMES} trial frames came back")
            return _Tried(
                extradata_sha256=extradata_sha256(stream),
                pix_fmt=pix_fmt_of(stream),
                seconds_per_frame=took_s / (_TRIAL_FRAMES - 1),
            )


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
    number over `picture.rate`: assembly replaces them. Raises EncodeError, or StoreError where the disk takes no more.
    """

    def __init__(self, path: Path, encoding: Encoding, picture: Picture) -> None:
        self._path = path
        self._encoding = encoding
        self._picture = picture
        self._tags = tags_for(picture.colour, picture.source_rate or picture.rate)
        self._count = 0
        try:
            self._container = av.open(f"file:{path}", "w", format="matroska")
        except FFmpegError as error:
            raise self._unwritten(error) from error
        try:
            self._stream = self._add_stream()
            with svt.tamed():
                self._container.start_encoding()
        except (FFmpegError, UnknownCodecError, ValueError) as error:
            self._discard()
            raise self._unwritten(error) from error

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
        context.colorspace, context.color_primaries = self._tags.matrix, self._tags.primaries
        context.color_trc, context.color_range = self._tags.transfer, self._tags.colour_range
        return stream

    def write(self, frame: Frame) -> None:
        """Encode the next frame; its own pts is not used."""
        self._mux(self._encoded(self._to_ffmpeg(frame)))
        self._count += 1

    def close(self) -> None:
        """Take the last packets out of the encoder and finish the file."""
        try:
            self._mux(self._encoded(None))
            self._finish()
        except UprezError:
            self._discard()
            raise

    def _encoded(self, frame: VideoFrame | None) -> list[Packet[VideoStream]]:
        try:
            return self._stream.encode(frame)
        except FFmpegError as error:
            raise self._failed(error) from error

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        try:
            self._container.mux(packets)
        except FFmpegError as error:
            raise self._unwritten(error) from error

    def _finish(self) -> None:
        try:
            self._container.close()
        except FFmpegError as error:
            raise self._unwritten(error) from error

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
        self._tag(picture)
        return picture

    def _tag(self, picture: VideoFrame) -> None:
        # ProRes has its colour from its frames; the others from the stream.
        picture.colorspace, picture.color_primaries = self._tags.matrix, self._tags.primaries
        picture.color_trc, picture.color_range = self._tags.transfer, self._tags.colour_range
        picture.pts = self._count
        picture.time_base = 1 / self._picture.rate

    def _failed(self, error: Exception) -> EncodeError:
        reason = error.strerror if isinstance(error, FFmpegError) else error
        return EncodeError(f"{self._encoding.rung} at {self._picture.width}x{self._picture.height} fails: {reason}")

    def _unwritten(self, error: Exception) -> UprezError:
        if isinstance(error, FFmpegError) and error.errno in DISK:
            return StoreError(f"{self._path.name} cannot be written: {error.strerror}", hint="is the disk full?")
        return self._failed(error)
