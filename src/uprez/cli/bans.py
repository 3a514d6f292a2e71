"""`uprez bans`: which machines are not rented for what earlier runs saw of them, and how to forgive them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from uprez.fleet.rows import Ban

HEAD = "machine     until              place                 why"
EVERY = "all"


@shared.with_settings(())
def bans(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    lift: Annotated[
        str | None, typer.Option(help="Forgive this machine, or all of them.", metavar="MACHINE|all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Show the machines that are not rented, each with the reason, its evidence and when that ends."""
    from uprez.config.layers import load  # these for their weight
    from uprez.fleet import bans as rules
    from uprez.fleet.ledger import Ledger
    from uprez.report.console import Console, printable

    settings = load({**flags, "market": "local"}, config=config, preset=preset)
    with closing(Ledger(settings.state_dir / "ledger.sqlite")) as ledger:
        if lift is not None:
            count = ledger.pardon(None if lift == EVERY else lift)
            if not count and lift != EVERY:
                raise UsageError(f"nothing is known against machine {lift}", hint="uprez bans shows which there are")
            Console().ok(f"Forgiven: {count} fault{'' if count == 1 else 's'}")
            raise typer.Exit(EXIT_OK)
        found = rules.everywhere(ledger.bans(), ledger.clock())
    if as_json:
        typer.echo(json.dumps({"schema": 1, "bans": [_document(ban) for ban in found]}))
    elif found:
        typer.echo("\n".join([HEAD, *(printable(line) for ban in found for line in _lines(ban))]))
    else:
        Console().ok("No machine is shunned")
    raise typer.Exit(EXIT_OK)


def _lines(ban: Ban) -> list[str]:
    line = f"{ban.machine[:10]:10}  {ban.until:%Y-%m-%d %H:%M}Z  {ban.place[:20]:20}  {ban.reason}"
    return [line, *([f"            evidence: {ban.evidence}"] if ban.evidence else [])]


def _document(ban: Ban) -> dict[str, object]:
    return {
        "machine": ban.machine,
        "place": ban.place,
        "batch": ban.batch,
        "reason": ban.reason,
        "evidence": ban.evidence,
        "banned_at": ban.banned_at.isoformat(),
        "until": ban.until.isoformat(),
    }
