"""How the clips of the media matrix are made: what a row may say, ffmpeg's options, and what ffmpeg has none for."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

Touch = Callable[[Path], None]
"""Finishes a clip in its folder, where ffmpeg has no option for it."""


class Tags(NamedTuple):
    """Colour tags by ffprobe's names; an empty `location` is not looked at."""

    space: str
    primaries: str
    transfer: str
    range: str = "tv"
    location: str = "left"


BT709 = Tags("bt709", "bt709", "bt709")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One clip, and what is expected of its result."""

    name: str
    make: tuple[str, ...]
    """Arguments of ffmpeg, one command each, run in the clip's folder."""
    touch: Touch | None = None
    file: str = ""
    """The clip; "": what the last command makes."""
    intact: str = ""
    """The file whose pictures and times are expected, where that is not the source itself."""
    pix_fmt: str = "yuv420p"
    """Of the result."""
    tags: Tags = BT709
    size: tuple[int, int] = (160, 120)
    sar: str = "1:1"
    frames: int = 25
    read_as: str = ""
    """Pixel format to decode the source as, where it is not its own; never one that changes code values."""
    hard: bool = False
    """Its chroma has hard edges: it is measured against FFmpeg's conversion, not against a bound."""
    peak: int = 1
    """8-bit steps by which the largest error of hard chroma may be above FFmpeg's."""
    turn: str = ""
    """FFmpeg's filter that makes the source upright ("null": it is): compared at 4:4:4."""
    deinterlaced: bool = False
    """Compared with FFmpeg's bwdif."""
    rgb: bool = False
    """Compared as RGB."""
    spoilt: range = range(0)
    """Frames whose pictures are not compared."""
    joint: Fraction | None = None
    """Seconds from the last frame before a jump of the clock to the next, where the source has one."""
    later: Fraction = Fraction(0)
    """Seconds by which all of the result may be later: Matroska has no times below 0, where the sound begins."""
    sound: bool = False
    lossless: bool = True
    """False: the pictures are not compared."""
    hdr: bool = False
    """The result has the source's mastering display and light levels."""
    said: str = ""
    """What the run must mention, in small letters."""
    flags: tuple[str, ...] = ("--codec", "ffv1")
    """Of `uprez enhance`, beside the model and the scale."""
    note: str = ""

    @property
    def source(self) -> str:
        """Name the clip's file."""
        return self.file or self.make[-1].rsplit(maxsplit=1)[-1]


# --- how clips are made

X264 = "-c:v libx264 -preset veryfast -qp 0"
"""Lossless, so without B-frames."""
B_FRAMES = "-c:v libx264 -preset veryfast -crf 1 -bf 3 -b_strategy 0 -x264-params b-pyramid=strict:keyint=12:scenecut=0"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:lossless=1"
TEN_FRAMES = f"{X264} -g 10 -bf 0"
FFV1 = "-c:v ffv1"
EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"

SMPTE170M = Tags("smpte170m", "smpte170m", "smpte170m")
BT470BG = Tags("bt470bg", "bt470bg", "smpte170m")
"""Also what untagged video of 601's size at a multiple of 25 frames a second gets."""
BT2020 = Tags("bt2020nc", "bt2020", "bt2020-10")
PQ = Tags("bt2020nc", "bt2020", "smpte2084", location="topleft")
HLG = Tags("bt2020nc", "bt2020", "arib-std-b67", location="topleft")
JPEG = Tags("bt470bg", "bt470bg", "smpte170m", "pc", "center")
NO_CHROMA = BT709._replace(location="")
"""BT.709 where chroma has no place to state."""
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def tagged(tags: Tags) -> str:
    """Give the options by which ffmpeg writes tags."""
    tagging = f"-colorspace {tags.space} -color_primaries {tags.primaries} -color_trc {tags.transfer}"
    location = f" -chroma_sample_location {tags.location}" if tags.location else ""
    return f"{tagging} -color_range {tags.range}{location}"


def full(tags: Tags) -> Tags:
    """Give the same tags with full range."""
    return tags._replace(range="pc")


def seen(
    pix_fmt: str,
    *,
    matrix: str = "bt709",
    span: str = "tv",
    rate: str = "25",
    size: str = "160x120",
    hard: bool = False,
    source: str = "testsrc2",
    more: str = "",
) -> str:
    """Give the input and the filter of a clip whose colours lie inside the matrix's range.

    `more` is a filter to put after it.
    """
    width, height = size.split("x")
    colours = f"format=gbrp,scale={width}:{height}:{EXACT}:out_color_matrix={matrix}:out_range={span},setsar=1"
    blur = "" if hard else ",gblur=sigma=5:planes=6"
    after = f",{more}" if more else ""
    return f"-f lavfi -i {source}=size={size}:rate={rate} -vf '{colours},format={pix_fmt}{blur}{after}' -frames:v 25"


SOFT = seen("yuv420p")
SOUND = (
    "-f lavfi -i testsrc2=size=160x120:rate=25 -f lavfi -i sine=sample_rate=48000 -map 0:v -map 1:a"
    " -pix_fmt yuv420p -c:a aac"
)
"""A picture with sound, to be ended by -t."""
SOFT_40 = SOFT.replace("-frames:v 25", "-frames:v 40")
FIELDS = seen("yuv420p", rate="50", more="tinterlace=mode=interleave_top")
FIELDS_422_10 = FIELDS.replace("yuv420p", "yuv422p10le")
FIELDS_BELOW = seen("yuv420p", rate="60000/1001", more="tinterlace=mode=interleave_bottom")
FIELD_FLAGS = "-flags +ildct+ilme"
T709 = tagged(BT709)
HDR10 = f"{X265}:hdr10=1:max-cll=1000,400:master-display={MASTERING}"
TURN = "-i plain.mp4 -c copy -metadata:s:v rotate="
VP9 = "-c:v libvpx-vp9 -lossless 1 -deadline realtime -cpu-used 8"
BWDIF = (
    "Compared with bwdif=mode=send_frame of Debian's ffmpeg, also where segments join; not the first frame, though: of "
    "one with none before it, versions of bwdif make different pictures."
)
PEAK = (
    "The largest error may be 3 steps above FFmpeg's instead of 1: the kernel of its bicubic (0.6) is a little sharper "
    "than Catmull-Rom's (0.5)."
)
RGB = "RGB becomes 4:4:4, BT.709, limited range: as RGB within 2 code values, which is what rounding YUV makes of it."
UPRIGHT = "Upright without a display matrix; compared at 4:4:4, to which FFmpeg brings both sides."


# --- what ffmpeg has no option for

TS_HEADER = 4


def join(folder: Path) -> None:
    """Put a.ts and b.ts into one file, byte by byte."""
    (folder / "source.ts").write_bytes((folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes())


def damage(folder: Path, *, suffix: str, packet: int, lost: bool = False) -> None:
    """Turn over bits in the middle of one packet of the picture, or lose some: intact.* becomes source.*."""
    intact = folder / f"intact{suffix}"
    command = ("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_packets", "-of", "json", str(intact))
    entry = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packets"][packet]
    at, size = int(entry["pos"]), int(entry["size"])
    content = bytearray(intact.read_bytes())
    if suffix == ".ts":
        units = _picture_units(content, at, at + size)
        middle = units[len(units) // 3 : len(units) * 2 // 3]
    else:
        middle = [range(at + size // 3, at + size // 2)]
    for unit in reversed(middle):
        if lost:
            del content[unit.start - TS_HEADER : unit.stop]
        else:
            content[unit.start : unit.stop] = bytes(byte ^ 0x5A for byte in content[unit.start : unit.stop])
    (folder / f"source{suffix}").write_bytes(content)


def _picture_units(content: bytearray, start: int, end: int) -> list[range]:
    """List what the packets of 188 bytes hold that only carry a part of the picture: no headers, no stuffing."""
    pid = content[start + 1] & 0x1F, content[start + 2]
    return [
        range(unit + TS_HEADER, unit + 188)
        for unit in range(start + 188, end - 188, 188)
        if (content[unit + 1] & 0x1F, content[unit + 2]) == pid  # of the same stream
        and not content[unit + 1] & 0x40  # not the first of a frame
        and content[unit + 3] & 0x30 == 0x10  # nothing but payload
    ]


def place(folder: Path, *, matrix: tuple[int, int, int, int], across: int = 0, down: int = 0) -> None:
    """Write another display matrix (a b c d: x' = a x + c y + across, y' = b x + d y + down) into plain.mp4."""
    content = bytearray((folder / "plain.mp4").read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (number << 16 for number in matrix)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, across << 16, down << 16, 1 << 30)
    (folder / "source.mp4").write_bytes(content)


def colour(name: str, pix_fmt: str, matrix: str, tags: Tags, codec: str = X264) -> tuple[Case, Case]:
    """Give a soft and a hard clip of one matrix, range and depth."""
    rest = f"{codec} {tagged(tags)} source.mp4"
    soft, hard = (seen(pix_fmt, matrix=matrix, span=tags.range, hard=hard) for hard in (False, True))
    return (
        Case(name=name, make=(f"{soft} {rest}",), pix_fmt=pix_fmt, tags=tags),
        Case(name=f"{name}-hard", make=(f"{hard} {rest}",), pix_fmt=pix_fmt, tags=tags, hard=True, peak=3, note=PEAK),
    )


def stored(
    name: str,
    pix_fmt: str,
    tags: Tags = BT709,
    codec: str = f"{FFV1} source.mkv",
    *,
    becomes: str = "",
    note: str = "",
) -> Case:
    """Give a soft clip of one way to store samples."""
    make = f"{seen(pix_fmt)} {tagged(tags)} {codec}"
    return Case(name=name, make=(make,), pix_fmt=becomes or pix_fmt, tags=tags, note=note)


def rgb(name: str, codec: str, *, pix_fmt: str = "yuv444p", read_as: str = "gbrp", said: str = "") -> Case:
    """Give a clip of RGB."""
    make = f"-f lavfi -i testsrc2=size=160x120:rate=25 -frames:v 25 {codec}"
    return Case(
        name=name, make=(make,), pix_fmt=pix_fmt, read_as=read_as, tags=NO_CHROMA, rgb=True, said=said, note=RGB
    )


def rotated(
    name: str,
    rotate: int,
    turn: str,
    size: tuple[int, int],
    *,
    clip: str = SOFT,
    pix_fmt: str = "yuv420p",
    tags: Tags = BT709,
    sar: str = "1:1",
) -> Case:
    """Give a clip with a display matrix. The `rotate` of this ffmpeg (5.1) counts against the clock."""
    return Case(
        name=f"rotation-{name}",
        make=(f"{clip} {X264} {T709} plain.mp4", f"{TURN}{rotate} source.mp4"),
        size=size,
        pix_fmt=pix_fmt,
        tags=tags,
        sar=sar,
        turn=turn,
        note=UPRIGHT,
    )


def interlaced(name: str, make: str, pix_fmt: str = "yuv420p") -> Case:
    """Give a clip made of fields, to be taken through in segments of 10 frames."""
    return Case(
        name=f"interlaced-{name}",
        make=(make,),
        pix_fmt=pix_fmt,
        deinterlaced=True,
        spoilt=range(1),
        said="interlac",
        flags=("--codec", "ffv1", "--segment-frames", "10"),
        note=BWDIF,
    )


def damaged(name: str, suffix: str, packet: int, *, lost: bool = False) -> Case:
    """Give a clip of 40 frames in groups of 10, one packet of which is damaged."""
    first = packet // 10 * 10
    what = f"A part of frame {packet} is lost" if lost else f"Bits of frame {packet} are turned over"
    return Case(
        name=f"damaged-{name}",
        make=(f"{SOFT_40} {TEN_FRAMES} {T709} intact.{suffix}",),
        touch=partial(damage, suffix=f".{suffix}", packet=packet, lost=lost),
        file=f"source.{suffix}",
        intact=f"intact.{suffix}",
        frames=40,
        spoilt=range(first, first + 10),
        said="damaged",
        note=f"{what}: every frame at its time, the other groups of 10 frames exact.",
    )
