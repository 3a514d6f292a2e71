"""Find the videos of a batch and tell each from every other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from uprez.errors import InputError, UsageError
from uprez.job import Source

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "ogv", "ts", "vob", "webm", "wmv"),
    )
)
SAMPLE = 1 << 20
"""Bytes of the first, middle and last sample that make an identity."""


def folder(top: Path, *, skip: frozenset[Path] = frozenset(), warn: Callable[[str], None]) -> list[Path]:
    """List the videos in a folder and below it, by name; hidden folders and the paths in `skip` are no inputs.

    A folder below that cannot be read is passed over with a warning. Raises UsageError when `top` is missing or
    cannot be read.
    """
    if not top.is_dir():
        what = "is not a folder" if top.exists() else "does not exist"
        raise UsageError(f"the input folder {top} {what}", hint="choose it with --input-dir, or one file with --input")
    made = {os.path.realpath(path) for path in skip}  # the same file may be found by another way (`..`, a link)
    videos = (path for path in _walk(top, warn) if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in videos if os.path.realpath(path) not in made)


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
    return Source(url=path.absolute().as_uri(), name=name, path=str(path.absolute()), size=size, identity=identity)


def unchanged(source: Source) -> bool:
    """Say whether an input is still what it was when it was found."""
    try:
        return _identity(Path(source.path)) == (source.size, source.identity)
    except OSError:
        return False


def _walk(top: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        what = f"the folder {error.filename} cannot be read: {error.strerror}"
        if Path(error.filename) == top:
            raise UsageError(what, hint="choose another --input-dir, or change its permissions") from error
        warn(f"{what}; its videos are passed over")

    for here, folders, names in os.walk(top, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .Trash, .git, our own state
        yield from (Path(here) / name for name in names if not name.startswith("._"))  # macOS's shadow files


def _identity(path: Path) -> tuple[int, str]:
    """Digest size and samples: cheap for any length, and the same for a file that was copied or touched."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for start in (0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return size, digest.hexdigest()
