"""What the verbs share that look back at batches: the ledger, a batch's settings, and the place of its results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from uprez.errors import UsageError

if TYPE_CHECKING:
    from uprez.config.settings import Settings
    from uprez.fleet.batches import BatchRow
    from uprez.fleet.ledger import Ledger
    from uprez.store.open import Home

NEVER = "no batch has run on this computer so far"


@contextlib.contextmanager
def opened() -> Iterator[tuple[Ledger | None, Path]]:
    """Open this computer's ledger, if there is one, beside its state folder; a look makes none."""
    from uprez.config.environment import folders
    from uprez.fleet import cleaning  # for its weight

    state_dir, _ = folders()
    with cleaning.ledger_of(state_dir) as ledger:
        yield ledger, state_dir


def settings(ledger: Ledger, row: BatchRow, flags: Mapping[str, object]) -> Settings:
    """Read the settings of a batch again, and work in its folder from now on; `flags` are of the present one.

    Raises UsageError where they were not kept, or that folder is gone.
    """
    from dataclasses import replace

    from uprez.config import saved
    from uprez.config.environment import folders

    data = ledger.saved(row.id)
    if data is None:
        raise UsageError(
            f"the options of batch {row.id} were not kept: uprez enhance or an earlier version began it",
            hint="the same command goes on with it",
        )
    document = saved.opened(data)
    bucket = document.values.get("b2.bucket")
    given = _anchored(flags, Path.cwd(), in_bucket=flags.get("bucket") is not None or bucket is not None)
    state_dir, cache_dir = folders()
    try:
        os.chdir(document.folder)
    except OSError as error:
        raise UsageError(
            f"batch {row.id} ran in {document.folder}, which cannot be entered: {error.strerror}",
            hint="make that folder again, or run with the same options elsewhere",
        ) from error
    return replace(saved.restore(document, given), state_dir=state_dir, cache_dir=cache_dir)


def homes(ledger: Ledger, row: BatchRow, state_dir: Path) -> tuple[Home, ...]:
    """Open the place of a batch's results as far as it is still there; raises UsageError without its credentials."""
    from uprez.config.settings import Location
    from uprez.fleet import cleaning
    from uprez.store import keys
    from uprez.store.open import find_home

    data = ledger.saved(row.id)
    if urlsplit(row.home).scheme == "file":
        folder = Path(url2pathname(urlsplit(row.home).path))
        prefix = data["values"]["state_prefix"]["text"] if data else keys.PREFIX
        home = find_home(Location(text=str(folder), folder=folder), None, prefix=prefix)
        return tuple(one for one in (home, *cleaning.enhanced(state_dir)) if one is not None)
    before = Path.cwd()
    try:
        found = settings(ledger, row, {})
        home = find_home(found.output_dir, found.access, prefix=found.state_prefix)
    finally:
        os.chdir(before)
    return () if home is None else (home,)


def _anchored(flags: Mapping[str, object], here: Path, *, in_bucket: bool) -> dict[str, object]:
    """Let relative paths of flags begin here, whatever folder is worked in later."""
    from uprez.config.keys import FLAGS, KEYS
    from uprez.config.kinds import FOLDER_OR_SWITCH, PLACE, SWITCHES

    found = dict(flags)
    for flag, value in flags.items():
        kind, text = KEYS[FLAGS[flag]].kind, str(value)
        if value is None or "://" in text or text.startswith("~") or text.lower() in SWITCHES:
            continue
        if kind is FOLDER_OR_SWITCH or (kind is PLACE and (not in_bucket or text.startswith((".", "/")))):
            found[flag] = str(here / text)
    return found
