"""Work beside the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from uprez import background
from uprez.errors import VerifyError

BLOCKED = """
import asyncio, threading
from uprez import background
async def main():
    background.start(threading.Event().wait)
    print("left", flush=True)
asyncio.run(main())
"""


def test_value_arrives_while_the_loop_goes_on() -> None:
    """The function runs in another thread, the loop turns meanwhile, and its value is the future's."""

    async def main() -> tuple[int, int]:
        go = threading.Event()

        def work() -> int:
            assert go.wait(10)
            return threading.get_ident()

        future = background.start(work)
        await asyncio.sleep(0)
        go.set()
        return await future, threading.get_ident()

    worker, loop = asyncio.run(main())
    assert worker != loop


@pytest.mark.parametrize("kind", [VerifyError, ZeroDivisionError, SystemExit])
def test_exception_arrives_as_it_was(kind: type[BaseException]) -> None:
    """Whatever the function raises is raised where the future is asked."""

    def fail() -> None:
        raise kind("segment 3")

    async def main() -> BaseException | None:
        future = background.start(fail)
        await asyncio.wait([future])
        return future.exception()

    caught = asyncio.run(main())
    assert type(caught) is kind
    assert str(caught) == "segment 3"


def test_cancelled_future_takes_no_value() -> None:
    """A future that was given up is left alone when its thread ends."""

    async def main() -> bool:
        go = threading.Event()
        future = background.start(lambda: go.wait(10))
        future.cancel()
        go.set()
        await background.start(lambda: None)
        await asyncio.sleep(0)
        return future.cancelled()

    assert asyncio.run(main())


def test_blocked_thread_does_not_hold_the_end() -> None:
    """A program ends although a check still runs."""
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == ("left\n", "")


@pytest.mark.parametrize("fails", [False, True])
def test_what_must_be_whole_is_done_before_an_interruption_is_heard(fails: bool) -> None:
    """The interruption comes when the work has ended; where that failed, its error comes instead."""
    said: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        said.append("done")
        if fails:
            raise VerifyError("it may still run")

    async def main() -> BaseException | None:
        task = asyncio.ensure_future(background.whole(work()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return None if task.cancelled() else task.exception()

    assert isinstance(asyncio.run(main()), VerifyError if fails else type(None))
    assert said == ["done"]
