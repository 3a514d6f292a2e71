"""The variables that hold settings: `.env` and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from uprez.config.document import Given, Values, read
from uprez.config.keys import KEYS
from uprez.config.kinds import nearest
from uprez.config.settings import Origin
from uprez.errors import UsageError

NAMES: dict[str, str] = {key.env: name for name, key in KEYS.items() if key.env}
"""The key that each variable sets."""
OLD_NAMES: dict[str, str] = {key.old_env: name for name, key in KEYS.items() if key.old_env}
"""Likewise for names of the old system."""
FALLBACKS: dict[str, str] = {variable: name for name, key in KEYS.items() for variable in key.also}
"""Likewise for those of Amazon's tools; the first of a key's is the strongest."""
AMAZON = "AWS variables"
"""The layer of those: the lowest, above the defaults."""
_CREDENTIALS = ("b2.key", "b2.secret")


def dotenv(path: Path) -> dict[str, tuple[str, str]]:
    """Read a .env file: (value, file:line) by variable, without those that are empty. No file is no variables.

    Nothing is put into the environment, and a `$` in a secret is a `$`.
    """
    from dotenv.parser import parse_stream  # for its weight: most runs have no such file

    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text") from error
    found = {}
    for binding in bindings:
        # The parser counts blank lines and comments before a variable into it.
        before = binding.original.string[: len(binding.original.string) - len(binding.original.string.lstrip())]
        place = f"{path}:{binding.original.line + before.count(chr(10))}"
        if binding.error:
            raise UsageError(f"{place}: is not NAME=value", hint="put values with # or blanks into quotes")
        if binding.key and binding.value:
            found[binding.key] = (binding.value, place)
    return found


def environment() -> dict[str, tuple[str, str]]:
    """Give this process's variables in the same form."""
    return {name: (value, name) for name, value in os.environ.items() if value}


def values(variables: Mapping[str, tuple[str, str]], layer: str) -> Values:
    """Take the settings out of variables."""
    known = {**OLD_NAMES, **NAMES}
    return {name: _given(name, variables, variable, layer) for variable, name in known.items() if variable in variables}


def fallback(sources: Sequence[Mapping[str, tuple[str, str]]]) -> Values:
    """Take what Amazon's own variables say, the later source over the earlier one.

    They count together or not at all: half of one account beside half of another opens nothing.
    """
    found: Values = {}
    if any(KEYS[name].env in variables for variables in sources for name in _CREDENTIALS):
        return {}
    for variables in sources:
        for variable, name in reversed(FALLBACKS.items()):  # the first of a key's comes last, and stays
            if variable in variables:
                found[name] = _given(name, variables, variable, AMAZON)
    return found


def strangers(variables: Mapping[str, tuple[str, str]]) -> list[str]:
    """Warn of variables of a .env file that look like ours and are read by nothing."""
    known = {*NAMES, *OLD_NAMES, *FALLBACKS}
    return [
        f"{place}: {name} is read by nothing{nearest(name, known)}"
        for name, (_, place) in variables.items()
        if name.startswith(("B2_", "VAST_")) and name not in known
    ]


def _given(name: str, variables: Mapping[str, tuple[str, str]], variable: str, layer: str) -> Given:
    text, place = variables[variable]
    where = variable if place == variable else f"{place}: {variable}"
    return read(name, [text.strip()], Origin(layer=layer, place=place), where)
