"""What outputs are called: the input's name, what was asked of it, and the container's suffix. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from uprez.config.settings import Location, Settings
from uprez.errors import InputError
from uprez.job import Job, Source

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
    tag = f"x{float(settings.options.scale):g}"
    if settings.options.cfr is not None:
        tag += f"-{round(float(settings.options.cfr), 3):g}fps"  # 59.94, as people say
    return str(path.with_name(f"{path.stem}.{tag}"))


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
