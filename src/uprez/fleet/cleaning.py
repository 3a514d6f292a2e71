"""What no run needs any more: leases that ended, checkpoints of jobs that are done or were given up, old records.

Age is what the store says: when the newest object of a lease or a job was written, by the store's own clock. Where a
run of another machine seems to live, the jobs are left alone; runs of this machine hold the place while they work.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from uprez.fleet.ledger import Ledger, utc_now
from uprez.fleet.locks import is_controlled
from uprez.fleet.rows import LeaseRow
from uprez.market import deadman
from uprez.store import keys, objects
from uprez.store.base import Meta
from uprez.store.bucket import BucketStore
from uprez.store.folder import FolderStore
from uprez.store.keys import Key
from uprez.store.multipart import Unfinished
from uprez.store.open import Home

Here = Literal["instance", "lock", "log"]
"""On this machine."""
Kind = Literal["lease", "done job", "unfinished job", "record of a run", "probe", "supply", "upload"] | Here

LIVING_S = 3600.0
"""A lease whose status or sheet was written within this may be at work: a sheet is renewed every quarter of an hour."""

_LOCK = re.compile(r"[0-9a-f]{8}(?:\.continued)?\.lock")
_LOG = re.compile(r"[0-9a-f]{8}\.log")
_CRASH = re.compile(r"crash-[0-9TZ]+\.log")
_INSTANCE = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that may go."""

    kind: Kind
    name: str
    """Of the lease, job or run; for what is on this machine, its path."""
    age_s: float
    size: int = 0
    """Bytes; of an upload it is not known."""
    keys: tuple[str, ...] = ()
    """Its objects, below the state prefix."""
    upload: Unfinished | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What may go, and what was left alone."""

    leftovers: tuple[Leftover, ...]
    living: tuple[str, ...] = ()
    """Leases that seem to be at work: while there are any, no job is touched."""
    young: int = 0
    """Leases, jobs and records that are younger than the limit."""


def in_store(home: Home, rows: Iterable[LeaseRow], locks: Path, *, older_s: float, over: Collection[str] = ()) -> Found:
    """Find what may go from a place of results.

    `rows` are the leases that this machine's ledger has open, `over` the ids of those that it has seen end.
    """
    groups = _grouped(home)
    now = utc_now() + timedelta(seconds=home.skew_s)
    held = {row.id for row in rows if row.detached or is_controlled(locks, row.batch)}
    aged = {name: _age_s(group, now) for name, group in groups.items()}
    living = [
        group.name
        for name, group in groups.items()
        if aged[name] < LIVING_S and group.name not in over and _may_live(home, group, held)
    ]
    found, young = [], 0
    for name, group in groups.items():
        if group.name in living or (living and ("job" in group.kind or group.kind == "supply")):
            continue
        limit = LIVING_S if group.kind == "done job" else older_s
        if aged[name] < limit:
            young += 1
            continue
        size = sum(meta.size for meta in group.metas)
        keyed = tuple(sorted(meta.key for meta in group.metas))
        found.append(Leftover(kind=group.kind, name=group.name, age_s=aged[name], size=size, keys=keyed))
    found += _uploads(home, now, older_s, living)
    return Found(leftovers=tuple(found), living=tuple(living), young=young)


def on_machine(state_dir: Path, rows: Iterable[LeaseRow], *, older_s: float) -> tuple[Leftover, ...]:
    """Find what may go from this machine's state folder: instances that ended, logs of leases, locks, crash logs."""
    now, locks = utc_now(), state_dir / "batches"
    held = {row.id for row in rows if row.state != "gone" and is_controlled(locks, row.batch)}
    ended = [path for path in _entries(state_dir / "local", _INSTANCE) if path.is_dir() and path.name not in held]
    found = [_on_disk("instance", path, now) for path in ended if not deadman.alive(path)]
    found += [_on_disk("lock", path, now) for path in _entries(locks, _LOCK) if not is_controlled(locks, path.stem)]
    logs = [path for path in _entries(state_dir / "logs", _LOG) if path.stem not in held]
    found += [_on_disk("log", path, now) for path in (*_entries(state_dir, _CRASH), *logs)]
    return tuple(leftover for leftover in found if leftover.age_s >= older_s)


def enhanced(state_dir: Path) -> Iterator[Home]:
    """Open every place in which `uprez enhance` keeps checkpoints on this machine."""
    for folder in _entries(state_dir / "enhance", re.compile(r"[0-9a-f]{16}")):
        if (folder / keys.MARKER).is_file():
            store = FolderStore(folder)
            yield Home(outputs=store, state=store, root=folder, prefix=folder)


def remove(home: Home, leftovers: Iterable[Leftover]) -> None:
    """Remove what was found; pins before what they point to, so that none is left without its object.

    Raises StoreError, also where the place has lost its marker.
    """
    for leftover in leftovers:
        if leftover.upload is not None and isinstance(home.state, BucketStore):
            home.state.abort_upload(leftover.upload.key, leftover.upload.upload)
    keyed = [key for leftover in leftovers for key in leftover.keys]
    objects.delete(home, [key for key in keyed if key.endswith(".json")])
    objects.delete(home, [key for key in keyed if not key.endswith(".json")])


def remove_here(leftovers: Iterable[Leftover], locks: Path) -> None:
    """Remove what was found on this machine, unless it has come to life since."""
    for leftover in leftovers:
        path = leftover.path
        if path is None:
            continue
        if leftover.kind == "instance":
            if not deadman.alive(path):
                shutil.rmtree(path, ignore_errors=True)
        elif leftover.kind != "lock" or not is_controlled(locks, path.stem):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def ledger_of(state_dir: Path) -> Iterator[Ledger | None]:
    """Open this machine's ledger if there is one; a look makes none."""
    path = state_dir / "ledger.sqlite"
    if not path.exists():
        yield None
        return
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()


@dataclass(kw_only=True)
class _Group:
    """The objects of one lease, job or run."""

    kind: Kind
    name: str
    metas: list[Meta] = field(default_factory=list)


def _grouped(home: Home) -> dict[str, _Group]:
    listed = [(meta, key) for meta in home.state.listing() if (key := keys.parse(meta.key))]
    done = {key.job for _, key in listed if key.shape == "manifest"}
    groups: dict[str, _Group] = {}
    for meta, key in listed:
        if key.shape in ("marker", "manifest"):
            continue
        kind, name = _kind(key, done)
        groups.setdefault(f"{kind} {name}", _Group(kind=kind, name=name)).metas.append(meta)
    return groups


def _kind(key: Key, done: set[str]) -> tuple[Kind, str]:
    if key.lease:
        return "lease", key.lease
    if key.job:
        return ("done job" if key.job in done else "unfinished job"), key.job
    if key.sha256:
        return "supply", key.sha256[:12]  # a network or a wheel, which the next run brings again
    return ("record of a run", key.batch) if key.batch else ("probe", key.probe)


def _age_s(group: _Group, now: datetime) -> float:
    """Say how old the newest object is; one without a time is new."""
    return min((now - meta.modified).total_seconds() if meta.modified else 0.0 for meta in group.metas)


def _may_live(home: Home, group: _Group, held: set[str]) -> bool:
    """A lease that ended in order has no sheet any more: its run took it away and left the logs."""
    has_sheet = any(meta.key == keys.sheet(group.name) for meta in group.metas)
    return group.kind == "lease" and (group.name in held or (home.remote and has_sheet))


def _uploads(home: Home, now: datetime, older_s: float, living: list[str]) -> list[Leftover]:
    if not isinstance(home.state, BucketStore) or living:
        return []
    found = []
    for upload in home.state.uploads():
        age_s = (now - upload.begun).total_seconds() if upload.begun else 0.0
        if keys.parse(upload.key) and age_s >= older_s:
            found.append(Leftover(kind="upload", name=upload.key, age_s=age_s, upload=upload))
    return found


def _entries(folder: Path, name: re.Pattern[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name)) if folder.is_dir() else []


def _on_disk(kind: Kind, path: Path, now: datetime) -> Leftover:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = []
    for file in files:
        with contextlib.suppress(OSError):  # gone meanwhile
            stats.append(file.lstat())
    newest = max((stat.st_mtime for stat in stats), default=now.timestamp())
    size = sum(stat.st_size for file, stat in zip(files, stats, strict=False) if not file.is_dir())
    return Leftover(kind=kind, name=str(path), age_s=now.timestamp() - newest, size=size, path=path)
