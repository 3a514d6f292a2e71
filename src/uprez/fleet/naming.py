"""What outputs are called: the input's name, what was asked of it, and the container's suffix. Pure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import PurePosixPath

from uprez.config.settings import Location, Settings
from uprez.errors import InputError
from uprez.job import Job, Options, Source
from uprez.media import timeline

SUFFIXES = ("mp4", "mkv", "mov")
"""Of results."""


def output_name(settings: Settings, source: Source, suffix: str) -> str:
    """Name an input's output, relative to the output folder or to the top of the bucket; raises InputError."""
    base = _base(settings.output_dir)
    if settings.name is not None:
        whole = settings.exact or PurePosixPath(settings.name).suffix == f".{suffix}"
        return base + (settings.name if whole else f"{settings.name}.{suffix}")
    name = f"{_stem(settings, source)}.{suffix}"
    if len(PurePosixPath(name).name.encode()) > 240:
        raise InputError(f"the output's name {name} would be too long", hint="give the input a shorter name")
    return base + name


def _base(where: Location) -> str:
    """What every output's name begins with."""
    prefix = where.key.strip("/") if where.bucket is not None else ""
    return f"{prefix}/" if prefix else ""


def _stem(settings: Settings, source: Source) -> str:
    path = PurePosixPath(source.name)
    return str(path.with_name(f"{path.stem}.{tag(settings.options)}"))


def tag(options: Options) -> str:
    """Say in a name what was asked: "x2", "60fps", "x4-60fps", "2xfps" (twice the frames)."""
    rate = timeline.rate_asked(options)
    sizes = [f"x{float(options.scale):g}"] if options.upscales else []
    if isinstance(rate, timeline.Constant):
        return "-".join([*sizes, f"{readable(rate.fps)}fps"])
    return "-".join([*sizes, *([f"{readable(rate.ratio)}xfps"] if options.interpolates else [])])


def readable(value: Fraction) -> str:
    """Write a rate or a factor as people say it: 59.94 for 60000/1001."""
    return f"{round(float(value), 3):.7g}"


def possible(settings: Settings, job: Job) -> list[str]:
    """List all names that the job's output may have, whatever its container turns out to be."""
    base = _base(settings.output_dir)
    if settings.name is not None and (settings.exact or PurePosixPath(settings.name).suffix[1:] in SUFFIXES):
        named = [PurePosixPath(settings.name)]
    else:
        stem = settings.name or _stem(settings, job.source)
        named = [PurePosixPath(f"{stem}.{suffix}") for suffix in SUFFIXES]
    other = [path.with_name(f"{path.stem}-{job.id[:6]}{path.suffix}") for path in named if not settings.exact]
    return [f"{base}{path}" for path in (*named, *other)]
