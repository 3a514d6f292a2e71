"""Read and write one object by its URL, file:// or http(s)://: all that a worker can do with a store.

A write is seen whole or not at all. In a folder it goes beside its name, reaches the disk, and is then renamed; the
name beside ends in `#<n>`, which obstore's own folder store uses for the same purpose and leaves out of its listings.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from uprez import http
from uprez.errors import BusyError, FetchError, StoreError
from uprez.sheet import Upload

SMALL = 16 << 20
"""Bytes of the largest message that is read whole."""
Moved = Callable[[int], None]
SMALL_LIMITS = http.Limits(connect_s=5.0, read_s=10.0, total_s=20.0, tries=2)
"""Of a status or a part of the log: the next one comes soon, and a heart must not stand still for the last."""
PUT_LIMITS = http.Limits(read_s=300.0, total_s=600.0)
"""A store answers a PUT only when it has kept all of it."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """An object's bytes, and the tag that says whether it has changed since."""

    data: bytes
    etag: str


def path_of(url: str) -> Path:
    """Turn a file:// URL into a path; raises StoreError for any other scheme."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "%00" in parts.path:
        raise StoreError(f"this version reads file:// and http(s):// URLs, not {http.shown(url)[:80]}")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))


def get(url: str, *, etag: str | None = None) -> Fetched | None:
    """Read a small object; None when it still has the given tag. Raises StoreError: unreadable, or too large."""
    if _remote(url):
        return _get(url, etag)
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
    if (found := _copy(url, target)) != sha256:
        what = http.shown(url) if _remote(url) else str(path_of(url))
        raise StoreError(f"{what} has changed: its SHA-256 is {found[:12]}..., {sha256[:12]}... was expected")


def fetch_source(url: str, target: Path, *, size: int, etag: str | None, moved: Moved | None = None) -> None:
    """Copy an input, whose hash nobody knows yet, to a local file.

    `etag` (with its quotes, as the server gave it) makes sure over HTTP that it is still the file that was found.
    `moved` is called with the bytes that are here, now and then; what it raises ends the copy. Raises StoreError: no
    room for it, unreadable, or changed.
    """
    free = shutil.disk_usage(target.parent).free
    if free < size:
        needs = f"{http.shown(url)} needs {size >> 20} MiB in {target.parent}"
        raise StoreError(f"{needs}, which has {free >> 20} MiB free", hint="make room there, or choose another folder")
    _copy(url, target, etag=etag, most=size, moved=moved)
    if (found := target.stat().st_size) != size:
        raise StoreError(f"{http.shown(url)} has changed: it has {found} bytes, {size} were expected")


def put(url: str, source: Path | bytes) -> None:
    """Write an object whole; a file given as `source` must not change afterwards.

    Raises StoreError (disk full, folder gone, signature refused); nothing half-written gets the name.
    """
    if _remote(url):
        with _reading(source):
            http.request("PUT", url, body=source, limits=SMALL_LIMITS if isinstance(source, bytes) else PUT_LIMITS)
        return
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


def put_parts(upload: Upload, path: Path) -> None:
    """Write a large object in parts and join them; after a failure the upload is given up, so that it costs nothing.

    Raises StoreError; after a BusyError the upload is still there, for another try.
    """
    with _reading(path):
        size = path.stat().st_size
    count = max(1, -(-size // upload.part_bytes))
    try:
        if count > len(upload.part_urls):
            most = len(upload.part_urls) * upload.part_bytes
            raise StoreError(f"{path} has {size} bytes, more than the {most} that its upload was signed for")
        with _reading(path):
            etags = [_put_part(upload, path, number, size) for number in range(count)]
            _complete(upload, etags)
    except BusyError:
        raise
    except BaseException:  # also a stop in mid-upload
        with contextlib.suppress(FetchError):  # the controller aborts what the ledger remembers
            http.request("DELETE", upload.abort_url, accept=frozenset({404}))
        raise


def _put_part(upload: Upload, path: Path, number: int, size: int) -> str:
    start = number * upload.part_bytes
    part = http.Part(path=path, start=start, size=min(upload.part_bytes, size - start))
    answer = http.request("PUT", upload.part_urls[number], body=part, limits=PUT_LIMITS)
    etag = answer.headers.get("ETag")
    if not etag:
        raise StoreError(f"{http.shown(upload.part_urls[number])}: part {number + 1} was answered without an ETag")
    return etag


def _complete(upload: Upload, etags: list[str]) -> None:
    """Join the parts. Whether a try whose answer was lost has joined them shows in the next one: no such upload."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, start=1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    headers = {"Content-Type": "application/xml"}
    gone = frozenset({404})
    answer = http.request("POST", upload.complete_url, headers=headers, body=body, again=gone, limits=PUT_LIMITS)
    if code := http.xml_value(answer.data.decode(errors="replace"), "Code"):  # S3 may fail after it has answered 200
        kind = BusyError if code in ("InternalError", "ServiceUnavailable", "SlowDown") else StoreError
        raise kind(f"{http.shown(upload.complete_url)}: the parts were not joined: {code}")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remote(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _get(url: str, etag: str | None) -> Fetched | None:
    headers: Mapping[str, str] = {"If-None-Match": etag} if etag else {}
    answer = http.request("GET", url, headers=headers, most=SMALL, accept=frozenset({304}))
    if answer.status == 304:
        return None
    return Fetched(data=answer.data, etag=answer.headers.get("ETag", ""))


def _copy(
    url: str, target: Path, *, etag: str | None = None, most: int | None = None, moved: Moved | None = None
) -> str:
    """Copy an object of any size to a file; gives its SHA-256."""
    what = http.shown(url) if _remote(url) else str(path_of(url))
    try:
        if _remote(url):
            return http.download(url, target, etag=etag, most=most, moved=moved)
        shutil.copyfile(path_of(url), target)
        return digest(target)
    except OSError as error:
        raise StoreError(f"cannot copy {what}: {error.strerror}") from error


@contextlib.contextmanager
def _reading(source: Path | bytes) -> Iterator[None]:
    """Say which file of ours cannot be read."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot read {source!s}: {error.strerror}") from error


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
