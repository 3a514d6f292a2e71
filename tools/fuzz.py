"""Damaged small videos through probe and decode: each must end in a right result or in a clean error, and soon.

A seed is one file: it picks a small video and what is done to its bytes (fuzz_files.py). A child process reads it as
a worker would: `quick`, `index`, then up to 50 frames from the first on and, for the seek, a few from the middle on.
What is found is a crash, a hang (10 s, twice), memory past 1 GB, an exception that is no UprezError, an error that is
not one printable line that names the file, and a result that is not what the index states. Files that once failed are
kept in tests/data/fuzz-seeds.json, by `--seed N --keep WHY`, and are read first.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import resource
import runpy
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from fuzz_files import BASES, Case, damaged, keep, kept, make, missing
from uprez.errors import UprezError
from uprez.job import Index, Video
from uprez.media import decode, probe
from uprez.media.frame import Frame

LIMIT_S = 10.0
LIMIT_MB = 1000
ADDRESS_SPACE = 4 << 30
"""Of a child, in bytes: what wants more is refused by the system before the machine suffers."""
FRAMES = 50
FILES_A_CHILD = 500

Kind = Literal["right", "clean", "wrong", "unclean", "crash", "hang", "memory"]


# --- the child: reads files and looks at what comes


@dataclass(frozen=True, kw_only=True)
class Media:
    """What is tried; the tests of this program plant faults here."""

    quick: Callable[[str], Video] = probe.quick
    index: Callable[[str], Index] = probe.index
    frames: Callable[..., Iterator[Frame]] = decode.frames


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a file."""

    kind: Kind
    stage: str
    """How far it came."""
    text: str = ""
    frames: int = 0
    megabytes: int = 0
    """The most that the child held."""
    seconds: float = 0.0
    slow_once: bool = False
    """It hung, and did not when it was tried again."""

    @property
    def found(self) -> bool:
        """It is neither right nor a clean error."""
        return self.kind not in ("right", "clean")


class Wrong(Exception):  # noqa: N818  no error of the program
    """The result is not what the index states."""


def serve(planted: Path | None, limit_s: float) -> None:
    """Read the files that are named on standard input and answer, a line each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    faulthandler.enable()
    media = Media(**_planted(planted))
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # whoever prints meanwhile does not answer
        print("ready", file=answers)
        for line in sys.stdin:
            name, threads = json.loads(line)
            faulthandler.dump_traceback_later(limit_s, exit=True)
            answer = examined(Path(name), threads, media)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(asdict(replace(answer, megabytes=_peak_megabytes()))), file=answers)


def _planted(path: Path | None) -> dict[str, Any]:
    names = runpy.run_path(str(path)) if path else {}
    return {name: names[name] for name in ("quick", "index", "frames") if name in names}


def _peak_megabytes() -> int:
    """Give the most memory since the last call, where the system can say that, or else since the start."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 // 10**6


def examined(path: Path, threads: int, media: Media) -> Answer:
    """Read one file and say what came of it."""
    stages = ["quick"]
    try:
        count = _read(path.as_uri(), threads, media, stages)
    except UprezError as error:
        unclean = _unclean(error.message, path)
        return Answer(kind="unclean" if unclean else "clean", stage=stages[-1], text=f"{unclean}{error.message}")
    except Wrong as wrong:
        return Answer(kind="wrong", stage=stages[-1], text=str(wrong))
    except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
        return Answer(kind="unclean", stage=stages[-1], text=traceback.format_exc())
    return Answer(kind="right", stage="frames", frames=count)


def _unclean(message: str, path: Path) -> str:
    if not message.isprintable():
        return f"not one printable line: {message!r}: "
    return "" if str(path) in message else "does not name the file: "


def _read(url: str, threads: int, media: Media, stages: list[str]) -> int:
    media.quick(url)
    stages.append("index")
    index = media.index(url)
    _check_index(index)
    stages.append("frames")
    count = min(FRAMES, len(index.pts))
    _check_frames(media.frames(url, index, 0, count, threads=threads), index, 0, count)
    stages.append("middle")
    first, some = len(index.pts) // 2, min(3, len(index.pts) - len(index.pts) // 2)
    _check_frames(media.frames(url, index, first, some, threads=threads, deinterlace="auto"), index, first, some)
    return count


def _check_index(index: Index) -> None:
    video = index.video
    wrong = {
        "no frame": not index.pts,
        "pts do not ascend": any(before >= after for before, after in pairwise(index.pts)),
        "a keyframe is no frame": not set(index.keyframes) <= set(index.pts),
        f"the last frame lasts {index.last_duration} ticks": index.last_duration <= 0,
        f"time base {index.time_base}": index.time_base <= 0,
        f"rate {video.rate}": video.rate is None or video.rate <= 0,
        f"size {video.width}x{video.height}": min(video.width, video.height) <= 0,
        f"sample aspect ratio {video.sar}": video.sar <= 0,
        f"duration {video.duration}": video.duration is not None and video.duration < 0,
        f"{video.frames} frames in the header": video.frames is not None and video.frames < 0,
    }
    if said := [text for text, so in wrong.items() if so]:
        raise Wrong("the index: " + ", ".join(said))


def _check_frames(frames: Iterator[Frame], index: Index, first: int, count: int) -> None:
    shapes, dtype, seen = _shapes(index.video), np.uint8 if index.video.colour.depth == 8 else np.uint16, 0
    for seen, frame in enumerate(frames, 1):
        if seen > count or frame.pts != index.pts[first + seen - 1]:
            stated = index.pts[first : first + count][seen - 1 : seen]
            raise Wrong(f"frame {first + seen - 1} has pts {frame.pts}; the index states {stated}, {count} were asked")
        if (got := [plane.shape for plane in frame.planes]) != shapes:
            raise Wrong(f"planes of {got}, not {shapes}")
        if any(plane.dtype != dtype or not np.isfinite(plane).all() for plane in frame.planes):
            raise Wrong(f"samples of {[str(plane.dtype) for plane in frame.planes]}, not {np.dtype(dtype)}")
    if seen != count:
        raise Wrong(f"{seen} frames, not {count}")


def _shapes(video: Video) -> list[tuple[int, int]]:
    colour, luma = video.colour, (video.height, video.width)
    if colour.family != "yuv":
        return [luma] * (1 if colour.family == "gray" else 3)
    chroma = (-(-video.height // colour.down), -(-video.width // colour.across))
    return [luma, chroma, chroma]


# --- the parent: hands out files and outlives every child


class Child:
    """A process that reads one file at a time; another takes its place when it is gone."""

    def __init__(self, folder: Path, planted: Path | None, limit_s: float) -> None:
        self._limit_s = limit_s
        self._command = [sys.executable, str(Path(__file__).resolve()), "--serve", "--limit-s", str(limit_s)]
        self._command += ["--planted", str(planted)] if planted else []
        self._errors = folder / "errors.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def examine(self, path: Path, threads: int) -> Answer:
        """Have a file read, and twice if it seems to hang: others may work on this machine."""
        answer = self._examine(path, threads)
        if answer.kind == "hang":
            again = self._examine(path, threads)
            answer = answer if again.kind == "hang" else replace(again, slow_once=True)
        return answer

    def _examine(self, path: Path, threads: int) -> Answer:
        process = self._started()
        began = time.monotonic()
        _tell(process, json.dumps([str(path), threads]))
        # It ends itself at the limit, and says where it was; this is for one that cannot.
        line = _line(process, self._limit_s + 2)
        seconds = time.monotonic() - began
        if not line:
            return replace(self._lost(process, seconds), seconds=seconds)
        answer = replace(Answer(**json.loads(line)), seconds=seconds)
        self._read += 1
        if answer.megabytes > LIMIT_MB:
            answer = replace(answer, kind="memory", text=f"{answer.megabytes} MB, then {answer.kind}: {answer.text}")
        if answer.kind == "memory" or self._read >= FILES_A_CHILD:
            self.close()
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                )
            self._read = 0
            if _line(self._process, 60) != b"ready\n":
                self.close()
                raise RuntimeError(f"a child does not start:\n{self._tail()}")
        return self._process

    def _lost(self, process: subprocess.Popen[bytes], seconds: float) -> Answer:
        code = process.wait() if process.poll() is None and seconds < self._limit_s else process.poll()
        self.close()
        if seconds >= self._limit_s:
            return Answer(kind="hang", stage="?", text=f"no answer in {seconds:.0f} s\n{self._tail()}")
        ended = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return Answer(kind="crash", stage="?", text=f"{ended}\n{self._tail()}")

    def _tail(self) -> str:
        return self._errors.read_bytes()[-4000:].decode(errors="replace").strip()

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None


def _tell(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # gone: its answer will be missing


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Read a line; what there is of it where none comes in time or the process is gone, which is nothing."""
    assert process.stdout is not None
    end, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        part = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not part:
            return b""
        line += part
    return line


@dataclass
class Tally:
    """What came of all files."""

    outcomes: list[tuple[Case, Answer]] = field(default_factory=list)

    @property
    def found(self) -> list[tuple[Case, Answer]]:
        """Everything that is neither right nor a clean error."""
        return [(case, answer) for case, answer in self.outcomes if answer.found]


def play(cases: Iterable[Case], children: int, *, planted: Path | None = None, limit_s: float = LIMIT_S) -> Tally:
    """Have every file read, by so many processes at a time; what is found is printed at once."""
    tally, shared, lock = Tally(), iter(cases), threading.Lock()

    def lane(folder: Path) -> None:
        folder.mkdir()
        child = Child(folder, planted, limit_s)
        try:
            while True:
                with lock:
                    case = next(shared, None)
                if case is None:
                    return
                path = folder / case.name
                path.write_bytes(case.data)
                answer = child.examine(path, 1 + case.seed % 2)
                path.unlink()
                with lock:
                    _note(tally, case, replace(answer, text=answer.text.replace(str(path), case.name)))
        finally:
            child.close()

    with tempfile.TemporaryDirectory(prefix="uprez-fuzz-") as folder, ThreadPoolExecutor(children) as pool:
        for done in [pool.submit(lane, Path(folder) / str(number)) for number in range(children)]:
            done.result()
    return tally


def _note(tally: Tally, case: Case, answer: Answer) -> None:
    tally.outcomes.append((case, answer))
    if answer.found:
        print(f"FOUND {answer.kind} at {answer.stage}: {case.title}\n{answer.text}\n", flush=True)
    if len(tally.outcomes) % 1000 == 0:
        print(f"... {len(tally.outcomes)} files, {len(tally.found)} findings", flush=True)


# --- the table


def table(tally: Tally, seeds: str) -> str:
    """Write down what came of all files."""
    outcomes = tally.outcomes
    slowest, largest = max(outcomes, key=_seconds), max(outcomes, key=_megabytes)
    twice = sum(answer.slow_once for _, answer in outcomes)
    lines = [
        "# Fuzzing\n",
        f"Made by `{shlex.join(['tools/fuzz.py', *sys.argv[1:]])}` (`make fuzz`): {len(outcomes)} files",
        f"({seeds}) through `quick`, `index` and decoding, with PyAV {av.__version__}",
        f"and FFmpeg {av.ffmpeg_version_info}. Each must end in what its index states or in a clean error of one line,",
        f"without a crash, within {LIMIT_S:.0f} s and {LIMIT_MB} MB. `tools/fuzz.py --seed N` looks at one of them.\n",
        "| video | files | right | clean errors | findings |\n|---|---|---|---|---|",
        *_rows(outcomes),
        f"\n- Slowest: {slowest[1].seconds:.2f} s, {slowest[0].title}",
        f"- Largest: {largest[1].megabytes} MB, {largest[0].title}",
        f"- Too slow once, but not when tried again: {twice}",
        f"- Not read, for want of an encoder: {', '.join(missing()) or 'none'}\n",
        "| clean error | times |\n|---|---|",
        *_errors(answer for _, answer in outcomes),
        f"\nFindings: {len(tally.found) or 'none'}.\n",
        *(f"- {answer.kind} at {answer.stage}: {case.title}: {_last(answer.text)}" for case, answer in tally.found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _rows(outcomes: Iterable[tuple[Case, Answer]]) -> Iterator[str]:
    counts = Counter[tuple[str, str]](
        (case.base, "found" if answer.found else answer.kind) for case, answer in outcomes
    )
    kinds = ("right", "clean", "found")
    for name in (base.name for base in BASES if base.name not in missing()):
        right, clean, found = (counts[name, kind] for kind in kinds)
        yield f"| {name} | {right + clean + found} | {right} | {clean} | {found} |"
    right, clean, found = (sum(n for (_, kind), n in counts.items() if kind == each) for each in kinds)
    yield f"| all | {right + clean + found} | {right} | {clean} | {found} |"


def _errors(answers: Iterable[Answer]) -> Iterator[str]:
    kinds = Counter(f"{answer.stage}: {_general(answer.text)}" for answer in answers if answer.kind == "clean")
    for text, times in kinds.most_common(40):
        yield f"| {text} | {times} |"
    if rest := kinds.most_common()[40:]:
        yield f"| {len(rest)} others | {sum(times for _, times in rest)} |"


def _general(text: str) -> str:
    """Give a message without the file's name and with N for numbers."""
    return re.sub(r"-?\d+(\.\d+)?", "N", text.partition(": ")[2]).replace("|", "/")


def _last(text: str) -> str:
    return next(iter(reversed(text.strip().splitlines())), "")


def _seconds(outcome: tuple[Case, Answer]) -> float:
    return outcome[1].seconds


def _megabytes(outcome: tuple[Case, Answer]) -> int:
    return outcome[1].megabytes


# --- the command


def main() -> int:
    """Read the kept files and as many others as asked; gives 1 if anything was found."""
    options = _options()
    if options.serve:
        serve(options.planted, options.limit_s)
        return 0
    with tempfile.TemporaryDirectory(prefix="uprez-fuzz-") as folder:
        bases = make(Path(folder))
    if options.seed is not None:
        return _one(options, bases)
    tally = play(_cases(options, bases), options.children, planted=options.planted)
    if not tally.outcomes:
        sys.exit("nothing was read: ask for more seeds or seconds")
    text = table(tally, _range(tally, options.first))
    print(text)
    if options.write:
        options.write.write_text(text)
    return 1 if tally.found else 0


def _cases(options: argparse.Namespace, bases: Mapping[str, bytes]) -> Iterator[Case]:
    end = time.monotonic() + options.seconds
    yield from kept()
    for base, data in bases.items():
        yield Case(seed=0, base=base, edits=("as it was made",), data=data)
    for seed in range(options.first, options.first + options.count):
        if time.monotonic() >= end:
            return
        if case := damaged(seed, bases):
            yield case


def _range(tally: Tally, first: int) -> str:
    last = max(case.seed for case, _ in tally.outcomes)
    return f"seeds {first} to {last}, those kept, each video as it was made"


def _one(options: argparse.Namespace, bases: Mapping[str, bytes]) -> int:
    case = damaged(options.seed, bases)
    if case is None:
        sys.exit(f"seed {options.seed} damages a video that cannot be made here ({', '.join(missing())})")
    ((_, answer),) = play([case], 1, planted=options.planted).outcomes
    print(f"{case.title}, {len(case.data)} bytes, {1 + case.seed % 2} threads")
    print(*(f"{name}: {value}" for name, value in asdict(answer).items()), sep="\n")
    if options.save:
        options.save.write_bytes(case.data)
    if options.keep:
        keep(case, options.keep)
    return 1 if answer.found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count",
        type=int,
        default=10_500,
        help="seeds to try (default 10500: each is a file, but for those that change nothing)",
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the first one (default 1)")
    parser.add_argument("--children", type=int, default=2, help="processes that read at a time (default 2)")
    parser.add_argument("--seed", type=int, help="read this one alone and say all that is known of it")
    parser.add_argument("--save", type=Path, metavar="FILE", help="with --seed: write the damaged file to FILE")
    parser.add_argument("--keep", metavar="WHY", help="with --seed: keep the file among those that are read first")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to FILE")
    parser.add_argument("--planted", type=Path, help=argparse.SUPPRESS)  # the tests' quick, index or frames
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=argparse.SUPPRESS)  # of a child
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)  # be a child
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
