"""Read, list, pin and delete the controller's objects, wherever they are kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from uprez import http
from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store import keys, urls
from uprez.store.base import Meta
from uprez.store.open import Home

COPY_MOST = 500_000_000
"""Bytes up to which an object of a bucket is copied here to be checked; larger ones are read by ranges, in place."""
READ_S = 24 * 3600.0
"""How long the controller's own signed URLs last."""


def listing(home: Home, prefix: str) -> list[str]:
    """List the keys under a prefix that are ours, sorted."""
    return sorted(meta.key for meta in home.state.listing(prefix) if keys.parse(meta.key))


@contextlib.contextmanager
def lent(home: Home, key: str) -> Iterator[tuple[Meta, str]]:
    """Lend an object, exactly as it is now, to whoever reads it: what it is, and a URL to read it by.

    Raises StoreError when it is gone, or is another one after it was read.
    """
    meta = _head(home, key)
    if home.remote and meta.size > COPY_MOST:
        yield meta, home.state.get_url(key, seconds=READ_S)
    else:
        with home.state.local(meta) as path:
            yield meta, path.absolute().as_uri()
    if not same(_head(home, key), meta):
        raise StoreError(f"{home.state_shown(key)} changed while it was read")


@contextlib.contextmanager
def checked(home: Home, key: str) -> Iterator[tuple[Pin, str]]:
    """Lend an object as `lent` does, with its pin: it is read for that once more."""
    with lent(home, key) as (meta, url):
        yield pinned(meta, _digest(url)), url


def pin(home: Home, key: str) -> Pin:
    """Fix an object exactly as it is now: size, ETag, version and SHA-256."""
    with checked(home, key) as (found, _):
        return found


def holds(home: Home, pin: Pin) -> bool:
    """Say whether a pinned object is still there with its size and ETag."""
    meta = home.state.head(pin.key)
    return meta is not None and same(meta, pin)


def same(found: Meta | Pin, wanted: Meta | Pin) -> bool:
    """Say whether both describe one object."""
    return (found.size, found.etag, found.version) == (wanted.size, wanted.etag, wanted.version)


def delete(home: Home, found: Iterable[str]) -> None:
    """Delete objects of ours: all or, where one key is not ours to delete or the prefix has lost its marker, none."""
    wanted = list(found)
    if not wanted:
        return
    for key in wanted:
        if keys.parse(key) is None or key == keys.MARKER:
            raise StoreError(f"{key} is not a key that uprez may delete: nothing was deleted")
    if home.state.read(keys.MARKER) is None:
        raise StoreError(f"{home.state_shown(keys.MARKER)} is missing: nothing is deleted beside a lost marker")
    home.state.delete(wanted)


def holds_bytes(path: Path, *, size: int, sha256: str) -> bool:
    """Say whether a file holds exactly these bytes."""
    try:
        return path.is_file() and path.stat().st_size == size and urls.digest(path) == sha256
    except OSError:
        return False


def pinned(meta: Meta, sha256: str) -> Pin:
    """Fix an object that was read, whose bytes have this SHA-256."""
    return Pin(key=meta.key, size=meta.size, etag=meta.etag, sha256=sha256, version=meta.version)


def _head(home: Home, key: str) -> Meta:
    meta = home.state.head(key)
    if meta is None:
        raise StoreError(f"{home.state_shown(key)} is gone")
    return meta


def _digest(url: str) -> str:
    if url.startswith("file:"):
        return urls.digest(urls.path_of(url))
    with http.RangeFile(url) as file:
        return hashlib.file_digest(io.BufferedReader(file), "sha256").hexdigest()
