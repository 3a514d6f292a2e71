"""One program run from its start to its end: how long it took, and the memory that all its processes held."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.5
"""Between two looks at the memory: a look takes a few milliseconds."""
TAIL = 3000


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A program that did what it was to do."""

    seconds: float
    peak_mib: float
    """The most that it and all its children held at one time, pages that several of them share counted once."""


def run(command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> Ended:
    """Run a command in a folder and wait for it; what it prints is kept in the folder's log.txt.

    Ends the benchmark with the log's last lines where the command fails.
    """
    log = folder / "log.txt"
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
        watch = _Watch(process.pid)
        try:
            code = process.wait()
            seconds = time.perf_counter() - began
        except BaseException:
            process.terminate()  # uprez ends its worker, framelift its ffmpeg
            process.wait()
            raise
        finally:
            watch.close()
    if code != 0:
        tail = log.read_text(errors="replace")[-TAIL:]
        sys.exit(f"ended with exit code {code}: {' '.join(command)}\n{tail}")
    return Ended(seconds=seconds, peak_mib=watch.peak_bytes / (1 << 20))


class _Watch:
    """Looks at a process and all below it until it is closed."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="bench-memory")
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_S):
            self.peak_bytes = max(self.peak_bytes, sum(_held(pid) for pid in family(self._pid)))


def family(pid: int) -> list[int]:
    """List a process and all that are below it now."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children[parent].append(int(stat.parent.name))
    found = [pid]
    for each in found:  # grows on the way
        found += children[each]
    return found


def _held(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
