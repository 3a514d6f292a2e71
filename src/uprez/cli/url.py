"""`uprez url`: sign the download URL of a finished result again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from uprez.cli import durations, place
from uprez.cli import flags as shared
from uprez.errors import UsageError

LONGEST_S = 7 * 24 * 3600
"""What S3 allows."""


@shared.with_settings(place.FLAGS)
def url(
    job: Annotated[
        str | None, typer.Argument(help="A job's id or its first 4 digits, or an input's or output's name.")
    ] = None,
    *,
    flags: Mapping[str, object],
    valid: Annotated[str, typer.Option(help="How long the URL works: at most 7d.", metavar="TIME")] = "7d",
    list_all: Annotated[bool, typer.Option("--list", help="List all jobs instead: id, state, output.")] = False,
    preset: shared.Preset = None,
    config: shared.Config = None,
) -> None:
    """Print a new download URL of a result, alone on its line; of one in a folder, its file:// URL."""
    from uprez.fleet import lookup  # for its weight
    from uprez.report.console import printable

    if (job is None) != list_all:
        raise UsageError("name one job, or ask for --list", hint="uprez url JOB, uprez url --list")
    seconds = durations.seconds(valid, "--valid", least=1, most=LONGEST_S)
    home = place.home(place.settings(flags, config, preset))
    if job is not None:
        typer.echo(home.outputs.get_url(lookup.find(home, job).path, seconds=seconds))
        return
    entries = lookup.entries(home)
    for entry, state in zip(entries, lookup.states(home, entries), strict=True):
        name = home.shown(entry.output.path) if entry.output else entry.input or "-"
        typer.echo(printable(f"{entry.job} {state:10} {name}"))
