"""The files that tools/fuzz.py reads: small videos made here with PyAV, and what is done to their bytes."""

from __future__ import annotations

import base64
import json
import lzma
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np

KEPT = Path(__file__).resolve().parent.parent / "tests" / "data" / "fuzz-seeds.json"
HEADER = 2048
SIZE, RATE = (64, 48), Fraction(25)


# --- the small videos


@dataclass(frozen=True, kw_only=True)
class Base:
    """A small video before it is damaged."""

    name: str
    codec: str
    pix_fmt: str = "yuv420p"
    frames: int = 12
    options: Mapping[str, str] = field(default_factory=dict)
    muxing: Mapping[str, str] = field(default_factory=dict)
    sound: str | None = None
    rotation: int = 0
    extras: bool = False
    """With subtitles, an attachment and chapters."""


_X264 = {"bf": "3", "g": "6", "preset": "veryfast", "threads": "1", "mbtree": "0"}
"""x264's macroblock tree differs from run to run in pictures this small."""
_X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1:keyint=6:bframes=2"}
_HDR = (
    ":hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
_FIELDS = {**_X264, "flags": "+ilme+ildct", "x264-params": "tff=1"}
_LOSSLESS = {"level": "3", "slices": "4", "threads": "1"}

BASES = (
    Base(name="h264.mp4", codec="libx264", options=_X264, sound="aac"),
    Base(name="fragmented.mp4", codec="libx264", options=_X264, muxing={"movflags": "frag_keyframe+empty_moov"}),
    Base(name="turned.mov", codec="libx264", options=_X264, muxing={"movflags": "faststart"}, rotation=90),
    Base(name="h264.mkv", codec="libx264", options=_X264, sound="flac", extras=True),
    Base(name="hevc10.mkv", codec="libx265", pix_fmt="yuv420p10le", options=_X265),
    Base(
        name="hdr10.mp4",
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": _X265["x265-params"] + _HDR},
    ),
    Base(name="mpeg4.avi", codec="mpeg4", options={"bf": "2", "g": "6"}, sound="libmp3lame"),
    Base(name="h264.ts", codec="libx264", options=_X264, sound="aac"),
    Base(name="fields.ts", codec="libx264", options=_FIELDS),
    Base(name="mpeg2.vob", codec="mpeg2video", options={"bf": "2", "g": "6"}, sound="mp2"),
    Base(name="ffv1.mkv", codec="ffv1", pix_fmt="yuv422p", options=_LOSSLESS),
    Base(name="gray.mkv", codec="ffv1", pix_fmt="gray", options=_LOSSLESS),
    Base(name="deep.avi", codec="ffv1", pix_fmt="yuv444p12le", frames=6, options=_LOSSLESS),
    Base(name="vp9.webm", codec="libvpx-vp9", options={"g": "6", "deadline": "realtime"}, sound="libopus"),
    Base(name="vp8.ogg", codec="libvpx", options={"g": "6", "deadline": "realtime"}, sound="libopus"),
    Base(name="theora.ogg", codec="libtheora", sound="libvorbis"),
    Base(name="av1.mkv", codec="libsvtav1", options={"preset": "12", "g": "6", "svtav1-params": "lp=1"}),
    Base(name="sorenson.flv", codec="flv1", options={"g": "6"}, sound="libmp3lame"),
    Base(name="h264.flv", codec="libx264", options=_X264, sound="aac"),
    Base(name="wmv2.asf", codec="wmv2", options={"g": "6"}, sound="wmav2"),
    Base(name="raw.y4m", codec="rawvideo", frames=6),
    Base(name="prores.mov", codec="prores_ks", pix_fmt="yuva444p10le", frames=6),
    Base(name="mjpeg.mov", codec="mjpeg", pix_fmt="yuvj422p"),
    Base(name="png.mov", codec="png", pix_fmt="rgba"),
    Base(name="rle.mov", codec="qtrle", pix_fmt="rgb24", frames=6),
)
"""A row more, or in another place, changes what the seeds mean; those that are kept are kept as files."""


def make(folder: Path) -> dict[str, bytes]:
    """Make every base whose encoders PyAV has, and give their bytes by name."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    away = missing()
    return {base.name: make_one(folder / base.name, base) for base in BASES if base.name not in away}


def missing() -> list[str]:
    """Name the bases that cannot be made here."""
    return [base.name for base in BASES if not (_has(base.codec) and _has(base.sound))]


def _has(encoder: str | None) -> bool:
    try:
        return encoder is None or bool(av.Codec(encoder, "w"))
    except ValueError:
        return False


def make_one(path: Path, base: Base) -> bytes:
    """Make a base, in a file, and give its bytes."""
    with av.open(f"file:{path}", "w", container_options={"fflags": "+bitexact", **base.muxing}) as container:
        picture = cast("av.VideoStream", container.add_stream(base.codec, rate=RATE, options=dict(base.options)))
        picture.width, picture.height = SIZE
        picture.pix_fmt = base.pix_fmt
        picture.codec_context.thread_count = 1
        if base.rotation:
            picture.set_display_rotation(base.rotation)
        sound = _sound(container, base.sound) if base.sound else None
        if base.extras:
            _add_extras(container)
        for number in range(base.frames):
            container.mux(picture.encode(_picture(number, base.pix_fmt)))
        container.mux(picture.encode(None))
        if sound:
            _add_sine(container, sound, base.frames)
    if sys.platform == "linux":
        # As root, SVT-AV1 makes the thread that opens it real-time (SCHED_FIFO, 99). Children inherit that, and starve
        # whatever else runs.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path.read_bytes()


def _sound(container: av.container.OutputContainer, encoder: str) -> av.AudioStream:
    sound = cast("av.AudioStream", container.add_stream(encoder, rate=48000, layout="mono"))
    sound.bit_rate = 64000
    return sound


def _picture(number: int, pix_fmt: str) -> av.VideoFrame:
    across, down = np.arange(SIZE[0])[None, :, None], np.arange(SIZE[1])[:, None, None]
    colours = (across * 2 + down + 7 * number + np.array([0, 60, 120])) % 200 + 16
    frame = av.VideoFrame.from_ndarray(colours.astype(np.uint8), format="rgb24").reformat(format=pix_fmt)
    frame.pts, frame.time_base = number, 1 / RATE
    return frame


def _add_sine(container: av.container.OutputContainer, sound: av.AudioStream, frames: int) -> None:
    samples = round(48000 * frames / RATE)
    wave = (np.sin(np.arange(samples) * 2 * np.pi * 440 / 48000) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    # Cut into what the encoder takes at a time.
    fitting = av.AudioResampler(sound.codec_context.format, "mono", 48000, sound.codec_context.frame_size or 1024)
    for part in (*fitting.resample(frame), *fitting.resample(None)):
        container.mux(sound.encode(part))
    container.mux(sound.encode(None))


def _add_extras(container: av.container.OutputContainer) -> None:
    second = Fraction(1, 1000)
    titles = container.add_mux_stream("subrip")
    titles.time_base = second
    titles.metadata["language"] = "deu"
    container.add_attachment("font.ttf", "font/ttf", bytes(range(256)))
    parts = enumerate(((0, 200, "one"), (200, 480, "two")))
    container.set_chapters(
        [
            {"id": number, "start": start, "end": end, "time_base": second, "metadata": {"title": title}}
            for number, (start, end, title) in parts
        ]
    )
    container.start_encoding()
    line = av.Packet(b"Hello there")
    line.stream, line.time_base, line.pts, line.dts, line.duration = titles, second, 80, 80, 300
    container.mux(line)


# --- what is done to their bytes

Bytes = bytearray
Edit = Callable[[Bytes, int, random.Random, bytes], str]
"""Changes the bytes at a place, with a second video's at hand, and says what it did."""


def _flip(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    count = chance.choice((1, 1, 2, 8, 32))
    for _number in range(count):
        data[min(len(data) - 1, at + chance.randrange(64))] ^= 1 << chance.randrange(8)
    return f"{count} bits flipped"


def _overwrite(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    length = min(chance.choice((1, 2, 4, 16, 64, 512)), len(data) - at)
    how = chance.choice(("00", "ff", "random"))
    data[at : at + length] = chance.randbytes(length) if how == "random" else bytes.fromhex(how) * length
    return f"{length} bytes made {how}"


def _extreme(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    value = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000))
    order: Literal["big", "little"] = chance.choice(("big", "little"))
    data[at : at + 4] = value.to_bytes(4, order)
    return f"made {value:#x}, {order}-endian"


def _truncate(data: Bytes, at: int, _: random.Random, __: bytes) -> str:
    del data[at:]
    return "cut off"


def _delete(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    length = chance.choice((1, 4, 32, 188, 1000))
    del data[at : at + length]
    return f"{length} bytes deleted"


def _duplicate(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    length = chance.choice((1, 4, 32, 188, 1000))
    data[at:at] = data[at : at + length]
    return f"{length} bytes doubled"


def _swap(data: Bytes, at: int, chance: random.Random, _: bytes) -> str:
    other = chance.randrange(len(data))
    length = min(chance.choice((4, 32, 188, 1000)), abs(at - other), len(data) - max(at, other))
    data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    return f"{length} bytes swapped with those at {other}"


def _splice(data: Bytes, at: int, chance: random.Random, other: bytes) -> str:
    start = chance.randrange(len(other))
    if chance.random() < 0.5:
        data[at:] = other[start:]
        return f"followed by another's end, from {start}"
    length = chance.choice((16, 188, 1000, 4000))
    data[at : at + length] = other[start : start + length]
    return f"{length} bytes made another's, from {start}"


EDITS: tuple[Edit, ...] = (_flip, _overwrite, _extreme, _extreme, _truncate, _delete, _duplicate, _swap, _splice)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file to read."""

    seed: int
    base: str
    edits: tuple[str, ...]
    data: bytes

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"seed-{self.seed}{Path(self.base).suffix}"

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"seed {self.seed} ({self.base}: {', '.join(self.edits)})"


def damaged(seed: int, bases: Mapping[str, bytes]) -> Case | None:
    """Make a seed's file, the same on every run; None where its base cannot be made here."""
    chance = random.Random(seed)  # noqa: S311  places, not secrets
    base, other = chance.choice(BASES).name, chance.choice(BASES).name
    if base not in bases:
        return None
    data, words = bytearray(bases[base]), list[str]()
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        if data:
            at = _place(data, chance)
            words.append(f"at {at} {chance.choice(EDITS)(data, at, chance, bases.get(other) or bases[base])}")
    return Case(seed=seed, base=base, edits=tuple(words), data=bytes(data))


def _place(data: Bytes, chance: random.Random) -> int:
    """Choose where: half of the time in the header, which is the front or the moov box."""
    if chance.random() < 0.5:
        return chance.randrange(len(data))
    moov = data.find(b"moov") - 4
    if moov >= 0 and chance.random() < 0.5:
        length = int.from_bytes(data[moov : moov + 4], "big")
        return chance.randrange(moov, max(moov + 8, min(moov + length, len(data))))
    return chance.randrange(min(HEADER, len(data)))


def kept() -> Iterator[Case]:
    """Give the files that once failed."""
    for entry in json.loads(KEPT.read_text()) if KEPT.exists() else ():
        data = lzma.decompress(base64.b64decode(entry["file"]))
        yield Case(seed=entry["seed"], base=entry["base"], edits=(f"kept: {entry['why']}",), data=data)


def keep(case: Case, why: str) -> None:
    """Keep a file that failed, whole: other encoders would make another of its seed."""
    old = json.loads(KEPT.read_text()) if KEPT.exists() else []
    file = base64.b64encode(lzma.compress(case.data, preset=9)).decode()
    new = {"seed": case.seed, "base": case.base, "why": why, "edits": list(case.edits), "file": file}
    KEPT.write_text(json.dumps([*(entry for entry in old if entry["seed"] != case.seed), new], indent=1) + "\n")
