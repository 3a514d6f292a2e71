"""`uprez status`: which batches run, what is rented at this moment, and what it has cost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import BillingError

if TYPE_CHECKING:
    from uprez.fleet.inventory import Held
    from uprez.fleet.living import Living

BATCHES = "batch     pid      running   jobs      frames         machines  so far"
HEAD = "instance   state    lease     $/h    so far  whose"


@shared.with_settings(())
def status(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Show the batches that run and the machines that are rented now, and end what was detached and is done.

    Ends with code 6 when nobody looks after a machine, 1 when a detached batch has left something undone.
    """
    from uprez.cli import collecting  # for its weight
    from uprez.cli.places import each_place
    from uprez.fleet import inventory, living
    from uprez.report.console import Console, printable

    console = Console(stream=sys.stderr if as_json else None)
    found: list[Held] = []
    with each_place(flags, config, preset, console) as places:
        alone: list[dict[str, object]] = []
        code = collecting.collect(places, flags, console, told=alone)
        for market in places.markets:
            found += asyncio.run(inventory.take(market, places.ledger, places.locks))
        running = living.take(places.ledger, places.locks)
        blind, unseen = places.blind(console), places.unseen
    if as_json:
        batches, machines = [_batch_document(one) for one in running], [_document(one) for one in found]
        typer.echo(
            json.dumps({"schema": 1, "unseen": unseen, "batches": batches, "detached": alone, "machines": machines})
        )
    elif found or running:
        tables = ((BATCHES, [_batch_line(one) for one in running]), (HEAD, [_line(one) for one in found]))
        typer.echo("\n\n".join("\n".join([head, *map(printable, lines)]) for head, lines in tables if lines))
    elif not blind:
        console.ok("Nothing is rented here" if unseen else "Nothing is rented")
    if any(not one.wanted for one in found):
        console.warn("Nobody looks after some of these")
        console.line("HINT", "uprez reap gives them back")
        raise typer.Exit(BillingError.exit_code)
    raise typer.Exit(BillingError.exit_code if blind else code)


def _batch_line(one: Living) -> str:
    how, pid = one.controller.progress, one.controller.pid or "?"
    jobs = f"{how.done}/{how.jobs}" if how else "-"
    frames = f"{how.frames}/{'?' if how.total is None else how.total}" if how else "-"
    ran = f"{one.seconds // 3600}:{one.seconds // 60 % 60:02}:{one.seconds % 60:02}"
    failed = f"  {how.failed} failed" if how and how.failed else ""
    cost = f"{one.machines:<8}  {one.cost_usd:.3f}"
    return f"{one.batch:8}  {pid:<7}  {ran:8}  {jobs:8}  {frames:13}  {cost}{failed}"


def _batch_document(one: Living) -> dict[str, object]:
    how = one.controller.progress
    return {
        "batch": one.batch,
        "pid": one.controller.pid,
        "host": one.controller.host,
        "seconds": one.seconds,
        "progress": asdict(how) if how else None,
        "machines": one.machines,
        "cost_usd": f"{one.cost_usd:.6f}",
    }


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
