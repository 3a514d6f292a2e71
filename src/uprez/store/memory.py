"""A store in memory, for tests of what works on any store."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import MemoryStore as Objects

from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store.base import Meta, Store, Uploads


class MemoryStore:
    """Objects that last as long as this one."""

    def __init__(self) -> None:
        self.url = "memory://"
        self._objects = Objects()

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes; None when there is none."""
        try:
            return obstore.get(self._objects, key).bytes().to_bytes()
        except (FileNotFoundError, NotFoundError):
            return None

    def head(self, key: str) -> Meta | None:
        """Say what is under a key; None when nothing is."""
        try:
            found = obstore.head(self._objects, key)
        except (FileNotFoundError, NotFoundError):
            return None
        return Meta(key=key, size=found["size"], etag=_bare(found["e_tag"]), modified=found["last_modified"])

    def write(self, key: str, data: bytes) -> Meta:
        """Write an object, in place of what was there."""
        etag = obstore.put(self._objects, key, data)["e_tag"]
        return Meta(key=key, size=len(data), etag=_bare(etag))

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none of that name; says whether this call did."""
        try:
            obstore.put(self._objects, key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def listing(self, prefix: str = "") -> Iterator[Meta]:
        """List what lies under keys that begin with `prefix`, in no order."""
        for page in obstore.list(self._objects):
            for entry in page:
                if str(entry["path"]).startswith(prefix):
                    yield Meta(
                        key=str(entry["path"]),
                        size=entry["size"],
                        etag=_bare(entry["e_tag"]),
                        modified=entry["last_modified"],
                    )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; an absent one is success."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError, NotFoundError):
                obstore.delete(self._objects, key)

    @contextlib.contextmanager
    def local(self, meta: Meta | Pin) -> Iterator[Path]:
        """Lend an object as a temporary file; raises StoreError when it is no longer what `meta` describes."""
        found, data = self.head(meta.key), self.read(meta.key)
        if not found or data is None or (found.size, found.etag) != (meta.size, meta.etag):
            raise StoreError(f"{self.url}{meta.key} {'has changed since it was pinned' if found else 'is gone'}")
        with tempfile.TemporaryDirectory(prefix="uprez-") as folder:
            path = Path(folder) / "object"
            path.write_bytes(data)
            yield path

    def get_url(self, key: str, *, seconds: float) -> str:
        """Give a name for the object; nothing can be read by it."""
        del seconds
        return f"memory:///{quote(key)}"

    def put_url(self, key: str, *, seconds: float) -> str:
        """Give a name for the object; nothing can be written by it."""
        del seconds
        return f"memory:///{quote(key)}"

    def place(self, source: Store, pin: Pin, name: str, *, replace: bool, uploads: Uploads) -> Meta:
        """Give a pinned object of `source` a name in this store; FileExistsError when other bytes have it."""
        del uploads
        with source.local(pin) as path:
            data = path.read_bytes()
        taken = self.read(name)
        if taken is not None and hashlib.sha256(taken).hexdigest() != pin.sha256 and not replace:
            raise FileExistsError(f"{self.url}{name}")
        found = self.head(name) if taken == data else None
        return found or self.write(name, data)


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')
