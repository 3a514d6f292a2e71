"""A world in virtual time: the practice market without a socket, a store in memory, an event loop that never sleeps.

One `Clock` is the truth. Whoever waits in the controller moves it, event by event: boots end, scripted workers live on,
faults strike. The controller can be killed at any of its touches with the world (a request before it is heard or after
it is done, a statement of the ledger, an object of the store, a sleep): from then on it can touch nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import re
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from scripted import Bench
from strands import Strands
from uprez import background, batch, http
from uprez.errors import BusyError, FetchError
from uprez.fleet import checking, program, resume
from uprez.fleet import clock as fleet_clock
from uprez.fleet.ledger import Ledger
from uprez.fleet.lookout import Lookout
from uprez.http import Response
from uprez.market.vast import wire
from uprez.market.vast.limiter import LIMITER
from uprez.media import probe, verify
from uprez.packing import Packed
from uprez.practice import life
from uprez.practice.clock import Clock
from uprez.practice.control import Desk
from uprez.practice.listener import Answer, Asked
from uprez.practice.market import Market, Options
from uprez.practice.server import PracticeServer
from uprez.store import find, keys, urls
from uprez.store.base import Meta
from uprez.store.memory import MemoryStore
from uprez.store.open import Home

T = TypeVar("T")

TRAVEL_S = 0.05
"""From the controller to the market, and back."""
PATIENCE_S = 5 * 86400.0
"""A run that lasts longer does not end at all."""
HOST = "127.0.0.1:1"
NUMBER = re.compile(r"[0-9a-f]{4,}(?=/|[.]log|$)")
WHEEL = Packed(name="uprez-0-py3-none-any.whl", data=b"wheel", sha256="0" * 64)


class DiedError(BaseException):
    """The controller was killed here."""


class StuckError(AssertionError):
    """Nothing will ever happen any more, or it never ends."""


class World:
    """What there is outside of the controller's process, and the controller's ties to it."""

    def __init__(self, seed: int, *, options: Options, abreast: bool = False) -> None:
        """`abreast`: what the controller does in threads is done side by side, which takes longer to reckon."""
        self.rng = random.Random(seed)  # noqa: S311  storms, not secrets
        self.clock = Clock()
        self.bench = Bench(self)
        self.market = Market(self.clock, self.bench, options)
        self.wire = Wire(self.market)
        self.state, self.outputs = Vault(self), Vault(self)
        self.state.put(keys.MARKER, b"{}")
        self.home = Home(outputs=self.outputs, state=self.state)
        self.dead = False
        self.touches = 0
        self.dies_at: int | None = None
        """The touch at which the controller is killed."""
        self.interrupted_at: int | None = None
        """The touch at which somebody presses Ctrl-C."""
        self._task: asyncio.Task[Any] | None = None
        self.skew_s = 0.0
        """By how much the controller's wall clock is ahead of the market's."""
        self.away_s = (0.0, 0.0)
        """From when to when the bucket answers 503 to everybody."""
        self.lies: list[str] = []
        """What the ledger called gone while it was there."""
        self.until_s = self.now_s + PATIENCE_S
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._turns_ms = 0
        self.strands = Strands(self.later)
        self._abreast = abreast
        self.asked: Counter[str] = Counter()
        """Requests that the market has heard, by method and address without its numbers; "LIST": first pages."""

    @property
    def now_s(self) -> float:
        """Give the time."""
        return self.clock.now_s()

    @property
    def url(self) -> str:
        """Give the market's address."""
        return self.wire.url

    # --- time

    @property
    def store_away(self) -> bool:
        """Say whether the bucket is busy now."""
        return self.away_s[0] <= self.now_s < self.away_s[1]

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen after so many seconds."""
        heapq.heappush(self._agenda, (self.clock.now_ms() + round(seconds * 1000), next(self._number), what))

    def pass_time(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, event by event; `until` something is so."""
        if self.strands.inside:
            self.strands.wait(seconds)
            if self.dead:
                raise DiedError
            return
        with self.strands.meter.of("world"):
            end = self.clock.now_ms() + max(1, math.ceil(seconds * 1000))
            while (now := self.clock.now_ms()) < end and not until():
                at = max(now, min(end, self._next_ms()))
                self.clock.advance((at - now) / 1000)
                self._happen(at)
        if self.now_s > self.until_s:
            raise StuckError(f"it does not end within {PATIENCE_S} s")

    def _next_ms(self) -> int:
        agenda = (self._agenda[0][0],) if self._agenda else ()
        return min((*agenda, self._market_ms(), self.bench.next_ms()))

    def _market_ms(self) -> int:
        """Give the time at which something happens in the market though nobody asks it."""
        if self.wire.turned:
            instances = self.market._state.instances.values()
            times = (at for one in instances for at in (one.boots_ms, one.back_ms, one.queued_ms))
            self._turns_ms = min((at for at in times if at is not None), default=1 << 60)
            self.wire.turned = False
        return self._turns_ms

    def _happen(self, now: int) -> None:
        if self._market_ms() <= now:
            self.market.settle()
            self.wire.turned = True
        while self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2]()
            self.wire.turned = True  # it may be a fault that strikes
        self.bench.live(now)

    # --- the controller's ties

    def touch(self) -> None:
        """Take note that the controller touches the world; raises DiedError when that is, or was, its last."""
        self.touches += 1
        if self.dies_at is not None and self.touches >= self.dies_at:
            self.dead = True
        if self.dead:
            raise DiedError
        if self.touches == self.interrupted_at and self._task is not None:
            self._task.cancel()

    def sleep(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, in the controller."""
        self.touch()
        self.pass_time(seconds, until=until)

    def start(self, work: Callable[[], None]) -> None:
        """Do something beside the controller's loop."""
        if self._abreast:
            self.strands.start(work)
        else:
            work()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        accept: frozenset[int] = frozenset(),
        **limits: object,
    ) -> Response:
        """Do what `http.request` does."""
        del limits
        self.touch()
        self.pass_time(TRAVEL_S)
        with self.strands.meter.of("world"):
            answer = self.wire.ask(method, url, headers or {}, body or b"")
        self.asked[_kind(method, url)] += 1
        self.pass_time(TRAVEL_S)
        self.touch()
        if answer is None:
            raise BusyError("the connection was closed without an answer")
        if answer.status >= 300 and answer.status not in accept:
            raise FetchError(f"status {answer.status}", status=answer.status)
        date = format_datetime(datetime.fromtimestamp(self.now_s, UTC), usegmt=True)
        return Response(status=answer.status, headers={"Date": date, **answer.headers}, data=answer.data())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a controller, which knows nothing of one before, to its end; raises DiedError when it is killed."""
        self.dead = False
        LIMITER._free.clear()
        loop = Loop(self)
        try:
            self._task = loop.create_task(work)
            return loop.run_until_complete(self._task)
        finally:
            loop.leave()
            self.strands.close()
            self.dies_at, self.interrupted_at, self.dead, self._task = None, None, False, None


class Wire(PracticeServer):
    """The practice server's own answers, without its socket and its threads."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.control_key = "control"
        self._desk = Desk(market=market)
        self._on_call = None
        self.turned = True
        """Something may have changed in the market since somebody looked."""
        self.port = 1
        self.url = f"http://{HOST}"

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Answer one request; None: the connection is closed."""
        self.turned = True
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        sent = {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}
        return self._answer(Asked(method=method, target=target, headers=sent, raw=body))


class Vault(MemoryStore):
    """Objects in memory, whose addresses hold a time until which they are valid. The controller's calls are touches."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.reads = 0
        """By the controller."""
        self.written_s: dict[str, float] = {}
        """When the controller wrote what last."""

    def _asked(self) -> None:
        """Take note of a request of the controller's; raises BusyError while the bucket is busy."""
        self.world.touch()
        if self.world.store_away:
            raise BusyError("status 503")

    def read(self, key: str) -> bytes | None:
        """Read, by the controller."""
        self._asked()
        self.reads += 1
        return super().read(key)

    def head(self, key: str) -> Meta | None:
        """Look, by the controller."""
        self._asked()
        return super().head(key)

    def write(self, key: str, data: bytes) -> Meta:
        """Write, by the controller."""
        self._asked()
        made = super().write(key, data)
        self.world.touch()
        self.written_s[key] = self.world.now_s
        return made

    def listing(self, prefix: str = "") -> Iterator[Meta]:
        """List, by the controller."""
        self._asked()
        return super().listing(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, by the controller, which may die in the middle of it."""
        for key in keys:
            self._asked()
            super().delete([key])

    def get_url(self, key: str, *, seconds: float) -> str:
        """Sign an address to read by."""
        return f"memory:///{quote(key)}?until={self.world.now_s + seconds:.0f}"

    put_url = get_url

    def put(self, key: str, data: bytes) -> None:
        """Write, by anybody but the controller."""
        MemoryStore.write(self, key, data)

    def get(self, key: str) -> bytes | None:
        """Read, by anybody but the controller."""
        return MemoryStore.read(self, key)

    def key_of(self, url: str) -> str | None:
        """Give the key that an address is of; None when it is not valid any more."""
        parts = urlsplit(url)
        until = float(parse_qs(parts.query)["until"][0])
        return unquote(parts.path).lstrip("/") if self.world.now_s <= until else None


class _Selector(selectors.SelectSelector):
    """Nothing is ever ready: whoever would wait moves the clock."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.leaving = False
        self.is_woken: Callable[[], bool] = lambda: False
        """Says whether the loop has something to do, whatever time it is."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass that a real selector would sleep."""
        if self.leaving:
            return []
        if self.world.dead:
            raise DiedError
        if timeout is None and not self.world.strands.busy:
            raise StuckError("the controller waits for something that never comes")
        if timeout is None or timeout > 0:
            self.world.sleep(PATIENCE_S if timeout is None else timeout, until=self.is_woken)
        return []


class Loop(asyncio.SelectorEventLoop):
    """An event loop on the virtual clock."""

    def __init__(self, world: World) -> None:
        self._eyes = _Selector(world)
        super().__init__(self._eyes)
        self._world = world
        self._eyes.is_woken = lambda: bool(self._ready)
        self._clock_resolution = 0.001  # the clock's own: less is lost in a float of this size

    def time(self) -> float:
        """Give the virtual time."""
        return self._world.now_s

    def leave(self) -> None:
        """End what is left, as a process that ends does: without a word, and without touching anything."""
        self._world.dead = self._eyes.leaving = True
        self.set_exception_handler(lambda loop, context: None)
        for _ in range(100):
            left = asyncio.all_tasks(self)
            if not left:
                break
            for task in left:
                task.cancel()
            with contextlib.suppress(BaseException):
                self.run_until_complete(asyncio.wait(left, timeout=0))
        self.close()


def _kind(method: str, url: str) -> str:
    parts = urlsplit(url)
    if method == "GET" and parts.path == "/api/v1/instances/" and "after_token" not in parts.query:
        return "LIST"
    return f"{method} {NUMBER.sub('*', parts.path)}"


def start(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` beside the loop, as `background.start` does: at the loop's next turn."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001  whatever it was belongs to the future
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(value)

    loop.call_soon(Now.world.start, work)
    return future


class Now:
    """The world that there is at present: what is patched for a whole test asks here."""

    world: World


def install(patch: pytest.MonkeyPatch) -> None:
    """Let everything in the controller that knows the time, the network or a video know `Now.world` instead."""
    now: Callable[..., float] = lambda *_: Now.world.now_s  # noqa: E731
    patch.setattr(fleet_clock, "time", SimpleNamespace(monotonic=now, clock_gettime=now))
    patch.setattr(LIMITER, "_free", {})  # its times are of this clock
    patch.setattr(LIMITER, "_clock", now)
    patch.setattr(LIMITER, "_sleep", _sleep)
    patch.setattr(wire, "datetime", SimpleNamespace(now=_wall_clock))
    patch.setattr(background, "start", start)
    patch.setattr(checking, "time", SimpleNamespace(sleep=_sleep))
    patch.setattr(http, "request", _request)
    patch.setattr(resume, "at_once", lambda function, items, *, most: [function(item) for item in items])
    patch.setattr(Ledger, "_run", _touching(Ledger._run))
    patch.setattr(Ledger, "ended", _honest(Ledger.ended))
    patch.setattr(batch, "take_in", None)  # each life of a run sets its own
    patch.setattr(batch, "find_home", lambda *args, **kwargs: Now.world.home)
    patch.setattr(batch, "open_home", lambda *args, **kwargs: Now.world.home)
    patch.setattr(program, "packed", lambda settings, console: WHEEL)
    patch.setattr(life, "BURY_S", 0.0)
    # A worker's claims are JSON here, not video.
    walk = verify.Walk(packets="0" * 64, delay=0, thumbs={})
    patch.setattr(verify, "segment", lambda url, **_: walk)
    patch.setattr(verify, "result", _facts)
    patch.setattr(Lookout, "windows", lambda *_: {})
    patch.setattr(probe, "holds", lambda *_: True)
    patch.setattr(find, "unchanged", lambda source, store: True)


def _wall_clock(zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(Now.world.now_s + Now.world.skew_s, zone)


def _sleep(seconds: float) -> None:
    Now.world.sleep(seconds)


def _request(method: str, url: str, **more: Any) -> Response:
    return Now.world.request(method, url, **more)


def _touching(run: Callable[..., T]) -> Callable[..., T]:
    def touching(self: Ledger, *args: object) -> T:
        Now.world.touch()
        found = run(self, *args)
        Now.world.touch()
        return found

    return touching


def _honest(ended: Callable[..., None]) -> Callable[..., None]:
    def honest(self: Ledger, lease: str, state: str, **more: Any) -> None:
        ended(self, lease, state, **more)
        with Now.world.strands.meter.of("world"):
            there = (row["id"] for row in Now.world.market.rows() if f"/{lease}/" in str(row["label"]))
            if state == "gone":
                Now.world.lies += [f"lease {lease} was called gone while instance {one} was there" for one in there]

    return honest


def _facts(url: str, *, plan: Any, digest: Any, **_: Any) -> verify.Facts:
    digest.update(urls.path_of(url).read_bytes())
    return verify.Facts(frames=plan.count, duration=Fraction(plan.count, 25), audio=1)


def shared_memory(otherwise: Path) -> Path:
    """Give a folder where the ledger's syncs cost nothing, if there is one."""
    folder = Path("/dev/shm")  # noqa: S108  not a file of a known name
    return folder if folder.is_dir() else otherwise
