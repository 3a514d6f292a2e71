"""`uprez clean`: remove what no run needs any more, from the place of results and from this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import durations, place
from uprez.cli import flags as shared

if TYPE_CHECKING:
    from uprez.config.settings import Settings
    from uprez.fleet.cleaning import Leftover
    from uprez.fleet.rows import LeaseRow
    from uprez.report.console import Console
    from uprez.store.open import Home


@shared.with_settings(place.FLAGS)
def clean(
    *,
    flags: Mapping[str, object],
    older: Annotated[str, typer.Option(help="Leave alone what is younger: 7d, 12h, 30m.", metavar="TIME")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    preset: shared.Preset = None,
    config: shared.Config = None,
) -> None:
    """Remove checkpoints, leases and records that no run needs any more. Results and videos are never touched."""
    from uprez.fleet import cleaning, uploads  # for their weight
    from uprez.report.console import Console
    from uprez.store.open import find_home

    older_s = durations.seconds(older, "--older")
    settings, console = place.settings(flags, config, preset), Console()
    locks = settings.state_dir / "batches"
    removed: list[Leftover] = []
    with cleaning.ledger_of(settings.state_dir) as ledger:
        rows = ledger.open_leases() if ledger else []
        over = ledger.gone_leases() if ledger else frozenset[str]()
        home = find_home(settings.output_dir, settings.access, prefix=settings.state_prefix)
        if home is None:
            console.info(f"uprez has made nothing in {place.shown(settings.output_dir)} so far")
        else:
            console.info(f"Looking through {home.state_shown('').rstrip('/')}")
            removed += _in_place(home, settings, (rows, over), console, older_s, dry_run)
            if ledger and not dry_run:
                uploads.reconcile(home, ledger, locks, console)
        for other in cleaning.enhanced(settings.state_dir):
            removed += _in_place(other, settings, (rows, over), console, older_s, dry_run)
        here = cleaning.on_machine(settings.state_dir, rows, older_s=older_s)
        _tell(here, console)
        if not dry_run:
            cleaning.remove_here(here, locks)
        removed += here
    what = f"{_objects(removed)}, {_bytes(sum(leftover.size for leftover in removed))}"
    console.ok(f"Dry run: would remove {what}" if dry_run else f"Removed {what}" if removed else "Nothing to remove")


def _in_place(
    home: Home,
    settings: Settings,
    known: tuple[list[LeaseRow], frozenset[str]],
    console: Console,
    older_s: float,
    dry_run: bool,
) -> list[Leftover]:
    """Clean one place, which is held meanwhile so that no run begins to work in it.

    `known` is what the ledger knows: its open leases, and the ids of those that have ended.
    """
    from uprez.fleet import cleaning
    from uprez.store.open import exclusive

    locks = settings.state_dir / "batches"
    with contextlib.nullcontext() if dry_run else exclusive(home, locks):
        found = cleaning.in_store(home, known[0], locks, older_s=older_s, over=known[1])
        _tell(found.leftovers, console)
        if found.living:
            console.warn(f"A run seems to be at work (lease {', '.join(found.living)}): no job was touched")
            console.line("HINT", "clean again when it has ended")
        if found.young:
            console.info(f"{found.young} leases, jobs and records are younger than {durations.words(older_s)}: kept")
        if not dry_run:
            cleaning.remove(home, found.leftovers)
    return list(found.leftovers)


def _tell(leftovers: Iterable[Leftover], console: Console) -> None:
    for leftover in leftovers:
        size = f", {len(leftover.keys)} objects" if leftover.keys else ""
        size += f", {_bytes(leftover.size)}" if leftover.upload is None else ""
        console.line(
            "CLEAN", f"{leftover.kind} {leftover.name}{size}, last written {durations.age(leftover.age_s)} ago"
        )


def _objects(leftovers: list[Leftover]) -> str:
    count = sum(len(leftover.keys) or 1 for leftover in leftovers)
    return f"{count} object{'' if count == 1 else 's'}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB" if size >= 1e4 else f"{size} bytes"
