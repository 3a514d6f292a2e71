"""The pipeline: order, overlap, bounded memory, and one way out for every failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.enhance import pipeline
from uprez.errors import EncodeError, InputError, ModelError, Stopped, UprezError
from uprez.media.frame import Frame, Moment

Enhance = Callable[[Iterator[Moment]], Iterator[Frame]]

LONG_S = 20
"""Longer than any wait here can take on a working pipeline."""


def frame(pts: int) -> Frame:
    """A frame of one pixel."""
    return Frame(planes=(np.zeros((1, 1), np.uint8),) * 3, pts=pts)


def moment(pts: int) -> Moment:
    """A moment at which that frame is shown."""
    shown = frame(pts)
    return Moment(left=shown, right=shown)


class Source:
    """Endless moments, or `count` of them; remembers how many were taken and whether it was closed."""

    def __init__(self, count: int | None = None, error_at: int | None = None) -> None:
        self.made = 0
        self.closed = False
        self._count = count
        self._error_at = error_at

    def __call__(self) -> Iterator[Moment]:
        """Give the moments."""
        try:
            while self._count is None or self.made < self._count:
                if self.made == self._error_at:
                    raise InputError("decode")
                self.made += 1
                yield moment(self.made - 1)
        finally:
            self.closed = True


def nothing(value: object) -> None:
    """Take a value and do nothing."""


def each(step: Callable[[Frame], Frame]) -> Enhance:
    """Make a frame of each moment's."""
    return lambda moments: (step(item.left) for item in moments)


def same(moments: Iterator[Moment]) -> Iterator[Frame]:
    """Enlarge by 1."""
    return (item.left for item in moments)


def failing(at: int, error: UprezError) -> Enhance:
    """Pass frames through until one has pts `at`."""

    def step(item: Frame) -> Frame:
        if item.pts == at:
            raise error
        return item

    return each(step)


def stages_alive() -> list[str]:
    """Names of the pipeline's threads that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("uprez-")]


@given(st.integers(0, 40), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_every_frame_goes_through_once_in_order(count: int, depth: int) -> None:
    """However many frames and however short the queues, all are written in order, counted and reported."""
    written: list[int] = []
    reported: list[int] = []
    source = Source(count)
    total = pipeline.run(source(), same, lambda item: written.append(item.pts), on_frame=reported.append, depth=depth)
    assert (total, written, reported) == (count, list(range(count)), list(range(1, count + 1)))
    assert source.closed == (count > 0 or source.made == 0)
    assert stages_alive() == []


def fail_write(item: Frame) -> None:
    """Fail on the third frame."""
    if item.pts == 2:
        raise EncodeError("encode")


def stop_third(count: int) -> None:
    """Stop after the third frame."""
    if count == 3:
        raise Stopped("stop")


@pytest.mark.parametrize(
    ("error_at", "upscale", "write", "on_frame", "expected"),
    [
        (3, same, nothing, nothing, InputError),
        (None, failing(3, ModelError("inference")), nothing, nothing, ModelError),
        (None, same, fail_write, nothing, EncodeError),
        (None, same, nothing, stop_third, Stopped),
    ],
    ids=["decode", "inference", "write", "on_frame"],
)
def test_a_failure_in_any_stage_ends_all_of_them(
    error_at: int | None,
    upscale: Enhance,
    write: Callable[[Frame], None],
    on_frame: Callable[[int], None],
    expected: type[Exception],
) -> None:
    """On an endless source, an error in any stage is raised as it was; the threads are gone, the source is closed."""
    source = Source(error_at=error_at)
    with pytest.raises(expected) as caught:
        pipeline.run(source(), upscale, write, on_frame=on_frame)
    assert caught.value.__context__ is None
    assert source.closed
    assert stages_alive() == []
    assert source.made <= 3 + 2 * 4 + 4


def test_an_interrupt_of_the_caller_ends_all_stages() -> None:
    """Ctrl-C while a frame is written leaves no thread behind."""

    def interrupt(item: Frame) -> None:
        raise KeyboardInterrupt

    source = Source()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source(), same, interrupt, on_frame=nothing)
    assert source.closed
    assert stages_alive() == []


def test_a_slow_writer_holds_the_decoder_back() -> None:
    """Before the first frame is written, no more than 2 * depth + 3 have been decoded; the rest wait."""
    depth, full = 2, threading.Event()
    source = Source(60)
    most = 0

    def counted() -> Iterator[Moment]:
        for item in source():
            if source.made == 2 * depth + 3:
                full.set()
            yield item

    def write(item: Frame) -> None:
        nonlocal most
        assert full.wait(LONG_S)
        most = max(most, source.made - item.pts)

    pipeline.run(counted(), same, write, on_frame=nothing, depth=depth)
    assert most == 2 * depth + 3


def test_the_three_stages_work_at_the_same_time() -> None:
    """Frame 0 is being written while 1 is in inference and 2 is being decoded: none waits for another to end."""
    together = threading.Barrier(3, timeout=LONG_S)

    def decode() -> Iterator[Moment]:
        for number in range(6):
            if number == 2:
                together.wait()
            yield moment(number)

    def upscale(item: Frame) -> Frame:
        if item.pts == 1:
            together.wait()
        return item

    def write(item: Frame) -> None:
        if item.pts == 0:
            together.wait()

    assert pipeline.run(decode(), each(upscale), write, on_frame=nothing) == 6


def test_writing_and_reporting_happen_on_the_callers_thread() -> None:
    """What the caller holds open is used by its own thread alone; decoding and inference have others."""
    seen: dict[str, str] = {}

    def upscale(item: Frame) -> Frame:
        seen["inference"] = threading.current_thread().name
        return item

    def write(item: Frame) -> None:
        seen["write"] = threading.current_thread().name

    def report(count: int) -> None:
        seen["report"] = threading.current_thread().name

    pipeline.run(Source(2)(), each(upscale), write, on_frame=report)
    here = threading.current_thread().name
    assert seen == {"inference": "uprez-inference", "write": here, "report": here}
