"""What is known of one setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uprez.config.kinds import Kind

Rule = Literal["no", "free", "prefix", "falls", "rises", "true", "grows", "narrows"]
"""What a remote config may do with a key: nothing | set it | name a prefix of the bucket | lower it | raise it |
switch it on | add to the list | take from a list that is there. Those of `vast` hold inside `presets` only."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One setting."""

    kind: Kind
    help: str
    """One line, for --help and the reference."""
    field: str | None = None
    """Where it goes: a field of Settings, "options.x" or "rental.x"."""
    env: str | None = None
    old_env: str | None = None
    """The old system's name of that variable, which counts below it."""
    also: tuple[str, ...] = ()
    """Variables that count when neither B2_KEY nor B2_SECRET is set, the first one first."""
    secret: bool = False
    """Never shown."""
    env_only: bool = False
    """A credential, or where one is sent: it may stand in .env and the environment alone."""
    remote: Rule = "no"
    preset: bool = True
    """A preset of the local file may set it."""
    flag: bool = True
    not_yet: bool = False
    """Read and checked, and not acted on by this version."""
    retired: str | None = None
    """What takes its place, where the key is no longer needed."""
