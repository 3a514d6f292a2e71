"""A file behind a URL that is read where it is needed: the head and the tail of a long video, not all of it."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import IO

from uprez.http.exchange import LIMITS, Answer, Limits, exactly, exchange, retried
from uprez.http.files import Download, Facts, changed, facts_of, strong


class RangeFile(io.RawIOBase):
    """A file behind a URL, read by ranges as they are asked for. For one thread at a time.

    Blocks that were read are kept (the last `kept`); reading on in order reads ahead, further each time. An object
    that changes meanwhile raises FetchError. A server without ranges is read once, whole, to an unnamed file.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        block: int = 256 << 10,
        ahead: int = 32,
        kept: int = 96,
        most: int | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__()
        self._url = url
        self._headers = dict(headers or {})
        self._block = block
        self._ahead, self._kept, self._most, self._limits = ahead, max(kept, ahead + 1), most, limits
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        self._run = 1
        self._next = 1
        """The block after the last that was read: asking for it is reading in order."""
        self._whole: IO[bytes] | None = None
        self.etag: str | None = None
        """As the server sends it."""
        self.modified: str | None = None
        self.size = 0
        """Bytes."""
        self._begin()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read until it is asked for."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as one block goes; raises FetchError."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # typeshed's Buffer is 3.12's
        if self.closed:
            raise ValueError("I/O operation on closed file")
        data = self._piece(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Forget what was read."""
        self._blocks.clear()
        if self._whole:
            self._whole.close()
        super().close()

    def _piece(self, size: int) -> bytes:
        if self._at >= self.size:
            return b""
        if self._whole:
            self._whole.seek(self._at)
            return self._whole.read(size)
        number, skip = divmod(self._at, self._block)
        if number not in self._blocks:
            self._fetch(number)
        self._blocks.move_to_end(number)
        return self._blocks[number][skip : skip + size]

    def _begin(self) -> None:
        def once() -> Facts:
            asked = {**self._headers, "Range": f"bytes=0-{self._block - 1}"}
            with self._exchange(asked, accept=frozenset({416})) as answer:
                facts = facts_of(answer)
                if answer.status == 206 and facts.size is not None:
                    size = min(self._block, facts.size)
                    self._blocks[0] = exactly(answer.blocks(), self._url, size)
            return facts

        facts = retried(once, self._limits)
        self.etag, self.modified = facts.etag, facts.modified
        if facts.ranges and facts.size is not None:
            self.size = facts.size
            if strong(self.etag):
                self._headers["If-Match"] = str(self.etag)
        else:
            self._spool()

    def _spool(self) -> None:
        self._blocks.clear()
        self._whole = tempfile.TemporaryFile(prefix="uprez-")  # noqa: SIM115 # close() closes it
        Download(self._url, self._whole, headers=self._headers, etag=None, most=self._most, limits=self._limits).run()
        self.size = self._whole.seek(0, io.SEEK_END)

    def _fetch(self, number: int) -> None:
        self._run = min(2 * self._run, self._ahead) if number == self._next else 1
        last = -(-self.size // self._block)
        count = next((n for n in range(1, self._run) if number + n in self._blocks), self._run)
        end = min(number + count, last)
        data = self._range(number * self._block, min(end * self._block, self.size))
        for one in range(number, end):
            start = (one - number) * self._block
            self._blocks[one] = data[start : start + self._block]
        self._next = end
        while len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)

    def _range(self, start: int, end: int) -> bytes:
        def once() -> bytes:
            asked = {**self._headers, "Range": f"bytes={start}-{end - 1}"}
            with self._exchange(asked, accept=frozenset({412, 416})) as answer:
                facts = facts_of(answer)
                if answer.status != 206 or facts.size != self.size or facts.etag != self.etag:
                    raise changed(self._url, answer.status)
                return exactly(answer.blocks(), self._url, end - start)

        return retried(once, self._limits)

    def _exchange(
        self, headers: Mapping[str, str], accept: frozenset[int] = frozenset()
    ) -> contextlib.AbstractContextManager[Answer]:
        return exchange("GET", self._url, headers=headers, accept=accept, limits=self._limits)
