"""Log snapshots: made on request, shown later under an address that stays, each in the place of the one before."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping

from uprez.practice.faults import Faults
from uprez.practice.instance import Instance
from uprez.practice.query import number

LATE_MS = 20_000
TAIL = 1000
"""Lines of a log without `tail`."""


class Snapshots:
    """What can be fetched without a key, by whoever knows the address."""

    def __init__(self) -> None:
        self._shown: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self._names: dict[int, set[str]] = defaultdict(set)

    def name(self, instance: Instance, kind: str) -> str:
        """Give the name of an instance's log or daemon log; nobody can guess it, and it never changes."""
        name = hashlib.md5(f"{instance.key}{instance.id}{kind}".encode(), usedforsecurity=False).hexdigest()
        self._names[instance.id].add(name)
        return name

    def put(self, name: str, ready_ms: int, text: bytes) -> None:
        """Let a snapshot appear at its time."""
        self._shown[name].append((ready_ms, text))

    def get(self, name: str, now_ms: int) -> bytes | None:
        """Give the newest that is there by now, None before the first."""
        ready = [text for ready_ms, text in self._shown.get(name, []) if ready_ms <= now_ms]
        return ready[-1] if ready else None

    def forget(self, instance: int) -> None:
        """Remove all of an instance that is gone."""
        for name in self._names.pop(instance, ()):
            self._shown.pop(name, None)


def take(
    snapshots: Snapshots,
    one: Instance,
    printed: bytes | None,
    body: Mapping[str, object],
    *,
    faults: Faults,
    now_ms: int,
    delay_ms: int,
) -> str:
    """Make a snapshot as `body` asks, of what the container has printed, and give its name."""
    daemon = str(body.get("daemon_logs", "")).lower() == "true"
    name = snapshots.name(one, "daemon" if daemon else "")
    fault = faults.first(("logs_stale", "logs_404", "logs_late", "logs_cut", "logs_rotated"))
    if fault == "logs_rotated" and printed is not None:
        lines = printed.splitlines(keepends=True)
        printed = b"".join(lines[len(lines) * 3 // 4 :])
    text = daemon_log(one) if daemon else _text(one, printed, body)
    if fault == "logs_404":
        snapshots.forget(one.id)
        return snapshots.name(one, "daemon" if daemon else "")
    if fault != "logs_stale":
        text = text[: max(0, len(text) - 7)] if fault == "logs_cut" else text
        snapshots.put(name, now_ms + (LATE_MS if fault == "logs_late" else delay_ms), text)
    return name


def _text(one: Instance, printed: bytes | None, body: Mapping[str, object]) -> bytes:
    if printed is None:
        return f"Error response from daemon: No such container: C.{one.id}\n".encode()
    lines, pattern = number(body.get("tail", TAIL)), body.get("filter")
    return cut(printed, tail=TAIL if lines is None else int(lines), pattern=str(pattern) if pattern else None)


def cut(text: bytes, *, tail: int, pattern: str | None) -> bytes:
    """Give the last lines, and of those only the ones that match."""
    lines = text.splitlines(keepends=True)[-tail:] if tail > 0 else []
    if pattern:
        wanted = re.compile(re.escape(pattern).encode())
        lines = [line for line in lines if wanted.search(line)]
    return b"".join(lines)


def daemon_log(instance: Instance) -> bytes:
    """Write what the host's daemon says of an instance."""
    name, image = f"C.{instance.id}", instance.launch.image
    lines = [f"create {name} image {image} disk {instance.disk_gb}GB"]
    if instance.status in ("loading", "running", "exited"):
        lines.append(f"pull {image}")
    if instance.status_msg:
        lines.append(instance.status_msg)
    if instance.status in ("running", "exited"):
        lines.append(f"start {name}")
    if instance.status == "exited":
        lines.append(f"die {name}")
    return ("\n".join(lines) + "\n").encode()
