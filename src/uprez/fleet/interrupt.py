"""Ctrl-C, a plain kill and a closed terminal: each ends the work and starts the give-back, and none can stop that."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from uprez.report.console import Console

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST = 3
"""The signal that leaves at once, whatever is still running."""


class Interrupts:
    """While entered, the first signal cancels the current task; later ones only say that the give-back goes on.

    A signal that was ignored when the program started stays ignored (nohup, a shell's background job).
    """

    def __init__(self, console: Console, exit_code: int, pending: Callable[[], list[tuple[str, str]]]) -> None:
        """`pending` names what is not seen gone yet, with the command that ends each by hand."""
        self._pending = pending
        self._console = console
        self._exit_code = exit_code
        self._count = 0
        self._task: asyncio.Task[Any] | None = None
        self._installed: list[signal.Signals] = []
        self.name: str | None = None
        """The first signal, once there was one."""

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._task = asyncio.current_task()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._arrived, number)
                self._installed.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number in self._installed:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _arrived(self, number: signal.Signals) -> None:
        self._count += 1
        if self._count == 1:
            self.name = number.name
            self._console.warn(f"Interrupted ({number.name}): giving every machine back; what counts is kept")
            if self._task is not None:
                self._task.cancel()
        elif self._count < LAST:
            self._console.warn(
                "Still giving every machine back; once more leaves at once, and what is left may go on running"
            )
            for name, _ in self._pending():
                self._console.warn(f"Still being destroyed: {name}")
        else:
            for name, command in self._pending():
                self._console.error(f"{name} may still be running, and bill", command)
            self._console.error("Left while machines were given back", "the next uprez run, or uprez reap, ends that")
            self._console.close()
            os._exit(self._exit_code)
