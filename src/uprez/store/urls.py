"""Read and write one object by its URL: all that a worker can do with a store.

A write is seen whole or not at all: it goes beside its name, reaches the disk, and is then renamed. The name beside
ends in `#<n>`, which obstore's own folder store uses for the same purpose and leaves out of its listings.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from uprez.errors import StoreError

SMALL = 16 << 20
"""Bytes of the largest message that is read whole."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """An object's bytes, and the tag that says whether it has changed since."""

    data: bytes
    etag: str


def path_of(url: str) -> Path:
    """Turn a file:// URL into a path; raises StoreError for any other scheme."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "%00" in parts.path:
        raise StoreError(f"this version reads file:// URLs, not {parts.scheme or 'bare paths'}:// ({url[:80]})")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))


def get(url: str, *, etag: str | None = None) -> Fetched | None:
    """Read a small object; None when it still has the given tag. Raises StoreError: unreadable, or too large."""
    path = path_of(url)
    try:
        with path.open("rb") as file:
            found = _etag(os.fstat(file.fileno()))
            if found == etag:
                return None
            data = file.read(SMALL + 1)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > SMALL:
        raise StoreError(f"{path} is larger than {SMALL >> 20} MiB: not a sheet or a status")
    return Fetched(data=data, etag=found)


def fetch(url: str, target: Path, *, sha256: str) -> None:
    """Copy a large object to a local file and check it.

    Raises StoreError when it cannot be read or is not the object that was meant.
    """
    path = path_of(url)
    try:
        shutil.copyfile(path, target)
    except OSError as error:
        raise StoreError(f"cannot copy {path}: {error.strerror}") from error
    if (found := digest(target)) != sha256:
        raise StoreError(f"{path} has changed: its SHA-256 is {found[:12]}..., {sha256[:12]}... was expected")


def put(url: str, source: Path | bytes) -> None:
    """Write an object whole; a file given as `source` must not change afterwards.

    Raises StoreError (disk full, folder gone); nothing half-written gets the name.
    """
    target = path_of(url)
    beside = target.with_name(f"{target.name}#{secrets.randbits(48)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(beside, source)
        _sync(beside)
        beside.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # a folder that takes no file may refuse this too
            beside.unlink()
        raise StoreError(f"cannot write {target}: {error.strerror}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, source: Path | bytes) -> None:
    if isinstance(source, bytes):
        path.write_bytes(source)
        return
    try:
        os.link(source, path)  # the same disk: nothing to copy, however large
    except OSError:
        shutil.copyfile(source, path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _etag(stat: os.stat_result) -> str:
    # The inode is part of it: a replaced file of the same size and time is still another object.
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
