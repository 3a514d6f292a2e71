"""A terminal for tests: it does what our output asks of one, and breaks lines anew when its width changes."""

from __future__ import annotations

import io
import re

from rich.cells import cell_len, split_graphemes

_PIECE = re.compile(r"\x1b\[(?P<number>\d*)(?P<what>[AJK])|\x1b\[[\d;]*m|(?P<plain>[^\x1b\r\n]+)|\r|\n")
"""What may be written to it; anything else is an error."""


class Screen(io.StringIO):
    """What a terminal with endless lines shows."""

    encoding = "utf-8"

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.columns = columns
        self.lines = [""]
        """As they were written, however many lines each takes up here."""
        self._at = 0
        self._column = 0

    def isatty(self) -> bool:
        """It is a terminal."""
        return True

    def write(self, text: str) -> int:
        """Do what is asked."""
        end = 0
        for piece in _PIECE.finditer(text):
            assert piece.start() == end, f"not for a terminal: {text[end : end + 20]!r}"
            end = piece.end()
            self._do(piece)
        assert end == len(text), f"not for a terminal: {text[end : end + 20]!r}"
        return len(text)

    def _do(self, piece: re.Match[str]) -> None:
        if piece["plain"]:
            line = self.lines[self._at]
            self.lines[self._at] = _cut(line, self._column) + piece["plain"] + line[len(_cut(line, self._end(piece))) :]
            self._column = self._end(piece)
        elif piece[0] == "\r":
            self._column = 0
        elif piece[0] == "\n":
            self._at, self._column = self._at + 1, 0
            self.lines += [""] * (self._at == len(self.lines))
        elif piece["what"] == "A":
            self._up(int(piece["number"]))
        elif piece["what"] in {"J", "K"}:
            self.lines[self._at] = _cut(self.lines[self._at], self._column)
            if piece["what"] == "J":
                del self.lines[self._at + 1 :]

    def _end(self, piece: re.Match[str]) -> int:
        return self._column + cell_len(piece["plain"])

    def _up(self, count: int) -> None:
        """Go up so many lines; to the middle of one that was written whole nobody ever wants to go."""
        assert self._column == 0
        while count > 0:
            self._at -= 1
            count -= max(1, -(-cell_len(self.lines[self._at]) // self.columns))
        assert count == 0, "the cursor is in the middle of a broken line"


def _cut(text: str, cells: int) -> str:
    """Give the beginning of a line; where it is shorter there are spaces."""
    spans, width = split_graphemes(text)
    if width < cells:
        return text + " " * (cells - width)
    for start, _, size in reversed(spans):
        if width <= cells:
            break
        width -= size
        text = text[:start]
    return text
