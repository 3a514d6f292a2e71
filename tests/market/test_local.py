"""The local market's processes: real dead-men with small workers."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from uprez.errors import RentError
from uprez.market import deadman, local
from uprez.market.base import Instance, Launch, Offer, OfferQuery
from uprez.market.local import LocalMarket
from waiting import until

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"

STUBBORN = """
import fcntl, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def hold(name):
    global held
    held = open(name, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    print(name, "holds", flush=True)
if sys.argv[1:]:
    hold("grandchild")
else:
    hold("child")
    subprocess.Popen([sys.executable, "-P", "-c", open("program").read(), "again"])
time.sleep(600)
"""
"""Ignores SIGTERM, as its child does; each holds a lock of its own, which the kernel frees when it ends."""

GREEDY = """
import os, time
path = os.environ["UPREZ_DEADLINE_FILE"]
open(path + ".mine", "w").write(repr(time.monotonic() + 1000))
os.replace(path + ".mine", path)
print("moved", flush=True)
time.sleep(600)
"""

WITNESS = """
import json, os, time
parent = open(f"/proc/{os.getppid()}/environ", "rb").read().decode() if os.path.exists("/proc/self/environ") else ""
print(json.dumps({"mine": dict(os.environ), "parent": parent, "folder": os.getcwd()}), flush=True)
time.sleep(600)
"""

Rent = Callable[..., tuple[Instance, Path]]


def free(path: Path) -> bool:
    """Say whether nobody holds a lock on a file."""
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def market(tmp_path: Path) -> Iterator[LocalMarket]:
    """Give a market below tmp_path; whatever a test leaves is given back."""
    market = LocalMarket(tmp_path / "local")
    yield market
    for instance in asyncio.run(market.instances()):
        asyncio.run(market.destroy(instance.id))
    until(lambda: asyncio.run(market.instances()) == [] and not market._children, "no dead-man is left")


@pytest.fixture
def rent(market: LocalMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rent:
    """Start a program in the worker's place, with files beside it, and wait until it prints that it is up."""
    real = local._orders

    def rent(
        program: str, up: str, *, life_s: float = 600, hard_life_s: float = 600, files: dict[str, str] | None = None
    ) -> tuple[Instance, Path]:
        def orders(launch: Launch, folder: Path) -> deadman.Orders:
            for name, text in {"program": program, **(files or {})}.items():
                (folder / name).write_text(text)
            return {**real(launch, folder), "command": [sys.executable, "-P", "-c", program]}

        monkeypatch.setattr(local, "_orders", orders)
        made = create(market, launch_of(life_s=life_s, hard_life_s=hard_life_s))
        until(lambda: up in asyncio.run(market.logs(made.id)), lambda: asyncio.run(market.logs(made.id)))
        return made, tmp_path / "local" / made.id

    return rent


def launch_of(*, boot_url: str = "file:///none", life_s: float = 600, hard_life_s: float = 600) -> Launch:
    """Order one instance under a new lease."""
    lease = secrets.token_hex(4)
    label = f"uprez/00000000/{lease}/1"
    return Launch(label=label, lease=lease, boot_url=boot_url, life_s=life_s, hard_life_s=hard_life_s)


def create(market: LocalMarket, launch: Launch) -> Instance:
    """Rent this machine."""
    offer: Offer = asyncio.run(market.offers(OfferQuery()))[0]
    return asyncio.run(market.create(offer, launch))


def test_worker_that_ignores_sigterm_ends_by_its_deadline(rent: Rent) -> None:
    """At its deadline a worker is dead however it behaves, and so is what it started."""
    ends = time.monotonic() + 8
    _, folder = rent(STUBBORN, "grandchild holds", life_s=8)
    assert not free(folder / "child")
    assert not free(folder / "grandchild")
    until(lambda: not deadman.alive(folder))
    assert time.monotonic() < ends + 6
    until(lambda: free(folder / "child") and free(folder / "grandchild"))


def test_worker_dies_with_its_dead_man(rent: Rent) -> None:
    """A dead-man that is killed takes its worker with it and frees the lock: no instance runs unwatched."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child of its parent's death")
    _, folder = rent(SLEEPER, "up")
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    until(lambda: not deadman.alive(folder))


def test_renewed_lease_lives_longer_but_not_past_the_hard_life(rent: Rent) -> None:
    """A worker may move its deadline; what it was launched with at most ends it all the same."""
    started = time.monotonic()
    _, folder = rent(GREEDY, "moved", life_s=8, hard_life_s=9.5)
    while time.monotonic() < started + 5.7:  # the polite signal for a life of 8 s would come at 5 s
        assert deadman.alive(folder)
        time.sleep(0.05)
    until(lambda: not deadman.alive(folder))
    assert time.monotonic() < started + 9.5 + 6


def test_deadline_that_was_moved_forward_is_honoured(rent: Rent) -> None:
    """A deadline that lies in the past ends an instance at once, and so does a spoilt one."""
    for spoil in (lambda path: deadman.write_deadline(path, time.monotonic()), lambda path: path.write_text("soon")):
        _, folder = rent(SLEEPER, "up")
        spoil(folder / "deadline")
        until(partial(free, folder / "lock"))


def test_nothing_of_ours_reaches_an_instance(
    rent: Rent, market: LocalMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither worker nor dead-man sees our environment or home; a json.py where they run is not imported."""
    for name in ("AWS_SECRET_ACCESS_KEY", "VAST_API_KEY", "UPREZ_SCALE", "PYTHONPATH", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "canary")
    trap = "raise SystemExit('trapped')"
    (tmp_path / "json.py").write_text(trap)
    monkeypatch.chdir(tmp_path)
    made, folder = rent(WITNESS, "}", files={"json.py": trap})
    seen = json.loads(asyncio.run(market.logs(made.id)))
    assert "canary" not in json.dumps(seen)
    assert seen["mine"]["UPREZ_BOOT_URL"] == "file:///none"
    assert seen["mine"]["HOME"] == seen["folder"] == str(folder)


def test_real_worker_is_told_its_boot_url_only(market: LocalMarket, tmp_path: Path) -> None:
    """The command that a market runs is uprez's worker: with an address that leads nowhere it says so and ends."""
    nowhere = tmp_path / "nowhere" / "sheet.json"
    made = create(market, launch_of(boot_url=nowhere.as_uri()))
    until(lambda: [found.running for found in asyncio.run(market.instances())] == [False])
    said = asyncio.run(market.logs(made.id))
    assert str(nowhere) in said
    assert "Traceback" not in said


def test_running_instance_is_destroyed(rent: Rent, market: LocalMarket) -> None:
    """Destroying returns when the worker is dead and its folder gone, also from another controller."""
    made, folder = rent(SLEEPER, "up")
    asyncio.run(LocalMarket(folder.parent).destroy(made.id))
    assert not folder.exists()
    assert asyncio.run(market.instances()) == []


def test_ended_instance_is_listed_until_destroyed(rent: Rent, market: LocalMarket) -> None:
    """A worker that left by itself is listed as not running, with its label; its last words can still be read."""
    made, folder = rent("print('bye', flush=True)", "bye")
    until(lambda: not deadman.alive(folder))
    (found,) = asyncio.run(market.instances())
    assert (found.id, found.label, found.running) == (made.id, made.label, False)
    assert asyncio.run(market.logs(made.id)) == "bye\n"


def test_leftovers_of_a_killed_create_are_listed_and_destroyed(market: LocalMarket, tmp_path: Path) -> None:
    """A folder in which nothing was started yet is an instance that does not run, and goes like any other."""
    bare, half = tmp_path / "local" / "aaaaaaaa", tmp_path / "local" / "bbbbbbbb"
    bare.mkdir(parents=True)
    half.mkdir()
    (half / "launch.json").write_text('{"label": "upr')
    found = asyncio.run(market.instances())
    assert [(instance.id, instance.label, instance.running) for instance in found] == [
        ("aaaaaaaa", "", False),
        ("bbbbbbbb", "", False),
    ]
    for instance in found:
        asyncio.run(market.destroy(instance.id))
    assert asyncio.run(market.instances()) == []


def test_lease_is_never_started_twice(market: LocalMarket, tmp_path: Path) -> None:
    """A folder that is taken, or cannot be made, is a RentError that names it."""
    launch = launch_of()
    (tmp_path / "local" / launch.lease).mkdir(parents=True)
    with pytest.raises(RentError, match=launch.lease):
        create(market, launch)


def test_asking_does_not_disturb(tmp_path: Path) -> None:
    """Two who ask at once whether an instance runs do not take each other for it."""
    lock = deadman.take_lock(tmp_path)
    assert deadman.alive(tmp_path)
    fcntl.flock(lock, fcntl.LOCK_SH)  # as another who asks holds it
    assert not deadman.alive(tmp_path)
    os.close(lock)
    assert not deadman.alive(tmp_path)
