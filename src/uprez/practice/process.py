"""What runs a rented instance: real child processes, or nothing at all for tests in virtual time."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from uprez.practice import keeper
from uprez.practice.meter import Meter, Moved

END_S = 5.0
"""How long a keeper may take to end what it keeps."""
LOG_MOST = 16 << 20
"""Bytes of a log that are read, from its end."""


PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
BYPASSES = frozenset({"no_proxy", "NO_PROXY"})


class StartError(Exception):
    """The container cannot be started; the text is what the host's daemon says."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """What an instance runs, and with what around it."""

    id: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    nvidia_smi: str
    """Text of the script."""
    hold: bool
    """Runs on when the command has ended."""


class Machines(Protocol):
    """Where containers run, by the instance's id. Everything but `start` may be called for one that is not there."""

    def start(self, container: Container) -> None:
        """Run a container, again in the same folder if it was run before; raises StartError."""

    def ended(self, instance: int) -> bool:
        """Say whether a container that was started has ended by itself."""

    def kill(self, instance: int) -> None:
        """End everything of a container without notice; its folder stays."""

    def remove(self, instance: int) -> None:
        """End a container and delete its folder."""

    def log(self, instance: int) -> bytes | None:
        """Give what it has printed so far, None where no container was ever made."""

    def moved(self, instance: int) -> Moved:
        """Give the traffic since the last time that this was asked."""


@dataclass(kw_only=True)
class Idle:
    """Machines on which nothing really runs: a test says what they print and when they end."""

    running: dict[int, Container] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    printed: dict[int, bytes] = field(default_factory=dict)
    traffic: dict[int, Moved] = field(default_factory=dict)
    starts: int = 0

    def start(self, container: Container) -> None:
        """Note that it runs."""
        self.starts += 1
        self.finished.discard(container.id)
        self.running[container.id] = container
        self.printed.setdefault(container.id, b"")

    def ended(self, instance: int) -> bool:
        """Say what the test said."""
        return instance in self.finished

    def kill(self, instance: int) -> None:
        """Note that it runs no more."""
        self.running.pop(instance, None)

    def remove(self, instance: int) -> None:
        """Forget it."""
        self.kill(instance)
        self.printed.pop(instance, None)

    def log(self, instance: int) -> bytes | None:
        """Give what the test put there."""
        return self.printed.get(instance)

    def moved(self, instance: int) -> Moved:
        """Give what the test put there, once."""
        return self.traffic.pop(instance, Moved())


class Processes:
    """Real processes, each instance with its own folder below `folder`; all of them end with this process.

    `image` is the environment that the image brings. Nothing of ours is inherited but PATH. With a `meter` an instance
    is told to send and fetch through it, and its traffic is known; it stays the caller's to close.
    """

    def __init__(self, folder: Path, *, image: Mapping[str, str] | None = None, meter: Meter | None = None) -> None:
        self._folder = folder.resolve()
        self._image = dict(image or {})
        self._meter = meter
        self._keepers: dict[int, subprocess.Popen[bytes]] = {}

    def folder(self, instance: int) -> Path:
        """Give the folder of an instance: `root` is its home and working folder, `log` what it printed."""
        return self._folder / f"C.{instance}"

    def start(self, container: Container) -> None:
        """Run the container's command under a keeper; raises StartError when there is no such command."""
        self.kill(container.id)
        folder = self.folder(container.id)
        root, tools = folder / "root", folder / "bin"
        for made in (root, tools, folder / "tmp"):
            made.mkdir(parents=True, exist_ok=True)
        smi = tools / "nvidia-smi"
        smi.write_text(container.nvidia_smi)
        smi.chmod(0o755)
        (folder / "log").touch()
        environment = self._environment(container, folder)
        self._check(container, environment["PATH"])
        if self._meter is not None:
            proxies = dict.fromkeys(PROXIES, self._meter.admit(container.id))
            environment = {name: value for name, value in environment.items() if name not in BYPASSES} | proxies
        orders: keeper.Orders = {
            "command": list(container.command),
            "environment": environment,
            "folder": str(root),
            "log": str(folder / "log"),
            "hold": container.hold,
        }
        (folder / "orders.json").write_text(json.dumps(orders))
        self._keepers[container.id] = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(folder / "orders.json")],
            cwd=folder,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _environment(self, container: Container, folder: Path) -> dict[str, str]:
        path = os.pathsep.join((str(folder / "bin"), os.environ.get("PATH", os.defpath)))
        own = {"HOME": str(folder / "root"), "TMPDIR": str(folder / "tmp"), "LANG": "C.UTF-8", "PATH": path}
        given = {**self._image, **container.environment}
        if "PATH" in given:
            given["PATH"] = os.pathsep.join((str(folder / "bin"), given["PATH"]))
        return own | given

    def _check(self, container: Container, path: str) -> None:
        if not container.command:
            raise StartError("Error response from daemon: no command specified")
        if shutil.which(container.command[0], path=path) is None:
            raise StartError(
                "Error response from daemon: failed to create task for container: failed to create shim task: OCI "
                f"runtime create failed: runc create failed: unable to start container process: exec: "
                f'"{container.command[0]}": executable file not found in $PATH: unknown'
            )

    def ended(self, instance: int) -> bool:
        """Say whether the keeper has left."""
        kept = self._keepers.get(instance)
        return kept is not None and kept.poll() is not None

    def kill(self, instance: int) -> None:
        """Close the keeper's pipe and wait until it has ended everything."""
        self._end(self._keepers.pop(instance, None))
        if self._meter is not None:
            self._meter.dismiss(instance)

    def _end(self, kept: subprocess.Popen[bytes] | None) -> None:
        if kept is None:
            return
        if kept.stdin:
            kept.stdin.close()
        try:
            kept.wait(END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kept.pid, signal.SIGKILL)
            kept.wait()

    def remove(self, instance: int) -> None:
        """End the container and delete its folder."""
        self.kill(instance)
        shutil.rmtree(self.folder(instance), ignore_errors=True)

    def log(self, instance: int) -> bytes | None:
        """Read the end of what it printed."""
        try:
            with (self.folder(instance) / "log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LOG_MOST))
                return file.read()
        except FileNotFoundError:
            return None

    def moved(self, instance: int) -> Moved:
        """Ask the meter."""
        return Moved() if self._meter is None else self._meter.take(instance)

    def close(self) -> None:
        """End everything."""
        for instance in list(self._keepers):
            self.kill(instance)


def command(runtype: str, onstart: str | None, args: tuple[str, ...], args_str: str | None) -> tuple[str, ...]:
    """Give what a container runs: in `args` mode the entrypoint and its arguments, else `onstart` as a shell's text."""
    if runtype == "args":
        more = tuple(shlex.split(args_str)) if args_str else ()
        return (*((onstart,) if onstart else ()), *args, *more)
    return ("/bin/bash", "-c", onstart or "true")
