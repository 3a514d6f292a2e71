"""Whether a rented machine is what was rented, by what the worker found: some hosts lie, some are broken. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

from uprez.machine import Machine
from uprez.market.base import Offer

FREE_SHARE = Decimal("0.8")
"""Of a GPU's memory that nobody else may hold."""
DISK_GB_LEAST = 2.0
"""Free, before anything was installed."""
_MODEL = re.compile(r"[A-Z]{0,2}[0-9]{1,4}[A-Z]?")
_SUPER = re.compile(r"\b([0-9]{4}) ?S\b")
"""The market's short form: "RTX 4070S"."""
_ADA = re.compile(r"\b([0-9]{4})ADA\b")
KINDS = ("TI", "SUPER", "D", "ADA", "LAPTOP", "MAX")
"""Words that make another card of the same number."""


def refusal(machine: Machine, offer: Offer, *, alone: bool = False) -> str | None:
    """Say why a machine is not what its offer said, or cannot be left `alone`; None when it will do."""
    if alone and not machine.own_key_works:
        return "it has no key that ends it, so it cannot be left to itself (--detach)"
    if offer.gpu and machine.gpu and not same_gpu(offer.gpu, machine.gpu):
        return f"its GPU is a {machine.gpu}, a {offer.gpu} was rented"
    if offer.gpu_ram_mb is not None and machine.vram_free_mb is not None:
        needed = offer.gpu_ram_mb * FREE_SHARE
        if machine.vram_free_mb < needed:
            return f"only {machine.vram_free_mb} MB of its GPU's {offer.gpu_ram_mb:f} MB are free: somebody holds them"
    if machine.disk_free_gb < DISK_GB_LEAST:
        return f"only {machine.disk_free_gb:.1f} GB of its disk are free"
    return None


def warnings(machine: Machine) -> list[str]:
    """Say what a person should know of a machine that will do."""
    found = []
    if machine.own_key_works is False:
        found.append("This machine cannot end itself: should this computer go away for good, see `uprez reap`")
    if not machine.gpu:
        found.append(f"nvidia-smi names no GPU there: {machine.smi_error or 'it says nothing'}")
    return found


def described(machine: Machine) -> str:
    """Describe a machine in one line."""
    parts = (
        machine.gpu or "no GPU",
        None if machine.vram_free_mb is None else f"{machine.vram_free_mb / 1000:.1f} GB free",
        f"driver {machine.driver}" if machine.driver else None,
        f"disk {machine.disk_free_gb:.0f} GB free",
        None if machine.down_mbps is None else f"{machine.down_mbps:.0f} Mbit/s down",
        f"Python {machine.python}" if machine.python else None,
    )
    return ", ".join(filter(None, parts))


def same_gpu(offered: str, found: str) -> bool:
    """Say whether nvidia-smi's name for a card is the market's: "NVIDIA GeForce RTX 4090" is an "RTX 4090"."""
    one, other = _tokens(offered), _tokens(found)
    models = _models(one)
    if not models:
        return one <= other
    return models <= _models(other) and all((kind in one) == (kind in other) for kind in KINDS)


def _models(tokens: frozenset[str]) -> frozenset[str]:
    return frozenset(token for token in tokens if _MODEL.fullmatch(token))


def _tokens(name: str) -> frozenset[str]:
    spelt = _ADA.sub(r"\1 ADA", _SUPER.sub(r"\1 SUPER", name.upper()))
    return frozenset(re.findall(r"[A-Z0-9]+", spelt))
