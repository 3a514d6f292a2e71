"""Run something that blocks beside the event loop, in a thread that cannot hold up the end of the process.

And the other way round: wait for something that must not be left half done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def start(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` in a daemon thread; `asyncio.to_thread` would be waited for on exit, hours of checking and all."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(set_outcome: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if future.done() else set_outcome())

    def run() -> None:
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001  a thread's root: whatever it was belongs to the future
            caught = error
            tell(lambda: future.set_exception(caught))
        else:
            tell(lambda: future.set_result(value))

    threading.Thread(target=run, daemon=True).start()
    return future


async def whole(work: Awaitable[T]) -> T:
    """Wait for something to its end; an interruption meanwhile, and any further one, is heard after that."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None and (task.cancelled() or task.exception() is None):
        raise interrupted
    return task.result()
