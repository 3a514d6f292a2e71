"""How a download is told: in steps of a tenth, each once."""

from __future__ import annotations

from uprez.report.console import Console


class Fetching:
    """Says how far a download is."""

    def __init__(self, console: Console, of: str = "Model") -> None:
        self._console = console
        self._of = of
        self._said = ""

    def tell(self, what: str, done: int, total: int) -> None:
        """Take note of `done` of `total` bytes; `total` is 0 when there is nothing to count."""
        share = f": {min(100, 10 * (10 * done // total))} % of {total / 1e6:.0f} MB" if total else ""
        if (text := f"{self._of}: {what}{share}") != self._said:
            self._said = text
            self._console.info(text)
