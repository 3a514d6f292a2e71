"""Clips that tests make on the fly: moving pictures with a sine in as many tracks as asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.job import Index, Options, Plan, Preflight, Segment
from uprez.media import containers, decode, encode, probe, timeline


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What to make. Times in seconds; `audio` names encoders, one track each."""

    name: str = "clip.mp4"
    size: tuple[int, int] = (64, 48)
    frames: int = 30
    rate: Fraction = Fraction(25)
    times: Sequence[int] | None = None
    """Ticks of 1/(1000 * rate) at which frames are shown; None: at the rate."""
    start: Fraction = Fraction(0)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"bf": "3", "g": "10", "preset": "veryfast"})
    sar: Fraction = Fraction(1)
    tags: dict[str, int] = field(default_factory=dict)
    """Attributes of the codec context: colorspace, color_primaries, color_trc, color_range."""
    rotation: int = 0
    audio: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("eng", "deu", "fra")


MakeClip = Callable[..., Path]
Made = tuple[Index, Plan, list[Path]]


def luma(number: int, size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Give the luma plane of frame `number`: a ramp that moves, so that no two neighbours are equal."""
    ramp = np.arange(size[0])[None, :] * 2 + np.arange(size[1])[:, None] + 7 * number
    return (ramp % 200 + 16).astype(np.uint8)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Make a clip in the test's own folder from the fields of Clip."""

    def make(**fields: object) -> Path:
        clip = Clip(**fields)  # type: ignore[arg-type]
        path = tmp_path / clip.name
        _write(path, clip)
        return path

    return make


def _write(path: Path, clip: Clip) -> None:
    with av.open(f"file:{path}", "w") as container:
        picture = container.add_stream(clip.codec, rate=clip.rate, options=dict(clip.options))
        picture.width, picture.height = clip.size
        picture.pix_fmt = clip.pix_fmt
        picture.codec_context.time_base = 1 / (clip.rate * 1000)
        picture.codec_context.sample_aspect_ratio = clip.sar
        picture.codec_context.thread_count = 1
        for name, value in clip.tags.items():
            setattr(picture.codec_context, name, value)
        if clip.rotation:
            picture.set_display_rotation(clip.rotation)
        tracks = [_add_track(container, encoder, clip, number) for number, encoder in enumerate(clip.audio)]
        for number in range(clip.frames):
            container.mux(picture.encode(_frame(clip, number)))
        container.mux(picture.encode(None))
        for number, track in enumerate(tracks):
            _write_sine(container, track, clip, 220 * (number + 1))


def _add_track(container: av.container.OutputContainer, encoder: str, clip: Clip, number: int) -> av.AudioStream:
    track = container.add_stream(encoder, rate=48000)
    track.codec_context.layout = "mono"
    track.metadata["language"] = clip.languages[number]
    track.metadata["title"] = f"track {number}"
    return track


def _frame(clip: Clip, number: int) -> av.VideoFrame:
    frame = av.VideoFrame(*clip.size, "gray").from_ndarray(luma(number, clip.size), format="gray")
    frame = frame.reformat(format=clip.pix_fmt)
    at = clip.times[number] if clip.times is not None else number * 1000
    frame.pts = at + round(clip.start * clip.rate * 1000)
    frame.time_base = 1 / (clip.rate * 1000)
    return frame


def _write_sine(container: av.container.OutputContainer, track: av.AudioStream, clip: Clip, hertz: int) -> None:
    samples = round(48000 * clip.frames / clip.rate)
    wave = (np.sin(np.arange(samples) * 2 * np.pi * hertz / 48000) * 8000).astype(np.int16)
    for first in range(0, samples, 960):
        part = wave[None, first : first + 960]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
        container.mux(track.encode(_resampled(frame, track)))
    container.mux(track.encode(None))


def _resampled(frame: av.AudioFrame, track: av.AudioStream) -> av.AudioFrame:
    wanted = track.codec_context.format.name
    return av.AudioResampler(format=wanted, layout="mono", rate=48000).resample(frame)[0] if wanted != "s16" else frame


def colour(index: Index) -> encode.Picture:
    """Give the encoder's view of a source at its own size."""
    video = index.video
    return encode.Picture(
        width=video.width, height=video.height, sar=video.sar, rate=video.rate or Fraction(25), colour=video.colour
    )


@pytest.fixture
def make_segments(tmp_path: Path) -> Callable[..., Made]:
    """Encode a clip (or the cut that is asked for) into segments, frames unchanged: its index, plan and files."""

    def make(
        source: Path,
        *,
        codec: str = "h264",
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
        length: int = 12,
        container: str | None = None,
    ) -> Made:
        index = probe.index(source.as_uri())
        first, count = timeline.select(index, start, duration)
        picture = colour(index)
        choice = encode.choose(codec, picture, crf=None, threads=2)
        plan = _plan(index, choice, first=first, count=count, length=length, container=container)
        paths = [tmp_path / f"segment-{part.number}.mkv" for part in plan.segments]
        for path, part in zip(paths, plan.segments, strict=True):
            with encode.Encoder(path, choice.encoding, picture) as encoder:
                for frame in decode.frames(source.as_uri(), index, first + part.first, part.count, threads=2):
                    encoder.write(frame)
        return index, plan, paths

    return make


def _plan(index: Index, choice: encode.Choice, *, first: int, count: int, length: int, container: str | None) -> Plan:
    starts = range(0, count, length)
    return Plan(
        number=1,
        job="0" * 16,
        options=Options(scale=Fraction(1), codec=choice.encoding.codec),
        first=first,
        count=count,
        width=index.video.width,
        height=index.video.height,
        container=container or containers.container_for(index.video, choice.encoding.codec),
        preflight=Preflight(
            family="cpu",
            provider="CPUExecutionProvider",
            precision="f32",
            device="this machine",
            encoding=choice.encoding,
            extradata_sha256=choice.extradata_sha256,
            seconds_per_frame=1.0,
        ),
        segments=tuple(
            Segment(number=number, first=at, count=min(length, count - at)) for number, at in enumerate(starts)
        ),
    )
