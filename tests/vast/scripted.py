"""What runs on the practice market's machines in virtual time: a script that does as the runner and the worker do.

Each container has threads, which are generators that yield the seconds until they go on. The dead-man is one of them,
as in remote_runner.sh; the others install, follow the sheet, beat, and do tasks. The files that the real ones keep on
the machine's disk are the `Disk`, which a container that is started again finds as it was.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING

import plain
from uprez import sheet as sheets
from uprez import wire
from uprez.job import Options, Plan, Preflight, Survey, Video
from uprez.machine import Machine
from uprez.media import encode
from uprez.media.target import target
from uprez.practice import smi
from uprez.practice.meter import Moved
from uprez.practice.process import Container, Idle
from uprez.sheet import Sheet, Task
from uprez.status import Done, Status

if TYPE_CHECKING:
    from virtual import World

Thread = Generator[float, None, None]

POLL_S = 5.0
"""Of the dead-man."""
IDLE_LOOK_S = 2.0
"""Between two looks at the sheet of a worker that waits for work."""
PACKAGES_BYTES = 1_200_000_000
SOURCE_BYTES = 150_000_000
SEGMENT_BYTES = 60_000_000
"""What is charged for, whatever the objects of the store really hold."""
FRAMES = 60
VIDEO = plain.counted(FRAMES, size=SOURCE_BYTES)
OPTIONS = Options(model="identity", scale=Fraction(1))
SURVEY = Survey(
    index=plain.indexed(VIDEO, FRAMES),
    preflight=Preflight(
        family="cuda",
        provider="CUDAExecutionProvider",
        precision="f16",
        device="scripted",
        encoding=encode.encoding(
            "h264",
            "libx264",
            encode.picture(VIDEO, OPTIONS, target(VIDEO, OPTIONS)),
            crf=None,
            preset=None,
            threads=2,
        ),
        extradata_sha256="0" * 64,
        seconds_per_frame=3.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video that a script makes believe to work on."""

    video: Video = VIDEO
    survey: Survey = SURVEY
    stride: int = 1
    """Frames of which each step is told."""
    index_s: float = 15.0
    fetch_s: float = 6.0
    """Of the source."""
    segment_s: float = 6.0
    """Of each segment that is joined."""
    source_bytes: int = SOURCE_BYTES
    segment_bytes: int = SEGMENT_BYTES


CLIP = Clip()


class _InputError(Exception):
    """The input cannot be used."""


class _AwayError(Exception):
    """The bucket does not answer."""


class _StoreError(Exception):
    """Something cannot be read or written any more."""


class _StoppedError(Exception):
    """The task is not to go on."""


@dataclass(kw_only=True)
class Disk:
    """What lasts as long as the instance."""

    hard_s: float | None = None
    deadline_s: float | None = None
    installed: bool = False
    starts: int = 0
    fetched: int = 0
    """Bytes of packages, of all starts."""
    down: int = 0
    up: int = 0
    """What all workers so far have moved, as the last beat had it."""


class Bench(Idle):
    """The machines, each with its containers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.disks: dict[int, Disk] = {}
        self.processes: dict[int, Process] = {}
        self.slowness = 1.0
        self.clips: Mapping[str, Clip] = {}
        """By job, where they are not as all others."""
        self.pace_s: Callable[[Process], float] = lambda _: world.rng.uniform(2.0, 6.0) * self.slowness
        """Gives the seconds that a machine takes for a frame of a clip, at present."""
        self.idle_s: Counter[str] = Counter()
        """For how long each lease's worker had no task."""
        self.ready_s: dict[str, float] = {}
        """When each lease's first worker began."""
        self.sour: frozenset[str] = frozenset()
        """Jobs whose input is no video."""
        self.hangs_s: float | None = None
        """After so long the next container to start does nothing more, but for its dead-man."""
        self.blind = 0
        """So many of the next containers to start call every input no video."""
        self.enhanced: list[str] = []
        """The segment's pin of each segment that a worker began to make though it counted already."""
        self._due: list[tuple[int, int, Process, _Running]] = []
        self._number = itertools.count()

    def start(self, container: Container) -> None:
        """Start it."""
        super().start(container)
        disk = self.disks.setdefault(container.id, Disk())
        self.processes[container.id] = process = Process(self.world, disk, container)
        process.blind, self.blind = self.blind > 0, max(0, self.blind - 1)
        if self.hangs_s is not None:
            self.world.later(self.hangs_s, process.hang)
            self.hangs_s = None

    def kill(self, instance: int) -> None:
        """End all its threads at once."""
        super().kill(instance)
        if process := self.processes.pop(instance, None):
            process.threads.clear()

    def remove(self, instance: int) -> None:
        """Forget its disk too."""
        super().remove(instance)
        self.disks.pop(instance, None)

    def schedule(self, process: Process, thread: _Running) -> None:
        """Let a thread go on when it is due."""
        heapq.heappush(self._due, (thread.at_ms, next(self._number), process, thread))

    def next_ms(self) -> int:
        """Give the time at which some thread goes on."""
        while self._due:
            at_ms, _, process, thread = self._due[0]
            if thread in process.threads:
                return at_ms
            heapq.heappop(self._due)  # it ended with its container
        return 1 << 60

    def live(self, now_ms: int) -> None:
        """Let all threads do what is due."""
        while self.next_ms() <= now_ms:
            _, _, process, thread = heapq.heappop(self._due)
            process.go_on(thread, now_ms)

    def say(self, instance: int, line: str) -> None:
        """Print."""
        if instance in self.printed:
            self.printed[instance] += f"{line}\n".encode()

    def move(self, instance: int, *, down: int = 0, up: int = 0) -> None:
        """Let the market count bytes."""
        old = self.traffic.get(instance, Moved())
        self.traffic[instance] = Moved(down=old.down + down, up=old.up + up)


@dataclass(kw_only=True, eq=False)
class _Running:
    body: Thread
    at_ms: int


class Process:
    """One container, from its start to its end."""

    dead_man = True

    def __init__(self, world: World, disk: Disk, container: Container) -> None:
        self.world, self.disk = world, disk
        self.id, self.environment = container.id, container.environment
        self.lease = self.environment["UPREZ_LEASE"]
        self.threads: list[_Running] = []
        self.ended_s: float | None = None
        self.blind = False
        """No input is good enough for it."""
        self._guard = self._spawn(self._dead_man())
        self._main = self._spawn(self._boot())

    @property
    def now_s(self) -> float:
        """Give the time."""
        return self.world.now_s

    def go_on(self, thread: _Running, now_ms: int) -> None:
        """Go on with a thread that is due."""
        pause_s = next(thread.body, None)
        if thread not in self.threads:
            return
        if pause_s is None:
            self.threads.remove(thread)
        else:
            thread.at_ms = now_ms + max(1, round(pause_s * 1000))
            self.world.bench.schedule(self, thread)

    def hang(self) -> None:
        """Do nothing more, as a machine whose GPU has fallen off its bus; a boot that hangs goes on to beat."""
        kept = self.threads if not self.disk.installed else [self._guard]
        self.threads = [thread for thread in kept if thread is not self._main]

    def _spawn(self, body: Thread) -> _Running:
        running = _Running(body=body, at_ms=self.world.clock.now_ms())
        self.threads.append(running)
        self.world.bench.schedule(self, running)
        return running

    def _say(self, text: str) -> None:
        self.world.bench.say(self.id, f"uprez-boot {self.lease} {round(self.now_s * 1e6)} {text}")

    # --- the runner's shell

    def _dead_man(self) -> Thread:
        disk, given = self.disk, self.environment
        if disk.hard_s is None:
            disk.hard_s = self.now_s + int(given.get("UPREZ_HARD_S", "86400"))
        if disk.deadline_s is None:
            disk.deadline_s = self.now_s + int(given.get("UPREZ_LIFE_S", "1800"))
        if not self.dead_man:
            return
        linger_s = int(given.get("UPREZ_LINGER_S", "60"))
        while self.now_s < min(disk.deadline_s, disk.hard_s):
            if self.ended_s is not None and self.now_s >= self.ended_s + linger_s:
                break
            yield POLL_S
        self._say("giving this machine back")
        while True:
            self._ask("DELETE")
            yield 2 * POLL_S

    def _ask(self, method: str) -> int:
        url = f"{self.environment['VAST_URL']}/api/v0/instances/{self.environment['CONTAINER_ID']}/"
        headers = {"Authorization": f"Bearer {self.environment['CONTAINER_API_KEY']}"}
        answer = self.world.wire.ask(method, url, headers, b"")
        return answer.status if answer else 0

    def _boot(self) -> Thread:
        yield 2.0
        while self.world.store_away:
            yield 10.0
        sheet = self._fetched_sheet(self.environment["UPREZ_BOOT_URL"])
        if sheet is None:
            self._say("ERROR: cannot fetch the sheet")
        else:
            machine = self._facts()
            heart = self._spawn(self._boot_beat(sheet, machine))
            machine = yield from self._installed(machine)
            self.threads.remove(heart)
            yield from Worker(self, machine).run()
        self._say("the work ended with 0")
        self.ended_s = self.now_s

    def _fetched_sheet(self, url: str) -> Sheet | None:
        key = self.world.state.key_of(url)
        data = self.world.state.get(key) if key else None
        return sheets.read(data) if data else None

    def _facts(self) -> Machine:
        one = self.world.market._state.instances[self.id]
        gpu = smi.gpu(one.offer, wrong=one.wrong_gpu, taken=one.vram_taken)
        return Machine(
            gpu=gpu.name,
            gpus=gpu.count,
            vram_mb=gpu.memory_mib,
            vram_free_mb=gpu.memory_mib - gpu.used_mib,
            driver=gpu.driver,
            disk_free_gb=one.disk_gb,
            own_key_works=self._ask("GET") == 200 or None,
            python="3.11.9",
            provider="cuda",
        )

    def _boot_beat(self, sheet: Sheet, machine: Machine) -> Thread:
        beat = -1000
        while True:
            self._put(
                sheet.status_url, wire.dump(Status(lease=self.lease, beat=beat, phase="booting", machine=machine))
            )
            beat += 1
            yield sheet.status_s

    def _installed(self, machine: Machine) -> Generator[float, None, Machine]:
        if self.disk.installed:
            yield 5.0
        else:
            for _ in range(4):
                yield self.world.rng.uniform(3.0, 15.0)
                self.world.bench.move(self.id, down=PACKAGES_BYTES // 4)
            self.disk.installed = True
            self.disk.fetched = PACKAGES_BYTES
        return replace(machine, down_bytes=self.disk.fetched, down_mbps=300.0)

    def _put(self, url: str, data: bytes) -> bool:
        key = self.world.state.key_of(url) if not self.world.store_away else None
        if key is not None:
            self.world.state.put(key, data)
        return key is not None


@dataclass(kw_only=True)
class _Seen:
    """What the worker's threads share."""

    sheet: Sheet
    ends_s: float
    url: str
    data: bytes = b""
    """Of the sheet that was read last."""
    denied: int = 0


class Worker:
    """`uprez work`, as worker.py, watch.py and logbook.py do it."""

    def __init__(self, process: Process, machine: Machine) -> None:
        self.process, self.world = process, process.world
        self.machine = machine
        self._lines = process.disk.starts * 1_000_000
        process.disk.starts += 1
        self._down, self._up = process.disk.down, process.disk.up
        self._fetched: set[str] = set()

    @property
    def now_s(self) -> float:
        """Give the time."""
        return self.world.now_s

    def run(self) -> Thread:
        """Serve the lease."""
        url = self.process.environment["UPREZ_BOOT_URL"]
        sheet = self.process._fetched_sheet(url)
        if sheet is None:
            return
        self.seen = _Seen(sheet=sheet, ends_s=self.now_s + sheet.length_s, url=sheet.next_sheet_url)
        self._move_deadline(sheet)
        self.status = Status(lease=sheet.lease, beat=0, phase="booting", machine=self.machine)
        self.world.bench.ready_s.setdefault(sheet.lease, self.now_s)
        self._say("Worker ready")
        threads = [self.process._spawn(self._follow()), self.process._spawn(self._beat())]
        while True:
            task = yield from self._next_task()
            if task is None:
                break
            yield from self._do(task)
            self.status = replace(self.status, phase="idle", task=None, frames=0)
            self._send()
        reason = "told to stop" if self.seen.sheet.stop else "lease ended or nothing to do"
        self._say("VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY")
        self.status = replace(self.status, phase="left", task=None, reason=reason)
        self._send()
        for thread in threads:
            if thread in self.process.threads:
                self.process.threads.remove(thread)

    # --- the ear

    def _follow(self) -> Thread:
        while True:
            yield self.seen.sheet.watch_s
            if self.world.store_away:
                continue
            self._look()

    def _look(self) -> None:
        key = self.world.state.key_of(self.seen.url)
        data = self.world.state.get(key) if key else None
        if data is None:  # the address has run out, or who wrote it has cleared up
            self.seen.denied += 1
            return
        self.seen.denied = 0
        self._count(down=len(data))
        if data == self.seen.data:
            return
        new = sheets.read(data)
        self.seen.url, self.seen.data = new.next_sheet_url, data
        if new.renewal > self.seen.sheet.renewal:
            self.seen.ends_s = self.now_s + new.length_s
            self._move_deadline(new)
        self.seen.sheet = new

    def _move_deadline(self, sheet: Sheet) -> None:
        disk = self.process.disk
        disk.deadline_s = max(disk.deadline_s or 0.0, float(int(self.now_s + sheet.length_s + sheet.grace_s)))

    def _next_task(self) -> Generator[float, None, Task | None]:
        idle_since = looked = self.now_s
        while True:
            sheet, finished = self.seen.sheet, {done.task for done in self.status.done}
            if sheet.stop or self.seen.denied >= 2 or self.now_s >= self.seen.ends_s:
                return None
            task = next((task for task in sheet.tasks if task.id not in finished), None)
            if task or (self.now_s - idle_since >= sheet.idle_s and not sheet.hold):
                return task
            yield 1.0
            self.world.bench.idle_s[self.process.lease] += 1
            if self.now_s >= looked + min(sheet.watch_s, IDLE_LOOK_S):
                looked = self.now_s
                self._look()

    def _check(self, task: Task, left_s: float | None) -> None:
        sheet, over_s = self.seen.sheet, self.now_s - self.seen.ends_s
        if sheet.stop or self.seen.denied >= 2 or all(task.id != wanted.id for wanted in sheet.tasks):
            raise _StoppedError
        if over_s >= 0 and (left_s is None or over_s + left_s > sheet.grace_s):
            raise _StoppedError

    # --- the mouth

    def _say(self, text: str) -> None:
        self._lines += 1
        stamp = datetime.fromtimestamp(self.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.world.bench.say(self.process.id, f"{self.process.lease}:{self._lines} {stamp} {text}")

    def _beat(self) -> Thread:
        while True:
            yield self.seen.sheet.status_s
            self._send()

    def _send(self) -> None:
        wanted = {task.id for task in self.seen.sheet.tasks}
        kept = tuple(done for done in self.status.done if done.task in wanted) if wanted else self.status.done
        self.status = replace(
            self.status, beat=self.status.beat + 1, done=kept, down_bytes=self._down, up_bytes=self._up
        )
        self.process.disk.down, self.process.disk.up = self._down, self._up
        data = wire.dump(self.status)
        if self.process._put(self.seen.sheet.status_url, data):
            self._count(up=len(data))

    def _count(self, *, down: int = 0, up: int = 0) -> None:
        self._down += down
        self._up += up
        self.world.bench.move(self.process.id, down=down, up=up)

    # --- the hands

    def _do(self, task: Task) -> Thread:
        began = self.now_s
        self.status = replace(self.status, phase="working", task=task.id, frames=0)
        self._send()
        done = Done(task=task.id, key=task.put.key)
        try:
            data, size, frames = yield from self._made(task)
            while self.world.store_away:
                self._check(task, None)
                yield 10.0
            task = next((one for one in self.seen.sheet.tasks if one.id == task.id), task)
            if not self.process._put(task.put.url, data):
                raise _StoreError("the address is not valid any more")
            self._count(up=size)
            done = replace(
                done,
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                frames=frames,
                seconds=self.now_s - began,
            )
            self._say(f"Upload complete: {task.put.key}")
        except _InputError:
            done = replace(done, fault="input", error=f"{task.name} is no video")
        except _AwayError:
            done = replace(done, fault="store", error="status 503")
        except _StoreError as error:
            done = replace(done, fault="store", error=str(error))
        except _StoppedError:
            done = replace(done, fault="stopped", error="stopped")
        self.status = replace(self.status, done=(*self.status.done, done), task=None)
        self._send()

    def _made(self, task: Task) -> Generator[float, None, tuple[bytes, int, int]]:
        clip = self.world.bench.clips.get(task.job, CLIP)
        yield from self._fetch(task, task.job, clip.source_bytes, clip.fetch_s)
        if task.kind == "index":
            self._say(f"Reading the index of {task.name}")
            yield clip.index_s
            if task.job in self.world.bench.sour or self.process.blind:
                raise _InputError
            return wire.dump(self._surveyed(clip)), 20_000, len(clip.survey.index.pts)
        if task.kind == "assemble":
            for ref in task.inputs:
                yield from self._fetch(task, ref.sha256, clip.segment_bytes, clip.segment_s)
            yield 10.0
            self._check(task, None)
            size = max(3, len(task.inputs)) * clip.segment_bytes
            return json.dumps({"result": task.job}).encode(), size, len(clip.survey.index.pts)
        frames = yield from self._enhanced(task, clip)
        made = {"job": task.job, "segment": task.segment}
        return json.dumps(made).encode(), clip.segment_bytes, frames

    def _surveyed(self, clip: Clip) -> Survey:
        """Measure this machine, where clips are not all the same."""
        if clip is CLIP:
            return SURVEY
        seconds = self.world.bench.pace_s(self.process)
        return replace(clip.survey, preflight=replace(clip.survey.preflight, seconds_per_frame=seconds))

    def _enhanced(self, task: Task, clip: Clip) -> Generator[float, None, int]:
        folder, _, _ = task.put.key.rpartition("/")
        if self.world.state.get(f"{folder}.json") is not None:
            self.world.bench.enhanced.append(folder)
        pace_s, total = self.world.bench.pace_s(self.process), self._planned(task)
        number = 0
        while number < total:
            step = min(clip.stride, total - number)
            yield step * pace_s
            number += step
            self.status = replace(self.status, frames=number, fps=1 / pace_s)
            self._check(task, (total - number) * pace_s)
            if number % 5 == 0:
                self._say(f"segment {task.segment}: {number}/{total} frames")
        return total

    def _planned(self, task: Task) -> int:
        key = self.world.state.key_of(task.plan.url) if task.plan else None
        data = self.world.state.get(key) if key else None
        if data is None or task.segment is None:
            raise _StoreError("the plan cannot be read")
        return wire.load(Plan, data, where="the plan").segments[task.segment].count

    def _fetch(self, task: Task, what: str, size: int, seconds: float) -> Thread:
        if what in self._fetched:
            return
        for _ in range(3):
            yield seconds / 3
            if self.world.store_away:
                raise _AwayError
            self._count(down=size // 3)
            self.status = replace(self.status, moved=self.status.moved + 1)
            self._check(task, None)
        self._fetched.add(what)
