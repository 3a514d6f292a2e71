"""What a rented machine finds out about itself before it installs anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from boot_desk import Desk
from uprez import status, wire
from uprez.machine import Machine
from uprez.market import preflight
from uprez.market.gpu import Smi


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a market that answers as it is told."""
    desk = Desk()
    yield desk
    desk.close()


def say(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Smi:
    """Ask an nvidia-smi that is this script."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return preflight.ask_smi()


def test_its_status_is_the_controllers() -> None:
    """The module writes the status without the classes that read it: same schema, same fields."""
    assert preflight.STATUS_SCHEMA == status.SCHEMA
    machine = Machine(gpu="NVIDIA L4", gpus=1, vram_mb=23034, own_key_works=True, python="3.11.9", provider="cuda")
    told = {"schema": preflight.STATUS_SCHEMA, "lease": "a", "beat": -1, "phase": "booting", "machine": asdict(machine)}
    assert status.read(wire.dump(told)).machine == machine


def test_facts_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPU by nvidia-smi, disk by the folder, and whether there is a market to ask."""
    monkeypatch.delenv("VAST_URL", raising=False)
    smi = say(tmp_path, monkeypatch, "echo 'NVIDIA L4, 23034, 22500, 550.90.07, 8.9'")
    found = preflight.facts(smi, folder=tmp_path)
    assert (found.gpu, found.vram_mb, found.vram_free_mb) == ("NVIDIA L4", 23034, 22500)
    assert found.disk_free_gb > 0
    assert found.own_key_works is None
    assert "NVIDIA L4, 22500 of 23034 MiB free, driver 550.90.07" in preflight.described(found)


def test_an_old_driver_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not know compute_cap tells the rest."""
    script = (
        'case $1 in *compute_cap*) echo "Field \\"compute_cap\\" is not a valid field to query."; exit 2;; '
        "*) echo 'GeForce RTX 3090, 24268, 24258, 460.91.03';; esac"
    )
    (gpu,) = say(tmp_path, monkeypatch, script).gpus
    assert (gpu.name, gpu.compute_cap) == ("GeForce RTX 3090", None)


def test_a_broken_or_missing_nvidia_smi_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words reach the status; without it, that is said."""
    smi = say(tmp_path, monkeypatch, "echo 'Failed to initialize NVML: Unknown Error'; exit 255")
    assert smi.error == "Failed to initialize NVML: Unknown Error"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "No such file" in (preflight.ask_smi().error or "")


@pytest.mark.parametrize(
    ("code", "works"), [(200, True), (401, False), (403, False), (500, None)], ids=["ok", "401", "403", "500"]
)
def test_the_machines_own_key_is_tried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, code: int, works: bool | None
) -> None:
    """Accepted, refused, or no clear answer after a second try."""
    monkeypatch.setattr(preflight.time, "sleep", lambda _: None)
    desk.answers["GET", "/api/v0/instances/77/"] = [code]
    given = {"VAST_URL": f"{desk.url}/", "CONTAINER_ID": "77", "CONTAINER_API_KEY": "k3y"}
    assert preflight.own_key_works(given) is works
    assert desk.seen[0] == ("GET", "/api/v0/instances/77/", "Bearer k3y")


def test_no_key_is_a_key_that_does_not_work(desk: Desk, tmp_path: Path) -> None:
    """A rented machine without a key cannot destroy itself; a file may hold it; one that nobody rented needs none."""
    given = {"VAST_URL": desk.url, "CONTAINER_ID": "77"}
    assert preflight.own_key_works(given, key_file=tmp_path / "none") is False
    desk.answers["GET", "/api/v0/instances/77/"] = [200]
    (tmp_path / "key").write_text("k3y\n")
    assert preflight.own_key_works(given, key_file=tmp_path / "key") is True
    assert desk.seen[-1][2] == "Bearer k3y"
    assert preflight.own_key_works({}) is None
