"""What the pipeline is fed with: the decoded frames that each output frame is made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator

from uprez.job import Video
from uprez.media import scenes
from uprez.media.frame import Frame, Moment
from uprez.media.timeline import Shown


class Feed:
    """Gives the moments that a result shows, made of the source's frames, and counts. For one segment."""

    def __init__(self, frames: Iterator[Frame], first: int, video: Video) -> None:
        """`frames` begin at position `first` of the index, with none left out."""
        self._frames = frames
        self._position = first - 1
        self._last: deque[Frame] = deque(maxlen=2)
        """The frames at that position and, in front, at the one before."""
        self._colour = video.colour
        self._pair: tuple[int, bool] | None = None
        """The position of the last pair's left frame, and whether nothing is made between the two."""
        self._damaged: list[int] = []
        """Positions of damaged frames."""
        self.damaged = 0
        """Of the frames up to the last one that was shown, or shown in part; one behind it is the next segment's."""
        self.held = 0
        """Moments between two frames that became the first of them: a scene ends there, or the two are the same."""

    def shown(self, wanted: Iterable[Shown]) -> Iterator[Moment]:
        """Give the moment of each output frame, in order; the very same frame again where it is shown longer."""
        try:
            for each in wanted:
                yield self._moment(each)
        finally:
            if isinstance(self._frames, Generator):
                self._frames.close()  # the file it reads

    def _moment(self, each: Shown) -> Moment:
        left = self._at(each.left)
        self.damaged = sum(position <= each.left for position in self._damaged)
        if each.fraction and not self._holds(each.left, left):
            return Moment(left=left, right=self._at(each.right), fraction=each.fraction)
        self.held += bool(each.fraction)
        return Moment(left=left, right=left)

    def _holds(self, position: int, left: Frame) -> bool:
        if self._pair is None or self._pair[0] != position:
            self._pair = position, scenes.holds(left, self._at(position + 1), self._colour)
        return self._pair[1]

    def _at(self, position: int) -> Frame:
        """Decode on to a frame; one that is decoded already is at most one back."""
        while self._position < position:
            frame = next(self._frames)
            self._last.append(frame)
            self._position += 1
            if frame.damaged:
                self._damaged.append(self._position)
        return self._last[position - self._position - 1]
