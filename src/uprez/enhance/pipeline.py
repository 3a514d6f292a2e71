"""Lets decoding, inference and encoding overlap: one thread each, with short queues between them.

    [decode] --moments--> [inference] --frames--> the caller's thread: write, on_frame

A queue that is full holds its sender back, so memory stays at a few frames whatever the video's length. The caller's
thread writes, so that what it holds open (an encoder, a ledger, a terminal) is used by it alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from uprez.media.frame import Frame, Moment

T = TypeVar("T")


class _ClosedError(Exception):
    """The reader of a channel has left; its sender should end quietly."""


class _Channel(Generic[T]):
    """A bounded queue between two threads that carries items, then an end or an error, and can be closed early."""

    def __init__(self, depth: int) -> None:
        self._items: deque[T] = deque()
        self._depth = depth
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None

    def send(self, item: T) -> None:
        """Add an item, waiting while the queue is full; raises _ClosedError once the reader has left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._depth)
            if self._closed:
                raise _ClosedError
            self._items.append(item)
            self._changed.notify_all()

    def finish(self, error: BaseException | None = None) -> None:
        """End the stream: after what is queued, or at once with an error for the reader to raise."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Leave, from either side: nothing more is queued or read."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Read to the end; raises the error that ended the stream."""
        while (item := self._receive()) is not None:
            yield item

    def _receive(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished or self._closed)
            if self._error is not None:
                raise self._error
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item


def run(
    moments: Iterator[Moment],
    enhance: Callable[[Iterator[Moment]], Iterator[Frame]],
    write: Callable[[Frame], None],
    *,
    on_frame: Callable[[int], None],
    depth: int = 4,
) -> int:
    """Make a frame of every moment by `enhance`, give it to `write`, in order; gives their number.

    `on_frame` is called on the caller's thread with the number of frames written so far, and may raise (`Stopped`) to
    end the run. An exception in any stage stops all of them within a frame, ends their threads, closes `moments` and
    is raised once, as it was. `depth` is the length of each queue; at most 2 * depth + 4 frames of the source and
    depth + 3 of the result exist at a time, beside those that `enhance` makes at once.
    """
    decoded: _Channel[Moment] = _Channel(depth)
    enhanced: _Channel[Frame] = _Channel(depth)
    stages = (
        threading.Thread(target=_pump, args=(moments, decoded), name="uprez-decode"),
        threading.Thread(target=_pump, args=(enhance(iter(decoded)), enhanced), name="uprez-inference"),
    )
    for stage in stages:
        stage.start()
    count = 0
    try:
        for frame in enhanced:
            write(frame)
            count += 1
            on_frame(count)
    finally:
        # Both, or a stage that waits on the other would never end.
        enhanced.close()
        decoded.close()
        for stage in stages:
            stage.join()
    return count


def _pump(source: Iterator[T], sink: _Channel[T]) -> None:
    """Move items from a source to a channel, on a thread of its own, until either ends."""
    try:
        _drain(source, sink)
    except _ClosedError:
        pass
    except BaseException as error:  # noqa: BLE001 - a thread's root: the caller's thread raises it
        sink.finish(error)
    else:
        sink.finish()


def _drain(source: Iterator[T], sink: _Channel[T]) -> None:
    try:
        for item in source:
            sink.send(item)
    finally:
        if isinstance(source, Generator):
            source.close()
