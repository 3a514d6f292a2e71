"""The encoders of each codec, best first, and what each can be asked for. A table, and light to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uprez.errors import EncodeError, UsageError

GOP_FRAMES = 250
AUTO = ("h264", "hevc")
"""What the codec "auto" becomes, by the result's size and depth."""

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """An encoder's scale of constant quality: the lower the better."""

    option: str
    best: int
    worst: int
    default: int

    def __str__(self) -> str:
        return f"{self.best} (best) to {self.worst}"


@dataclass(frozen=True, kw_only=True)
class Presets:
    """What an encoder calls its choices between speed and size; ProRes: its profiles."""

    option: str
    names: tuple[str, ...]
    default: str

    def __str__(self) -> str:
        counted = all(name.removeprefix("p").isdigit() for name in self.names)
        return f"{self.names[0]} to {self.names[-1]}" if counted else ", ".join(self.names)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One encoder of a codec's ladder."""

    encoder: str
    """FFmpeg's name."""
    quality: Quality | None
    presets: Presets | None
    settings: Settings
    """The other options; {threads}, {frame_threads} and {level} stand for numbers, {x265_hdr} and {svt_hdr} for HDR
    metadata."""
    pix_fmts: tuple[str, ...] = ()
    """What it is for; empty: every format of the codec."""

    @property
    def on_gpu(self) -> bool:
        """It leaves the CPU to others."""
        return is_on_gpu(self.encoder)

    @property
    def says_hdr(self) -> bool:
        """Static HDR metadata is in what it writes."""
        return any("_hdr}" in value for _, value in self.settings)


_NAMED = (*("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"),)
_BY_NAME = Presets(option="preset", names=_NAMED, default="medium")
_OF_NVENC = Presets(option="preset", names=tuple(f"p{number}" for number in range(1, 8)), default="p5")
_OF_SVT = Presets(option="preset", names=tuple(str(number) for number in range(13)), default="6")
_HALF = Presets(option="profile", names=("proxy", "lt", "standard", "hq"), default="hq")
_WHOLE = Presets(option="profile", names=("4444", "4444xq"), default="4444")

_X264: Settings = (("flags", "+cgop"), ("g", str(GOP_FRAMES)))
_X265: Settings = (
    ("g", str(GOP_FRAMES)),
    # x265 takes no thread count from FFmpeg, writes to stderr by itself, and opens GOPs unless told not to.
    ("x265-params", "log-level=none:info=0:open-gop=0:pools={threads}:frame-threads={frame_threads}{x265_hdr}"),
)
# Nor does SVT-AV1, whose `lp` is a level of parallelism; what it writes is the same at each.
_SVT: Settings = (("g", str(GOP_FRAMES)), ("svtav1-params", "lp={level}{svt_hdr}"))
_NVENC: Settings = (("tune", "hq"), ("rc", "vbr"), ("b", "0"), ("forced-idr", "1"), ("g", str(GOP_FRAMES)))
_PRORES: Settings = (("vendor", "apl0"),)  # editors look for Apple's name
_FFV1: Settings = (("level", "3"), ("g", "1"), ("slices", "4"), ("slicecrc", "1"))


def _crf(best: int, worst: int, default: int) -> Quality:
    return Quality(option="crf", best=best, worst=worst, default=default)


def _cq(worst: int, default: int) -> Quality:
    return Quality(option="cq", best=1, worst=worst, default=default)  # 0 leaves the choice to NVENC


LADDERS: dict[str, tuple[Rung, ...]] = {
    "h264": (
        Rung(encoder="h264_nvenc", quality=_cq(51, 18), presets=_OF_NVENC, settings=_NVENC),
        Rung(encoder="libx264", quality=_crf(0, 51, 18), presets=_BY_NAME, settings=_X264),
    ),
    "hevc": (
        Rung(encoder="hevc_nvenc", quality=_cq(51, 20), presets=_OF_NVENC, settings=_NVENC),
        Rung(encoder="libx265", quality=_crf(0, 51, 20), presets=_BY_NAME, settings=_X265),
    ),
    # FFmpeg ignores a crf of 0. 22 at preset 6 has x265's size, likeness and speed at 20 and medium: 175 kB and
    # 50.96 dB in 1.1 s against 174 kB and 50.98 dB in 1.3 s (bikes.mp4, 48 frames doubled to 1280x544).
    # NVENC's 25 is HEVC's 20 on a scale of 63, and untried.
    "av1": (
        Rung(encoder="av1_nvenc", quality=_cq(63, 25), presets=_OF_NVENC, settings=_NVENC),
        Rung(encoder="libsvtav1", quality=_crf(1, 63, 22), presets=_OF_SVT, settings=_SVT),
    ),
    "prores": (
        Rung(encoder="prores_ks", quality=None, presets=_HALF, settings=_PRORES, pix_fmts=("yuv422p10le",)),
        Rung(encoder="prores_ks", quality=None, presets=_WHOLE, settings=_PRORES, pix_fmts=("yuv444p10le",)),
    ),
    "ffv1": (Rung(encoder="ffv1", quality=None, presets=None, settings=_FFV1),),
}

_OF_8 = ("yuv420p", "yuv422p", "yuv444p")
_OF_10 = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
_OF_12 = ("yuv420p12le", "yuv422p12le", "yuv444p12le")
_OF_16 = ("yuv420p16le", "yuv422p16le", "yuv444p16le")
PIX_FMTS: dict[str, tuple[str, ...]] = {
    "h264": (*_OF_8, *_OF_10),
    "hevc": (*_OF_8, *_OF_10, *_OF_12),
    "av1": ("yuv420p", "yuv420p10le"),
    "prores": ("yuv422p10le", "yuv444p10le"),
    "ffv1": (*_OF_8, *_OF_10, *_OF_12, "yuv440p", *_OF_16),
}
"""What a result of each codec may be stored as."""


def rungs(codec: str, pix_fmt: str | None = None) -> tuple[Rung, ...]:
    """Give a codec's ladder, or the part of it that is for a pixel format."""
    return tuple(rung for rung in LADDERS[codec] if pix_fmt is None or not rung.pix_fmts or pix_fmt in rung.pix_fmts)


def rung(codec: str, encoder: str, pix_fmt: str) -> Rung:
    """Find the rung of an encoder; raises EncodeError where the ladder has none."""
    for found in rungs(codec, pix_fmt):
        if found.encoder == encoder:
            return found
    raise EncodeError(f"{encoder} is no encoder of {codec} in {pix_fmt}")


def unfit(rung: Rung, crf: int | None, preset: str | None) -> str | None:
    """Say why a rung cannot do what is asked; None when it can."""
    if crf is not None and rung.quality is None:
        return "has no constant quality"
    if crf is not None and rung.quality and not rung.quality.best <= crf <= rung.quality.worst:
        return f"its quality goes from {rung.quality}"
    if preset is not None and (rung.presets is None or preset not in rung.presets.names):
        return f'knows no preset "{preset}" ({rung.presets})' if rung.presets else "knows no presets"
    return None


def check(codec: str, *, crf: int | None, preset: str | None, pix_fmt: str | None = None) -> None:
    """Refuse what no rung of a codec's ladder can do; the codec may be "auto". Raises UsageError, naming each rung."""
    _check_format(codec, pix_fmt)
    reasons = [(each, unfit(each, crf, preset)) for each in _candidates(codec, pix_fmt)]
    if all(reason for _, reason in reasons):
        asked = _asked(crf, preset)
        raise UsageError(
            f"no encoder for {codec} takes {asked}: {_listed(reasons)}", hint=f"leave out {asked}, or choose another"
        )


def is_on_gpu(encoder: str) -> bool:
    """Say whether an encoder, by FFmpeg's name, is one of a GPU."""
    return encoder.endswith("_nvenc")


def passes_gpu(codec: str, *, crf: int | None, preset: str | None) -> str | None:
    """Say why no encoder on a GPU can do what one on the CPU can; None where one can, or there is none."""
    reasons = [(each, unfit(each, crf, preset)) for each in _candidates(codec) if each.on_gpu]
    return _listed(reasons) if reasons and all(reason for _, reason in reasons) else None


def _check_format(codec: str, pix_fmt: str | None) -> None:
    known = dict.fromkeys(name for each in _codecs(codec) for name in PIX_FMTS[each])
    if pix_fmt is not None and pix_fmt not in known:
        raise UsageError(f"{codec} results cannot be stored as {pix_fmt}", hint=f"choose --pix-fmt {', '.join(known)}")


def _candidates(codec: str, pix_fmt: str | None = None) -> tuple[Rung, ...]:
    return tuple(each for name in _codecs(codec) for each in rungs(name, pix_fmt))


def _codecs(codec: str) -> tuple[str, ...]:
    return AUTO if codec == "auto" else (codec,)


def _asked(crf: int | None, preset: str | None) -> str:
    given = (("--crf", crf), ("--encoder-preset", preset))
    return " and ".join(f"{flag} {value}" for flag, value in given if value is not None)


def _listed(reasons: Sequence[tuple[Rung, str | None]]) -> str:
    return "; ".join(f"{each.encoder}: {reason}" for each, reason in reasons if reason)
