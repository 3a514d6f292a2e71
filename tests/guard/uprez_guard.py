"""Fail what touches the home folder or an address that is not this machine's.

An audit hook sees each open, listing and connection that Python makes, raises at the spot and remembers it, so that a
test fails even where the code under test swallowed the exception. Child Pythons find `sitecustomize.py` beside this
file by PYTHONPATH, watch the same and report through a file. Kept light: every child of every test imports it.
"""

from __future__ import annotations

import ipaddress
import os
import sys

FORBIDDEN = "UPREZ_TEST_GUARD_FORBIDDEN"
ALLOWED = "UPREZ_TEST_GUARD_ALLOWED"
REPORT = "UPREZ_TEST_GUARD_REPORT"

PATHS = {
    **dict.fromkeys(("open", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.listdir", "os.scandir"), 1),
    **dict.fromkeys(("os.chmod", "os.chown", "os.utime", "sqlite3.connect"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), 2),
}
"""How many of an event's first arguments are paths."""
ADDRESSES = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


class TouchedError(AssertionError):
    """A test reached for the home folder or for the network."""


class Watch:
    """What the hook looks for. The innermost folder decides; the hook sleeps while none is forbidden."""

    def __init__(self) -> None:
        self.forbidden: tuple[str, ...] = ()
        self.allowed: tuple[str, ...] = ()
        self.report: str | None = None
        self.seen: list[str] = []


WATCH = Watch()


def hook(event: str, args: tuple[object, ...]) -> None:
    """Judge one audit event; raises TouchedError."""
    if not WATCH.forbidden:
        return
    if event in PATHS:
        for path in args[: PATHS[event]]:
            _judge_path(event, path)
    elif event in ADDRESSES:
        _judge_address(event, args[1])
    elif event in NAMES:
        _judge_host(event, args[0])


def _judge_path(event: str, path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return  # a file descriptor: it was judged when it was opened
    text = os.path.abspath(os.fsdecode(path))
    if _depth(text, WATCH.forbidden) > _depth(text, WATCH.allowed):
        _refuse(f"{event} {text}: a test may not touch the home folder (use tmp_path)")


def _judge_address(event: str, address: object) -> None:
    if isinstance(address, tuple) and address:  # a Unix socket's address is a string
        _judge_host(event, address[0])


def _judge_host(event: str, host: object) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(name, str) and not _loopback(name):
        _refuse(f"{event} {name}: a test may only talk to this machine (127.0.0.1, ::1)")


def _loopback(name: str) -> bool:
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _depth(path: str, folders: tuple[str, ...]) -> int:
    """Give the length of the innermost of `folders` that holds `path`; 0 when none does."""
    return max((len(folder) for folder in folders if path == folder or path.startswith(folder + os.sep)), default=0)


def _refuse(message: str) -> None:
    WATCH.seen.append(message)
    if WATCH.report is not None:
        descriptor = os.open(WATCH.report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, (message + "\n").encode("utf-8", "backslashreplace"))
        os.close(descriptor)
    raise TouchedError(message)


def watch_child() -> None:
    """Watch a child process as its environment says; `sitecustomize` calls it before anything else runs."""
    if os.environ.get(FORBIDDEN):
        WATCH.forbidden = tuple(os.environ[FORBIDDEN].split(os.pathsep))
        WATCH.allowed = tuple(os.environ.get(ALLOWED, "").split(os.pathsep))
        WATCH.report = os.environ.get(REPORT)
        sys.addaudithook(hook)
