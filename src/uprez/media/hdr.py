"""HDR metadata of a decoded frame: what its SEI messages or the container's side data said.

FFmpeg gives structures; their fields are at fixed places (libavutil/mastering_display_metadata.h).
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import cast

from av.video.frame import VideoFrame

from uprez.job import Mastering

_DISPLAY = struct.Struct("20i2i")
"""AVMasteringDisplayMetadata: 10 rationals (x and y of red, green, blue and white; dimmest, brightest), 2 flags."""
_LIGHT = struct.Struct("2I")
"""AVContentLightMetadata: MaxCLL, MaxFALL."""
_DYNAMIC = {
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
}


def mastering(frame: VideoFrame) -> Mastering | None:
    """Read the static metadata; None without any."""
    display, light = _side(frame, "MASTERING_DISPLAY_METADATA"), _side(frame, "CONTENT_LIGHT_LEVEL")
    if display is None and light is None:
        return None
    values: list[Fraction] = [Fraction(0)] * 10
    has_primaries = has_luminance = 0
    if display is not None and len(display) >= _DISPLAY.size:
        *numbers, has_primaries, has_luminance = _DISPLAY.unpack_from(display)
        values = [Fraction(top, bottom or 1) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)]
    max_cll, max_fall = _LIGHT.unpack_from(light) if light is not None and len(light) >= _LIGHT.size else (0, 0)
    points = [(values[at], values[at + 1]) if has_primaries else None for at in (0, 2, 4, 6)]
    return Mastering(
        red=points[0],
        green=points[1],
        blue=points[2],
        white=points[3],
        luminance=(values[8], values[9]) if has_luminance else None,
        max_cll=max_cll or None,
        max_fall=max_fall or None,
    )


def dynamic(frame: VideoFrame) -> tuple[str, ...]:
    """Name the kinds of metadata that change from frame to frame."""
    return tuple(dict.fromkeys(title for key, title in _DYNAMIC.items() if _side(frame, key) is not None))


def x265_params(facts: Mastering | None) -> str:
    """Say the static metadata in x265's words, each beginning with a colon; nothing without any."""
    if facts is None:
        return ""
    display = _display(facts, "{:.0f}", (50000, 10000))
    light = f":max-cll={facts.max_cll or 0},{facts.max_fall or 0}" if facts.max_cll or facts.max_fall else ""
    return (f":master-display={display}" if display else "") + light


def svt_params(facts: Mastering | None) -> str:
    """Say the static metadata in SVT-AV1's words, each beginning with a colon; nothing without any."""
    if facts is None:
        return ""
    display = _display(facts, "{:.5f}", (1, 1))
    light = f":content-light={facts.max_cll or 0},{facts.max_fall or 0}" if facts.max_cll or facts.max_fall else ""
    return (f":mastering-display={display}" if display else "") + light


def _display(facts: Mastering, form: str, units: tuple[int, int]) -> str:
    """Say the display that a film was graded on; `units`: in how many parts of 1 its places and its light are."""
    corners = {"G": facts.green, "B": facts.blue, "R": facts.red, "WP": facts.white}
    if not facts.luminance or not all(corners.values()):
        return ""
    pairs = {name: (point[0] * units[0], point[1] * units[0]) for name, point in corners.items() if point}
    dimmest, brightest = facts.luminance
    pairs["L"] = (brightest * units[1], dimmest * units[1])
    return "".join(f"{name}({form.format(float(x))},{form.format(float(y))})" for name, (x, y) in pairs.items())


def _side(frame: VideoFrame, name: str) -> bytes | None:
    found = frame.side_data.get(name)
    return None if found is None else bytes(cast("bytes", found))
