"""Find the videos of a batch, tell each from every other, and give the URL to read one by."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from uprez import http
from uprez.errors import InputError, UsageError
from uprez.job import Source
from uprez.store import keys
from uprez.store.base import Meta, Store

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
SAMPLE = 1 << 20
"""Bytes of the first, middle and last sample that make a file's identity."""


def folder(
    top: Path,
    *,
    skip: frozenset[Path] = frozenset(),
    outputs: Callable[[Path], frozenset[Path]] = lambda _: frozenset(),
    recursive: bool = True,
    warn: Callable[[str], None],
) -> list[Path]:
    """List the videos in a folder and below it, by name; hidden folders and the paths in `skip` are no inputs.

    `outputs` says what uprez has made in a folder that holds its state: nothing of that is an input. A folder below
    that cannot be read is passed over with a warning. Raises UsageError when `top` is missing or cannot be read.
    """
    if not top.is_dir():
        what = "is not a folder" if top.exists() else "does not exist"
        raise UsageError(f"the input folder {top} {what}", hint="choose it with --input-dir, or one file with --input")
    videos = [path for path in _walk(top, recursive, warn) if path.suffix.lower() in SUFFIXES]
    places = {folder for path in videos for folder in (path.parent, *path.parents) if folder.is_relative_to(top)}
    ours = (outputs(place) for place in places if (place / keys.PREFIX / keys.MARKER).exists())
    # The same file may be found by another way (`..`, a link).
    made = {os.path.realpath(path) for path in skip.union(*ours)}
    return sorted(path for path in videos if os.path.realpath(path) not in made)


def in_bucket(store: Store, prefix: str, *, skip: Callable[[str], bool], recursive: bool = True) -> list[Source]:
    """List the videos below a prefix of a bucket, by name; hidden names and the keys that `skip` names are no inputs.

    An input's name is its key below the prefix. One listing tells all there is to know: nothing is read.
    """
    top = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    videos = (meta for meta in store.listing(top) if _is_video(meta.key.removeprefix(top), recursive))
    found = (bucket_source(store, meta, meta.key.removeprefix(top)) for meta in videos if not skip(meta.key))
    return sorted(found, key=lambda source: source.name)


def bucket_source(store: Store, meta: Meta, name: str) -> Source:
    """Say what an object of a bucket is, by its key, size and ETag."""
    return Source(
        url=f"{store.url.rstrip('/')}/{meta.key}",
        name=name,
        size=meta.size,
        identity=_digest("s3", meta.key, meta.size, meta.etag),
        etag=f'"{meta.etag}"',
        version=meta.version,
    )


def at_url(url: str) -> Source:
    """Say what a web server holds under a URL, by the URL without its query, size and ETag or date.

    The query is left out because it may be a signature, which is another one tomorrow. Raises InputError when there is
    nothing to read, FetchError when it cannot be asked.
    """
    parts = urlsplit(url)
    plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    name = PurePosixPath(unquote(parts.path)).name or parts.hostname or "video"
    facts = http.head(url)
    if not facts.size:
        raise InputError(f"{name}: {plain} does not say how large it is, or is empty")
    mark = facts.etag or facts.modified or _sampled(url)
    return Source(
        url=url,
        name=name,
        size=facts.size,
        identity=_digest("http", plain, facts.size, mark),
        etag=facts.etag,
    )


def source(path: Path, name: str) -> Source:
    """Say what an input is; raises InputError when it cannot be read, or its name cannot be written down."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: the file's name is not UTF-8", hint="rename the file") from error
    if path.exists() and not path.is_file():
        raise InputError(f"{name}: is not a regular file")  # opening a pipe would wait for its writer for ever
    try:
        size, identity = _identity(path)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    if not size:
        raise InputError(f"{name}: is empty (0 bytes)")
    return Source(url=path.absolute().as_uri(), name=name, size=size, identity=identity)


def readable(source: Source, store: Store | None, *, seconds: float) -> str:
    """Give a URL that anybody can read an input by: signed, when it is in a bucket (`store`)."""
    return source.url if store is None else store.get_url(_key(source, store), seconds=seconds)


def unchanged(source: Source, store: Store | None) -> bool:
    """Say whether an input is still what it was when it was found."""
    if store is not None:
        meta = store.head(_key(source, store))
        return meta is not None and (meta.size, f'"{meta.etag}"') == (source.size, source.etag)
    if not source.url.startswith("file:"):
        return at_url(source.url).identity == source.identity
    try:
        return _identity(Path(unquote(urlsplit(source.url).path))) == (source.size, source.identity)
    except OSError:
        return False


def _key(source: Source, store: Store) -> str:
    return source.url.removeprefix(f"{store.url.rstrip('/')}/")


def _is_video(name: str, recursive: bool) -> bool:
    if name.endswith("/"):
        return False  # what some consoles make to show an empty folder
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and (recursive or len(path.parts) == 1)


def _walk(top: Path, recursive: bool, warn: Callable[[str], None]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        what = f"the folder {error.filename} cannot be read: {error.strerror}"
        if Path(error.filename) == top:
            raise UsageError(what, hint="choose another --input-dir, or change its permissions") from error
        warn(f"{what}; its videos are passed over")

    for here, folders, names in os.walk(top, onerror=unreadable):
        # .Trash, .git, our own state
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(here) / name for name in names if not name.startswith("._"))  # macOS's shadow files


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _identity(path: Path) -> tuple[int, str]:
    """Digest size and samples: cheap for any length, and the same for a file that was copied or touched."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for start in (0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return size, digest.hexdigest()


def _sampled(url: str) -> str:
    """Digest samples of what has neither ETag nor date."""
    with http.RangeFile(url) as remote, io.BufferedReader(remote) as file:
        digest = hashlib.sha256()
        for start in (0, max(0, (remote.size - SAMPLE) // 2), max(0, remote.size - SAMPLE)):
            file.seek(start)
            digest.update(file.read(SAMPLE))
        return digest.hexdigest()
