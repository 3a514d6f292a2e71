"""`python -m uprez.market.preflight`: what a rented machine does before there is more of uprez than its wheel.

It finds out what the machine is, tells the controller (a machine that is not what was rented can be given back before
its time is spent on packages), installs what the GPU calls for, and writes machine.json for the worker. It runs in the
folder that the runner made, with the wheel beside it. The sheet is read once more and kept in memory: it is full of
signatures, which no file of a rented machine should hold. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uprez.machine import Machine
from uprez.market.gpu import FIELDS, PROVIDERS, Provider, Smi, choose, parse
from uprez.market.install import InstallError, install, pins, redacted

STATUS_SCHEMA = 4
"""`status.SCHEMA`, which cannot be imported here: it needs pydantic. A test compares them."""
KEY_FILE = Path("/root/.vast_api_key")
"""Where some hosts leave the key; remote_runner.sh looks there too."""
FIRST_BEAT = -1_000_000
"""The beats of a boot rise from here and stay below the worker's, which begin with 1."""
SMI_S = 60.0
"""A driver that needs longer to answer is broken."""


class _LeaveError(Exception):
    """The machine is of no use to this lease; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """What was given to this machine: the lease, the folder, the sheet as parsed JSON."""

    lease: str
    folder: Path
    sheet: Mapping[str, Any]

    def say(self, text: str) -> None:
        """Print one line of the log."""
        print(f"uprez-boot {self.lease} {time.time_ns() // 1000} {redacted(text)}", flush=True)  # noqa: T201 # this program's way to speak

    def tell(self, beat: int, phase: str, machine: Machine, reason: str | None = None) -> None:
        """Write the status; one that is not taken changes nothing, the controller waits for the worker's."""
        status = {"schema": STATUS_SCHEMA, "lease": self.lease, "beat": beat, "phase": phase, "reason": reason}
        data = json.dumps({**status, "machine": asdict(machine)}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            asked = urllib.request.Request(self.sheet["status_url"], data, headers, method="PUT")  # noqa: S310 # ours
            with urllib.request.urlopen(asked, timeout=30):  # noqa: S310
                pass
        except OSError as error:
            self.say(f"[WARN] status not written: {error}")


class _Heart:
    """Beats while packages are installed, which takes minutes: nobody need guess whether anything still goes on."""

    def __init__(self, desk: _Desk, machine: Machine) -> None:
        self._desk, self._machine = desk, machine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="boot", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        beat = FIRST_BEAT
        while True:
            self._desk.tell(beat, "booting", self._machine)
            beat += 1
            if self._over.wait(self._desk.sheet["status_s"]):
                return


def main() -> int:
    """Do all of it; gives the exit code."""
    folder = Path.cwd()
    desk = _Desk(
        lease=os.environ.get("UPREZ_LEASE", "?"),
        folder=folder,
        sheet=_sheet(os.environ["UPREZ_BOOT_URL"]),
    )
    smi = ask_smi()
    machine = facts(smi, folder=folder)
    desk.say(described(machine))
    try:
        provider = _accepted(smi, desk.sheet["families"])
        machine = replace(machine, provider=provider.name)
        with _Heart(desk, machine):
            machine = _installed(desk, machine)
    except (InstallError, _LeaveError, OSError, http.client.HTTPException) as error:
        desk.say(f"ERROR: {error}")
        desk.tell(0, "left", machine, redacted(str(error)))
        return 1
    (folder / "machine.json").write_text(json.dumps(asdict(machine)))
    return 0


def _sheet(url: str) -> dict[str, Any]:
    """Read the sheet again; raises OSError when it cannot be had several times over."""
    for pause_s in (1.0, 5.0, 20.0):
        try:
            return _fetched(url)
        except (OSError, http.client.HTTPException):
            time.sleep(pause_s)
    return _fetched(url)


def _fetched(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 # what the market gave us
        sheet: dict[str, Any] = json.loads(answer.read())
    return sheet


def ask_smi() -> Smi:
    """Ask nvidia-smi, first for all, then for what older drivers know."""
    smi = Smi(error="nvidia-smi said nothing")
    for fields in (FIELDS, FIELDS[:-1]):
        command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=False, errors="replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            return Smi(error=f"nvidia-smi does not run: {error}")
        smi = parse(done.stdout if done.returncode == 0 else f"{done.stdout} {done.stderr}")
        if smi.gpus:
            break
    return smi


def facts(smi: Smi, *, folder: Path) -> Machine:
    """Say what the machine is, as far as that shows before anything is installed."""
    gpu = smi.gpus[0] if smi.gpus else None
    return Machine(
        gpu=gpu.name if gpu else None,
        gpus=len(smi.gpus),
        vram_mb=gpu.vram_mb if gpu else None,
        vram_free_mb=gpu.vram_free_mb if gpu else None,
        driver=gpu.driver if gpu else None,
        compute_cap=gpu.compute_cap if gpu else None,
        smi_error=smi.error,
        disk_free_gb=round(shutil.disk_usage(folder).free / 1e9, 1),
        own_key_works=own_key_works(os.environ),
        python=platform.python_version(),
    )


def own_key_works(environment: Mapping[str, str], *, key_file: Path = KEY_FILE) -> bool | None:
    """Ask the market about this very instance with the key that it gave it; None when no clear answer comes."""
    base, instance = environment.get("VAST_URL"), environment.get("CONTAINER_ID")
    if not base:
        return None
    key = environment.get("CONTAINER_API_KEY") or _read(key_file)
    if not key or not instance:
        return False
    headers = {"Authorization": f"Bearer {key}"}
    asked = urllib.request.Request(f"{base.rstrip('/')}/api/v0/instances/{instance}/", headers=headers)  # noqa: S310
    for pause_s in (3.0, 0.0):
        try:
            with urllib.request.urlopen(asked, timeout=20):  # noqa: S310 # the market's address, which we were given
                return True
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                return False
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(pause_s)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def described(machine: Machine) -> str:
    """Say in one line what the machine is."""
    gpu = f"no GPU ({machine.smi_error})"
    if machine.gpu:
        gpu = f"{machine.gpu}, {machine.vram_free_mb} of {machine.vram_mb} MiB free, driver {machine.driver}"
    return f"{gpu}; disk {machine.disk_free_gb:.0f} GB free; Python {machine.python}"


def _accepted(smi: Smi, families: list[str]) -> Provider:
    """Choose a provider that the sheet accepts: this machine never widens what it may be used for.

    UPREZ_PROVIDER is set by images without the GPU that they show, such as the practice market's.
    """
    provider = PROVIDERS.get(os.environ.get("UPREZ_PROVIDER", "")) or choose(smi)
    if not set(provider.families) & set(families):
        has = smi.gpus[0].name if smi.gpus else f"no GPU ({smi.error})"
        raise _LeaveError(f"this machine has {has}: {provider.name} would do, the sheet accepts {', '.join(families)}")
    return provider


def _installed(desk: _Desk, machine: Machine) -> Machine:
    """Install the wheel and the provider's pins; gives the facts with what that showed."""
    order = desk.sheet["install"]
    wheel = desk.folder / Path(order["wheel_name"]).name
    wanted = (desk.folder / "pins.txt").read_bytes() if order["constraints"] else pins(machine.provider)
    began = time.monotonic()
    desk.say(f"installing uprez for {machine.provider}")
    traffic = install(desk.folder, wheel, wanted)
    fetched = f"{traffic.down_bytes / 1e6:.0f} MB fetched"
    speed = f" at {traffic.mbps:.0f} Mbit/s" if traffic.mbps else ""
    desk.say(f"installed in {time.monotonic() - began:.0f} s: {fetched}{speed}")
    down = _fetched_before(desk.folder) + traffic.down_bytes + wheel.stat().st_size
    return replace(machine, down_bytes=down, down_mbps=traffic.mbps)


def _fetched_before(folder: Path) -> int:
    """Give what an earlier start on this machine fetched: its bill goes on."""
    try:
        return int(json.loads((folder / "machine.json").read_bytes())["down_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
