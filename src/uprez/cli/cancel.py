"""`uprez cancel`: end a batch, wherever on this computer it runs, and see its machines given back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import durations
from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, BillingError, UsageError

if TYPE_CHECKING:
    from uprez.cli.places import Places
    from uprez.fleet.batches import BatchRow
    from uprez.fleet.ledger import Ledger
    from uprez.fleet.locks import Controller
    from uprez.report.console import Console

LOOK_S = 0.2
SAY_S = 15.0
"""Between two lines that say that it is still at it."""


@shared.with_settings(())
def cancel(
    batch: Annotated[
        str | None, typer.Argument(help="Its number or the first 4 digits (default: the only one that runs).")
    ] = None,
    *,
    flags: Mapping[str, object],
    force: Annotated[
        bool, typer.Option("--force", help="Kill it if it has not ended by then, and give back what it had.")
    ] = False,
    after: Annotated[str, typer.Option(help="How long --force waits: 5m, 30s.", metavar="TIME")] = "5m",
    preset: shared.Preset = None,
    config: shared.Config = None,
) -> None:
    """Stop a batch and wait until all its machines are given back. What counts is kept: uprez resume goes on."""
    from uprez.cli import collecting  # for its weight
    from uprez.cli.places import each_place
    from uprez.fleet import controllers
    from uprez.report.console import Console

    console, patience_s = Console(), durations.seconds(after, "--after") if force else None
    with each_place(flags, config, preset, console) as places:
        row = _chosen(places.ledger, places.locks, batch)
        found = controllers.holder(places.locks, row.id) if row else None
        if row is not None and found is not None:
            _stop(places.locks, row.id, found, console, patience_s)
        elif row is not None and row.is_detached:
            console.info(f"Batch {row.id} was detached: its machines are given back")
        elif row is not None:
            console.ok(f"Nobody runs batch {row.id}")
        else:
            console.ok("No batch runs on this computer")
        stuck = _end_detached(places, row.id, console) if row is not None and row.is_detached else False
        stuck = _reap(places, console) or stuck
        blind = places.blind(console)
        if row is not None and row.is_detached and not stuck:
            collecting.collect(places, flags, console, only=row.id)
        if row is not None:
            _tell(places.ledger, row.id, console)
    raise typer.Exit(BillingError.exit_code if stuck or blind else EXIT_OK)


def _chosen(ledger: Ledger, locks: Path, text: str | None) -> BatchRow | None:
    """Give the batch that is named, or else the only one that runs."""
    from uprez.fleet import batches
    from uprez.fleet.locks import is_controlled

    rows = ledger.batches()
    if text is not None:
        row = batches.find(rows, text)
        heirs = (other for other in rows if other.summary.continues == row.id and is_controlled(locks, other.id))
        return next(heirs, row)
    living = [row for row in rows if row.ended_at is None and (row.is_detached or is_controlled(locks, row.id))]
    if len(living) > 1:
        raise UsageError(f"several batches run here: {', '.join(row.id for row in living)}", hint="name one")
    return living[0] if living else None


def _stop(locks: Path, batch: str, found: Controller, console: Console, patience_s: float | None) -> None:
    """Ask a controller to end, and wait until it has; kill it when the patience is over."""
    if not found.is_here:
        hint = f"uprez cancel {batch}, there" if found.host else f"fuser {locks / batch}.lock names it"
        raise UsageError(f"batch {batch} is run by {found.named}", hint=hint)
    # Not SIGINT: a run in a shell's background was started to ignore it.
    _signal(found, signal.SIGTERM)
    console.info(f"Asked batch {batch} ({found.named}) to stop: it gives its machines back")
    if _is_over(locks, batch, console, patience_s):
        return
    console.warn(f"Batch {batch} has not ended within {durations.words(patience_s or 0)}: killing {found.named}")
    _signal(found, signal.SIGKILL)
    _is_over(locks, batch, console, None)


def _is_over(locks: Path, batch: str, console: Console, patience_s: float | None) -> bool:
    """Wait until nobody holds a batch any more; says whether that has come."""
    from uprez.fleet.locks import is_controlled

    began = said = time.monotonic()
    while is_controlled(locks, batch):
        now = time.monotonic()
        if patience_s is not None and now - began > patience_s:
            return False
        if now - said > SAY_S:
            said = now
            console.info(f"Batch {batch} is still giving back ({now - began:.0f} s)")
        time.sleep(LOOK_S)
    return True


def _signal(found: Controller, number: signal.Signals) -> None:
    try:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            if found.pid is not None:
                os.kill(found.pid, number)
    except PermissionError as error:
        raise UsageError(f"{found.named} is another user's, and cannot be stopped from here") from error


def _end_detached(places: Places, batch: str, console: Console) -> bool:
    """Give back the machines that a batch was left to; says whether one may have stayed."""
    from dataclasses import replace

    from uprez.fleet import detached

    async def each() -> bool:
        stuck = False
        for market in places.markets:
            found = await detached.look(market, places.ledger, None, batch)  # its place may be out of reach
            doomed = [replace(one, over=one.over or "cancelled") for one in found]
            stuck = await detached.end(market, places.ledger, None, console, doomed) or stuck
        return stuck

    return asyncio.run(each())


def _reap(places: Places, console: Console) -> bool:
    """Give back what controllers that are gone left; says whether something stayed."""
    from uprez.fleet import reaper

    async def each() -> bool:
        stuck = False
        for market in places.markets:
            done = await reaper.reap(market, places.ledger, places.locks, console)
            last = await reaper.settle(market, places.ledger, console, done.unsettled)
            stuck = stuck or bool(done.stuck or last.stuck)
        return stuck

    return asyncio.run(each())


def _tell(ledger: Ledger, batch: str, console: Console) -> None:
    """Say how it ended."""
    from decimal import Decimal

    from uprez.fleet import batches, budget
    from uprez.fleet.ledger import utc_now

    rows = ledger.batches()
    row = batches.find(rows, batch)
    leases = ledger.leases(batch)
    open_ = [lease for lease in leases if lease.state != "gone"]
    for lease in open_:
        console.error(f"{lease.named} of lease {lease.id} was not seen gone", "uprez reap looks again")
    cost = sum((budget.cost(lease, row.ended_at or utc_now()) for lease in leases), Decimal(0))
    how = "its controller was killed" if row.exit_code is None else f"code {row.exit_code}"
    given = len(leases) - len(open_)
    console.ok(f"Batch {batch} is over ({how}): {given} of {len(leases)} machines given back, ${cost:.3f}")
    if row.is_saved and batches.left(row, rows):
        console.line("HINT", f"uprez resume {batch} goes on with what is left")
