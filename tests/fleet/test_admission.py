"""Whether a machine is what was rented."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from uprez.fleet import admission
from uprez.machine import Machine
from uprez.market.base import Offer

OFFER = Offer(id="1", machine="m", description="", usd_per_hour=Decimal(1), gpu="RTX 4090", gpu_ram_mb=Decimal(24564))
MACHINE = Machine(
    gpu="NVIDIA GeForce RTX 4090",
    vram_mb=24564,
    vram_free_mb=24200,
    driver="550.90.07",
    disk_free_gb=30.0,
    down_mbps=812.0,
    own_key_works=True,
    python="3.11.9",
)


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("RTX 3060 Ti", "NVIDIA GeForce RTX 3060 Ti"),
        ("RTX 4070S Ti", "NVIDIA GeForce RTX 4070 SUPER Ti"),
        ("A100 SXM4", "NVIDIA A100-SXM4-80GB"),
        ("A100 PCIE", "NVIDIA A100 80GB PCIe"),
        ("H100 SXM", "NVIDIA H100 80GB HBM3"),
        ("Tesla V100", "Tesla V100-SXM2-16GB"),
        ("Q RTX 8000", "Quadro RTX 8000"),
        ("RTX 6000Ada", "NVIDIA RTX 6000 Ada Generation"),
        ("RTX A5000", "NVIDIA RTX A5000"),
        ("L40S", "NVIDIA L40S"),
        ("GTX 1080 Ti", "NVIDIA GeForce GTX 1080 Ti"),
        ("RTX PRO 6000 WS", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
    ],
)
def test_a_card_is_known_by_both_its_names(offered: str, found: str) -> None:
    """The market and nvidia-smi spell them differently."""
    assert admission.same_gpu(offered, found)


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        ("RTX 4090", "NVIDIA GeForce GTX 1650"),
        ("RTX 3060 Ti", "NVIDIA GeForce RTX 3060"),
        ("RTX 3060", "NVIDIA GeForce RTX 3060 Ti"),
        ("A100 SXM4", "NVIDIA A10"),
        ("L40", "NVIDIA L4"),
        ("H100 SXM", "NVIDIA A100-SXM4-80GB"),
    ],
)
def test_another_card_is_refused(offered: str, found: str) -> None:
    """By name, both named."""
    refusal = admission.refusal(replace(MACHINE, gpu=found), replace(OFFER, gpu=offered))
    assert refusal is not None
    assert offered in refusal
    assert found in refusal


def test_a_machine_as_rented_is_taken() -> None:
    """And described in a line."""
    assert admission.refusal(MACHINE, OFFER) is None
    assert admission.warnings(MACHINE) == []
    text = admission.described(MACHINE)
    assert text == (
        "NVIDIA GeForce RTX 4090, 24.2 GB free, driver 550.90.07, disk 30 GB free, 812 Mbit/s down, Python 3.11.9"
    )


def test_memory_that_somebody_else_holds_is_refused() -> None:
    """A fifth may be gone, not more."""
    assert "are free" in (admission.refusal(replace(MACHINE, vram_free_mb=9000), OFFER) or "")
    assert admission.refusal(replace(MACHINE, vram_free_mb=20000), OFFER) is None


def test_a_full_disk_is_refused() -> None:
    """Better before the work than after."""
    assert "disk" in (admission.refusal(replace(MACHINE, disk_free_gb=1.2), OFFER) or "")


def test_what_cannot_be_found_out_refuses_nothing() -> None:
    """An old driver may not say; a machine that cannot end itself is said aloud."""
    assert admission.refusal(Machine(disk_free_gb=20.0), OFFER) is None
    assert "cannot end itself" in admission.warnings(replace(MACHINE, own_key_works=False))[0]


@pytest.mark.parametrize(("works", "alone", "refused"), [(True, True, False), (False, True, True), (None, True, True)])
def test_who_cannot_end_itself_is_not_left_alone(works: bool | None, alone: bool, refused: bool) -> None:
    """A machine whose own key does not work, or of which nobody knows, would bill for as long as nobody looks."""
    machine = replace(MACHINE, own_key_works=works)
    assert (admission.refusal(machine, OFFER, alone=alone) is not None) is refused
    assert admission.refusal(machine, OFFER) is None, "a watched one is given back by its controller"
