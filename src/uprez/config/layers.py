"""Where a setting comes from, low to high: defaults.yaml < flags."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import TypeAdapter

from uprez.config.environment import folders
from uprez.config.settings import Settings, Timing
from uprez.errors import UsageError
from uprez.job import Options

CODECS = ("auto", "h264", "hevc", "ffv1")
CONTAINERS = ("mp4", "mkv")
MODES = ("upscale", "interp", "both")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
"""No exponents: a Fraction of 1e999999999 would fill the memory."""
CRF_MOST = 51
"""Of h264 and hevc, and so of "auto"."""
SCALE_LEAST, SCALE_MOST = Fraction(1), Fraction(4)


def load(flags: Mapping[str, Any]) -> Settings:
    """Merge the flags that were given (None: not given) over the defaults, and check every value.

    Raises UsageError that names the value, the flag and the next step.
    """
    defaults = _defaults()
    video = defaults["video"]
    given = {name: value for name, value in flags.items() if value is not None}
    state_dir, cache_dir = folders()
    return Settings(
        options=_options({**video, **given}),
        input_dir=given.get("input_dir"),
        input=given.get("input"),
        output_dir=Path(given.get("output_dir", defaults["output_dir"])),
        name=_name(given.get("name")),
        exact=bool(given.get("exact", False)),
        state_prefix=given.get("state_prefix"),
        market=defaults["market"],
        segment_frames=_at_least("--segment-frames", given.get("segment_frames"), 1),
        dry_run=bool(given.get("dry_run", False)),
        state_dir=state_dir,
        cache_dir=cache_dir,
        local=TypeAdapter(Timing).validate_python(defaults["local"]),
    )


def parse_seconds(text: str, flag: str) -> Fraction:
    """Read "90", "1.5", "2:05" or "1:02:03.5" as seconds, exactly."""
    parts = text.strip().split(":")
    numbers = [Fraction(part) for part in parts if _NUMBER.fullmatch(part)]
    if len(numbers) != len(parts) or not 1 <= len(parts) <= 3:
        raise UsageError(
            f"{flag} {text!r} is not a time", hint="write seconds (1.5) or hours:minutes:seconds (1:02:03)"
        )
    return sum((number * 60**power for power, number in enumerate(reversed(numbers))), Fraction(0))


def one_of(value: str, choices: Iterable[str], flag: str) -> str:
    """Check a value against its choices; raises UsageError with the nearest one."""
    known = list(choices)
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1)
    raise UsageError(
        f"{flag} {value!r} is unknown" + (f": did you mean {near[0]!r}?" if near else ""),
        hint=f"known: {', '.join(known)}",
    )


def _defaults() -> dict[str, Any]:
    text = resources.files("uprez.config").joinpath("defaults.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _options(given: Mapping[str, Any]) -> Options:
    mode = one_of(given["mode"], MODES, "--mode")
    if mode != "upscale":
        raise UsageError(
            f"--mode {mode} needs interpolation (RIFE), which this version does not have yet",
            hint="use --mode upscale",
        )
    duration = given.get("duration")
    return Options(
        mode="upscale",
        scale=_scale(str(given["scale"])),
        model=str(given["model"]),
        codec=one_of(given["codec"], CODECS, "--codec"),
        container=_container(given.get("name")),
        crf=_crf(given.get("crf"), given["codec"]),
        start=parse_seconds(given.get("start", "0"), "--start"),
        duration=None if duration is None else _positive(parse_seconds(duration, "--duration"), "--duration"),
    )


def _scale(text: str) -> Fraction:
    scale = Fraction(text) if _NUMBER.fullmatch(text) else Fraction(0)
    if not SCALE_LEAST <= scale <= SCALE_MOST:
        raise UsageError(
            f"--scale {text} cannot be done", hint=f"a number from {SCALE_LEAST} to {SCALE_MOST}, such as 1.5"
        )
    return scale


def _crf(crf: int | None, codec: str) -> int | None:
    if crf is None:
        return None
    if codec == "ffv1":
        raise UsageError(f"--crf {crf} means nothing to ffv1, which is lossless", hint="leave out --crf, or --codec")
    if not 0 <= crf <= CRF_MOST:
        raise UsageError(f"--crf {crf} is out of range", hint=f"0 (best) to {CRF_MOST}; 18 to 24 is usual")
    return crf


def _positive(value: Fraction, flag: str) -> Fraction:
    if value <= 0:
        raise UsageError(f"{flag} {value} is nothing to process", hint="write more than 0 seconds, such as 1.5")
    return value


def _at_least(flag: str, value: int | None, least: int) -> int | None:
    if value is not None and value < least:
        raise UsageError(f"{flag} {value} is too small", hint=f"at least {least}")
    return value


def _container(name: str | None) -> str:
    """Read the container off the output's name, when that has one."""
    suffix = PurePosixPath(name or "").suffix.lower().removeprefix(".")
    if suffix in ("avi", "mov", "webm", "ts", "m4v", "wmv", "flv", "mpg", "mpeg"):
        raise UsageError(f"this version does not write .{suffix} files ({name})", hint="name it .mp4 or .mkv")
    return suffix if suffix in CONTAINERS else "auto"


def _name(name: str | None) -> str | None:
    if name is not None and (not name.strip() or name != Path(name).name or name in (".", "..")):
        raise UsageError(f"--name {name!r} is not a file name", hint="folders go to --output-dir")
    return name
