"""Read, write, list, pin, publish and delete the controller's objects."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store import keys, urls
from uprez.store.open import Home


def read(home: Home, key: str) -> bytes | None:
    """Give an object's bytes, None when there is none."""
    try:
        return obstore.get(home.state, key).bytes().to_bytes()
    except (FileNotFoundError, NotFoundError):
        return None
    except (OSError, BaseError) as error:
        raise StoreError(f"cannot read {key}: {_first_line(error)}") from error


def create(home: Home, key: str, data: bytes) -> bool:
    """Write an object only if there is none of that name; says whether it did."""
    try:
        obstore.put(home.state, key, data, mode="create")
    except AlreadyExistsError:
        return False
    except (OSError, BaseError) as error:
        raise StoreError(f"cannot write {key}: {_first_line(error)}", hint="is the disk full?") from error
    return True


def write(home: Home, key: str, data: bytes) -> None:
    """Write an object whole (obstore stages and renames)."""
    try:
        obstore.put(home.state, key, data)
    except (OSError, BaseError) as error:
        raise StoreError(f"cannot write {key}: {_first_line(error)}", hint="is the disk full?") from error


def listing(home: Home, prefix: str) -> list[str]:
    """List the keys under a prefix that are ours, sorted."""
    try:
        found = [str(entry["path"]) for page in obstore.list(home.state, prefix=prefix) for entry in page]
    except (OSError, BaseError) as error:
        raise StoreError(f"cannot list {prefix}: {_first_line(error)}") from error
    return sorted(key for key in found if keys.parse(key))


def path(home: Home, key: str) -> Path:
    """Where an object lies in the folder, for readers that need a file."""
    return home.prefix / key


def pin(home: Home, key: str) -> Pin:
    """Fix an object exactly as it is now: size, ETag and SHA-256.

    Raises StoreError when it is gone, or changes while it is read.
    """
    before = _head(home, key)
    sha256 = urls.digest(path(home, key))
    if _head(home, key) != before:
        raise StoreError(f"{key} changed while it was read")
    size, etag = before
    return Pin(key=key, size=size, etag=etag, sha256=sha256)


def holds(home: Home, pin: Pin) -> bool:
    """Say whether a pinned object is still there with its size and ETag."""
    try:
        return _head(home, pin.key) == (pin.size, pin.etag)
    except StoreError:
        return False


def delete(home: Home, found: Iterable[str]) -> None:
    """Delete objects of ours: all or, where one key is not ours to delete or the prefix has lost its marker, none."""
    wanted = list(found)
    if not wanted:
        return
    for key in wanted:
        if keys.parse(key) is None or key == keys.MARKER:
            raise StoreError(f"{key} is not a key that uprez may delete: nothing was deleted")
    if read(home, keys.MARKER) is None:
        raise StoreError(f"{home.prefix} has lost its marker {keys.MARKER}: nothing is deleted from it")
    for key in wanted:
        try:
            path(home, key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot delete {key}: {error.strerror}") from error
        _prune(home, path(home, key).parent)


def publish(home: Home, source: Path, name: str, *, size: int, sha256: str) -> None:
    """Give a checked file an output name, without ever replacing what is there.

    A hard link, so that it appears whole and at once and the source stays until the job is recorded as done; a copy
    renamed into place on file systems without links. The very same bytes under that name are ours, from a run that
    ended here. Raises FileExistsError when the name is taken by anything else, StoreError.
    """
    target = home.root / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not same(target, size=size, sha256=sha256):
            _place(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"cannot publish {target}: {error.strerror}") from error


def same(target: Path, *, size: int, sha256: str) -> bool:
    """Say whether a file holds exactly these bytes."""
    try:
        return target.is_file() and target.stat().st_size == size and urls.digest(target) == sha256
    except OSError:
        return False


def etag(target: Path) -> str:
    """The ETag by which a published output is known again."""
    stat = target.stat()
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy where there are no hard links (exFAT, some shares); the check leaves a window, a link would not."""
    if os.path.lexists(target):
        raise FileExistsError(str(target))
    beside = target.with_name(f".uprez-{secrets.token_hex(4)}.part")
    try:
        shutil.copyfile(source, beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _head(home: Home, key: str) -> tuple[int, str]:
    try:
        meta = obstore.head(home.state, key)
    except (OSError, BaseError) as error:
        raise StoreError(f"{key} is gone: {_first_line(error)}") from error
    return meta["size"], meta["e_tag"] or ""


def _prune(home: Home, folder: Path) -> None:
    """Remove folders that a deletion left empty, up to the state prefix."""
    with contextlib.suppress(OSError):  # not empty: somebody writes there
        while folder != home.prefix:
            folder.rmdir()
            folder = folder.parent


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
