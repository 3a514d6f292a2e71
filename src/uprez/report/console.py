"""The console: tagged lines for people, or one JSON event a line; a live view only on a terminal.

Nothing that happens to the console may stop the work or the give-back: a closed pipe silences it and no more.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from uprez.report.writer import Descriptor, Writer, may_block

if TYPE_CHECKING:
    from uprez.report.foot import Foot
    from uprez.report.live import View


class Console:
    """Where a run tells what it does."""

    def __init__(
        self, *, as_json: bool = False, verbose: bool = False, stream: TextIO | None = None, beside: bool = False
    ) -> None:
        """`beside`: whoever writes must never wait for a reader, since it has machines to look after."""
        target = stream or sys.stdout
        self._writer = Writer() if beside and may_block(target) else None
        self._stream: TextIO = Descriptor(target) if self._writer else target  # type: ignore[assignment]
        self._json = as_json
        self._verbose = verbose
        self._foot: Foot | None = None
        self._closed = False

    def info(self, text: str) -> None:
        """Say what is going on."""
        self.line("INFO", text)

    def ok(self, text: str) -> None:
        """Say what went well."""
        self.line("OK", text)

    def warn(self, text: str) -> None:
        """Say what a person should know but need not act on."""
        self.line("WARN", text)

    def error(self, text: str, hint: str | None = None) -> None:
        """Say what failed, and the next step."""
        self.line("ERROR", text)
        if hint:
            self.line("HINT", hint)

    def debug(self, text: str) -> None:
        """Say something only for --verbose."""
        if self._verbose:
            self.line("DEBUG", text)

    def line(self, tag: str, text: str) -> None:
        """Write one tagged line."""
        self._write(f"[{tag}] {text}", {"event": "line", "tag": tag, "text": text})

    def log(self, stamp: str, text: str) -> None:
        """Write one line of a worker's log, with the worker's own time (ISO 8601; people see the hour)."""
        self._write(f"  [LOG] {stamp[11:19] or stamp} {text}", {"event": "log", "time": stamp, "text": text})

    def result(self, document: dict[str, Any]) -> None:
        """Write the results as the last event, when a program listens."""
        if self._json:
            self._print(json.dumps({"event": "results", **document}, ensure_ascii=True))

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show a live view below the lines while the block runs; nothing when this is no terminal that can do so."""
        if self._json or not self._stream.isatty():
            yield
            return
        from uprez.report.foot import Foot  # for its weight: only terminals need it

        foot = Foot(self._stream)
        if not foot.works:
            yield
            return
        try:
            foot.begin()
            self._foot = foot
            yield
        finally:
            self._foot = None
            self._do(foot.close)
            self.close()

    @property
    def wants_view(self) -> bool:
        """Say whether a view would be seen."""
        return self._foot is not None and not self._closed

    def show(self, view: View | None) -> None:
        """Show where the batch is, or no longer; what nobody had the time to look at is never drawn."""
        foot = self._foot
        if foot is not None and foot.take(view):
            self._do(foot.draw)

    def close(self) -> None:
        """See that all is written that a reader takes within a few seconds."""
        if self._writer is not None:
            self._writer.drain()

    def _write(self, text: str, event: dict[str, str]) -> None:
        self._print(json.dumps(event, ensure_ascii=True) if self._json else printable(text))

    def _print(self, text: str) -> None:
        if self._closed:
            return
        if self._writer is not None and (dropped := self._writer.dropped):
            self._do(partial(self._put, f"[WARN] {dropped} lines were left out: nobody read them", self._foot))
        self._do(partial(self._put, text, self._foot))

    def _put(self, text: str, foot: Foot | None) -> None:
        if foot is not None:
            foot.print(text)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _do(self, act: Callable[[], None]) -> None:
        """Do something to the stream: at once, or beside the work where that might block."""
        if self._writer is None:
            self._safely(act)
        else:
            self._writer.do(partial(self._safely, act))

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (ValueError, OSError):  # nobody is there any more
            self._closed = True


def printable(text: str) -> str:
    """Escape control characters: a file's name must not steer the terminal or fake a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
