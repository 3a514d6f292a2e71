"""What a worker fetches besides its tasks: networks and, on a rented machine, uprez itself.

A worker of this machine reads networks from its disk. For a rented one all of it is put into the state once, under its
SHA-256, and signed anew for every sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uprez.job import Pin
from uprez.packing import Packed
from uprez.sheet import Install, Ref
from uprez.store import keys
from uprez.store.base import Meta
from uprez.store.open import Home
from uprez.store.send import ensure, send


@dataclass(frozen=True, kw_only=True)
class Program:
    """A version of uprez that a rented machine installs."""

    wheel: Pin
    wheel_name: str


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """What there is to fetch, and where."""

    models: Mapping[str, Ref] = field(default_factory=dict)
    """On this machine."""
    stock: Mapping[str, Pin] = field(default_factory=dict)
    """In the state, for rented machines."""
    program: Program | None = None

    @property
    def size(self) -> int:
        """Bytes that a rented machine fetches."""
        program = self.program.wheel.size if self.program else 0
        return program + sum(pin.size for pin in self.stock.values())

    def networks(self, home: Home, seconds: float) -> dict[str, Ref]:
        """Give a URL for every network, valid for so long."""
        return {**self.models, **{name: signed(home, pin, seconds) for name, pin in self.stock.items()}}

    def install(self, home: Home, seconds: float) -> Install | None:
        """Say what is to be installed; None on this machine."""
        if self.program is None:
            return None
        return Install(wheel=signed(home, self.program.wheel, seconds), wheel_name=self.program.wheel_name)


def stocked(home: Home, models: Mapping[str, Ref], paths: Mapping[str, Path], wheel: Packed) -> Supplies:
    """Put networks (`paths`: their files) and a wheel of uprez into the state, unless they are there already."""
    pins = {model: _stock(home, keys.network(ref.sha256), ref, paths[model]) for model, ref in models.items()}
    return Supplies(stock=pins, program=Program(wheel=_stock_wheel(home, wheel), wheel_name=wheel.name))


def signed(home: Home, pin: Pin, seconds: float) -> Ref:
    """Give a URL to read a pinned object of the state by."""
    return Ref(url=home.state.get_url(pin.key, seconds=seconds), sha256=pin.sha256, size=pin.size)


def _stock(home: Home, key: str, ref: Ref, path: Path) -> Pin:
    return _pin(ensure(home, key, ref.size, lambda: send(home, key, path)), ref.sha256)


def _stock_wheel(home: Home, wheel: Packed) -> Pin:
    key = keys.wheel(wheel.sha256)
    return _pin(ensure(home, key, len(wheel.data), lambda: _write(home, key, wheel.data)), wheel.sha256)


def _write(home: Home, key: str, data: bytes) -> None:
    home.state.write(key, data)


def _pin(meta: Meta, sha256: str) -> Pin:
    return Pin(key=meta.key, size=meta.size, etag=meta.etag, sha256=sha256, version=meta.version)
