"""Kill the worker, then the controller, at random moments of real runs; look at what is left and what comes next.

Each round begins from nothing: the first two seconds of a real clip through the real network, in segments of eight
frames. A round holds when the work ends right after at most one more start of the command, no segment that counted was
computed again, nothing half-written has a final name, and no process outlives its lease and grace (60 s + 10 s).
One batch that is killed again and again is in kills_batch.py, the rounds on rented machines in kills_rented.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av

import kills_batch
import kills_rented

REPO = Path(__file__).resolve().parent.parent
CLIP = REPO / ".cache" / "materials" / "carphone_pristine.mp4"
FRAMES, SEGMENTS = 60, 8
LEASE_AND_GRACE_S = 70.0
SLACK_S = 3.0
"""The worker sees a renewal up to a second after it was written, and looking takes a moment."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one kill did."""

    victim: str
    after_s: float
    counted: int
    """Segments that counted when the victim died."""
    adopted: int
    computed: int
    gone_s: float | None
    """Until no process was left, where that was waited for."""
    faults: tuple[str, ...]


class Home:
    """A folder with everything of one round."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "input").mkdir(parents=True)
        shutil.copy(CLIP, top / "input")

    def start(self) -> subprocess.Popen[str]:
        """Start the command."""
        flags = ("--duration", "2.002", "--segment-frames", "8")
        state = {"UPREZ_STATE_DIR": str(self.top / "state"), "UPREZ_CACHE_DIR": str(REPO / ".cache" / "models")}
        return subprocess.Popen(
            [sys.executable, "-m", "uprez", "run", *flags],
            cwd=self.top,
            env={**os.environ, **state},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def counted(self) -> int:
        """Count the segments that count."""
        return len(list((self.top / "output" / ".uprez").glob("jobs/*/*/segment-*.json")))

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """List what runs below this folder."""
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.top / "state" in (entry / "cwd").readlink().parents:
                    yield int(entry.name), (entry / "cmdline").read_bytes()
            except OSError:
                continue

    def worker(self, run: subprocess.Popen[str]) -> int | None:
        """Give the worker's process id; where none was started yet, wait for it; None when the run has ended."""
        while run.poll() is None:
            for pid, command in self.processes():
                if b"deadman" not in command:
                    return pid
            time.sleep(0.01)
        return None

    def result(self) -> Path:
        """Where the result goes."""
        return self.top / "output" / "carphone_pristine.x2.mp4"

    def faults(self) -> list[str]:
        """Look for a final name that holds anything but the whole result."""
        found = []
        if self.result().exists() and (frames := count(self.result())) != FRAMES:
            found.append(f"the result has {frames} frames")
        return found


def main() -> int:
    """Run the rounds and print the tables; gives 1 if any fault was found."""
    options = _options()
    bad = False
    if options.only in (None, "local"):
        bad = _local(options)
    if options.only in (None, "batch"):
        batch = kills_batch.play(options.kills, options.seed)
        bad = bad or bool(batch.faults)
        text = kills_batch.table(batch, options.seed)
        print(text)
        if options.write:
            _keep(options.write, text, kills_batch.HEADING)
    if options.only in (None, "rented"):
        played = kills_rented.play_all(options.rounds_named, kills_rented.AT_ONCE)
        bad = bad or any(found.faults for found in played)
        text = kills_rented.table(played)
        print(text)
        if options.write:
            _keep(options.write, text, kills_rented.HEADING)
    return 1 if bad else 0


def _local(options: argparse.Namespace) -> bool:
    chance = random.Random(options.seed)  # noqa: S311  moments, not secrets
    with tempfile.TemporaryDirectory(prefix="uprez-kills-") as folder:
        whole = _whole(Home(Path(folder) / "whole"))
        print(f"an undisturbed run takes {whole:.1f} s; seed {options.seed}", flush=True)
        rounds = []
        for number in range(2 * options.rounds):
            victim = "worker" if number < options.rounds else "controller"
            home = Home(Path(folder) / f"{number}")
            rounds.append(_round(home, victim, chance.uniform(0.2, 0.9 * whole), wait=number % 2 == 0))
            print(_row(rounds[-1]), flush=True)
            shutil.rmtree(home.top)
    text = _table(rounds, whole, options.seed)
    print(text)
    if options.write:
        _keep(options.write, text, "# Kills")
    return any(found.faults for found in rounds)


def _keep(path: Path, text: str, heading: str) -> None:
    """Write one part of the page; the others stay."""
    headings = ("# Kills", kills_batch.HEADING, kills_rented.HEADING)
    page = path.read_text() if path.exists() else ""
    starts = sorted((at, each) for each in headings if (at := f"\n{page}".find(f"\n{each}")) >= 0)
    ends = [*(at for at, _ in starts[1:]), len(page)]
    parts = {each: page[at:end].strip() for (at, each), end in zip(starts, ends, strict=True)}
    parts[heading] = text.strip()
    path.write_text("\n\n".join(parts[each] for each in headings if each in parts) + "\n")


def count(path: Path) -> int:
    """Count the frames that can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _round(home: Home, victim: str, after_s: float, *, wait: bool) -> Round:
    run = home.start()
    time.sleep(after_s)
    counted, gone_s, faults = home.counted(), None, list[str]()
    if victim == "worker":
        if (worker := home.worker(run)) is not None:
            os.kill(worker, signal.SIGKILL)
    else:
        run.kill()
        run.communicate()
        counted = home.counted()
        gone_s = _gone(home) if wait else None
        faults = home.faults()
        run = home.start()
    out, _ = run.communicate()
    return _judged(home, victim, after_s, counted, gone_s, [*faults, *_ended(home, run.returncode, out)])


def _judged(home: Home, victim: str, after_s: float, counted: int, gone_s: float | None, faults: list[str]) -> Round:
    job = json.loads(max((home.top / "output/.uprez/batches").glob("*/results.json"), key=_age).read_text())["jobs"][0]
    adopted, computed = job["segments_adopted"], job["segments_computed"]
    done_before = job["state"] == "skipped" or adopted + computed == 0
    if not done_before and adopted + computed != SEGMENTS:
        faults.append(f"{adopted} segments adopted and {computed} computed make not {SEGMENTS}")
    if victim == "controller" and not done_before and adopted < counted:
        faults.append(f"{counted} segments counted, {adopted} were adopted")
    if gone_s is not None and gone_s > LEASE_AND_GRACE_S + SLACK_S:
        faults.append(f"a process was left for {gone_s:.0f} s")
    return Round(
        victim=victim,
        after_s=after_s,
        counted=counted,
        adopted=adopted,
        computed=computed,
        gone_s=gone_s,
        faults=tuple(faults),
    )


def _ended(home: Home, code: int, out: str) -> list[str]:
    found = home.faults()
    if code != 0 or not home.result().exists():
        found.append(f"the run ended with {code}: {out[-300:]}")
    if list(home.processes()):
        found.append("a process was left by a run that ended")
    return [*found, *_twice(out)]


def _twice(out: str) -> Iterator[str]:
    """Name each segment that a worker began after it had counted."""
    counts: set[str] = set()
    for line in out.splitlines():
        if match := re.match(r"\[OK\] Segment (\d+) of", line):
            counts.add(match[1])
        elif (match := re.search(r"\[LOG\] \S+ Enhancing .*, segment (\d+) of", line)) and match[1] in counts:
            yield f"segment {match[1]} was computed again after it counted"


def _whole(home: Home) -> float:
    began = time.monotonic()
    out, _ = home.start().communicate()
    if not home.result().exists():
        sys.exit(f"even an undisturbed run fails:\n{out}")
    return time.monotonic() - began


def _gone(home: Home) -> float:
    began = time.monotonic()
    while list(home.processes()) and time.monotonic() - began < 2 * LEASE_AND_GRACE_S:
        time.sleep(0.2)
    return time.monotonic() - began


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _row(found: Round) -> str:
    gone = "-" if found.gone_s is None else f"{found.gone_s:.0f} s"
    verdict = "; ".join(found.faults) or "right"
    return (
        f"| {found.victim} | {found.after_s:.1f} s | {found.counted} | {found.adopted} | {found.computed} | {gone} |"
        f" {verdict} |"
    )


def _table(rounds: list[Round], whole: float, seed: int) -> str:
    head = (
        f"# Kills\n\nMade by `make kills` (seed {seed}). {FRAMES} frames of carphone_pristine.mp4 through\n"
        f"realesr-animevideov3, x2, in {SEGMENTS} segments; an undisturbed run takes {whole:.1f} s.\n"
        "SIGKILL at a random moment; a killed worker is replaced by the same run, a killed controller by the next\n"
        "one, which adopts what counted. A process may be left for 60 s of lease and 10 s of grace.\n\n"
        "| killed | after | counted then | adopted | computed | nothing left after | the end |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_row(found) for found in rounds) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["local", "batch", "rented"], help="one part alone")
    parser.add_argument("--kills", type=int, default=20, help="of the one batch (default 20)")
    parser.add_argument("--rounds-named", default="", metavar="TEXT", help="of the rented ones only those so named")
    parser.add_argument("--rounds", type=int, default=5, help="kills of each (default 5)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
