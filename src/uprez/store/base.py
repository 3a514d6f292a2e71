"""What every store is: a place that holds objects under keys, be it a folder, a prefix of a bucket, or memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from uprez.job import Pin


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a store knows of an object without reading it."""

    key: str
    """Relative to the store, with forward slashes."""
    size: int
    """Bytes."""
    etag: str
    """Changes whenever the object does; without quotes. A folder's and a bucket's are of different kinds."""
    version: str | None = None
    """The version's name in a bucket that keeps versions."""
    modified: datetime | None = None
    note: str | None = None
    """SHA-256 of its bytes as uprez noted it when it published the object; None for everybody else's."""


class Uploads(Protocol):
    """Remembers multipart uploads, which are billed until they are completed or aborted, across a crash."""

    def intend(self, store: str, key: str) -> int:
        """Record that an upload to `key` of the store with this URL is about to begin; gives the record's number."""

    def began(self, number: int, upload: str) -> None:
        """Record the id that the upload got."""

    def ended(self, number: int) -> None:
        """Record that the upload was completed or aborted."""


class Store(Protocol):
    """A place that holds objects. A write is seen whole or not at all.

    Every method raises StoreError, which names the operation, the object, the reason and the next step;
    DeniedError, one of them, where the credentials or the signature do not suffice.
    """

    url: str
    """Where it is: "file:///home/me/output/.uprez", "s3://bucket/.uprez", "memory://"."""

    def read(self, key: str) -> bytes | None:
        """Give a small object's bytes; None when there is none."""

    def head(self, key: str) -> Meta | None:
        """Say what is under a key; None when nothing is."""

    def write(self, key: str, data: bytes) -> Meta:
        """Write a small object, in place of what was there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object if there is none of that name; says whether this call (or a lost one before) did."""

    def listing(self, prefix: str = "") -> Iterator[Meta]:
        """List what lies under keys that begin with `prefix`, in no order; all of it, or StoreError."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects with all their versions; an absent one is success."""

    def local(self, meta: Meta | Pin) -> AbstractContextManager[Path]:
        """Lend an object as a file: itself in a folder, a temporary copy elsewhere; must not be changed.

        Raises StoreError when the object is no longer the one that `meta` describes.
        """

    def get_url(self, key: str, *, seconds: float) -> str:
        """Give a URL by which anybody may read this object for so long."""

    def put_url(self, key: str, *, seconds: float) -> str:
        """Give a URL by which anybody may write this object for so long."""

    def place(self, source: Store, pin: Pin, name: str, *, replace: bool, uploads: Uploads) -> Meta:
        """Give a pinned object of `source`, which lies in the same folder tree or bucket, a name in this store.

        It appears whole and at once, and `source` keeps it. What holds those very bytes already is ours, from a run
        that ended here. Raises FileExistsError when the name is taken by anything else, unless `replace`.
        """
