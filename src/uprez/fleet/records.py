"""Read what a place says of a job, and look whether what it says is still there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from uprez import wire
from uprez.errors import WorkerError
from uprez.report.results import Manifest, Output
from uprez.store import objects
from uprez.store.open import Home

T = TypeVar("T")


def read(home: Home, key: str, kind: type[T]) -> T | None:
    """Read a record; one that is missing, or that this version cannot read, is treated as not there."""
    data = home.state.read(key)
    try:
        return None if data is None else wire.load(kind, data, where=key)
    except WorkerError:
        return None


def finished(home: Home, manifest: Manifest, wanted: Iterable[str]) -> Output | None:
    """Give the intact output that a done job has under one of the names wanted; writes nothing."""
    names = frozenset(wanted)
    return next((output for output in manifest.outputs if output.path in names and intact(home, output)), None)


def intact(home: Home, output: Output) -> bool:
    """The same size and ETag, or, where a copy or a touch changed the ETag, the same bytes."""
    meta = home.outputs.head(output.path)
    if meta is None or meta.size != output.size:
        return False
    if meta.etag == output.etag or meta.note == output.sha256:
        return True
    return home.root is not None and objects.holds_bytes(
        home.root / output.path, size=output.size, sha256=output.sha256
    )
