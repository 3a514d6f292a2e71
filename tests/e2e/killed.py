"""A practice market and a bucket in this process, and the real command that rents there: for killing and interrupting.

rented.strike(Moment(endpoint="create", when="after"), signal.SIGKILL)
run = rented.start()                       the real `uprez run`, which is struck at that moment
rented.struck.wait(60)
rented.uprez()                             the same command again, to its end
assert rented.faults() == []               nothing is left, and the books agree
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av

from house import Ended, write_clip
from s3_proxy import Proxy, Seen
from uprez.practice import Clock, Market, Meter, Options, PracticeServer, Processes, image
from uprez.practice.call import Call
from uprez.practice.faults import Armed
from waiting import until

if TYPE_CHECKING:
    from s3_server import S3Server

REPO = Path(__file__).resolve().parents[2]
IMAGE = REPO / ".cache" / "image"
FRAMES, SEGMENTS = 50, 3
BUDGET_USD = Decimal(1)
SETTLED_S = 245.0
"""After so long the market's list must show whatever a call that nobody heard the end of has made."""
CONFIG = """\
market: vast
budget: {budget}
segment_frames: 20
video:
  model: lanczos
  scale: 2
vast:
  max_price: 0.4
rented:
  boot_s: {boot_s}
  lease_s: {lease_s}
  grace_s: 5
  watch_s: 0.5
  status_s: 0.5
  poll_s: 0.5
  log_s: 1
  silence_s: 60
  stall_s: 120
  hard_life_s: 600
"""
When = Literal["before", "after"]
Blow = signal.Signals | Callable[[subprocess.Popen[str]], None]
"""A signal, or whatever else is done to the command."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment of a run: just before or just after what one of its calls does; the answer is still to come."""

    endpoint: str
    """Of the market, or a kind of request at the store (tests/s3/s3_proxy.py)."""
    when: When = "before"
    nth: int = 1
    """Which call of this endpoint."""
    since: str = ""
    """Count only those after the first call of this endpoint."""
    key: str = ""
    """At the store: what the object's key must hold."""
    stopping: bool = False
    """Count only those after the worker was told to stop: the machine is about to be given back."""

    def at(self, when: When) -> Moment:
        """Give the same call's other moment."""
        return replace(self, when=when)

    @property
    def title(self) -> str:
        """Say it for people."""
        where = f" of {self.key.strip('/')}" if self.key else ""
        later = f", call {self.nth}" if self.nth > 1 else ""
        later += f", after the first {self.since}" if self.since else ""
        return f"{self.when} {self.endpoint}{where}{later}" + (", giving back" if self.stopping else "")


@dataclass(kw_only=True)
class Strike:
    """A blow that waits for its moment."""

    moment: Moment
    blow: Blow
    count: int = 0
    done: bool = False
    at: float = 0.0


class Store(Proxy):
    """The proxy before the S3 server, which tells of each request before and after it is done."""

    def __init__(self, upstream: int, tell: Callable[[When, str, str], None]) -> None:
        self._tell = tell
        super().__init__(upstream)

    def take(self, kind: str, key: str) -> Any:
        """Tell, then fail as asked."""
        self._tell("before", kind, key)
        return super().take(kind, key)

    def note(self, seen: Seen) -> None:
        """Remember, then tell."""
        super().note(seen)
        self._tell("after", seen.kind, seen.key)


class Rented:
    """A folder with config.yaml and .env, a market that really runs what is rented, and a bucket. Up until `close`."""

    def __init__(
        self, top: Path, server: S3Server, *, lease_s: float = 20, boot_s: float = 90, limits: bool = True
    ) -> None:
        """`limits`: the market refuses calls that come too soon, also those of a run after those of a killed one."""
        self.top = top
        self.server, self.bucket = server, server.bucket()
        self.running: list[subprocess.Popen[str]] = []
        self.calls: Counter[tuple[When, str]] = Counter()
        """What the command asked of the market so far."""
        self.struck = threading.Event()
        self.struck_at = 0.0
        self.left, self.had = "", list[int]()
        """What there was when the last blow fell, for people and by the numbers of the market."""
        self._lock = threading.RLock()
        self._strikes: list[Strike] = []
        self._stopping = False
        self.store = Store(server.port, self._stored)
        self.meter = Meter()
        around = {**image.environment(IMAGE), "UPREZ_POLL_S": "1"}
        self.market = Market(
            Clock(1.0, start_s=time.time()),
            Processes(top / "market", image=around, meter=self.meter),
            Options(boot_s=(0.2, 0.3), log_delay_s=0.2, limits=limits),
        )
        self.practice = PracticeServer(self.market, on_call=self._called)
        self._write(lease_s=lease_s, boot_s=boot_s)

    def _write(self, **lengths: float) -> None:
        (self.top / "config.yaml").write_text(CONFIG.format(budget=BUDGET_USD, **lengths))
        values = {
            "B2_KEY": self.server.key,
            "B2_SECRET": self.server.secret,
            "B2_BUCKET": self.bucket,
            "B2_ENDPOINT": f"http://127.0.0.1:{self.store.port}",
            "B2_REGION": "us-east-1",
            "VAST_URL": self.practice.url,
            "VAST_API_KEY": self.market.key,
        }
        (self.top / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        self.show(FRAMES)

    def show(self, frames: int) -> None:
        """Make the input a clip of so many frames."""
        write_clip(self.top / "clip.mp4", frames, (160, 90), 0)
        data = (self.top / "clip.mp4").read_bytes()
        self.server.client.put_object(Bucket=self.bucket, Key="input/clip.mp4", Body=data)

    def close(self) -> None:
        """End everything that was started."""
        for process in self.running:
            process.kill()
            with contextlib.suppress(ValueError):  # a test closed its end of the pipe
                process.communicate()
        self.practice.close()
        self.meter.close()
        self.store.close()

    # --- the command

    def environment(self) -> Mapping[str, str]:
        """Give the environment of the command: state and cache in this folder."""
        return {**os.environ, "UPREZ_STATE_DIR": str(self.top / "state"), "UPREZ_CACHE_DIR": str(self.top / "cache")}

    def start(
        self, *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "uprez"), pipe_bytes: int | None = None
    ) -> subprocess.Popen[str]:
        """Start `uprez run`, or another command; its output goes into a pipe that holds so many bytes."""
        with self._lock:
            process = subprocess.Popen(
                [*program, *(arguments or ("run",))],
                cwd=self.top,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
            )
            self.running.append(process)
        if pipe_bytes is not None and process.stdout is not None:
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, pipe_bytes)
        return process

    def uprez(self, *arguments: str) -> Ended:
        """Run `uprez run`, or another command, to its end."""
        return self.end(self.start(*arguments))

    @staticmethod
    def end(process: subprocess.Popen[str], within_s: float = 200) -> Ended:
        """Wait for a command's end."""
        out, err = process.communicate(timeout=within_s)
        return Ended(code=process.returncode, out=out or "", err=err or "")

    # --- moments

    def strike(self, moment: Moment, blow: Blow = signal.SIGKILL) -> Strike:
        """Strike the command at a moment of its next run."""
        made = Strike(moment=moment, blow=blow)
        with self._lock:
            self.struck.clear()
            self.calls.clear()
            self._stopping = False
            self._strikes.append(made)
        return made

    def strike_run(self, moment: Moment, blow: Blow = signal.SIGKILL, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and wait until it is struck, or has ended before."""
        self.strike(moment, blow)
        run = self.start(*arguments)
        while not self.struck.wait(0.05) and run.poll() is None:
            pass
        return run

    def _called(self, when: When, name: str, call: Call) -> None:
        """Hear of a call at the market; those of the machines themselves do not count."""
        if call.own:
            return
        with self._lock:
            self.calls[when, name] += 1
            due = [one for one in self._strikes if self._is_due(one, when, name, "")]
        self._send(due)

    def _stored(self, when: When, kind: str, key: str) -> None:
        """Hear of a request at the store."""
        with self._lock:
            due = [one for one in self._strikes if self._is_due(one, when, kind, key)]
        self._send(due)
        if when == "after" and kind == "PUT" and key.endswith("/sheet.json") and not self._stopping:
            body = self.server.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            self._stopping = bool(json.loads(body)["stop"])

    def _is_due(self, one: Strike, when: When, name: str, key: str) -> bool:
        wanted = one.moment
        if one.done or (wanted.when, wanted.endpoint) != (when, name) or wanted.key not in key:
            return False
        if (wanted.stopping and not self._stopping) or (wanted.since and not self.calls["before", wanted.since]):
            return False
        one.count += 1
        one.done = one.count == wanted.nth
        return one.done

    def _send(self, due: list[Strike]) -> None:
        """Strike the command; a call whose caller was killed gets no answer."""
        for one in due:
            process = self.running[-1]
            self.left, self.had = self.described(), self.instances()
            if isinstance(one.blow, signal.Signals):
                process.send_signal(one.blow)
            else:
                one.blow(process)
            if one.blow is signal.SIGKILL:
                process.wait()
            one.at = self.struck_at = time.monotonic()
            self.struck.set()
            if one.blow is signal.SIGKILL:
                raise ConnectionResetError("the client was killed")

    # --- what there is

    def instances(self) -> list[int]:
        """List what the market has, whatever it tells its clients."""
        return [int(str(row["id"])) for row in self.market.rows()]

    def described(self) -> str:
        """Say what there is: at the market, in the ledger, of the work."""
        count, counted = len(self.instances()), self.counted()
        leases = ", ".join(row["state"] for row in self.leases()) or "none"
        text = f"{count} instance{'' if count == 1 else 's'}, lease {leases}"
        return text + (f", {counted} of {SEGMENTS} count" if counted else "")

    def fault(self, name: str, **how: Any) -> None:
        """Let something go wrong at the market."""
        self.market.inject(Armed(name=name, **how))

    def wait_until_gone(self, within_s: float) -> float:
        """Wait until the market has no instance; gives the seconds since the last strike."""
        until(lambda: not self.instances(), within_s=within_s)
        return time.monotonic() - self.struck_at

    def wait_for_calls(self, endpoint: str, count: int) -> None:
        """Wait until the command has made so many calls of an endpoint."""
        until(lambda: self.calls["after", endpoint] >= count)

    def settle(self) -> None:
        """Put the market's clock forward until its list cannot lag behind a call that nobody heard the end of."""
        self.market.advance(SETTLED_S)

    def leases(self) -> list[dict[str, Any]]:
        """Read the ledger's leases with code of our own."""
        path = self.top / "state" / "ledger.sqlite"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM leases ORDER BY rowid")]

    def unheard(self) -> bool:
        """Say whether the ledger intends a lease of which the market has nothing: nobody can know that at once."""
        return not self.instances() and any(row["state"] == "intent" for row in self.leases())

    def counted(self) -> int:
        """Count the segments that count."""
        return sum("/segment-" in key and key.endswith(".json") for key in self.keys(".uprez/jobs/"))

    def keys(self, prefix: str = "") -> list[str]:
        """List the bucket."""
        pages = self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def get(self, key: str) -> bytes:
        """Read an object."""
        return bytes(self.server.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def results(self, ended: Ended) -> dict[str, Any]:
        """Read the results.json that a run named."""
        line = next(line for line in ended.lines if line.startswith("[INFO] Results: "))
        found: dict[str, Any] = json.loads(self.get(line.rpartition(f"{self.bucket}/")[2]))
        return found

    # --- verdicts

    def faults(self) -> list[str]:
        """Say what is wrong now that nothing should be left: at the market, in the ledger, with the money."""
        found = [f"instance {number} is left" for number in self.instances()]
        rows = self.leases()
        found += [f"lease {row['id']} is {row['state']}" for row in rows if row["state"] != "gone"]
        known = {row["instance"] for row in rows} | {row["id"] for row in rows}
        for bill in self.market.bills.values():
            if not known & {str(bill.instance), str(bill.label).split("/")[2]}:
                found.append(f"instance {bill.instance}, which was billed, is not in the ledger")
        billed = {str(bill.instance) for bill in self.market.bills.values()}
        found += [
            f"instance {row['instance']} of the ledger was never billed"
            for row in rows
            if row["instance"] and row["instance"] not in billed
        ]
        spent = sum((bill.usd() for bill in self.market.bills.values()), Decimal(0))
        if spent > BUDGET_USD:
            found.append(f"${spent:.4f} were billed, the budget is ${BUDGET_USD}")
        return found

    def wrong(self, ended: Ended, counted: int) -> list[str]:
        """Say what is wrong with the end of the run that finishes what a struck one had begun."""
        found = self.faults()
        if ended.code != 0:
            return [*found, f"the run ended with {ended.code}: {ended.out[-400:]}"]
        found += self._wrong_result()
        job = self.results(ended)["jobs"][0]
        adopted, computed = job["segments_adopted"], job["segments_computed"]
        if job["state"] != "skipped" and adopted + computed:
            if adopted + computed != SEGMENTS:
                found.append(f"{adopted} segments adopted and {computed} computed make not {SEGMENTS}")
            if adopted < counted:
                found.append(f"{counted} segments counted, {adopted} were adopted")
        return found

    def _wrong_result(self) -> list[str]:
        path = self.top / "result.mp4"
        try:
            path.write_bytes(self.get("output/clip.x2.mp4"))
            with av.open(str(path)) as video:
                frames = sum(1 for _ in video.decode(video=0))
        except Exception as error:  # noqa: BLE001  whatever it is, the result cannot be used
            return [f"there is no result: {error}"]
        return [] if frames == FRAMES else [f"the result has {frames} frames"]


def full_disk(process: subprocess.Popen[str]) -> None:
    """Let every write to a file fail from now on, as on a full disk; pipes and connections go on."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
