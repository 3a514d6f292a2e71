"""Bring together what workers need, before anything is rented: a machine that waits costs as much as one that works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uprez.config.settings import Settings
from uprez.errors import StoreError
from uprez.fleet import program, readiness
from uprez.fleet.supplies import Supplies, stocked
from uprez.fleet.work import Work
from uprez.models import MODELS, weights
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.sheet import Ref
from uprez.store import keys, urls
from uprez.store.open import Home
from uprez.store.send import send


def bring(settings: Settings, console: Console, home: Home, works: Sequence[Work], *, rented: bool) -> Supplies:
    """Fetch and convert the weights, unless that was done before; put all that rented machines need into the bucket."""
    model = MODELS[settings.options.model]
    path = weights.ensure(model, settings.cache_dir, progress=Fetching(console).tell)
    models, paths = _networks(model.name, path)
    if not rented:
        return Supplies(models=models)
    wheel = program.packed(settings, console)
    supplies = stocked(home, models, paths, wheel.data, wheel.name)
    for work in works:
        try:
            _send(home, work, console)
        except OSError as error:  # its own matter: it was moved or cannot be read any more
            work.fail(f"{work.job.source.name} cannot be read: {error.strerror}", "run the command again")
    return supplies


def _networks(name: str, path: Path | None) -> tuple[dict[str, Ref], dict[str, Path]]:
    if path is None:
        return {}, {}
    ref = Ref(url=path.absolute().as_uri(), sha256=urls.digest(path), size=path.stat().st_size)
    return {name: ref}, {name: path}


def _send(home: Home, work: Work, console: Console) -> None:
    """Bring an input of this machine to where rented machines can read it, unless it is there already."""
    url = work.job.source.url
    if not url.startswith("file:"):
        return
    key = keys.source(work.job.id)
    meta = home.state.head(key)
    if meta is None or meta.size != work.job.source.size:
        console.info(f"Uploading {work.job.source.name} ({readiness.in_bytes(work.job.source.size)})")
        send(home, key, urls.path_of(url))
        meta = home.state.head(key)
    if meta is None or meta.size != work.job.source.size:
        raise StoreError(f"{home.state_shown(key)} is not there after it was written")
    work.sent = meta
