"""`uprez resume`: go on with what is left of a batch, with the options it had."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from uprez.fleet.batches import BatchRow
    from uprez.fleet.ledger import Ledger
    from uprez.report.console import Console

FLAGS = (
    *shared.GROUPS["Market and limits"],
    *shared.GROUPS["Rented machines"],
    *("input", "max_files", "dry_run", "download", "endpoint", "region", "webhook_url"),
)
"""What may be said anew: where and for how much, not what is made."""


@shared.with_settings(FLAGS)
def resume(
    batch: Annotated[
        str | None, typer.Argument(help="Its number or the first 4 digits (default: the last with work left).")
    ] = None,
    *,
    flags: Mapping[str, object],
    as_json: shared.Json = False,
    verbose: shared.Verbose = False,
) -> None:
    """Go on with what is left of a batch. Its options are those that it had; flags given now count before them."""
    from uprez.cli import kept
    from uprez.fleet import batches, controllers  # for their weight
    from uprez.report.console import Console

    console = Console(as_json=as_json, verbose=verbose, beside=True)
    with kept.opened() as (ledger, state_dir):
        rows = ledger.batches() if ledger else []
        row = batches.find(rows, batch) if batch is not None else batches.last_left(rows)
        if ledger is None or row is None:
            console.ok("Nothing is left of any batch" if rows else kept.NEVER.capitalize())
            raise typer.Exit(EXIT_OK)
        with controllers.continuing(state_dir / "batches", row.id):
            raise typer.Exit(_go_on(ledger, row, flags, console))


def _go_on(ledger: Ledger, row: BatchRow, flags: Mapping[str, object], console: Console) -> int:
    from uprez import batch
    from uprez.cli import kept
    from uprez.fleet import batches

    if row.is_detached:
        raise UsageError(f"batch {row.id} works without a controller", hint="uprez status collects what it has made")
    rows = ledger.batches()  # as they are now that it is held
    row = batches.find(rows, row.id)
    left = batches.left(row, rows)
    if not left and row.summary.jobs:
        console.ok(f"Nothing is left of batch {row.id}: its jobs are done")
        return EXIT_OK
    settings = kept.settings(ledger, row, flags)
    if settings.max_files is not None and flags.get("max_files") is None:
        settings = replace(settings, max_files=max(1, sum(bool(job.job) for job in left)))
    settings = replace(settings, redone=batches.finished(row, rows))
    shared.tell(settings.notes, console.line)
    console.ok(f"Going on with batch {row.id}: {len(left)} of {len(row.summary.jobs)} jobs are left")
    return asyncio.run(batch.run(settings, console, continues=row.id))
