"""`uprez logs`: what machines said, from this computer's copies and from the place of results."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.errors import EXIT_FAILED, EXIT_OK, StoreError, UsageError, WorkerError

if TYPE_CHECKING:
    from uprez.fleet.ledger import Ledger
    from uprez.fleet.logs import Choice, Reader
    from uprez.fleet.rows import LeaseRow
    from uprez.report.console import Console

LOOK_S = 1.0
LOOK_FAR_S = 5.0
"""Where every look costs a request."""


def logs(
    what: Annotated[
        str | None,
        typer.Argument(help="A lease, a batch or a job (their first 4 digits do), or an input's name."),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the leases have ended.")] = False,
) -> None:
    """Show what machines said. Of one lease, or of all of a batch (default: the last one), in the order of time."""
    from uprez.cli import kept
    from uprez.fleet import logs as found  # for its weight
    from uprez.report.console import Console

    console = Console(stream=sys.stderr)
    with kept.opened() as (ledger, state_dir):
        if ledger is None:
            raise UsageError(kept.NEVER, hint="uprez run begins one")
        choice = found.choose(ledger, what)
        reader = found.Reader(folder=state_dir / "logs")
        shown = _show(ledger, state_dir, choice, reader, console)
        while follow and not _is_over(ledger, state_dir, choice, reader):
            time.sleep(LOOK_FAR_S if _is_far(reader) else LOOK_S)
            choice = _again(ledger, choice)
            shown = _show(ledger, state_dir, choice, reader, console) or shown
        shown = (_show(ledger, state_dir, choice, reader, console) if follow else False) or shown
    if shown:
        raise typer.Exit(EXIT_OK)
    _explain(choice, reader, console)
    raise typer.Exit(EXIT_FAILED)


def _show(ledger: Ledger, state_dir: Path, choice: Choice, reader: Reader, console: Console) -> bool:
    """Print what is new; says whether there was anything."""
    from uprez.report.console import printable

    _open_homes(ledger, state_dir, choice, reader)
    lines = reader.fresh(choice)
    for message in dict.fromkeys(reader.trouble):
        console.warn(message)
    reader.trouble.clear()
    several = len(choice.leases) > 1
    for lease, line in lines:
        typer.echo(printable(f"{lease} {line.stamp} {line.text}" if several else f"{line.stamp} {line.text}"))
    return bool(lines)


def _open_homes(ledger: Ledger, state_dir: Path, choice: Choice, reader: Reader) -> None:
    """Open the places of the batches that are new; one that cannot be opened hides no copy of this computer."""
    from uprez.cli import kept

    by_id = {row.id: row for row in ledger.batches()}
    for batch in {lease.batch for lease in choice.leases} - set(reader.homes):
        try:
            reader.homes[batch] = kept.homes(ledger, by_id[batch], state_dir)
        except (UsageError, StoreError) as error:
            reader.homes[batch] = ()
            reader.trouble.append(f"The place of batch {batch} was not looked at: {error.message}")


def _again(ledger: Ledger, choice: Choice) -> Choice:
    """Look at the leases as they are now."""
    from dataclasses import replace

    rows = ledger.leases(choice.batch) if choice.batch else [ledger.lease(row.id) for row in choice.leases]
    return replace(choice, leases=tuple(rows))


def _is_over(ledger: Ledger, state_dir: Path, choice: Choice, reader: Reader) -> bool:
    """Say whether nothing more is to come."""
    from uprez.fleet.locks import is_controlled

    locks = state_dir / "batches"
    if choice.batch and is_controlled(locks, choice.batch):
        return False
    rows = [ledger.lease(row.id) for row in choice.leases]
    return all(row.state == "gone" or _is_silent(row, locks, reader) for row in rows)


def _is_silent(row: LeaseRow, locks: Path, reader: Reader) -> bool:
    """Say of a lease without a controller whether its worker has left, or its time is over."""

    from uprez import status
    from uprez.fleet import labels
    from uprez.fleet.ledger import utc_now
    from uprez.fleet.locks import is_controlled
    from uprez.fleet.reaper import GRACE
    from uprez.store import keys

    if is_controlled(locks, row.batch):
        return False
    known = labels.parse(row.label)
    if known is None or utc_now() > known.deadline + GRACE:
        return True
    for home in reader.homes.get(row.batch, ()):
        try:
            data = home.state.read(keys.status(row.id))
            if data is not None and status.read(data).phase == "left":
                return True
        except (StoreError, WorkerError):
            continue
    return False


def _is_far(reader: Reader) -> bool:
    return any(home.remote for homes in reader.homes.values() for home in homes)


def _explain(choice: Choice, reader: Reader, console: Console) -> None:
    """Say where was looked."""
    if not choice.leases:
        console.warn(f"{choice.what} has no leases: nothing was started, or another run gave back what it left")
        console.line("HINT", "uprez history lists the batches")
        return
    from uprez.store import keys

    places = [str(reader.folder)]
    for row in choice.leases:
        places += [home.state_shown(keys.lease_prefix(row.id)) for home in reader.homes.get(row.batch, ())]
    console.warn(f"No line of {choice.what} is left in {', '.join(dict.fromkeys(places))}")
    console.line("HINT", "uprez clean removes logs with what else no run needs")
