"""What the verbs share that look at the place of results: the flags that say where it is, and its settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from uprez.cli import flags as shared
from uprez.errors import UsageError

if TYPE_CHECKING:
    from uprez.config.settings import Location, Settings
    from uprez.store.open import Home

FLAGS = (
    *("output_dir", "input_dir", "input", "bucket", "endpoint", "region", "state_prefix"),
    *("config_url", "config_optional"),
)


def settings(flags: Mapping[str, object], config: Path | None, preset: str | None) -> Settings:
    """Read the settings as `uprez run` does; what it says of them goes to standard error.

    Nothing is rented and nothing is made, so neither a market nor a mode that is to come stands in the way.
    """
    from uprez.config.layers import load
    from uprez.report.console import Console

    found = load({**flags, "market": "local", "mode": "upscale"}, config=config, preset=preset)
    shared.tell(found.notes, Console(stream=sys.stderr).line)
    return found


def home(found: Settings) -> Home:
    """Open the place of results; raises UsageError where uprez has not worked."""
    from uprez.store.open import find_home

    place = find_home(found.output_dir, found.access, prefix=found.state_prefix)
    if place is None:
        raise UsageError(
            f"uprez has made nothing in {shown(found.output_dir)} so far",
            hint="name the place of the results: --output-dir, or the same --config as the run's",
        )
    return place


def shown(where: Location) -> str:
    """Name a place for people."""
    return str(where.folder.absolute()) if where.folder else f"s3://{where.bucket}/{where.key}"
