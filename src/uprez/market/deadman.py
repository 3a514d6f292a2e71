"""The dead-man of the `local` market: starts a worker and ends it when its time is over, whatever else has died.

Run as `python -m uprez.market.deadman FOLDER FD` by `market.local`, in a session of its own. It uses the standard
library only and shares nothing with the controller but FOLDER:

    launch.json   what to run and for how long (written before this process starts)
    lock          held (flock) for as long as anything of this instance runs; the kernel frees it with the last holder
    deadline      seconds on CLOCK_MONOTONIC; the worker moves it when its lease is renewed, never past the hard life
    destroyed     its presence means: end now
    pid           this process, and the process group of everything it starts
    stdout.log    what the worker prints

The controller takes the lock and this process inherits it (FD), and so does the worker: there is no moment in which an
instance runs without holding it, even when the controller or this process is killed, and no process id that could have
been given to somebody else decides. Seconds come from CLOCK_MONOTONIC, which all processes of one machine share and no
clock change moves.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""

POLL_S = 0.1
TERM_S = 3.0
"""Between the polite signal and SIGKILL."""


class Orders(TypedDict):
    """What launch.json holds."""

    label: str
    command: list[str]
    environment: dict[str, str]
    life_s: float
    hard_life_s: float


def main(folder: Path, lock: int) -> None:
    """Run one instance from start to end, holding the inherited `lock`."""
    launch: Orders = json.loads((folder / "launch.json").read_text())
    started = time.monotonic()
    write_deadline(folder / "deadline", started + launch["life_s"])
    (folder / "pid").write_text(str(os.getpid()))
    worker = _start(launch, folder, lock)
    try:
        _watch(worker, folder, hard=started + launch["hard_life_s"])
    finally:
        _end(worker)


def write_deadline(path: Path, deadline: float) -> None:
    """Set the time to end at; whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(repr(deadline))
    beside.replace(path)


def extend_epoch(path: Path, deadline: float) -> None:
    """Move the deadline of a rented machine's dead-man, in whole seconds since 1970; an earlier one changes nothing.

    The monotonic clock would not do there: it begins anew when the host does.
    """
    try:
        now = float(path.read_text())
    except (OSError, ValueError):
        now = 0.0
    if deadline > now:
        beside = path.with_suffix(".new")
        beside.write_text(f"{math.ceil(deadline)}\n")
        beside.replace(path)


def alive(folder: Path) -> bool:
    """Say whether anything of the instance in `folder` still runs."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask at once do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def take_lock(folder: Path) -> int:
    """Take the lock of a new instance and give its descriptor; waits out whoever asks `alive` at that moment."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _start(launch: Orders, folder: Path, lock: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launch["command"],
        cwd=folder,
        env=launch["environment"],
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  this process has one thread
    )


def _die_with_parent() -> None:
    """Between fork and exec of the worker: have the kernel end it should this process be killed."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch(worker: subprocess.Popen[bytes], folder: Path, *, hard: float) -> None:
    """Wait until the worker ends, is told to, or its time is over."""
    while worker.poll() is None:
        # SIGKILL falls on the deadline, so the polite signal comes before it.
        if (folder / "destroyed").exists() or time.monotonic() >= min(hard, _deadline(folder)) - TERM_S:
            return
        time.sleep(POLL_S)


def _deadline(folder: Path) -> float:
    try:
        return float((folder / "deadline").read_text())
    except (OSError, ValueError):
        return 0.0  # the folder is gone or spoilt: there is nothing left to work for


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever it started: all are of this process's group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(TERM_S)
    worker.kill()
    worker.wait()
    os.killpg(0, signal.SIGKILL)  # whatever the worker started and left; this process with it, its work being done


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # a closed terminal ends the controller, not what it rented
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main(Path(sys.argv[1]), int(sys.argv[2]))
