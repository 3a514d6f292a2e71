"""Bring together what workers need, before anything is rented: a machine that waits costs as much as one that works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uprez.config.settings import Settings
from uprez.fleet import program, readiness
from uprez.fleet.supplies import Supplies, stocked
from uprez.fleet.work import Work
from uprez.models import MODELS, weights
from uprez.models.needed import models_of
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.sheet import Ref
from uprez.store import keys, urls
from uprez.store.open import Home
from uprez.store.send import ensure, send


def bring(settings: Settings, console: Console, home: Home, works: Sequence[Work], *, rented: bool) -> Supplies:
    """Fetch and convert the weights, unless that was done before; put all that rented machines need into the bucket."""
    paths = _networks(settings, console)
    models = {name: _ref(path) for name, path in paths.items()}
    if not rented:
        return Supplies(models=models)
    supplies = stocked(home, models, paths, program.packed(settings, console))
    for work in works:
        try:
            _send(home, work, console)
        except OSError as error:  # its own matter: it was moved or cannot be read any more
            work.fail(f"{work.job.source.name} cannot be read: {error.strerror}", "run the command again")
    return supplies


def _networks(settings: Settings, console: Console) -> dict[str, Path]:
    """Give the converted network of each model that has one."""
    fetching = Fetching(console)
    needed = models_of(settings.options)
    found = {name: weights.ensure(MODELS[name], settings.cache_dir, progress=fetching.tell) for name in needed}
    return {name: path for name, path in found.items() if path is not None}


def _ref(path: Path) -> Ref:
    return Ref(url=path.absolute().as_uri(), sha256=urls.digest(path), size=path.stat().st_size)


def _send(home: Home, work: Work, console: Console) -> None:
    """Bring an input of this machine to where rented machines can read it, unless it is there already."""
    source = work.job.source
    if not source.url.startswith("file:"):
        return
    key = keys.source(work.job.id)

    def write() -> None:
        console.info(f"Uploading {source.name} ({readiness.in_bytes(source.size)})")
        send(home, key, urls.path_of(source.url))

    work.sent = ensure(home, key, source.size, write)
