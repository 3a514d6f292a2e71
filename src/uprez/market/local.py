"""The `local` market: this machine, for nothing. An instance is a folder, a dead-man process and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from uprez.errors import BillingError, RentError
from uprez.market import deadman
from uprez.market.base import QUIET, Instance, InstanceState, Launch, Offer, OfferQuery, cheapest_first

LOG_TAIL = 1 << 20
"""Bytes of a log that are read: it is read twice a second, and a film's log grows for days."""
DESTROY_S = 15.0
"""How long an instance may take to end; its dead-man needs at most two times `deadman.TERM_S`."""


class LocalMarket:
    """Rents this machine: one folder below `folder` per instance, named by its lease."""

    name = "local"
    place = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """Offer this machine."""
        here = Offer(
            id="local",
            machine=platform.node() or "localhost",
            description=f"this machine ({os.cpu_count() or 1} CPU cores)",
            usd_per_hour=Decimal(0),
            cores=cores(),
        )
        return cheapest_first([here], query)

    async def create(self, offer: Offer, launch: Launch) -> Instance:
        """Start a worker under a dead-man; it outlives this process until its time is over."""
        return await asyncio.to_thread(self._create, launch)

    async def instances(self) -> list[Instance]:
        """List the folders in which something runs, and those left by a crash."""
        return await asyncio.to_thread(self._instances)

    async def logs(self, instance: str) -> str:
        """Give what the worker printed so far."""
        try:
            return await asyncio.to_thread(_read_log, self._folder / instance / "stdout.log")
        except FileNotFoundError:
            return ""

    async def why(self, instance: str) -> str:
        """Give nothing: the log has it all."""
        del instance
        return ""

    async def relabel(self, instance: str, label: str) -> None:
        """Write another label beside the one that it was started with."""
        folder = self._folder / instance
        if folder.is_dir():
            await asyncio.to_thread(_write_label, folder, label)

    async def now(self) -> datetime:
        """Give this machine's time."""
        return datetime.now(UTC)

    def by_hand(self, instance: str) -> str:
        """Give the command that shows what holds an instance's lock, and so runs."""
        return f"fuser -k {self._folder / instance / 'lock'}"

    async def funds(self) -> Decimal | None:
        """Nothing costs anything here."""
        return None

    async def destroy(self, instance: str) -> datetime | None:
        """End the instance's processes, see them gone, remove its folder."""
        there = (self._folder / instance).is_dir()
        await asyncio.to_thread(self._destroy, instance)
        return datetime.now(UTC) if there else None

    def _create(self, launch: Launch) -> Instance:
        folder = self._folder / launch.lease
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)  # launch.json holds a signed URL, the folder a copy of the video
            (folder / "launch.json").write_text(json.dumps(_orders(launch, folder)))
            self._children[launch.lease] = _spawn(folder)
        except OSError as error:
            raise RentError(f"this machine cannot start a worker in {folder}: {error.strerror}") from error
        return Instance(id=launch.lease, label=launch.label, state="running")

    def _instances(self) -> list[Instance]:
        self._bury()
        if not self._folder.is_dir():
            return []
        found = sorted(path for path in self._folder.iterdir() if path.is_dir())
        return [_instance(path) for path in found]

    def _destroy(self, instance: str) -> None:
        folder = self._folder / instance
        if not folder.is_dir():
            return
        with contextlib.suppress(OSError):  # a full disk must not keep a process alive: signals follow
            (folder / "destroyed").touch()
        if not _ended(folder, DESTROY_S):
            _kill(folder)
            if not _ended(folder, deadman.TERM_S):
                raise BillingError(
                    f"the local worker of lease {instance} does not end",
                    hint=self.by_hand(instance),
                )
        if child := self._children.get(instance):
            with contextlib.suppress(subprocess.TimeoutExpired):  # it let go of the lock, so it is on its way out
                child.wait(deadman.TERM_S)
        self._bury()
        shutil.rmtree(folder, ignore_errors=True)

    def _bury(self) -> None:
        """Reap the dead-men that ended, so that none stays in the process table."""
        self._children = {lease: child for lease, child in self._children.items() if child.poll() is None}


def cores() -> int:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _orders(launch: Launch, folder: Path) -> deadman.Orders:
    """Say what the dead-man runs: with an environment of its own that holds nothing of ours but the boot URL."""
    environment = {
        **_base_environment(folder),
        "UPREZ_BOOT_URL": launch.boot_url,
        "UPREZ_STATE_DIR": str(folder.parent.parent),  # where a log of a crash outlives the instance
        "UPREZ_DEADLINE_FILE": str(folder / "deadline"),
        **launch.environment,
    }
    return {
        "label": launch.label,
        "command": [sys.executable, "-P", "-m", "uprez", "work"],
        "environment": environment,
        "life_s": launch.life_s,
        "hard_life_s": launch.hard_life_s,
    }


def _base_environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **QUIET,
    }


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    lock = deadman.take_lock(folder)
    try:
        with (folder / "stdout.log").open("ab") as log:
            return subprocess.Popen(
                # -P: a json.py in the current folder must not be imported in the standard library's place
                [sys.executable, "-P", "-m", "uprez.market.deadman", str(folder), str(lock)],
                cwd=folder,
                env=_base_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C and a closed terminal reach the controller only
            )
    finally:
        os.close(lock)


def _write_label(folder: Path, label: str) -> None:
    beside = folder / "label.new"
    beside.write_text(label)
    beside.replace(folder / "label")


def _instance(folder: Path) -> Instance:
    state: InstanceState = "running" if deadman.alive(folder) else "ended"
    return Instance(id=folder.name, label=_label(folder), state=state)


def _label(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "label").read_text()  # given later
    try:
        return str(json.loads((folder / "launch.json").read_text())["label"])
    except (OSError, ValueError, KeyError):
        return ""  # killed before it was written: nothing was started in that folder


def _read_log(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        return file.read().decode("utf-8", "replace")


def _ended(folder: Path, within_s: float) -> bool:
    """Wait for the lock: the kernel frees it with the last process of the instance."""
    end = time.monotonic() + within_s
    while deadman.alive(folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _kill(folder: Path) -> None:
    """The dead-man itself is stuck or gone: end what holds the lock by the process group that it left."""
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
