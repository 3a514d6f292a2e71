"""What the media matrix looks at: a source and its result through FFmpeg's own tools and NumPy, nothing of uprez.

Pictures are compared as code values, decoded by ffmpeg with every frame at its own time and none rotated:

- luma: at most 1 away in 8 bits, 2 in more;
- chroma of soft clips: 99 of 100 samples at most 2 away (2 of 1023 in 10 bits, the same share beyond);
- chroma of hard clips: neither the 99th percentile nor, unless the row allows it, the largest error is more than one
  8-bit step above those of FFmpeg's own accurate conversion there and back: swscale with accurate_rnd,
  full_chroma_int, full_chroma_inp and bicubic, through float RGB (gbrpf32le), the most accurate of what it offers: by
  16 bits (gbrp16le) even smooth pictures come back an eighth of a code off on average, by float exactly;
- RGB: each of R, G and B at most 2 away (4:4:4 code values, rounded, are up to 1.64 off as RGB).

Times are compared as fractions: a result's pts is the source's to the nearest tick of the result's container, which is
1 ms in Matroska, so at most half of one away.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matrix_clips import EXACT, Case, Tags
from matrix_colours import LUMA_WEIGHTS

Planes = list[NDArray[np.int64]]
"""One array a plane: frames, rows, columns."""

MASTERING = "Mastering display metadata"
LIGHT = "Content light level metadata"
REORDERED = 6
"""Packets among which the first and the last shown are looked for."""
_PIX_FMT = re.compile(r"(?P<family>yuvj?|yuva|gray|gbra?)(?P<chroma>4\d\d)?p?(?P<depth>\d+)?(le)?")
_SHARE = {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), None: (1, 1)}
_PLACES = {"left": (0, 128), "center": (128, 128), "topleft": (0, 0), "": (0, 128)}
"""Where swscale puts the first chroma sample, in 256ths of a luma sample."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What ffprobe says of a file's picture."""

    width: int
    height: int
    pix_fmt: str
    tags: Tags
    sar: str
    turned: bool
    """It has a display matrix."""
    interlaced: bool
    time_base: Fraction
    counted: int
    """By -count_frames."""
    pts: tuple[Fraction, ...]
    """Seconds of each frame, in order of showing."""
    hdr: tuple[tuple[str, tuple[tuple[str, Fraction], ...]], ...]
    """Static HDR metadata of the first frame."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """How far one picture is from another, in code values."""

    luma: int
    chroma: float
    """99th percentile."""
    chroma_max: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one result."""

    frames: int = 0
    pts_error: Fraction = Fraction(0)
    """The largest, in seconds."""
    errors: Errors | None = None
    ffmpeg: Errors | None = None
    """Of FFmpeg's own conversion there and back."""
    complaints: tuple[str, ...] = ()

    def blamed(self, *complaints: str) -> Verdict:
        """Give the same with more complaints."""
        return replace(self, complaints=(*self.complaints, *complaints))


def judge(case: Case, folder: Path, result: Path) -> Verdict:
    """Compare a result with the clip in `folder` and give all that is wrong with it."""
    source, got = look(folder / (case.intact or case.source)), look(result)
    times = continued(source.pts, case.joint) if case.joint else source.pts
    begin = _begin(folder / case.source)
    times = tuple(at - begin for at in times)
    found = [*frames(case, got, len(times)), *shape(case, got), *tags(case, got.tags)]
    verdict = Verdict(frames=len(got.pts))
    if len(got.pts) == len(times):
        found += pts(case, times, got)
        verdict = replace(verdict, pts_error=max(map(abs, differences(times, got.pts)), default=Fraction(0)))
        if case.lossless and (got.width, got.height, got.pix_fmt) == (*case.size, case.pix_fmt):
            errors, ffmpeg = pictures(case, source, folder / (case.intact or case.source), result)
            verdict = replace(verdict, errors=errors, ffmpeg=ffmpeg)
            found += bounds(case, errors, ffmpeg)
    if case.hdr and (got.hdr != source.hdr or len(got.hdr) != 2):
        found.append(f"HDR metadata {got.hdr}, the source has {source.hdr}")
    if case.sound:
        found += sound(folder / case.source, result)
    return verdict.blamed(*found)


# --- the checks: each gives what is wrong, in words


def frames(case: Case, got: Seen, due: int) -> list[str]:
    """Check that no frame is lost or added: against the source and the row."""
    wanted = {"the source": due, "the row": case.frames or due}
    counts = {"shows": len(got.pts), "counts": got.counted}
    return [
        f"ffprobe {how} {count} frames, {who} has {number}"
        for how, count in counts.items()
        for who, number in wanted.items()
        if count != number
    ]


def pts(case: Case, times: Sequence[Fraction], got: Seen) -> list[str]:
    """Check that each frame is shown at its source's time, to the nearest tick; where allowed, all of them later."""
    late, most = Fraction(0), got.time_base / 2
    if case.later and got.pts:
        late, most = got.pts[0] - times[0], got.time_base  # two roundings
        if not -most <= late <= case.later + most:
            return [f"all is {float(late) * 1000:.1f} ms later, {float(case.later) * 1000:.1f} ms allowed"]
    wrong = [number for number, off in enumerate(differences(times, got.pts)) if abs(off - late) > most]
    if not wrong:
        return []
    at, due = float(got.pts[wrong[0]]), float(times[wrong[0]] + late)
    return [f"{len(wrong)} frames are not at their times: frame {wrong[0]} at {at:.6f} s, not {due:.6f} s"]


def differences(times: Sequence[Fraction], got: Sequence[Fraction]) -> list[Fraction]:
    """Give how late each frame is."""
    return [at - due for due, at in zip(times, got, strict=True)]


def shape(case: Case, got: Seen) -> list[str]:
    """Check size, pixel format, sample aspect, and that neither a display matrix nor fields are left."""
    kept = "off" in case.flags
    pairs = (
        ("size", (got.width, got.height), case.size),
        ("pixel format", got.pix_fmt, case.pix_fmt),
        ("sample aspect", got.sar, case.sar),
        ("display matrix", got.turned, False),
        ("fields", got.interlaced and not kept, False),
    )
    return [f"{what} {is_} instead of {due}" for what, is_, due in pairs if is_ != due]


def tags(case: Case, got: Tags) -> list[str]:
    """Check the colour tags."""
    return [
        f"{name} {is_} instead of {due}"
        for name, is_, due in zip(Tags._fields, got, case.tags, strict=True)
        if is_ != due and not (name == "location" and not due)
    ]


def bounds(case: Case, errors: Errors, ffmpeg: Errors | None) -> list[str]:
    """Check how far pictures may be off."""
    depth = layout(case.pix_fmt)[2]
    step = 1 << max(0, depth - 8)
    luma, chroma, chroma_max = (1 if depth == 8 else 2), float(2 << max(0, depth - 10)), 1 << depth
    if case.rgb:
        luma, chroma, chroma_max = 2, 2.0, 2
    elif case.read_as.startswith("gray"):
        chroma, chroma_max = 0.0, 0
    elif case.hard and ffmpeg:
        chroma, chroma_max = ffmpeg.chroma + step, ffmpeg.chroma_max + case.peak * step
    rows = (
        ("luma is", errors.luma, luma),
        ("99 of 100 chroma samples are", errors.chroma, chroma),
        ("chroma is", errors.chroma_max, chroma_max),
    )
    return [f"{what} up to {is_:g} off, {most:g} allowed" for what, is_, most in rows if is_ > most]


def sound(source: Path, result: Path) -> list[str]:
    """Check that no packet of the sound is lost and that it lies beside the picture as before, at both ends."""
    before, after = _heard(source), _heard(result)
    count = len(before.sound)
    if not count <= len(after.sound) <= count + before.unheard:
        more = f" and {before.unheard} that are not to be heard" if before.unheard else ""
        return [f"{len(after.sound)} packets of sound, the source has {count}{more}"]
    ends = (
        ("first", before.sound[0] - before.first, after.sound[-count] - after.first),
        ("last", before.sound[-1] - before.last, after.sound[-1] - after.last),
    )
    return [
        f"the sound's {end} packet comes {float(now) * 1000:.1f} ms after the picture's, not {float(was) * 1000:.1f} ms"
        for end, was, now in ends
        if abs(was - now) > Fraction(1, 1000)  # two times, each rounded to the nearest millisecond
    ]


# --- times


def continued(times: Sequence[Fraction], step: Fraction) -> tuple[Fraction, ...]:
    """Put a clock right that jumps: `step` after the last frame where it goes back 0.1 s or on 10 s."""
    result = list(times[:1])
    for before, after in pairwise(times):
        jumps = not -Fraction(1, 10) <= after - before <= 10
        result.append(result[-1] + (step if jumps else after - before))
    return tuple(result)


# --- pictures


def pictures(case: Case, source: Seen, path: Path, result: Path) -> tuple[Errors, Errors | None]:
    """Measure a result, and FFmpeg's own way there and back where the clip is hard or shown for comparison."""
    if case.turn:
        at_444 = _at_444(case.pix_fmt)
        due = decode(path, at_444, case.size, f"{_to_444(source.tags, source.pix_fmt, at_444)},{case.turn}")
        return measure(case, due, decode(result, at_444, case.size, _to_444(case.tags, case.pix_fmt, at_444))), None
    read_as, size = case.read_as or source.pix_fmt, case.size
    fields = "bwdif=mode=send_frame:deint=all" if case.deinterlaced else ""
    due, got = decode(path, read_as, size, fields), decode(result, case.pix_fmt, size)
    if case.rgb:
        return measure(case, [due[2], due[0], due[1]], in_rgb(got, case)), None
    if read_as.startswith("gray"):
        middle = np.full_like(got[1], 1 << (layout(case.pix_fmt)[2] - 1))
        return measure(case, [due[0], middle, middle], got), None
    deeper = layout(case.pix_fmt)[2] - layout(read_as)[2]
    errors = measure(case, [plane << deeper for plane in due], got)
    if case.deinterlaced or read_as.startswith("yuva"):
        return errors, None
    return errors, measure(case, due, decode(path, read_as, size, _there_and_back(case, read_as)))


def measure(case: Case, due: Planes, got: Planes) -> Errors:
    """Compare planes, those of RGB taken as luma and chroma alike."""
    numbers = [number for number in range(len(due[0])) if number not in case.spoilt]
    errors = [np.abs(a[numbers] - b[numbers]).ravel() for a, b in zip(due[:3], got[:3], strict=True)]
    chroma = np.concatenate(errors[1:])
    return Errors(
        luma=int(errors[0].max(initial=0)),
        chroma=float(np.percentile(chroma, 99)) if chroma.size else 0.0,
        chroma_max=int(chroma.max(initial=0)),
    )


def in_rgb(planes: Planes, case: Case) -> Planes:
    """Give R, G and B, of the same depth, of 4:4:4 code values of limited range."""
    depth = layout(case.pix_fmt)[2]
    kr, kb = (float(weight) for weight in LUMA_WEIGHTS[case.tags.space])
    unit, top = 1 << (depth - 8), (1 << depth) - 1
    luma = (planes[0] - 16 * unit) / (219 * unit)
    blue_off, red_off = ((plane - 128 * unit) / (224 * unit) for plane in planes[1:])
    red, blue = luma + 2 * (1 - kr) * red_off, luma + 2 * (1 - kb) * blue_off
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return [np.rint(np.clip(plane, 0, 1) * top).astype(np.int64) for plane in (red, green, blue)]


def layout(pix_fmt: str) -> tuple[int, tuple[int, int], int]:
    """Give the number of planes, luma samples for a chroma sample (across, down), and bits of a pixel format."""
    match = _PIX_FMT.fullmatch(pix_fmt)
    if match is None:
        raise ValueError(f"{pix_fmt} is not planar")
    planes = {"gray": 1, "yuva": 4, "gbra": 4}.get(match["family"], 3)
    return planes, _SHARE[match["chroma"]], int(match["depth"] or 8)


def _at_444(pix_fmt: str) -> str:
    return re.sub("4[0-4][0-4]", "444", pix_fmt)


def _places(tags: Tags, pix_fmt: str, side: str) -> str:
    """Give swscale's options for where chroma lies; only along an axis on which there is less of it."""
    across, down = layout(pix_fmt)[1]
    place = _PLACES.get(tags.location, _PLACES["left"])
    return (f":{side}_h_chr_pos={place[0]}" if across > 1 else "") + (
        f":{side}_v_chr_pos={place[1]}" if down > 1 else ""
    )


def _matrix(tags: Tags) -> str:
    names = {"bt2020nc": "bt2020", "bt470bg": "bt601", "smpte170m": "bt601"}
    return names.get(tags.space, tags.space)


def _to_444(tags: Tags, pix_fmt: str, at_444: str) -> str:
    return f"scale={EXACT}{_places(tags, pix_fmt, 'in')},format={at_444}"


def _there_and_back(case: Case, pix_fmt: str) -> str:
    matrix, span = _matrix(case.tags), case.tags.range
    return (
        f"scale={EXACT}:in_color_matrix={matrix}:in_range={span}{_places(case.tags, pix_fmt, 'in')},format=gbrpf32le,"
        f"scale={EXACT}:out_color_matrix={matrix}:out_range={span}{_places(case.tags, pix_fmt, 'out')},format={pix_fmt}"
    )


# --- FFmpeg's tools


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """When a file's packets come, in seconds."""

    sound: list[Fraction]
    unheard: int
    """Packets of the sound that are only decoded."""
    first: Fraction
    """Of the picture."""
    last: Fraction


def look(path: Path) -> Seen:
    """Ask ffprobe about the picture of a file, every frame decoded."""
    said = _ffprobe(
        path,
        *("-select_streams", "v:0", "-count_frames", "-show_streams", "-show_frames"),
        *("-show_entries", "frame=best_effort_timestamp,interlaced_frame,side_data_list"),
    )
    (stream,), shown = said["streams"], said["frames"]
    time_base = Fraction(stream["time_base"])
    return Seen(
        width=int(stream["width"]),
        height=int(stream["height"]),
        pix_fmt=str(stream["pix_fmt"]),
        tags=_tags(stream),
        sar=str(stream.get("sample_aspect_ratio", "1:1")),
        turned=any("rotation" in entry for entry in stream.get("side_data_list", ())),
        interlaced=any(int(frame["interlaced_frame"]) for frame in shown),
        time_base=time_base,
        counted=int(stream["nb_read_frames"]),
        pts=tuple(int(frame["best_effort_timestamp"]) * time_base for frame in shown),
        hdr=_hdr(shown[0]) if shown else (),
    )


def decode(path: Path, pix_fmt: str, size: tuple[int, int], filters: str = "") -> Planes:
    """Decode every frame, to pictures of this pixel format and size (width, height)."""
    command = ("ffmpeg", "-v", "error", "-noautorotate", "-i", str(path), "-map", "0:v:0")
    chain = ("-vf", filters) if filters else ()
    raw = ("-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-")
    made = subprocess.run((*command, *chain, *raw), check=True, capture_output=True).stdout
    count, (across, down), depth = layout(pix_fmt)
    whole, part = (size[1], size[0]), (-(-size[1] // down), -(-size[0] // across))
    shapes = [whole, part, part, whole][:count]
    samples = np.frombuffer(made, np.uint8 if depth == 8 else np.uint16)
    stacked = samples.reshape(-1, sum(rows * columns for rows, columns in shapes)).astype(np.int64)
    planes, at = [], 0
    for rows, columns in shapes:
        planes.append(stacked[:, at : at + rows * columns].reshape(-1, rows, columns))
        at += rows * columns
    return planes


def _tags(stream: dict[str, Any]) -> Tags:
    names = ("color_space", "color_primaries", "color_transfer", "color_range", "chroma_location")
    return Tags(*(str(stream.get(name, "none")) for name in names))


def _hdr(frame: dict[str, Any]) -> tuple[tuple[str, tuple[tuple[str, Fraction], ...]], ...]:
    kinds = [entry for entry in frame.get("side_data_list", ()) if entry["side_data_type"] in (MASTERING, LIGHT)]
    return tuple(
        (
            entry["side_data_type"],
            tuple((key, Fraction(text)) for key, text in entry.items() if key != "side_data_type"),
        )
        for entry in sorted(kinds, key=lambda entry: str(entry["side_data_type"]))
    )


def _heard(path: Path) -> _Heard:
    said = _ffprobe(path, "-show_packets", "-show_entries", "packet=codec_type,pts_time,flags")
    times: dict[tuple[str, bool], list[Fraction]] = {}
    for packet in said["packets"]:
        key = packet["codec_type"], "D" in packet["flags"]  # D: decoded, but neither shown nor heard
        times.setdefault(key, []).append(Fraction(packet["pts_time"]))
    shown = times["video", False]
    first, last = min(shown[:REORDERED]), max(shown[-REORDERED:])
    return _Heard(sound=times["audio", False], unheard=len(times.get(("audio", True), ())), first=first, last=last)


def _begin(path: Path) -> Fraction:
    """Give when the first stream of a transport or program stream begins, whose clock stands anywhere; else 0."""
    if path.suffix not in (".ts", ".vob"):
        return Fraction(0)
    return Fraction(_ffprobe(path, "-show_entries", "format=start_time")["format"]["start_time"])


def _ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    command = ("ffprobe", "-v", "error", *arguments, "-of", "json", str(path))
    said: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return said
