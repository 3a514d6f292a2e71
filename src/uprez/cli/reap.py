"""`uprez reap`: give back every machine that nobody looks after any more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, BillingError, UsageError

if TYPE_CHECKING:
    from uprez.fleet.inventory import Held
    from uprez.fleet.ledger import Ledger
    from uprez.market.base import Market
    from uprez.report.console import Console


@shared.with_settings(())
def reap(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every machine with our label, also those that a run works on. Asks.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Destroy what dead runs of this computer left, and what is past its deadline, whoever rented it."""
    from uprez.cli.places import each_place  # for its weight
    from uprez.fleet import inventory
    from uprez.report.console import Console

    console, stuck, any_ = Console(), False, False
    with each_place(flags, config, preset, console) as places:
        ledger, locks = places.ledger, places.locks
        for market in places.markets:
            found = asyncio.run(inventory.take(market, ledger, locks))
            doomed = [one for one in found if everything or not one.wanted]
            any_ = any_ or bool(doomed)
            for one in doomed:
                console.info(f"{market.name}: {one.name} ({one.why})")
            if doomed and not dry_run and (not everything or yes or _agreed(len(doomed))):
                stuck = asyncio.run(_destroy(market, ledger, locks, console, doomed, everything=everything)) or stuck
        blind, unseen = places.blind(console), places.unseen
    if not any_ and not blind:
        console.ok("Nothing to give back here" if unseen else "Nothing to give back")
    if stuck or blind:
        raise typer.Exit(BillingError.exit_code)
    # Whoever asks for this by cron must hear that nobody could look.
    raise typer.Exit(UsageError.exit_code if unseen else EXIT_OK)


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("--all asks before it destroys, and nobody can answer here", hint="add --yes")
    return typer.confirm(f"Destroy {count} machine{'' if count == 1 else 's'}?")


async def _destroy(
    market: Market, ledger: Ledger, locks: Path, console: Console, doomed: list[Held], *, everything: bool
) -> bool:
    """End what is to go; says whether something stayed."""
    from uprez.fleet import lease as leases  # for their weight
    from uprez.fleet import reaper

    done = await reaper.reap(market, ledger, locks, console)
    last = await reaper.settle(market, ledger, console, done.unsettled)
    stuck = done.stuck + last.stuck
    for one in doomed if everything else ():
        if one.instance is None:
            continue
        try:
            if one.row is not None:
                row = replace(one.row, instance=one.instance.id)
                await leases.give_back(market, ledger, row, console, "reaped by hand")
            else:
                await market.destroy(one.instance.id)
                console.ok(f"Destroyed {one.instance.id}")
        except BillingError as error:
            stuck.append(error)
            console.error(error.message, error.hint)
    return bool(stuck)
