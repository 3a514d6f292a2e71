"""The nouns that the controller and the worker share: what a video is, what is asked of it, how it is cut.

Plain frozen dataclasses. They are checked where they enter (flags, JSON) by `uprez.wire` and trusted inside.
Times are integers in a stream's `time_base` (seconds per tick) or `Fraction` seconds; never floats.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal

PIXELS_VERSION = 1
"""Raised whenever uprez makes other pictures from the same input, options and weights: it is part of a job's id."""

Mode = Literal["upscale", "interp", "both"]
Strategy = Literal["interp-then-upscale", "upscale-then-interp"]
Precision = Literal["auto", "f32", "f16"]
Deinterlace = Literal["auto", "on", "off"]
StreamKind = Literal["video", "audio", "subtitle", "attachment", "data"]
Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]
Matrix = Literal["bt601", "bt709", "bt2020", "fcc", "smpte240m"]
Family = Literal["yuv", "gray", "rgb"]
FieldOrder = Literal["progressive", "top", "bottom", "unknown"]

LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
"""Kr and Kb by ITU-T H.273, table 4 (BT.2020 with non-constant luminance)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person asked of one video. `None` and "auto" stay as asked: a job's id does not depend on a machine."""

    mode: Mode = "upscale"
    scale: Fraction = Fraction(2)
    """Output side over input side, 1 to 4."""
    model: str = "realesr-animevideov3"
    """What makes pictures larger; means nothing to the mode "interp", as the scale does."""
    factor: Fraction | None = None
    """Output frames for each of the source's, above 1; of the modes that interpolate 2 where `target_fps` is None."""
    target_fps: Fraction | None = None
    """Constant frames a second of the result, made between the source's; excludes `factor`."""
    strategy: Strategy = "interp-then-upscale"
    """What the mode "both" does first."""
    precision: Precision = "auto"
    """How the models compute; "auto": f16 on GPUs, f32 on CPUs."""
    codec: str = "auto"
    container: str = "auto"
    """Suffix of the result; "auto": the one that loses nothing, see `media.mux.container_for`."""
    drop_unsupported: bool = False
    """Leave out what the wanted container cannot carry."""
    crf: int | None = None
    """Constant quality in the codec's own scale (lower is better); None: the codec's default."""
    encoder_preset: str | None = None
    """The encoder's own name for how much time it takes ("medium", "p5", "8"; ProRes: its profile)."""
    pix_fmt: str = "auto"
    """The result's pixel format by FFmpeg's name; "auto": the source's depth, see `media.encode.pix_fmt`."""
    deinterlace: Deinterlace = "auto"
    cfr: Fraction | None = None
    """Constant frames a second of the result, by repeating frames and leaving some out; None: each at its own time."""
    start: Fraction = Fraction(0)
    """Seconds after the video's first frame."""
    duration: Fraction | None = None
    """Seconds of the source to process; None: to the end."""

    @property
    def upscales(self) -> bool:
        """Pictures become larger, or go through a model of that kind."""
        return self.mode != "interp"

    @property
    def interpolates(self) -> bool:
        """Frames are made between the source's."""
        return self.mode != "upscale"

    @property
    def interpolates_last(self) -> bool:
        """Frames are made between pictures that are larger already."""
        return self.mode == "both" and self.strategy == "upscale-then-interp"


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How samples are stored and become light. The three tags are H.273 numbers as the source states them (2: none)."""

    matrix: Matrix
    """The matrix to compute with: the source's, or what the rule for untagged video says; of RGB, its result's."""
    full_range: bool
    siting: Siting
    """Where chroma samples lie among the luma samples, where there are fewer of them."""
    depth: int = 8
    """Bits per sample, 8 to 16."""
    family: Family = "yuv"
    across: int = 2
    """Luma samples for each chroma sample, horizontally: 1, 2 or 4."""
    down: int = 2
    """The same, vertically."""
    tag_matrix: int = 2
    tag_primaries: int = 2
    tag_transfer: int = 2

    @property
    def chroma_at(self) -> tuple[float, float]:
        """Luma column and row on which the first chroma sample lies (H.273, figure 1)."""
        column, row = (self.across - 1) / 2, (self.down - 1) / 2
        low = {"topleft": 0.0, "top": 0.0, "bottomleft": 2 * row, "bottom": 2 * row}
        return 0.0 if self.siting in {"left", "topleft", "bottomleft"} else column, low.get(self.siting, row)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a stored picture is to be shown: mirrored left to right, if so, then turned clockwise."""

    quarters: int = 0
    """Quarter turns, 0 to 3."""
    mirrored: bool = False

    @property
    def lies(self) -> bool:
        """Width and height change places."""
        return self.quarters % 2 == 1


UPRIGHT = Turn()


@dataclass(frozen=True, kw_only=True)
class Mastering:
    """Static HDR metadata (SMPTE ST 2086, CTA-861.3): the display a film was graded on and how bright it gets."""

    red: tuple[Fraction, Fraction] | None = None
    """CIE 1931 x and y."""
    green: tuple[Fraction, Fraction] | None = None
    blue: tuple[Fraction, Fraction] | None = None
    white: tuple[Fraction, Fraction] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    """Of the display, smallest and largest, in cd/m2."""
    max_cll: int | None = None
    """Brightest pixel, in cd/m2."""
    max_fall: int | None = None
    """Brightest frame on average, in cd/m2."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A named part of a video, in seconds."""

    start: Fraction
    end: Fraction
    title: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream that is not the picture."""

    index: int
    kind: StreamKind
    codec: str
    language: str | None = None
    title: str | None = None
    dispositions: tuple[str, ...] = ()
    """FFmpeg's names ("default", "forced")."""
    start: Fraction | None = None
    """Seconds at which it begins, where the header says so."""
    channels: int | None = None
    """Of sound."""
    sample_rate: int | None = None
    """Of sound, in samples a second."""

    @property
    def cover(self) -> bool:
        """It is a picture that stands for the file, such as an album's cover."""
        return self.kind == "video" and not {"attached_pic", "timed_thumbnails"}.isdisjoint(self.dispositions)


@dataclass(frozen=True, kw_only=True)
class Video:
    """What a quick probe can say from headers alone; `duration` and `frames` may be estimates."""

    container: str
    """The demuxer's name, as FFmpeg has it ("mov,mp4,m4a,3gp,3g2,mj2")."""
    size: int
    """Bytes of the whole file."""
    stream: int
    """Index of the picture's stream."""
    codec: str
    width: int
    height: int
    pix_fmt: str
    sar: Fraction
    rate: Fraction | None
    """Average frames a second, as the container states it; for people and for rate control, never for time."""
    time_base: Fraction
    duration: Fraction | None
    """Seconds."""
    frames: int | None
    """As the container counts them, or duration times rate: see `frames_counted`."""
    colour: Colour
    others: tuple[Stream, ...] = ()
    frames_counted: bool = False
    """The container counts its frames; False: `frames` is an estimate."""
    start: Fraction | None = None
    """Seconds at which the picture begins, where the header says so."""
    turn: Turn = UPRIGHT
    field_order: FieldOrder = "progressive"
    """Which field of an interlaced video is shown first."""
    flagged: bool = False
    """Its frames say which of them are interlaced."""
    alpha: bool = False
    """It has an alpha plane, which is left out."""
    mastering: Mastering | None = None
    dynamic_hdr: tuple[str, ...] = ()
    """HDR metadata that changes from frame to frame ("HDR10+", "Dolby Vision"): it would not fit a result."""
    captions: bool = False
    """Closed captions (CEA-608, CEA-708) are inside its picture's packets."""
    title: str | None = None
    chapters: tuple[Chapter, ...] = ()

    def is_of(self, demuxer: str) -> bool:
        """Say whether it is in a container that this demuxer of FFmpeg's reads ("mov": MP4 and QuickTime)."""
        return demuxer in self.container.split(",")

    @property
    def interlaced(self) -> bool:
        """It is made of fields."""
        return self.field_order != "progressive"

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the picture as it is to be shown."""
        return (self.height, self.width) if self.turn.lies else (self.width, self.height)

    @property
    def shown_sar(self) -> Fraction:
        """Width over height of a sample as it is to be shown."""
        return 1 / self.sar if self.turn.lies else self.sar

    @property
    def audio(self) -> tuple[Stream, ...]:
        """The sound tracks, in file order."""
        return tuple(stream for stream in self.others if stream.kind == "audio")


@dataclass(frozen=True, kw_only=True)
class Index:
    """When each frame of the picture is shown: read from every packet, so it counts what is really there."""

    video: Video
    time_base: Fraction
    pts: tuple[int, ...]
    """Presentation times of all frames, ascending."""
    keyframes: tuple[int, ...]
    """Those of `pts` at which decoding can begin."""
    last_duration: int
    """Ticks for which the last frame is shown."""
    vfr: bool = False
    """The frames are not all shown equally long."""
    damaged: int = 0
    """Packets that the container gives as damaged, or whose time or head is."""
    breaks: int = 0
    """Times at which the stream's clock jumped; `pts` are those of a clock that goes on."""
    patched: int = 0
    """Packets whose time was wrong alone; `pts` has the one at which they are due."""

    @property
    def rarely_keyed(self) -> bool:
        """It has hardly a keyframe: to look at a place is to read all that comes before it."""
        return len(self.keyframes) * 600 < len(self.pts)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One encoder with all its settings: fixed for a whole job, because segments made with others do not join."""

    codec: str
    """The codec ("h264", "hevc")."""
    rung: str
    """The encoder, by FFmpeg's name ("h264_nvenc", "libx264")."""
    pix_fmt: str
    options: tuple[tuple[str, str], ...]
    """FFmpeg options, in order."""
    threads: int
    decoded_as: str = ""
    """The pixel format that a decoder gives back; empty: `pix_fmt`."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a machine found out by trying, before a plan is made for it."""

    family: str
    """Execution provider family that ran the model ("openvino", "cpu")."""
    provider: str
    precision: str
    device: str
    encoding: Encoding
    extradata_sha256: str
    """SHA-256 of the extradata of one GOP encoded with `encoding`."""
    seconds_per_frame: float
    """Of inference, measured on one frame of the video after a warm-up, or of encoding, where that takes longer; cuts
    are made by it."""
    ladder: tuple[str, ...] = ()
    """Every rung tried, with why it was passed over."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the first task of a job brings back: the index and what this machine can do with it."""

    index: Index
    preflight: Preflight


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A range of a job's output frames: the unit of checkpoint and dispatch."""

    number: int
    first: int
    """First frame, counted from the plan's first."""
    count: int


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """An earlier plan of a job whose encoder failed on its way, and what that cost."""

    plan: int
    rung: str
    reason: str
    frames: int
    """Finished frames that are made anew."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one job is made: everything that must be the same in every segment. Only the controller writes plans."""

    schema: int = 1
    number: int
    job: str
    options: Options
    first: int
    """Position in the index of the first frame to process."""
    count: int
    """Frames of the source to process."""
    width: int
    height: int
    """Output size in pixels."""
    container: str
    """Suffix of the result ("mp4", "mkv")."""
    preflight: Preflight
    segments: tuple[Segment, ...]
    given_up: tuple[GivenUp, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames of the result."""
        return sum(segment.count for segment in self.segments)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One stored object, exactly: what counts is read by these values and nothing else."""

    key: str
    size: int
    etag: str
    sha256: str
    version: str | None = None
    """The version's name, in a bucket that keeps versions."""
    packets: str = ""
    """Of a segment: SHA-256 of its packets' bytes, in file order. A result is made of just these."""
    delay: int = 0
    """Of a segment: by how many frames decoding runs ahead of showing."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an input is, and what tells it from every other."""

    url: str
    """file://, s3:// or http(s)://; never signed."""
    name: str
    """Path relative to what was searched, with forward slashes: for people and for the output's name."""
    size: int
    identity: str
    """Digest of what makes it this video and no other; the same on every run, from every machine."""
    etag: str | None = None
    """In a bucket or on a web server: changes when the object does; as a header has it, with its quotes."""
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One input video and the options that make one output."""

    id: str
    source: Source
    options: Options
    model_sha256: str


def job_id(source: Source, options: Options, model_sha256: str) -> str:
    """Name the work: the same input, options and weights give the same 16 hex digits on every run and machine.

    Options at their default are left out, so that a later version's new options do not rename finished work.
    """
    defaults = asdict(Options())
    facts = {
        "identity": source.identity,
        "options": {name: value for name, value in asdict(options).items() if value != defaults[name]},
        "model": model_sha256,
        "pixels": PIXELS_VERSION,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scaled(side: int, scale: Fraction, multiple: int = 2) -> int:
    """Give the output side for an input side: the nearest multiple of so many pixels, at least one of them."""
    return multiple * max(1, round(side * scale / multiple))
