"""`uprez history`: the batches of this computer, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uprez.errors import EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path

    from uprez.fleet.batches import BatchRow
    from uprez.fleet.rows import LeaseRow

HEAD = "batch    began (UTC)          took done skip fail left machines    cost end"
STATES = ("done", "skipped", "failed", "unfinished", "detached")


def history(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """List the batches of this computer. The last one first: when, how long, jobs by state, machines, cost, exit."""
    from uprez.cli import kept
    from uprez.report.console import Console, printable

    with kept.opened() as (ledger, state_dir):
        rows = ledger.batches() if ledger else []
        leases = ledger.all_leases() if ledger else []
        found = [_document(row, leases, state_dir / "batches") for row in rows]
    if as_json:
        typer.echo(json.dumps({"schema": 1, "batches": found}))
    elif found:
        typer.echo("\n".join([HEAD, *(printable(_line(one)) for one in found)]))
    else:
        Console().ok(kept.NEVER.capitalize())
    raise typer.Exit(EXIT_OK)


def _document(row: BatchRow, leases: Sequence[LeaseRow], locks: Path) -> dict[str, Any]:
    """Money is text: a number of JSON is not exact."""
    from uprez.fleet import budget, controllers  # for their weight
    from uprez.fleet.ledger import utc_now

    held = controllers.holder(locks, row.id) if row.ended_at is None else None
    mine = [lease for lease in leases if lease.batch == row.id]
    end = row.ended_at or utc_now()
    cost = sum((budget.cost(lease, end) for lease in mine), Decimal(0))
    known = row.ended_at is not None or held is not None
    return {
        "batch": row.id,
        "continues": row.summary.continues or None,
        "output": row.home,
        "began_at": row.started_at.isoformat(timespec="seconds"),
        "ended_at": row.ended_at.isoformat(timespec="seconds") if row.ended_at else None,
        "seconds": round((end - row.started_at).total_seconds()) if known else None,
        "jobs": {state: sum(job.state == state for job in row.summary.jobs) for state in STATES},
        "machines": sum(lease.instance is not None for lease in mine),
        "cost_usd": f"{cost:.6f}",
        "state": "running" if held else "detached" if row.is_detached else "ended" if row.ended_at else "killed",
        "exit_code": row.exit_code,
    }


def _line(one: dict[str, Any]) -> str:
    jobs, seconds = one["jobs"], one["seconds"]
    took = "-" if seconds is None else f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    end = one["exit_code"] if one["state"] == "ended" else one["state"]
    left = jobs["unfinished"] + jobs["detached"]
    return (
        f"{one['batch']:8} {one['began_at'][:16].replace('T', ' ')} {took:>8} {jobs['done']:4} {jobs['skipped']:4}"
        f" {jobs['failed']:4} {left:4} {one['machines']:8} {Decimal(one['cost_usd']):7.3f} {end}"
    )
