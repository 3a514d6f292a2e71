"""The keeper of one rented instance: runs its command and ends everything that came of it.

Run by path, with the standard library only: `python -I -S keeper.py ORDERS`, in a session of its own, its standard
input a pipe whose other end the market holds. That pipe closes when the market wants the instance ended, and also when
the market itself dies, by whatever signal: then this process kills all its descendants. It is their subreaper, so that
one which left for a session of its own is still found. Should this process be killed, the kernel ends the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
LINUX = sys.platform == "linux"
POLL_S = 0.05


class Orders(TypedDict):
    """What the file of orders holds."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    log: str
    hold: bool
    """Stay when the command has ended, as a container with a shell server does."""


def main(orders: Orders) -> int:
    """Run one instance until its command ends or nobody wants it any more; give the command's exit code."""
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    command = _start(orders)
    try:
        while orders["hold"] or command.poll() is None:
            if select.select([0], [], [], POLL_S)[0]:  # nobody writes: readable means closed
                return -signal.SIGKILL
            _bury(command.pid)
        return command.returncode
    finally:
        _end(command)


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    with Path(orders["log"]).open("ab") as log:
        return subprocess.Popen(
            orders["command"],
            cwd=orders["folder"],
            env=orders["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent if LINUX else None,  # noqa: PLW1509  this process has one thread
        )


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _bury(command: int) -> None:
    """Collect an orphan that has ended; the command itself is Popen's to collect."""
    if LINUX:
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended and ended.si_pid != command:
                os.waitpid(ended.si_pid, 0)


def _end(command: subprocess.Popen[bytes]) -> None:
    """Kill until nothing is left: what is killed may have started one more just before."""
    command.kill()
    command.wait()
    while LINUX and (left := _descendants()):
        for each in left:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)
    if not LINUX:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)


def _descendants() -> list[int]:
    found, heads = [], [os.getpid()]
    while heads:
        children = _children(heads.pop())
        found += children
        heads += children
    return found


def _children(parent: int) -> list[int]:
    """Read the children of a process from the kernel's list; none where it is gone."""
    try:
        return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # a closed terminal ends the market, and that ends this
    ended = main(json.loads(Path(sys.argv[1]).read_text()))
    sys.exit(ended if ended >= 0 else 128 - ended)
