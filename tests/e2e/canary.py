"""A canary for tests: looks again and again, at all that a rented machine's processes hold, for what must not be."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uprez.practice import Processes

LIVE = re.compile(rb"X-Amz-Signature(?:=|%3D)[0-9a-f]{64}", re.IGNORECASE)
"""A signature that opens something."""
PAUSE_S = 0.03
MOST = 32 << 20


@dataclass(kw_only=True)
class Canary:
    """Watches all processes of all instances of a market from `start` until `stop`."""

    machines: Processes
    folder: Path
    """Where the market keeps its instances' folders."""
    secrets: Mapping[str, str]
    """What must not be there, by name."""
    allowed: set[str] = field(default_factory=set)
    """Text in which a signature may be: boot URLs, as a whole."""
    found: set[tuple[str, str]] = field(default_factory=set)
    """What was found, and where."""
    looks: int = 0
    commands: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    open_files: int = 0
    _seen: set[tuple[str, int, int, int, int]] = field(default_factory=set)
    _held: list[tuple[str, bytes]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and judge what was seen."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for where, data in self._held:
            self.judge(where, data)
        self._held.clear()

    def judge(self, where: str, data: bytes) -> None:
        """Note what must not be in there."""
        for allowed in self.allowed:
            data = data.replace(allowed.encode(), b"")
        for name, secret in self.secrets.items():
            if secret.encode() in data:
                self.found.add((name, where))
        if LIVE.search(data):
            self.found.add(("a live signature", where))

    def _run(self) -> None:
        while not self._over.is_set():
            self._look()
            self._over.wait(PAUSE_S)

    def _look(self) -> None:
        """Take what may be gone a moment later; what it means is looked at when all is over."""
        self.looks += 1
        for pid in descendants(os.getpid(), self.folder):
            command = _read(f"/proc/{pid}/cmdline")
            self.commands.add(command.replace(b"\0", b" ").decode(errors="replace"))
            self._take("cmdline", command)
            self._take("environ", _read(f"/proc/{pid}/environ"))
            for number in _listed(f"/proc/{pid}/fd"):
                self._file(f"/proc/{pid}/fd/{number}", is_open=True)
        for top, _, names in os.walk(self.folder):
            for name in names:
                self._file(f"{top}/{name}")

    def _file(self, path: str, *, is_open: bool = False) -> None:
        """Read a file, unless it is as it was: once under each of its names, as an open one may lose its own."""
        try:
            about = Path(path).stat(follow_symlinks=is_open)
        except OSError:
            return
        where = f"file {path}"
        if is_open:
            with contextlib.suppress(OSError):
                where = f"open file {Path(path).readlink()}"
        key = (where, about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size)
        if key in self._seen or not stat.S_ISREG(about.st_mode) or about.st_size > MOST:
            return
        self._seen.add(key)
        self.open_files += is_open
        self.files.add(where)
        self._take(where, _read(path))

    def _take(self, where: str, data: bytes) -> None:
        """Keep what may be a finding: it is judged when the allowed texts are known."""
        if LIVE.search(data) or any(secret.encode() in data for secret in self.secrets.values()):
            self._held.append((where, data))


def descendants(root: int, folder: Path) -> Iterator[int]:
    """List the keepers of a market in the process `root`, all that they started, and all that works in `folder`."""
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    ours = {pid for pid, parent in parents.items() if parent == root and b"keeper.py" in _read(f"/proc/{pid}/cmdline")}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    ours |= {pid for pid in parents if pid != root and _works_in(pid, folder)}
    yield from ours


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink()).startswith(f"{folder}/")
    except OSError:
        return False


def _pids() -> Iterable[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def _listed(folder: str) -> list[str]:
    try:
        return [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST)
    except OSError:
        return b""


def wait_until(moment: float) -> None:
    """Sleep until that time since 1970."""
    time.sleep(max(0.0, moment - time.time()))
