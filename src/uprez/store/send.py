"""Bring a file of this machine into the state: in one PUT, or in parts where it is too large for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from uprez.errors import StoreError
from uprez.sheet import PUT_BYTES
from uprez.store import urls
from uprez.store.base import Meta
from uprez.store.bucket import BucketStore
from uprez.store.open import Home

SECONDS = 24 * 3600.0
"""For how long the file may be on its way."""
PART_BYTES = 64 << 20
"""Bytes of a part at least."""
PARTS_MOST = 10_000


def ensure(home: Home, key: str, size: int, write: Callable[[], None]) -> Meta:
    """Have an object of that size under a key of the state: `write` it unless it is there already.

    Raises StoreError, also when it is not there after it was written.
    """
    meta = home.state.head(key)
    if meta is None or meta.size != size:
        write()
        meta = home.state.head(key)
    if meta is None or meta.size != size:
        raise StoreError(f"{home.state_shown(key)} is not there after it was written")
    return meta


def send(home: Home, key: str, path: Path) -> None:
    """Write a file under a key of the state. Raises StoreError."""
    size = path.stat().st_size
    bucket = home.state
    if size <= PUT_BYTES or not isinstance(bucket, BucketStore):
        urls.put(bucket.put_url(key, seconds=SECONDS), path)
    else:
        begun = bucket.begin_upload(key, home.uploads)
        part = max(PART_BYTES, -(-size // PARTS_MOST))
        try:
            urls.put_parts(bucket.upload(key, begun.upload, size=size, part_bytes=part, seconds=SECONDS), path)
        except StoreError:
            bucket.abort_upload(key, begun.upload)  # one that fails stays open in the ledger: it bills
            home.uploads.ended(begun.number)
            raise
        home.uploads.ended(begun.number)
