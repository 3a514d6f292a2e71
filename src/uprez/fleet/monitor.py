"""What a lease is seen to do: its status, its heartbeat by our clock, its log lines without repeats."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uprez import status as statuses
from uprez.config.settings import Timing
from uprez.errors import DeniedError, StoreError, WorkerError
from uprez.fleet import clock
from uprez.market.base import Instance, InstanceState
from uprez.status import Status
from uprez.store import keys
from uprez.store.open import Home

BLIND_S = 900.0
"""How long a store may refuse to be read before the batch is given up; each try has its own retries."""

BELIEVE_BEATS = 3
"""Heartbeats that must be missing before a host's word is believed against a worker that was well a moment ago."""
WORDS: dict[InstanceState, str] = {
    "ended": "its container ended",
    "failed": "it could not start",
    "stopped": "it was stopped: outbid, out of credit, or at the end of its contract",
    "lost": "its host does not answer",
}
STALL_S = 3600.0
"""How long an index or an assembly may take without a sign: large files are read and written in that time."""
LAST_PARTS = 5
"""Of a log are read when a machine is given back; a rented host may have written anything there."""
_BOOT = re.compile(r"uprez-boot (?P<lease>[0-9a-f]{8}) (?P<stamp>[0-9]{1,16}) (?P<text>.*)")
"""A line of the runner, before there is a worker; the stamp is in microseconds since 1970."""
LINE = re.compile(r"(?P<lease>[0-9a-f]{8}):(?P<number>[0-9]{1,9}) (?P<stamp>\S+) (?P<text>.*)")
"""A line of a worker."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a worker's log."""

    number: int
    stamp: str
    """When the worker printed it: UTC, ISO 8601."""
    text: str


@dataclass(kw_only=True)
class Monitor:
    """Remembers what was seen of one lease."""

    lease: str
    timing: Timing
    now: float = field(default_factory=clock.now)
    """Our monotonic clock at the last look."""
    status: Status | None = None
    raw: str = ""
    blind_since: float | None = None
    """Since when the store has not let us look: then silence is not the worker's."""
    _boots: float = field(default_factory=clock.now)
    """Since when there has been no worker: a boot that beats and never ends is none."""
    _moved: float = field(default_factory=clock.now)
    _worked: float = field(default_factory=clock.now)
    _seen: int = 0
    _booted: int = 0

    @property
    def has_left(self) -> bool:
        """Say whether the worker has said that it leaves."""
        return self.status is not None and self.status.phase == "left"

    @property
    def still_s(self) -> float:
        """Seconds since its worker last got on with anything, as far as the store lets us know."""
        return (self.blind_since or self.now) - self._worked

    def look(self, home: Home) -> None:
        """Read the status; one that is missing or malformed counts as silence.

        Raises DeniedError, and StoreError when the store could not be read for `BLIND_S`.
        """
        try:
            data = home.state.read(keys.status(self.lease))
        except DeniedError:
            raise
        except StoreError:
            self.blind_since = self.blind_since or self.now
            if clock.now() - self.blind_since > BLIND_S:
                raise
            return
        finally:
            self.now = clock.now()
        if self.blind_since is not None:
            self._moved += self.now - self.blind_since
            self._boots += self.now - self.blind_since
            self._worked += self.now - self.blind_since
            self.blind_since = None
        if data is None:
            return
        try:
            new = statuses.read(data)
        except WorkerError:
            return
        if new.lease != self.lease:
            return
        self._take(new)

    def _take(self, new: Status) -> None:
        old = self.status
        if old is None or new.beat != old.beat:
            self._moved = self.now
        if old is None or _work(new) != _work(old):
            self._worked = self.now
        if old is not None and new.phase == "booting" and old.phase != "booting":
            self._boots = self.now  # its container was started again
        self.status = new

    def new_lines(self, snapshot: str) -> list[LogLine]:
        """Give the lines of this lease that were not seen before.

        A snapshot is everything the instance printed, or a part of it, maybe an old one. Only whole lines count, those
        of another lease or without a number do not.
        """
        self.raw = snapshot or self.raw
        fresh = []
        for line in snapshot.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            match = LINE.fullmatch(line.rstrip("\r\n"))
            if match and match["lease"] == self.lease and int(match["number"]) > self._seen:
                self._seen = int(match["number"])
                fresh.append(LogLine(number=self._seen, stamp=match["stamp"], text=match["text"]))
            boot = _BOOT.fullmatch(line.rstrip("\r\n"))
            if boot and boot["lease"] == self.lease and int(boot["stamp"]) > self._booted:
                self._booted = int(boot["stamp"])
                stamp = datetime.fromtimestamp(self._booted / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                fresh.append(LogLine(number=0, stamp=stamp, text=boot["text"]))
        return fresh

    def last_of_log(self, home: Home) -> str:
        """Read, of the log that the worker published, the last parts that hold lines not seen yet: a few at most."""
        found = (keys.parse(meta.key) for meta in home.state.listing(keys.log_prefix(self.lease)))
        text = ""
        numbers = sorted((key.number for key in found if key and key.shape == "log"), reverse=True)
        for number in numbers[:LAST_PARTS]:
            text = (home.state.read(keys.log(self.lease, number)) or b"").decode("utf-8", "replace") + text
            match = LINE.match(text)
            if match and int(match["number"]) <= self._seen + 1:
                break
        return text

    def verdict(self, instance: Instance | None, *, sure: bool = True, makes_frames: bool = True) -> str | None:
        """Say why the lease is lost, None while it is well. Only a task that makes frames can be too slow at it.

        `instance` is what the market has of it, None: it is gone. Unless that is `sure`, a heart that beats refutes it.
        """
        silent = (self.blind_since or self.now) - self._moved
        up = instance is not None and instance.state in ("running", "booting")
        up = up or (self.status is not None and not sure and silent <= BELIEVE_BEATS * self.timing.status_s)
        if self.status is None or self.status.phase == "booting":
            if not up:
                return f"no worker began, and {_words(instance)}"
            booting = (self.blind_since or self.now) - self._boots
            return f"no worker within {self.timing.boot_s:.0f} s" if booting > self.timing.boot_s else None
        if self.has_left:
            return f"the worker left: {self.status.reason}"
        if not up:
            return f"the worker is gone: {_words(instance)}"
        if silent > self.timing.silence_s:
            return f"no heartbeat for {silent:.0f} s"
        idle_s = self.still_s if self.status.phase == "working" else 0.0
        if makes_frames and idle_s > self.timing.stall_s:
            return f"no frame finished for {idle_s:.0f} s"
        return f"nothing done for {idle_s:.0f} s" if idle_s > max(STALL_S, self.timing.stall_s) else None

    def strays(self, lines: int = 5) -> list[str]:
        """Give the last lines that the instance printed beside its log: what a worker that crashed had to say."""
        return [
            line
            for line in self.raw.splitlines()
            if line.strip() and not (LINE.fullmatch(line) or _BOOT.fullmatch(line))
        ][-lines:]


def _work(status: Status) -> tuple[object, ...]:
    """What changes while a worker gets on with its work."""
    return status.task, status.frames, status.moved, status.done[-1:]


def _words(instance: Instance | None) -> str:
    return "the machine is not there any more" if instance is None else WORDS.get(instance.state, instance.state)
