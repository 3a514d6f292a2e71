"""What `uprez status` does about detached batches: says how far each is; verifies and publishes what is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from uprez import batch
from uprez.cli import kept
from uprez.cli.places import Places
from uprez.config.settings import Settings
from uprez.errors import EXIT_OK, UprezError
from uprez.fleet import batches, detached
from uprez.fleet.rows import DetachedRow
from uprez.report.console import Console
from uprez.store.open import find_home


def collect(
    places: Places,
    flags: Mapping[str, object],
    console: Console,
    *,
    only: str | None = None,
    told: list[dict[str, object]] | None = None,
) -> int:
    """Look after every detached batch, or after one; gives the worst exit code, and what was `told` for programs."""
    worst = EXIT_OK
    for row in places.ledger.detached():
        if only not in (None, row.id):
            continue
        try:
            worst = max(worst, _collect(places, row, flags, console, told if told is not None else []))
        except UprezError as error:
            console.error(f"Batch {row.id}: {error.message}", error.hint)
            worst = max(worst, error.exit_code)
    return worst


def _collect(
    places: Places,
    row: DetachedRow,
    flags: Mapping[str, object],
    console: Console,
    told: list[dict[str, object]],
) -> int:
    batch_row = batches.find(places.ledger.batches(), row.id)
    with contextlib.chdir(Path.cwd()):  # it is left for the folder in which the batch ran, and come back to
        settings = kept.settings(places.ledger, batch_row, flags)
        leases: list[dict[str, object]] = []
        working = asyncio.run(_look(places, row, settings, console, leases))
        told.append({"batch": row.id, "jobs": len(row.jobs), "working": working or 0, "leases": leases})
        if working is not None:
            videos, machines = _count(len(row.jobs), "video"), _count(working, "machine")
            console.info(f"Batch {row.id}, detached: {videos} on {machines}")
            return EXIT_OK
        console.info(f"Batch {row.id}, detached: its machines are gone, what they made is verified")
        code = asyncio.run(batch.run(settings, console, collect=row))
    if code != EXIT_OK:
        console.line("HINT", f"uprez resume {row.id} does what is left")
    return code


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def _look(
    places: Places, row: DetachedRow, settings: Settings, console: Console, told: list[dict[str, object]]
) -> int | None:
    """Say how far each machine is, and give back what is over; gives the number that work, None when all are gone."""
    where = partial(find_home, settings.output_dir, settings.access)
    home = where(prefix=settings.state_prefix, state=settings.state_folder)
    working = 0
    for market in places.markets:
        remotes = await detached.look(market, places.ledger, home, row.id)
        for remote in remotes:
            console.info(f"Lease {remote.row.id} (instance {remote.row.instance}): {remote.text}")
            told.append({"lease": remote.row.id, "over": remote.over, "state": remote.text})
        await detached.end(market, places.ledger, home, console, remotes)
        working += sum(remote.over is None for remote in remotes)
    return working if detached.is_working(places.ledger, row.id) else None
