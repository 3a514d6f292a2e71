"""Bring a finished output from the bucket to a folder here: beside, checked, then under its name, which nothing loses.

A key may hold anything, so no part of it becomes part of a path before it was looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from uprez import http
from uprez.errors import StoreError
from uprez.report.results import Output
from uprez.store import objects
from uprez.store.open import Home

Progress = Callable[[str, int, int], None]
"""Called with the output's name, how many bytes are here and how many there will be."""

READ_S = 24 * 3600.0
"""How long the URL that is read from is valid."""
SPARE_BYTES = 64 << 20
"""What must stay free on the disk."""
POLL_S = 0.5

_DRIVE = re.compile(r"[A-Za-z]:")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows, and a share of one, gives to devices."""


def bring(home: Home, output: Output, folder: Path, progress: Progress) -> Path:
    """Fetch an output into `folder`, below which it gets the path that it has below the bucket's outputs.

    What is there already with the same bytes is success; where the outputs are a folder, nothing is copied. Raises
    StoreError when another file has the name, the disk is too small, or the object is not the one that was published.
    """
    if home.root is not None:
        return home.root / output.path
    name = output.path.removeprefix(home.base)
    target = folder.joinpath(*parts(name))
    with _explained(target):
        if _is_there(target, output):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_room(target.parent, output.size)
        beside = target.with_name(f".uprez-{secrets.token_hex(4)}.part")
        try:
            _fetch(home, output, beside, lambda done: progress(name, done, output.size))
            _appear(beside, target, output)
        finally:
            beside.unlink(missing_ok=True)
    return target


def parts(name: str) -> tuple[str, ...]:
    """Split the name of an output into the parts of a path; raises StoreError where one would be more than a name."""
    found = tuple(name.split("/"))
    for part in found:
        wrong = _wrong(part)
        if wrong:
            raise StoreError(
                f"the output {name!r} is not fetched: {wrong}", hint="sign its URL with: uprez url, and name the file"
            )
    return found


def _wrong(part: str) -> str:
    if part in ("", ".", ".."):
        return "its name leads out of the folder"
    if "\\" in part or _DRIVE.match(part):
        return f"{part!r} would be a path of its own on some systems"
    if _RESERVED.fullmatch(part) or part[-1] in ". ":
        return f"{part!r} cannot be a file's name on some systems"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part):
        return f"{part!r} holds control characters"
    return ""


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror or error}", hint="choose another --download"
        ) from error


def _is_there(target: Path, output: Output) -> bool:
    """Say whether the file is here already; raises StoreError when something else has its name."""
    if not os.path.lexists(target):
        return False
    if objects.holds_bytes(target, size=output.size, sha256=output.sha256):
        return True
    raise StoreError(
        f"{target} is there already with other bytes: it is left alone",
        hint="move it away, or choose another --download",
    )


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise StoreError(
            f"{folder} has {free / 1e9:.2f} GB free, and the output takes {size / 1e9:.2f} GB",
            hint="free some space there, or choose another --download",
        )


def _fetch(home: Home, output: Output, beside: Path, tell: Callable[[int], None]) -> None:
    shown = home.shown(output.path)
    meta = home.outputs.head(output.path)
    if meta is None or meta.size != output.size:
        raise StoreError(f"{shown} {'is another file now' if meta else 'is gone'}", hint="run the batch again")
    url = home.outputs.get_url(output.path, seconds=READ_S)
    if url.startswith(("http://", "https://")):
        with _watched(beside, tell):
            http.download(url, beside, etag=f'"{meta.etag}"', most=output.size)
    else:
        with home.outputs.local(meta) as path:
            shutil.copyfile(path, beside)
    if not objects.holds_bytes(beside, size=output.size, sha256=output.sha256):
        raise StoreError(f"{shown} does not hold the bytes that were published", hint="run the batch again")
    tell(output.size)


@contextlib.contextmanager
def _watched(path: Path, tell: Callable[[int], None]) -> Iterator[None]:
    """Tell how a file grows while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_S):
            with contextlib.suppress(OSError):  # not made yet
                tell(path.stat().st_size)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _appear(beside: Path, target: Path, output: Output) -> None:
    """Give a whole file its name; a link sees to it by itself that nothing is replaced."""
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    try:
        os.link(beside, target)
    except FileExistsError:
        _is_there(target, output)
    except OSError:  # without links (exFAT, some shares) this look leaves a window
        if not _is_there(target, output):
            beside.rename(target)
