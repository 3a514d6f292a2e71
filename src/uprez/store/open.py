"""Open the place that results go to, with our state prefix inside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import LocalStore

from uprez.errors import UsageError
from uprez.store import keys

_STAGED = re.compile(r".*#[0-9]+", re.DOTALL)
"""What obstore and `store.urls` name a file that is still being written; obstore's listings leave such names out."""

MARKER = {"schema": 1, "about": "Checkpoints of uprez (video upscaling). Finished results are beside this folder."}


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where results go (`root`) and what uprez remembers of them (`state`, the folder `prefix`)."""

    root: Path
    prefix: Path
    state: LocalStore

    @property
    def url(self) -> str:
        """The folder as a file:// URL."""
        return self.root.as_uri()


def open_home(folder: Path, prefix: Path | None = None) -> Home:
    """Open an output folder, making it and its marked state prefix (`<folder>/.uprez`) when they are missing.

    Raises UsageError when it cannot be written, or when its state prefix holds things but not our marker.
    """
    root = folder.absolute()
    prefix = prefix or root / keys.PREFIX
    try:
        root.mkdir(parents=True, exist_ok=True)
        if _is_strange(prefix):
            raise UsageError(
                f"{prefix} holds files but not uprez's marker {keys.MARKER}, so it is not ours to use",
                hint="choose another --output-dir, or move that folder away",
            )
        prefix.mkdir(parents=True, exist_ok=True)
        state = LocalStore(prefix)
        if not (prefix / keys.MARKER).exists():
            obstore.put(state, keys.MARKER, json.dumps(MARKER).encode())
        tempfile.TemporaryFile(dir=root).close()  # better now than after hours of work
    except (OSError, obstore.exceptions.BaseError) as error:
        raise UsageError(
            f"the output folder {root} cannot be used: {_reason(error)}", hint="choose another --output-dir"
        ) from error
    return Home(root=root, prefix=prefix, state=state)


def find_home(folder: Path, prefix: Path | None = None) -> Home | None:
    """Open an output folder only if it already holds our state; writes nothing (for dry runs)."""
    prefix = prefix or folder.absolute() / keys.PREFIX
    if not (prefix / keys.MARKER).exists():
        return None
    return Home(root=folder.absolute(), prefix=prefix, state=LocalStore(prefix))


@contextlib.contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Hold an output folder: two runs at once would delete each other's checkpoints.

    The lock is on the marker file, so nothing is left behind. Raises UsageError while another run holds it,
    or when it cannot be written.
    """
    try:
        marker = (home.prefix / keys.MARKER).open("r+")
    except OSError as error:
        what = f"the output folder {home.root} cannot be written: {_reason(error)}"
        raise UsageError(what, hint="choose another --output-dir") from error
    with marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another uprez run is working in {home.root}",
                hint="wait for it to end, or choose another --output-dir",
            ) from error
        except OSError:
            pass  # a network share without locks: attempts have names of their own, so both runs may pay, none spoils
        yield


def sweep(home: Home) -> None:
    """Remove what a killed write left beside its name; only while the folder is held and no worker runs."""
    for folder, _, names in os.walk(home.prefix):
        for name in names:
            if _STAGED.fullmatch(name):
                (Path(folder) / name).unlink(missing_ok=True)


def _is_strange(prefix: Path) -> bool:
    """Say whether a state prefix holds things but not our marker; a first start that was killed left it staged."""
    if not prefix.exists() or (prefix / keys.MARKER).exists():
        return False
    return any(not _STAGED.fullmatch(path.name) for path in prefix.iterdir())


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0]
