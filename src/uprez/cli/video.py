"""What the verbs that look at videos share: how one is named, and how its times are told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from uprez.cli import flags as shared
from uprez.errors import UsageError

HELP = "A video: a path, s3://BUCKET/KEY, b2://BUCKET/KEY or a URL."
SECONDS = 3600.0
"""For which a signed address is made."""


def readable(file: str, config: Path | None) -> str:
    """Give the address at which a video can be read; raises UsageError for what is no place of one."""
    from uprez.config.layers import load  # for its weight
    from uprez.fleet import intake
    from uprez.store import find

    if "://" not in file or Path(file).exists():
        path = shared.sane(Path(file)) or Path()
        if not path.is_file():
            raise UsageError(f"{file} is not a file", hint="give a path, s3://BUCKET/KEY, b2://BUCKET/KEY or a URL")
        return path.resolve().as_uri()
    settings = load({"input": file, "market": "local", "mode": "upscale"}, config=config)
    if settings.input is None:
        raise UsageError(f"{file} is not a place of a video")
    store, (found,) = intake.one(settings, settings.input)
    return find.readable(found.source(), store, seconds=SECONDS)


def clock(seconds: Fraction) -> str:
    """Give a time in a video: 1:02:03.500."""
    whole = round(seconds * 1000)
    minutes, ms = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{ms / 1000:06.3f}"
