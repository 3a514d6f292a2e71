"""A stage's clock: what it counts, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uprez.enhance import clock as clocks
from uprez.enhance.clock import Clock
from uprez.status import STAGES, Stage


class Watch:
    """The time, which goes on only where the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        """Give it."""
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The watch that clocks look at."""
    made = Watch()
    monkeypatch.setattr(clocks, "time", made)
    return made


def test_the_block_is_timed_and_nothing_around_it(watch: Watch) -> None:
    """Seconds of the blocks add up, whatever lies between them; a block makes one frame, or as many as it says."""
    clock = Clock(name="encode")
    for seconds in (1.5, 0.25):
        with clock.running():
            watch.now += seconds
        watch.now += 10
    with clock.running(7):
        watch.now += 1
    assert clock.stage() == Stage(name="encode", seconds=2.75, frames=9)
    assert clock.stage().name in STAGES


def test_what_runs_at_once_takes_its_time_once(watch: Watch) -> None:
    """Blocks that overlap, as those of several threads do: every frame counts, and a second only once."""
    clock = Clock(name="upscale")
    one, other = clock.running(), clock.running()
    with one:
        watch.now += 1
        with other:
            watch.now += 1
    third, last = clock.running(), clock.running()
    third.__enter__()
    watch.now += 1
    last.__enter__()
    watch.now += 1
    third.__exit__(None, None, None)
    watch.now += 1
    last.__exit__(None, None, None)
    watch.now += 10
    assert clock.stage() == Stage(name="upscale", seconds=5.0, frames=4)


def test_a_block_that_fails_took_its_time_and_made_nothing(watch: Watch) -> None:
    """The error goes on as it was."""
    clock = Clock(name="encode")
    error = ValueError("broken")

    def fail() -> None:
        with clock.running(3):
            watch.now += 2
            raise error

    with pytest.raises(ValueError, match="broken") as caught:
        fail()
    assert caught.value is error
    assert clock.stage() == Stage(name="encode", seconds=2.0, frames=0)


def test_getting_an_item_is_timed_and_using_it_is_not(watch: Watch) -> None:
    """Items come as they are, in order; the last look, which finds nothing, is timed and no frame."""

    def source() -> Iterator[int]:
        for number in range(3):
            watch.now += 1
            yield number
        watch.now += 0.5

    clock, got = Clock(name="decode"), []
    for item in clock.timed(source()):
        watch.now += 20
        got.append(item)
    assert got == [0, 1, 2]
    assert clock.stage() == Stage(name="decode", seconds=3.5, frames=3)


def test_any_iterable_is_timed() -> None:
    """Also one that cannot be closed, and one of nothing; and nothing is taken before somebody asks."""
    clock = Clock(name="decode")
    assert list(clock.timed([4, 5])) == [4, 5]
    assert list(clock.timed(())) == []
    taken: list[int] = []
    items = clock.timed(taken.append(each) or each for each in (1, 2))
    assert taken == []
    next(items)
    assert taken == [1]
    assert clock.frames == 3


@pytest.mark.parametrize("begun", [False, True])
def test_whoever_leaves_early_closes_the_source(begun: bool) -> None:
    """A generator holds a file open: it is closed at once, though not one that nobody began to read."""
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    made = source()
    items = Clock(name="decode").timed(made)
    if begun:
        next(items)
    items.close()
    assert closed == [True] * begun
    if begun:
        assert next(made, None) is None


def test_an_error_of_the_source_goes_on_and_its_time_counts(watch: Watch) -> None:
    """As it was, without another around it."""

    def source() -> Iterator[int]:
        yield 1
        watch.now += 4
        raise OSError("gone")

    clock = Clock(name="decode")
    items = clock.timed(source())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone") as caught:
        next(items)
    assert caught.value.__context__ is None
    assert (clock.seconds, clock.frames) == (4.0, 1)


def test_a_call_is_counted(watch: Watch) -> None:
    """The same call, with the same argument, and its error."""
    clock, got = Clock(name="encode"), []

    def write(item: int) -> None:
        watch.now += 0.5
        if item < 0:
            raise ValueError("below 0")
        got.append(item)

    counted = clock.counting(write)
    for item in (3, 1, 2):
        counted(item)
    with pytest.raises(ValueError, match="below 0"):
        counted(-1)
    assert got == [3, 1, 2]
    assert clock.stage() == Stage(name="encode", seconds=2.0, frames=3)
