"""Files behind a URL: what a server says of one, and fetching one however often the connection breaks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from uprez.errors import FetchError
from uprez.http.exchange import LIMITS, Answer, Limits, PassingError, exactly, exchange, limited, retried
from uprez.http.words import shown

PROGRESS = 1 << 20
"""Bytes of a download after which its tries are counted anew."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a server says of a file without sending it."""

    size: int | None
    """Bytes; None when it does not say."""
    etag: str | None
    """As sent, with its quotes and, for a weak one, its W/."""
    modified: str | None
    """Last-Modified, as sent."""
    ranges: bool
    """A part of the file can be read."""


def head(url: str, *, headers: Mapping[str, str] | None = None, limits: Limits = LIMITS) -> Facts:
    """Say what lies at a URL; it asks for one byte by GET, because a signed URL is signed for one method."""

    def once() -> Facts:
        asked = {**(headers or {}), "Range": "bytes=0-0"}
        with exchange("GET", url, headers=asked, accept=frozenset({416}), limits=limits) as answer:
            facts = facts_of(answer)
            if answer.status == 206:
                exactly(answer.blocks(), url, 1)  # read, so that the connection can be used again
        return facts

    return retried(once, limits)


def download(
    url: str,
    target: Path,
    *,
    headers: Mapping[str, str] | None = None,
    etag: str | None = None,
    most: int | None = None,
    moved: Callable[[int], None] | None = None,
    limits: Limits = LIMITS,
) -> str:
    """Read a URL of any size to a file; gives its SHA-256 in hex.

    A broken connection is taken up where it broke, as long as the file there is the same. With `etag`, it must be the
    one with that (strong) tag. `most` limits its bytes; `moved` is called with how many are here, at each MiB. Raises
    FetchError, OSError for the file.
    """
    with target.open("wb") as file:
        return Download(url, file, headers=headers, etag=etag, most=most, moved=moved, limits=limits).run()


class Download:
    """One file on its way here: how much of it has come, and what proves that the rest belongs to it."""

    def __init__(
        self,
        url: str,
        file: IO[bytes],
        *,
        headers: Mapping[str, str] | None,
        etag: str | None,
        most: int | None,
        limits: Limits,
        moved: Callable[[int], None] | None = None,
    ) -> None:
        self._moved, self._told = moved, 0
        self._url, self._file, self._headers = url, file, dict(headers or {})
        self._etag, self._most, self._limits = etag, most, limits
        self._done = 0
        self._hash = hashlib.sha256()

    def run(self) -> str:
        """Read all of it, in as many tries as make progress; gives the SHA-256 in hex."""
        while not self._round():
            pass
        self._file.flush()
        return self._hash.hexdigest()

    def _round(self) -> bool:
        """Try until it is whole (True), or until a try that broke has brought it on (False)."""
        begin = self._done

        def once() -> bool:
            try:
                self._read()
            except PassingError:
                if self._done < begin + PROGRESS:
                    raise
                return False
            return True

        return retried(once, self._limits)

    def _read(self) -> None:
        if self._done and not strong(self._etag):
            self._restart()  # nothing proves that the rest would belong to what has come
        asked = dict(self._headers)
        if strong(self._etag):
            asked["If-Match"] = str(self._etag)
        if self._done:
            asked["Range"] = f"bytes={self._done}-"
        with exchange("GET", self._url, headers=asked, accept=frozenset({412, 416}), limits=self._limits) as answer:
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        facts = facts_of(answer)
        if answer.status == 416 and facts.size == self._done:
            return
        if answer.status in (412, 416) or (self._etag and facts.etag not in (None, self._etag)):
            raise changed(self._url, answer.status)
        if answer.status != 206:
            self._restart()
        elif _first_byte(answer) != self._done:
            raise FetchError(f"{shown(self._url)}: the server sent another range than was asked for")
        self._etag = self._etag or facts.etag
        size = None if self._most is None else self._most - self._done
        for block in limited(answer.blocks(), self._url, size):
            self._file.write(block)
            self._hash.update(block)
            self._done += len(block)
            if self._moved and self._done >= self._told + PROGRESS:
                self._told = self._done
                self._moved(self._done)
        if facts.size is not None and self._done != facts.size:
            raise PassingError(FetchError(f"{shown(self._url)} ended after {self._done} of {facts.size} bytes"))

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._done = self._told = 0


def strong(etag: str | None) -> str | None:
    """Give an ETag that proves equal bytes, None for a weak one or none."""
    return etag if etag and not etag.startswith("W/") else None


def facts_of(answer: Answer) -> Facts:
    """Read a file's facts off an answer to a request for a range, or for all."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = answer.headers.get("Content-Length", "")
    size = total if answer.status in (206, 416) else length
    return Facts(
        size=int(size) if size.isdecimal() else None,
        etag=answer.headers.get("ETag"),
        modified=answer.headers.get("Last-Modified"),
        ranges=answer.status in (206, 416),
    )


def _first_byte(answer: Answer) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def changed(url: str, status: int) -> FetchError:
    """Make the error for a file that is no longer the one that was begun."""
    return FetchError(f"{shown(url)} changed while it was read", status=status)
