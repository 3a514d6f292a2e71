"""One request to an endpoint, taken apart, and the record of what came."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from uprez.practice.access import Key
from uprez.practice.query import invalid
from uprez.practice.refusal import refuse


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, taken apart."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, object]
    key: Key | None
    base: str
    """The server's own URL."""
    instance: int | None = None
    """The number in the path: an instance's, or an ask's."""
    name: str = ""
    """The text in the path."""

    @property
    def number(self) -> int:
        """The number in the path."""
        if self.instance is None:
            raise refuse(400, "invalid_args", "Invalid instance id.")
        return self.instance

    @property
    def own(self) -> bool:
        """Whether an instance asks for itself."""
        return self.key is not None and self.key.instance is not None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it came, and how it was answered (0: not at all)."""

    method: str
    target: str
    """With `api_key=...` in place of a key."""
    body: str
    """All of it. `body.encode("utf-8", "surrogateescape")` gives the bytes, whatever they were."""
    whole: bool
    """False: it was longer than the market reads, and this is its begin."""
    endpoint: str | None
    status: int


def bearer(headers: Mapping[str, str]) -> str:
    """Give the key of a request's headers, "" without."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def identifier(text: str) -> int:
    """Read an id; raises Refusal."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise refuse(400, "invalid_args", f"Invalid id {text}.")
    return int(text)


def parsed(raw: bytes) -> Mapping[str, object]:
    """Read a body; raises Refusal."""
    try:
        body = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise invalid("Invalid json body") from error
    if not isinstance(body, dict):
        raise invalid("Invalid query: must be dict of conditions")
    return body
