"""What the pipeline is fed with: decoded frames, each as often as it is shown."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from uprez.media.frame import Frame
from uprez.media.timeline import Shown


class Feed:
    """Gives the source's frames as a result shows them, and counts the damaged ones. For one segment."""

    def __init__(self, frames: Iterator[Frame], first: int) -> None:
        """`frames` begin at position `first` of the index, with none left out."""
        self._frames = frames
        self._position = first - 1
        self._frame: Frame | None = None
        self.damaged = 0
        """Of the frames decoded so far."""

    def shown(self, wanted: Iterable[Shown]) -> Iterator[Frame]:
        """Give the source frame of each output frame, in order; the same one again where it is shown longer."""
        try:
            for each in wanted:
                while self._position < each.left or self._frame is None:
                    self._frame = next(self._frames)
                    self._position += 1
                    self.damaged += self._frame.damaged
                yield self._frame
        finally:
            if isinstance(self._frames, Generator):
                self._frames.close()  # the file it reads
