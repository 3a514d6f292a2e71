"""A folder as a store. Written through obstore, which stages and renames; lent as the files themselves."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore

from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store import urls
from uprez.store.base import Meta, Store, Uploads


class FolderStore:
    """Files below a folder, which is made with the first write."""

    def __init__(self, root: Path, *, inodes: bool = True) -> None:
        """Open a folder. Without `inodes` an ETag is of time and size only: it survives a move to another disk."""
        self.root = root.absolute()
        self.url = self.root.as_uri()
        self._inodes = inodes

    def read(self, key: str) -> bytes | None:
        """Give a small object's bytes; None when there is none."""
        path = self._path(key)
        try:
            return obstore.get(LocalStore(self.root), key).bytes().to_bytes() if path.is_file() else None
        except (FileNotFoundError, NotFoundError):
            return None
        except (OSError, BaseError) as error:
            raise StoreError(f"cannot read {path}: {_reason(error)}") from error

    def head(self, key: str) -> Meta | None:
        """Say what is under a key; None when nothing is."""
        path = self._path(key)
        try:
            return self._meta(key, path) if path.is_file() else None
        except (FileNotFoundError, NotFoundError):
            return None
        except (OSError, BaseError) as error:
            raise StoreError(f"cannot look at {path}: {_reason(error)}") from error

    def write(self, key: str, data: bytes) -> Meta:
        """Write a small object, in place of what was there."""
        self._put(key, data, new=False)
        return self._written(key)

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object only if there is none of that name; says whether this call did."""
        return self._put(key, data, new=True)

    def listing(self, prefix: str = "") -> Iterator[Meta]:
        """List what lies under keys that begin with `prefix`, in no order; all of it, or StoreError."""
        if not self.root.is_dir():
            return
        folder, _, begin = prefix.rpartition("/")
        try:
            for page in obstore.list(LocalStore(self.root), prefix=folder or None):
                for entry in page:
                    key = str(entry["path"])
                    if key.startswith(f"{folder}/{begin}" if folder else begin):
                        etag = _bare(entry["e_tag"]) if self._inodes else _moving_etag((self.root / key).stat())
                        yield Meta(key=key, size=entry["size"], etag=etag, modified=entry["last_modified"])
        except (OSError, BaseError) as error:
            raise StoreError(f"cannot list {self.root / folder}: {_reason(error)}") from error

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and the folders that this leaves empty; an absent one is success."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise StoreError(f"cannot delete {path}: {error.strerror}") from error
            self._prune(path.parent)

    @contextlib.contextmanager
    def local(self, meta: Meta | Pin) -> Iterator[Path]:
        """Lend an object as the file that it is, which must not be changed.

        Raises StoreError when it is no longer the one that `meta` describes.
        """
        found = self.head(meta.key)
        path = self._path(meta.key)
        if not found or (found.size, found.etag) != (meta.size, _bare(meta.etag)):
            raise StoreError(f"{path} {'has changed since it was pinned' if found else 'is gone'}")
        yield path

    def get_url(self, key: str, *, seconds: float) -> str:
        """Give the file's URL; it works for ever."""
        del seconds
        return self._path(key).as_uri()

    def put_url(self, key: str, *, seconds: float) -> str:
        """Give the file's URL; it works for ever."""
        del seconds
        return self._path(key).as_uri()

    def place(self, source: Store, pin: Pin, name: str, *, replace: bool, uploads: Uploads) -> Meta:
        """Give a pinned file of `source`, another folder, a name in this one.

        A hard link, so that it appears whole and at once and the source stays; a copy renamed into place on file
        systems without links. Raises FileExistsError when the name is taken by other bytes, unless `replace`.
        """
        del uploads
        target = self._path(name)
        with source.local(pin) as path:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if not _same(target, pin):
                    _give(path, target, replace=replace)
            except FileExistsError:
                raise
            except OSError as error:
                raise StoreError(f"cannot publish {target}: {error.strerror}", hint="is the disk full?") from error
        return self._written(name)

    def _put(self, key: str, data: bytes, *, new: bool) -> bool:
        path = self._path(key)
        try:
            obstore.put(LocalStore(self.root, mkdir=True), key, data, mode="create" if new else "overwrite")
        except AlreadyExistsError:
            return False
        except (OSError, BaseError) as error:
            raise StoreError(f"cannot write {path}: {_reason(error)}", hint="is the disk full?") from error
        return True

    def _meta(self, key: str, path: Path) -> Meta:
        if self._inodes:
            found = obstore.head(LocalStore(self.root), key)
            return Meta(key=key, size=found["size"], etag=_bare(found["e_tag"]), modified=found["last_modified"])
        stat = path.stat()  # outputs may have names that obstore refuses ("#1")
        return Meta(
            key=key, size=stat.st_size, etag=_moving_etag(stat), modified=datetime.fromtimestamp(stat.st_mtime, UTC)
        )

    def _written(self, key: str) -> Meta:
        found = self.head(key)
        if not found:
            raise StoreError(f"{self._path(key)} disappeared as soon as it was written")
        return found

    def _path(self, key: str) -> Path:
        """Give a key's path; raises StoreError for one that would lead out of the folder."""
        if not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise StoreError(f"{key!r} names no file in {self.root}")
        return self.root / key

    def _prune(self, folder: Path) -> None:
        """Remove folders that a deletion left empty, up to the root."""
        with contextlib.suppress(OSError):  # not empty: somebody writes there
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent


def _same(target: Path, pin: Pin) -> bool:
    return target.is_file() and target.stat().st_size == pin.size and urls.digest(target) == pin.sha256


def _give(source: Path, target: Path, *, replace: bool) -> None:
    """Make `target` appear; only a link sees to it by itself that nothing is replaced."""
    if not replace:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            if os.path.lexists(target):  # without links (exFAT, some shares) this look leaves a window
                raise FileExistsError(str(target)) from None
        else:
            return
    beside = target.with_name(f".uprez-{secrets.token_hex(4)}.part")
    try:
        _twin(source, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _twin(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb+") as file:
            os.fsync(file.fileno())


def _bare(etag: str | None) -> str:
    """Give an ETag without the quotes that obstore, and pins of earlier versions, have around it."""
    return (etag or "").strip('"')


def _moving_etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (str(text).splitlines() or [type(error).__name__])[0]
