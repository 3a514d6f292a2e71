"""Open the place that results go to, with our state prefix inside it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from uprez.config.settings import Access, Location
from uprez.errors import DeniedError, StoreError, UsageError
from uprez.store import keys
from uprez.store.base import Store, Uploads
from uprez.store.bucket import BucketStore
from uprez.store.folder import FolderStore

_STAGED = re.compile(r".*#[0-9]+", re.DOTALL)
"""What obstore and `store.urls` name a file that is still being written; obstore's listings leave such names out."""

MARKER = {"schema": 1, "about": "Checkpoints of uprez (video upscaling). Finished results are beside this folder."}


class Unrecorded:
    """For places that are only looked at: an upload that nothing remembers must never begin."""

    def intend(self, store: str, key: str) -> int:
        """Refuse."""
        raise AssertionError(f"an upload to {key} of {store} would not be remembered")

    def began(self, number: int, upload: str) -> None:
        """Never reached."""

    def ended(self, number: int) -> None:
        """Never reached."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where results go (`outputs`) and what uprez remembers of them (`state`)."""

    outputs: Store
    """The output folder, or the whole bucket."""
    base: str = ""
    """What every output's name begins with: "" in a folder, "output/" in a bucket."""
    state: Store
    root: Path | None = None
    """The output folder, where it is one."""
    prefix: Path | None = None
    """The state's folder, likewise."""
    uploads: Uploads = field(default_factory=Unrecorded)

    @property
    def remote(self) -> bool:
        """Say whether every look costs a request."""
        return self.root is None

    @property
    def skew_s(self) -> float:
        """The clock that dates its objects, minus ours; 0 as far as nothing else is known."""
        return self.state.skew_s if isinstance(self.state, BucketStore) else 0.0

    def shown(self, name: str) -> str:
        """Name an output for people."""
        return str(self.root / name) if self.root else f"{self.outputs.url.rstrip('/')}/{name}"

    def url(self, name: str) -> str:
        """Name an output for programs: file:// or s3://, not signed."""
        return (self.root / name).as_uri() if self.root else f"{self.outputs.url.rstrip('/')}/{name}"

    def state_url(self, key: str) -> str:
        """Name an object of ours for programs."""
        return (self.prefix / key).as_uri() if self.prefix else self.state_shown(key)

    def state_shown(self, key: str) -> str:
        """Name an object of ours for people."""
        return str(self.prefix / key) if self.prefix else f"{self.state.url.rstrip('/')}/{key}"


def open_home(where: Location, access: Access | None, *, prefix: str = keys.PREFIX, state: Path | None = None) -> Home:
    """Open a place for outputs, making it and its marked state prefix when they are missing.

    `prefix` is the state's folder below an output folder, or its prefix at the top of a bucket; `state` a folder in
    its place. Raises UsageError when it cannot be written, or when the prefix holds things but not our marker.
    """
    if where.bucket is not None:
        return _open_bucket(_bucket_home(where, access, prefix), where)
    home = _folder_home(where, prefix, state)
    if home.root is None or home.prefix is None:
        raise AssertionError("a folder without a path")
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        if _is_strange(home.prefix):
            raise UsageError(
                f"{home.prefix} holds files but not uprez's marker {keys.MARKER}, so it is not ours to use",
                hint="choose another --output-dir, or move that folder away",
            )
        home.prefix.mkdir(parents=True, exist_ok=True)
        if not (home.prefix / keys.MARKER).exists():
            home.state.write(keys.MARKER, json.dumps(MARKER).encode())
        tempfile.TemporaryFile(dir=home.root).close()  # better now than after hours of work
    except (OSError, StoreError) as error:
        raise UsageError(
            f"the output folder {home.root} cannot be used: {_reason(error)}", hint="choose another --output-dir"
        ) from error
    return home


def find_home(
    where: Location, access: Access | None, *, prefix: str = keys.PREFIX, state: Path | None = None
) -> Home | None:
    """Open a place only if it already holds our state; writes nothing (for dry runs)."""
    if where.bucket is not None:
        home = _bucket_home(where, access, prefix)
        with _as_usage(where):
            return home if home.state.read(keys.MARKER) is not None else None
    home = _folder_home(where, prefix, state)
    return home if home.prefix and (home.prefix / keys.MARKER).exists() else None


def bucket_store(where: Location, access: Access | None) -> BucketStore:
    """Open a whole bucket; raises UsageError when there is no key to open it with."""
    if where.bucket is None:
        raise AssertionError(f"{where.text} is not in a bucket")
    if access is None:
        raise UsageError(
            f"{where.text} is in a bucket, and there are no credentials for it",
            hint="put B2_KEY, B2_SECRET and B2_ENDPOINT (or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) into .env",
        )
    return BucketStore(access, where.bucket)


@contextlib.contextmanager
def exclusive(home: Home, locks: Path) -> Iterator[None]:
    """Hold a place for outputs: two runs at once would delete each other's checkpoints.

    In a folder the lock is on the marker file, so nothing is left behind. A bucket has no locks, so it is on a file
    below `locks` and holds off runs of this machine; for others, attempts have names of their own: both may pay, none
    spoils what the other made. Raises UsageError while another run holds the place, or when it cannot be written.
    """
    try:
        lock = _lock_file(home, locks).open("a+" if home.remote else "r+")
    except OSError as error:
        what = f"the output folder {home.shown('')} cannot be written: {_reason(error)}"
        raise UsageError(what, hint="choose another --output-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another uprez run is working in {home.shown('').rstrip('/')}",
                hint="wait for it to end, or choose another --output-dir",
            ) from error
        except OSError:
            pass  # a network share without locks: attempts have names of their own, so both runs may pay, none spoils
        yield


def _lock_file(home: Home, locks: Path) -> Path:
    if home.prefix is not None:
        return home.prefix / keys.MARKER
    locks.mkdir(parents=True, exist_ok=True)
    return locks / f"bucket-{hashlib.sha256(home.state.url.encode()).hexdigest()[:16]}.lock"


def sweep(home: Home) -> None:
    """Remove what a killed write left beside its name; only while the folder is held and no worker runs."""
    for folder, _, names in os.walk(home.prefix) if home.prefix else ():
        for name in names:
            if _STAGED.fullmatch(name):
                (Path(folder) / name).unlink(missing_ok=True)


def _folder_home(where: Location, prefix: str, state: Path | None) -> Home:
    if where.folder is None:
        raise UsageError(f"results cannot go to {where.text}", hint="name a folder or a bucket with --output-dir")
    root = where.folder.absolute()
    inside = state or root / prefix
    return Home(outputs=FolderStore(root, inodes=False), state=FolderStore(inside), root=root, prefix=inside)


def _bucket_home(where: Location, access: Access | None, prefix: str) -> Home:
    outputs = bucket_store(where, access)
    if access is None or where.bucket is None:
        raise AssertionError("bucket_store checks both")
    base = where.key.strip("/")
    inside = prefix.strip("/")
    if not inside:
        raise UsageError("state_prefix is empty: checkpoints need a prefix of their own", hint=f"use {keys.PREFIX}")
    if base and (f"{base}/".startswith(f"{inside}/") or f"{inside}/".startswith(f"{base}/")):
        raise UsageError(
            f"state_prefix {prefix} and the outputs' {base}/ lie in each other: checkpoints need a prefix of their own",
            hint=f"use {keys.PREFIX}",
        )
    return Home(outputs=outputs, base=f"{base}/" if base else "", state=BucketStore(access, where.bucket, inside))


def _open_bucket(home: Home, where: Location) -> Home:
    """Make sure that the state prefix is ours, and that we may write, before anything is started."""
    with _as_usage(where):
        if home.state.read(keys.MARKER) is None:
            strange = next(iter(home.state.listing()), None) is not None
            if strange and home.state.read(keys.MARKER) is None:  # else another run has just marked it
                raise UsageError(
                    f"{home.state.url} holds objects but not uprez's marker {keys.MARKER}, so it is not ours to use",
                    hint="choose another state_prefix, or move those objects away",
                )
            home.state.write(keys.MARKER, json.dumps(MARKER).encode())
    return home


@contextlib.contextmanager
def _as_usage(where: Location) -> Iterator[None]:
    """Nothing was started yet: a bucket that cannot be used is a matter of settings, whatever the reason."""
    try:
        yield
    except DeniedError as error:
        raise UsageError(error.message, hint=error.hint or "check the credentials: uprez doctor") from error
    except StoreError as error:
        raise UsageError(f"{where.text} cannot be used: {error.message}", hint=error.hint or "uprez doctor") from error


def _is_strange(prefix: Path) -> bool:
    """Say whether a state prefix holds things but not our marker; a first start that was killed left it staged."""
    if not prefix.exists() or (prefix / keys.MARKER).exists():
        return False
    return any(not _STAGED.fullmatch(path.name) for path in prefix.iterdir())


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0]
