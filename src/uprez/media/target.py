"""What the result of a video will be: its codec, size, pixel format and colour. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from uprez.errors import EncodeError
from uprez.job import Colour, Options, Siting, Video, scaled
from uprez.media.colour import HDR_TRANSFERS, prores_colour, result_colour
from uprez.media.ladders import LADDERS, PIX_FMTS, rungs
from uprez.media.layouts import layout, planar

H264_MAX_SIDE = 4096
"""The largest side that H.264 decoders in hardware are built for; beyond it "auto" means HEVC."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A result's pictures."""

    codec: str
    width: int
    height: int
    """In pixels, as shown: a turned video becomes upright."""
    colour: Colour


def target(video: Video, options: Options) -> Target:
    """Decide what a video's result will be.

    Sides are the nearest that the pixel format allows: odd ones are for lossless results alone. Raises EncodeError for
    a codec that is not known or cannot be stored as asked, and for HDR in 8 bits, which would show bands.
    """
    shown = video.shown_size
    deep = _is_deep(video.colour, options.pix_fmt)
    codec = _codec(options.codec, max(side * options.scale for side in shown), deep=deep)
    colour = _colour(video.colour, codec, options)
    multiple = 1 if codec == "ffv1" else 2
    width, height = (scaled(side, options.scale, multiple) for side in shown)
    return Target(codec=codec, width=width, height=height, colour=colour)


def _is_deep(source: Colour, asked: str) -> bool:
    """Say whether a result will have more than 8 bits."""
    if asked == "auto":
        return source.depth > 8 or source.tag_transfer in HDR_TRANSFERS
    return asked.endswith("le")


def _codec(asked: str, side: Fraction, *, deep: bool) -> str:
    """Give the codec; "auto" is H.264 where every player takes it, and HEVC beyond."""
    if asked == "auto":
        return "hevc" if deep or side > H264_MAX_SIDE else "h264"
    if asked not in LADDERS:
        raise EncodeError(f'unknown codec "{asked}"', hint=f"choose auto, {', '.join(LADDERS)}")
    return asked


def _colour(source: Colour, codec: str, options: Options) -> Colour:
    name = _usual(source, codec, options.encoder_preset) if options.pix_fmt == "auto" else options.pix_fmt
    if name not in PIX_FMTS[codec]:
        raise EncodeError(
            f"{codec} results cannot be stored as {name}", hint=f"choose --pix-fmt auto, {', '.join(PIX_FMTS[codec])}"
        )
    if source.tag_transfer in HDR_TRANSFERS and layout(name).depth == 8:
        kind = HDR_TRANSFERS[source.tag_transfer]
        raise EncodeError(
            f"HDR video with {kind} transfer would show bands in 8 bits ({name})", hint="choose --pix-fmt yuv420p10le"
        )
    made = result_colour(source, name)
    return prores_colour(made) if codec == "prores" else replace(made, siting=_said(codec, made.siting))


_SAID: dict[str, dict[Siting, Siting]] = {
    "ffv1": {"bottomleft": "left", "bottom": "center"},
    "av1": {"bottomleft": "left", "bottom": "left", "center": "left", "top": "topleft"},
}
"""Chroma places that a codec's file does not tell from none said, and where chroma is moved to instead."""


def _said(codec: str, siting: Siting) -> Siting:
    return _SAID.get(codec, {}).get(siting, siting)


def _usual(source: Colour, codec: str, preset: str | None) -> str:
    """Keep what a lossless codec can; the others get 4:2:0, which players take, in 8 bits or, of deeper sources, 10."""
    if codec == "prores":
        return _of_profile(source, preset)
    if codec != "ffv1":
        return "yuv420p10le" if _is_deep(source, "auto") else "yuv420p"
    # FFmpeg's ffv1 loses a column of 4:1:1 where sides are no multiples of four; 4:2:2 holds it.
    across, down = {"yuv": (min(2, source.across), source.down), "gray": (2, 2), "rgb": (1, 1)}[source.family]
    least = 10 if source.tag_transfer in HDR_TRANSFERS else source.depth
    names = [planar("yuv", bits, across, down) for bits in (8, 10, 12, 16) if bits >= max(least, source.depth)]
    return next((name for name in names if name in PIX_FMTS[codec]), "yuv444p16le")


def _of_profile(source: Colour, profile: str | None) -> str:
    """Give what a profile of ProRes stores; without a known one, what keeps the source's chroma."""
    for rung in rungs("prores"):
        if rung.presets and profile in rung.presets.names:
            return rung.pix_fmts[0]
    whole = source.family != "gray" and source.across == source.down == 1
    return "yuv444p10le" if whole else "yuv422p10le"
