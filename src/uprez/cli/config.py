"""`uprez config`: every setting that is set, and where it was set."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared

if TYPE_CHECKING:
    from uprez.config.document import Given

WIDTH = 80


@shared.with_settings()
def config(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object, by key.")] = False,
) -> None:
    """Show every setting and its origin, as `uprez run` would use them with these flags."""
    from uprez.config.layers import gather
    from uprez.report.console import Console, printable

    merged = gather(flags, config=config, preset=preset)
    shared.tell(merged.notes, Console(stream=sys.stderr).line)
    if as_json:
        found = {
            name: {"value": _shown(given), "layer": given.origin.layer, "place": given.origin.place}
            for name, given in sorted(merged.values.items())
        }
        typer.echo(json.dumps(found, indent=2))
        return
    for name, given in sorted(merged.values.items()):
        for line in _lines(name, given):
            typer.echo(printable(line))


def _lines(name: str, given: Given) -> list[str]:
    """Lay a setting out in columns, or below each other where they are too narrow."""
    where = _where(given)
    line = f"{name:28} {_shown(given):20} {where}"
    if len(line) <= WIDTH and len(_shown(given)) <= 20:
        return [line]
    return [name, *_indented(_shown(given)), *_indented(f"({where})")]


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=True)


def _where(given: Given) -> str:
    layer, place = given.origin.layer, given.origin.place
    if layer == "defaults":
        return layer
    return place if layer in ("flag", "environment") or layer in place else f"{layer}: {place}"


def _shown(given: Given) -> str:
    from uprez.config.locations import shown

    return shown(given.text)
