"""Real signals to a small program that gives something back when it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

PROGRAM = """
import asyncio, signal, sys
from uprez.fleet.interrupt import Interrupts
from uprez.report.console import Console

async def main():
    interrupts = Interrupts(Console(), 6, lambda: [("instance 7", "vastai destroy instance 7 -y")])
    try:
        with interrupts:
            try:
                print("ready", flush=True)
                await asyncio.sleep(60)
            finally:
                print(await asyncio.to_thread(sys.stdin.readline), end="", flush=True)
    except asyncio.CancelledError:
        print("ended by", interrupts.name, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)

for number in map(int, sys.argv[1:]):
    signal.signal(number, signal.SIG_IGN)
asyncio.run(main())
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the program, with some signals ignored from the start, and wait until it takes signals."""
    children: list[subprocess.Popen[str]] = []

    def start(*ignored: signal.Signals) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *(str(int(number)) for number in ignored)]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert read(children[-1]) == "ready\n"
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def read(child: subprocess.Popen[str]) -> str:
    """Wait for the next line."""
    assert child.stdout is not None
    return child.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_second_signal_does_not_stop_the_give_back(start: Start, number: signal.Signals) -> None:
    """Ctrl-C, kill and a closed terminal each end the work; another one while giving back only says to wait."""
    child = start()
    child.send_signal(number)
    assert f"Interrupted ({number.name})" in read(child)
    child.send_signal(number)
    assert "Still giving every machine back" in read(child)
    assert "Still being destroyed: instance 7" in read(child)
    rest, _ = child.communicate("given back\n", timeout=20)
    assert rest.splitlines() == ["given back", f"ended by {number.name} True"]
    assert child.returncode == 0


def test_third_signal_leaves_at_once_with_its_own_code(start: Start) -> None:
    """Who insists gets out, told what may still run and how to end it, with the exit code that says so."""
    child = start()
    for number, answer in (
        (signal.SIGINT, "Interrupted (SIGINT)"),
        (signal.SIGTERM, "Still giving every machine back"),
        (signal.SIGINT, "instance 7 may still be running"),
    ):
        child.send_signal(number)
        assert answer in "".join(read(child) for _ in range(2 if number == signal.SIGTERM else 1))
    assert "vastai destroy instance 7 -y" in read(child)
    assert child.wait(20) == 6


def test_ignored_signal_stays_ignored(start: Start) -> None:
    """What nohup or a shell's background job ignores does not end the work."""
    child = start(signal.SIGHUP, signal.SIGINT)
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert "Interrupted (SIGTERM)" in read(child)
    rest, _ = child.communicate("given back\n", timeout=20)
    assert rest.splitlines() == ["given back", "ended by SIGTERM True"]
