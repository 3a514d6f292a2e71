"""One list for all threads that ask at the same time, and none that is older than the question."""

from __future__ import annotations

import threading
import time

import pytest

from uprez.market.vast.shared import Shared

PATIENCE_S = 60.0


def test_whoever_asks_meanwhile_shares_the_next_one() -> None:
    """What is being made was begun before they asked: eight wait for it, and get one more between them."""
    made: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def make() -> int:
        made.append(len(made))
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return made[-1]

    waiting = threading.Semaphore(0)

    def pause(_: float) -> None:
        waiting.release()
        time.sleep(0.001)

    shared, found = Shared(make, pause), list[int]()
    threads = [threading.Thread(target=lambda: found.append(shared.fresh())) for _ in range(9)]
    threads[0].start()
    assert begun.wait(PATIENCE_S)
    for thread in threads[1:]:
        thread.start()
    for _ in threads[1:]:
        assert waiting.acquire(timeout=PATIENCE_S)  # each of them has asked
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(found) == [0] + 8 * [1]
    assert made == [0, 1]


def test_what_fails_raises_for_whoever_made_it_and_the_next_one_is_made_anew() -> None:
    """A list that could not be read is nobody's list."""
    outcomes = iter([ValueError("half a list"), "a list"])

    def make() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    shared = Shared(make, time.sleep)
    with pytest.raises(ValueError, match="half"):
        shared.fresh()
    assert shared.fresh() == "a list"
