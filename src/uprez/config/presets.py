"""Presets: named bundles of settings, shipped with uprez or written under `presets` by whoever wants them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from importlib import resources

from uprez.config.document import Document, Given, Preset, Reader, Values, laid_over
from uprez.config.keys import KEYS
from uprez.config.kinds import nearest
from uprez.config.settings import Origin
from uprez.errors import UsageError

Presets = Mapping[str, Preset]
SHIPPED = ("low", "balanced", "high")


def shipped() -> dict[str, Preset]:
    """Give the presets that come with uprez."""
    folder = resources.files("uprez.config").joinpath("presets")
    return {
        name: Reader(name=f"{name}.yaml", layer="defaults").preset(folder.joinpath(f"{name}.yaml").read_bytes(), name)
        for name in SHIPPED
    }


def overlay(below: Presets, above: Presets) -> dict[str, Preset]:
    """Lay presets over others of the same name: each setting of the upper one counts, and the lower one's rest."""
    found = dict(below)
    for name, preset in above.items():
        under = found.get(name, Preset(values={}))
        found[name] = Preset(values=laid_over(under.values, preset.values), base=preset.base or under.base)
    return found


def check_local(document: Document) -> None:
    """Refuse what a preset of the local file may not set: secrets, the account, what a machine starts."""
    for preset, found in document.presets.items():
        for name, given in found.values.items():
            if not KEYS[name].preset:
                raise UsageError(
                    f"{given.origin.place}: presets.{preset}.{name} may not be set by a preset",
                    hint=f"set {name} outside of presets",
                )


def expand(name: str, presets: Presets, where: str) -> Values:
    """Give all that a preset sets, with what it builds on below. `where` begins the message of UsageError."""
    chain: list[str] = []
    layers: list[Values] = []
    base: str | None = name
    while base is not None:
        if base in chain:
            raise UsageError(f"{where} goes round in a circle: {' -> '.join([*chain, base])}")
        if base not in presets:
            raise UsageError(
                f"{where} {base!r} is not a preset{nearest(base, presets)}", hint=f"known: {', '.join(presets)}"
            )
        chain.append(base)
        layers.insert(0, presets[base].values)
        given = presets[base].base
        where = f"{given.origin.place}: presets.{base}.preset" if given else where
        base = str(given.value) if given else None
    return {key: _as_preset(given, name) for key, given in reduce(laid_over, layers).items()}


def expand_all(presets: Presets) -> dict[str, Values]:
    """Give all that each preset sets; raises UsageError for one that builds on nothing, or on itself."""
    return {name: expand(name, presets, f"presets.{name}") for name in presets}


def _as_preset(given: Given, name: str) -> Given:
    origin = Origin(layer=f"preset {name}", place=given.origin.place)
    return Given(value=given.value, text=given.text, origin=origin)
