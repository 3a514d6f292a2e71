"""What an answer of Vast.ai means: its many ways to say no, each as the error of one decision."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime

from uprez.errors import (
    KeyRefused,
    MarketError,
    NoSuchAsk,
    NoSuchInstance,
    QuotaExceeded,
    RateLimited,
    Refused,
    Unclear,
)
from uprez.http import Response
from uprez.market.vast.fields import Row, document, identity, number, row, text

MOST_WORDS = 300
_THRESHOLD = re.compile(r"threshold=(\d{1,4}(?:\.\d{1,6})?)")
_GONE = ("no_such_instance", "invalid_id")
_TOO_SOON = "rate_limit_exceeded"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, read as far as it can be."""

    status: int
    body: Row | None
    """None: no JSON object."""
    raw: str
    """As text, "" for a page of HTML."""
    wait_s: float
    """How long to stay away, by the headers; 0 where they do not say."""

    @property
    def code(self) -> str:
        """Give Vast.ai's word for what went wrong, "" where there is none."""
        return text(self.body or {}, "error")

    @property
    def words(self) -> str:
        """Give its sentence: the field for it has three names, and some answers are plain text."""
        said = text(self.body or {}, "msg", "message", "detail") or (self.raw if self.body is None else "")
        return " ".join(said.split())[:MOST_WORDS]

    @property
    def contract(self) -> int | None:
        """Give the instance that renting made, also where the answer calls it a failure."""
        return identity(self.body or {}, "new_contract")


def read(response: Response, key: str) -> Reply:
    """Read an answer; the key is taken out of it, should the server repeat it."""
    said = response.data.decode(errors="replace").replace(key, "****").strip()
    after = response.headers.get("Retry-After", "")
    return Reply(
        status=response.status,
        body=row(document(said.encode())),
        raw="" if said.startswith("<") else said,
        wait_s=_seconds(after),
    )


def failure(reply: Reply, what: str) -> MarketError | None:
    """Give the error of an answer that is no success, None for one that is."""
    if reply.status < 300 and reply.body is not None and reply.body.get("success") is not False and not _no(reply):
        return None
    said = ": ".join(filter(None, (reply.code, reply.words))) or "an answer that cannot be read"
    message = f"Vast.ai would not {what}: {reply.status} {said}"
    kind = _kind(reply)
    error = kind(message, status=reply.status, code=reply.code, hint=_hint(kind))
    if isinstance(error, RateLimited):
        error.wait_s = _wait(reply)
    return error


def _no(reply: Reply) -> bool:
    """A refusal that does not say "success": false."""
    return reply.body is not None and "success" not in reply.body and bool(reply.code)


def _kind(reply: Reply) -> type[MarketError]:
    status, code, known = reply.status, reply.code, reply.body is not None
    if code == "search_quota_exceeded":
        return QuotaExceeded
    if status == 429 or code == _TOO_SOON:
        return RateLimited
    if status in (401, 403) or code == "auth_error":  # some endpoints say auth_error with a 404
        return KeyRefused
    if "no_such_ask" in code or "no_such_ask" in reply.words:
        return NoSuchAsk
    if status >= 500 or status == 408 or 300 <= status < 400:
        return Unclear
    if known and (status == 404 or code in _GONE):
        return NoSuchInstance
    return Refused if known else Unclear  # a page of some gateway is not Vast.ai's word


def _hint(kind: type[MarketError]) -> str | None:
    return {
        KeyRefused: "check VAST_API_KEY: it needs instance_read, instance_write, user_read and misc",
        QuotaExceeded: "the searches of a day come back at midnight UTC",
        Unclear: "look at the status page of Vast.ai, and try again a little later",
    }.get(kind)


def _wait(reply: Reply) -> float:
    """How long to stay away: whatever says the most, of headers, body and the limit that was named."""
    body = number(reply.body or {}, "retry_after") or Decimal(0)
    found = _THRESHOLD.search(reply.words)
    return max(reply.wait_s, float(body), float(found[1]) if found else 0.0)


def _seconds(header: str) -> float:
    """Read a Retry-After: seconds or a date."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", header):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
