"""The foot of a terminal: rows that stay below all that is printed, and are gone at the end.

They are drawn over, never blanked first, so nothing flickers. The cursor rests on an empty line below them, where a
terminal shows "^C". Terminals break rows anew when they become narrower, so it is reckoned how many lines those that
were drawn take now.
"""

from __future__ import annotations

import io
import os
import threading
from typing import TextIO

from rich.console import Console as Terminal

from uprez.report import rows
from uprez.report.live import View

LOOK_S = 0.3
"""How soon a new size is seen, and how long it must last: tmux 3.3 breaks lines anew 0.25 s before it tells."""
UP, TO_LINE_END, TO_END = "\x1b[{}A", "\x1b[K", "\x1b[J"


class Foot:
    """Keeps rows at the foot of a terminal; `take` may be called while another thread draws."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._paper = io.StringIO()
        """Where rows are written with their colours, before all that is to be written at once is."""
        self._terminal = Terminal(file=self._paper, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._view: View | None = None
        self._due = False
        self._shown: View | None = None
        self._drawn: list[int] = []
        """Widths of the rows that are on the terminal."""
        self._size: tuple[int, int] = (0, 0)
        """Of the terminal when they were drawn."""
        self._text = ""

    @property
    def works(self) -> bool:
        """Say whether the terminal can move its cursor, and nobody has forbidden it (TERM, TTY_INTERACTIVE)."""
        return Terminal(file=self._stream).is_interactive

    def begin(self) -> None:
        """Look from now on whether the terminal changes its size."""
        threading.Thread(target=self._follow, name="foot", daemon=True).start()

    def take(self, view: View | None) -> bool:
        """Have something else shown from the next drawing on; says whether none is due yet."""
        self._view = view
        if self._due:  # whoever draws makes it false, and only then looks at the view
            return False
        self._due = True
        return True

    def draw(self) -> None:
        """Show what was taken last."""
        with self._turn:
            self._draw()

    def print(self, text: str) -> None:
        """Write a line above the rows."""
        with self._turn:
            size = self._settled()
            self._write(f"{self._top(size)}{TO_END if self._drawn else ''}{text}\n{self._rows(size)}")

    def close(self) -> None:
        """Take the rows away."""
        with self._turn:
            self._over.set()
            self._view = None
            self._draw()

    def _follow(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._turn:
                if not self._drawn or self._size == self._measured() or self._over.is_set():
                    continue
                try:
                    self._draw()
                except (ValueError, OSError):  # nobody is there any more
                    return

    def _draw(self) -> None:
        size = self._settled()
        top, before = self._top(size), (self._text, self._size)
        text = self._rows(size)
        if (text, size) != before and (text or before[0]):
            self._write(f"{top}{text}{TO_END}")

    def _top(self, size: tuple[int, int]) -> str:
        """Go to the beginning of the first row; they may take more lines than when they were drawn."""
        lines = sum(max(1, -(-drawn // size[0])) for drawn in self._drawn)
        return "\r" + UP.format(lines) if lines else ""

    def _rows(self, size: tuple[int, int]) -> str:
        """Lay out what is to be drawn, and take note of it."""
        self._due = False  # before the view is read: another may come now
        view = self._view
        if view is self._shown and size == self._size:
            return self._text
        # One column stays free: what is written into the last one wraps at the next character on some terminals.
        found = rows.rows(view, size[0] - 1, size[1], self._stream.encoding or "utf-8") if view else []
        self._paper.seek(self._paper.truncate(0))
        for row in found:
            self._terminal.print(row, soft_wrap=True)
        self._shown, self._size, self._drawn = view, size, [row.cell_len for row in found]
        self._text = self._paper.getvalue().replace("\n", f"{TO_LINE_END}\n")
        return self._text

    def _settled(self) -> tuple[int, int]:
        """Measure; while somebody drags its edge, a terminal is ahead of what it tells: wait until it stands still."""
        size = self._measured()
        while self._drawn and size != self._size:
            self._over.wait(LOOK_S)
            before, size = size, self._measured()
            if size == before:
                break
        return size

    def _measured(self) -> tuple[int, int]:
        """Give columns and lines of this very terminal, where it says so."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (ValueError, OSError):
            columns = lines = 0
        return (columns, lines) if columns and lines else self._terminal.size

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
