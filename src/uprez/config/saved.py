"""The settings of a run, kept so that a later one can go on by them.

What is kept is every setting as it was written, with its layer and place; what a preset or a remote config set is among
them. Secrets are not: they are what the environment and .env hold when the settings are read again, and so is VAST_URL,
the address that the key goes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from uprez.config import layers
from uprez.config.document import Given, Values, read
from uprez.config.keys import KEYS, flag_of
from uprez.config.layers import Merged
from uprez.config.locations import shown
from uprez.config.settings import Origin, Settings
from uprez.errors import UsageError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One setting."""

    text: str
    """As it was written; a URL without what may hold a key."""
    layer: str
    place: str
    rank: int
    whole: bool = True
    """False: a secret, or a URL whose query or user is missing. It has to be given again."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """All settings of one run."""

    schema: int = SCHEMA
    folder: Path
    """In which it ran: relative paths begin there."""
    dotenv: Path | None
    """The file of variables that it read."""
    values: Mapping[str, Kept]
    """By dotted key."""


def saved(settings: Settings) -> dict[str, Any] | None:
    """Give the settings as plain JSON values, without secrets; None for those that no layers made."""
    source = settings.source
    if not source.texts:
        return None
    kept = {
        name: _kept(name, text, settings.origins[name], source.ranks[name])
        for name, text in sorted(source.texts.items())
    }
    if kept["market"].text != settings.market:  # what auto came to then
        kept["market"] = replace(kept["market"], text=settings.market, place="that batch")
    document = Saved(folder=Path.cwd(), dotenv=source.dotenv, values=kept)
    data: dict[str, Any] = TypeAdapter(Saved).dump_python(document, mode="json")
    return data


def opened(data: Mapping[str, Any]) -> Saved:
    """Read what `saved` gave; raises UsageError where this version cannot."""
    try:
        document = TypeAdapter(Saved).validate_python(data)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(f"the saved settings cannot be read: {where} is not what it should be") from error
    if document.schema != SCHEMA:
        raise UsageError(f"the saved settings have schema {document.schema}, this version reads {SCHEMA}")
    return document


def restore(document: Saved, flags: layers.Flags) -> Settings:
    """Make the settings of a run again, for a process that works in its folder. `flags`: what is given now; they win.

    Raises UsageError that names what has to be given again.
    """
    shipped = layers.defaults()  # for keys that are younger than what was saved
    values: Values = {**shipped, **{name: _given(name, kept) for name, kept in _known(document).items()}}
    ranks = {**dict.fromkeys(shipped, 0), **{name: kept.rank for name, kept in document.values.items()}}
    merged = layers.over(Merged(values=values, ranks=ranks, dotenv=document.dotenv), flags)
    notes = _missing(document, merged.values)
    settings = layers.settled(replace(merged, notes=tuple(notes)))
    _check_address(document, settings, flags)
    return settings


def _kept(name: str, text: str, origin: Origin, rank: int) -> Kept:
    bare = "" if KEYS[name].secret else shown(text) if _holds_a_key(text) else text
    return Kept(text=bare, layer=origin.layer, place=origin.place, rank=rank, whole=bare == text)


def _holds_a_key(text: str) -> bool:
    """Say whether a text is a URL with a user or a query; in the name of a bucket's object they are letters."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme.lower() not in ("s3", "b2", "file")
            and "://" in text
            and bool(parts.query or "@" in parts.netloc)
        )
    except ValueError:
        return False


def _known(document: Saved) -> dict[str, Kept]:
    """Give what can be used as it is; a key that this version does not know was said when it went."""
    return {
        name: kept
        for name, kept in document.values.items()
        if kept.whole and name in KEYS and not KEYS[name].retired and not KEYS[name].env_only
    }


def _given(name: str, kept: Kept) -> Given:
    return read(name, [kept.text], Origin(layer=kept.layer, place=kept.place), f"{kept.place}: {name}")


def _missing(document: Saved, values: Values) -> list[str]:
    """Say what is done without; raises UsageError for what it cannot be done without. Credentials say it themselves."""
    notes = []
    for name, kept in document.values.items():
        if kept.whole or name in values or name not in KEYS or KEYS[name].env_only or KEYS[name].field is None:
            continue
        if not KEYS[name].secret:
            raise UsageError(
                f"{name} {kept.text} had a query or a user, which may hold a key and was not saved",
                hint=f"give it again: {flag_of(name)} URL",
            )
        again = f"set {KEYS[name].env}, or {flag_of(name)}"
        notes.append(f"[WARN] {name} of {kept.place} is a secret and was not saved: {again}")
    return notes


def _check_address(document: Saved, settings: Settings, flags: layers.Flags) -> None:
    """Refuse to rent elsewhere than before: what began on a practice market must not go on for money."""
    kept = document.values.get("vast.url")
    before = _given("vast.url", kept).value if kept else Settings.vast_url
    if settings.market != "vast" or settings.vast_url == before or flags.get("market") is not None:
        return
    raise UsageError(
        f"that run rented at {before}, and now VAST_URL is {settings.vast_url}",
        hint=f"set VAST_URL={before}, or say --market vast to go on at {settings.vast_url}",
    )
