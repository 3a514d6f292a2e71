"""`uprez status`: what is rented at this moment, and what it has cost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, BillingError

if TYPE_CHECKING:
    from uprez.fleet.inventory import Held

HEAD = "instance   state    lease     $/h    so far  whose"


@shared.with_settings(())
def status(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Show the machines that are rented now. Ends with code 6 when nobody looks after one of them."""
    from uprez.cli.places import each_place  # for its weight
    from uprez.fleet import inventory
    from uprez.report.console import Console, printable

    console = Console(stream=sys.stderr if as_json else None)
    found: list[Held] = []
    with each_place(flags, config, preset, console) as places:
        for market in places.markets:
            found += asyncio.run(inventory.take(market, places.ledger, places.locks))
        blind, unseen = places.blind(console), places.unseen
    if as_json:
        typer.echo(json.dumps({"schema": 1, "unseen": unseen, "machines": [_document(one) for one in found]}))
    elif found:
        typer.echo("\n".join([HEAD, *(printable(_line(one)) for one in found)]))
    elif not blind:
        console.ok("Nothing is rented here" if unseen else "Nothing is rented")
    if any(not one.wanted for one in found):
        console.warn("Nobody looks after some of these")
        console.line("HINT", "uprez reap gives them back")
        raise typer.Exit(BillingError.exit_code)
    raise typer.Exit(BillingError.exit_code if blind else EXIT_OK)


def _line(one: Held) -> str:
    row, state = one.row, one.instance.state if one.instance else "unknown"
    rate = row.rates.usd_per_hour if row else None
    return (
        f"{one.name[:9]:9}  {state:7}  {row.id if row else '-':8}  {'?' if rate is None else f'{rate:.3f}':5}"
        f"  {'?' if row is None else f'{one.cost_usd:.3f}':6}  {one.why}"
    )


def _document(one: Held) -> dict[str, object]:
    """Money is text: a number of JSON is not exact."""
    row = one.row
    return {
        "instance": one.instance.id if one.instance else row.instance if row else None,
        "state": one.instance.state if one.instance else None,
        "detail": one.instance.detail if one.instance else "",
        "lease": row.id if row else None,
        "market": row.place if row else None,
        "machine": row.machine if row else None,
        "usd_per_hour": f"{row.rates.usd_per_hour:.6f}" if row else None,
        "cost_usd": f"{one.cost_usd:.6f}" if row else None,
        "wanted": one.wanted,
        "whose": one.why,
    }
