"""The media matrix: clips of every kind through the whole product, looked at with FFmpeg's own tools.

Debian's ffmpeg makes each clip; `uprez enhance` takes it through controller and worker with the model identity, at its
own size, into FFV1, which is lossless; then the result must be the clip. The rows are in tools/matrix_cases.py, the
rules in tools/matrix_checks.py. About four minutes of two cores; two clips at a time.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from matrix_cases import CASES
from matrix_checks import Errors, Verdict, judge
from matrix_clips import Case

AT_ONCE = 2
SECONDS = 100
"""The longest that one clip may take."""
NAMES = {case.name: case for case in CASES}
MISSING = "ffmpeg is not installed"

HEADER = """# Media matrix

Made by `make media-matrix`: clips by {ffmpeg}, through
`uprez enhance CLIP result.mkv --model identity --scale 1`, with `--codec ffv1` unless another is named, controller and
worker and all. Errors are code values of the clip's own depth: of luma the largest, of chroma the 99th percentile and
the largest, and the same of FFmpeg's accurate conversion there and back. That one is far off also where chroma is soft,
because it clips code values that are no colour, and soft clips have many. Times are the largest distance from the
source's: the clock of Matroska, 1 ms, allows 0.5 ms. The rules are in `tools/matrix_checks.py`.

| clip | pixel format | frames | luma | chroma | FFmpeg's | times, ms | expected beside the rules |
|---|---|---|---|---|---|---|---|
"""
COMMANDS = """
## How each is made

Each line is what `ffmpeg` is given; what a line cannot say is in `tools/matrix_clips.py`.

"""


def main() -> int:
    """Run the cases that were asked for; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=NAMES, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--list", action="store_true", help="name all cases and what is expected of them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep clips, results and logs there")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the table in this file")
    given = parser.parse_args()
    cases = tuple(NAMES[name] for name in given.case) if given.case else CASES
    if given.list:
        return _say("\n".join(f"{case.name:<24} {case.pix_fmt:<12} {case.note}".rstrip() for case in cases), 0)
    if not installed():
        return _say(f"skipped: {MISSING}", 2)
    with _folder(given.keep) as top:
        verdicts = run_all(cases, top)
    if given.write:
        given.write.write_text(table(cases, verdicts))
    failed = [case.name for case, verdict in zip(cases, verdicts, strict=True) if verdict.complaints]
    if failed:
        return _say(f"\n{len(failed)} of {len(cases)} failed: {', '.join(failed)}", 1)
    return _say(f"\nAll {len(cases)} hold.", 0)


def installed() -> bool:
    """Say whether ffmpeg and ffprobe are there."""
    return all(shutil.which(name) for name in ("ffmpeg", "ffprobe"))


def run_all(cases: Sequence[Case], top: Path) -> list[Verdict]:
    """Run cases, two at a time, and print a line for each in their order."""
    verdicts = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for case, verdict in zip(cases, pool.map(partial(run, top=top), cases), strict=True):
            _say(line(case, verdict))
            verdicts.append(verdict)
    return verdicts


def run(case: Case, top: Path) -> Verdict:
    """Make a clip in a folder of its own, take it through the product, and judge the result."""
    folder = top / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(case, folder)
    try:
        code, said = enhance(case, folder)
        if code:
            return Verdict(complaints=(_reason(code, said),))
        verdict = judge(case, folder, folder / "result.mkv")
    except subprocess.SubprocessError as error:
        return Verdict(complaints=(f"{error} {getattr(error, 'stderr', None) or ''}",))
    return verdict if case.said in said.lower() else verdict.blamed(f'the run does not mention "{case.said}"')


def make(case: Case, folder: Path) -> None:
    """Make a clip."""
    for arguments in case.make:
        command = ("ffmpeg", "-nostdin", "-v", "error", "-y", *shlex.split(arguments))
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case.name} cannot be made: {shlex.join(command)}\n{done.stderr[-2000:]}")
    if case.touch:
        case.touch(folder)


def enhance(case: Case, folder: Path) -> tuple[int, str]:
    """Run the product over a clip; gives its exit code and all that it said, on the console and in its results."""
    command = f"-m uprez enhance {case.source} result.mkv --model identity --scale 1".split()
    done = subprocess.run(
        (sys.executable, *command, *case.flags),
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    (folder / "log.txt").write_text(done.stdout)
    said = done.stdout + "".join(path.read_text() for path in (folder / "state").rglob("results.json"))
    return done.returncode, said.replace(str(folder), "")  # whose name may hold what is looked for


def line(case: Case, verdict: Verdict) -> str:
    """Say in a line what was found, and below it what is wrong."""
    figures = f"{verdict.frames:>3}  {_luma(verdict.errors):>4}  {_chroma(verdict.errors):>9}"
    figures += f"  ({_chroma(verdict.ffmpeg):>9})  {_milliseconds(verdict)} ms"
    complaints = "".join(f"\n     {complaint}" for complaint in verdict.complaints)
    return f"{'FAIL' if verdict.complaints else 'ok  '} {case.name:<24} {figures}{complaints}"


def table(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> str:
    """Give the page of docs."""
    version = ("ffmpeg", "-version")
    said = subprocess.run(version, capture_output=True, text=True, check=True).stdout
    rows, commands = "", ""
    for case, verdict in zip(cases, verdicts, strict=True):
        flags = "" if case.flags == ("--codec", "ffv1") else f"`{' '.join(case.flags)}`. "
        wrong = "".join(f"**{complaint}** " for complaint in verdict.complaints)
        cells = [case.name, case.pix_fmt, str(verdict.frames), _luma(verdict.errors), _chroma(verdict.errors)]
        cells += [_chroma(verdict.ffmpeg), _milliseconds(verdict), f"{wrong}{flags}{case.note}"]
        rows += f"| {' | '.join(cells)} |\n"
        commands += f"- {case.name}\n" + "".join(f"  - `{arguments}`\n" for arguments in case.make)
    return HEADER.format(ffmpeg=" ".join(said.split()[:3])) + rows + COMMANDS + commands


def _luma(errors: Errors | None) -> str:
    return str(errors.luma) if errors else "-"


def _chroma(errors: Errors | None) -> str:
    return f"{errors.chroma:g} / {errors.chroma_max}" if errors else "-"


def _milliseconds(verdict: Verdict) -> str:
    return f"{float(verdict.pts_error * 1000):.2f}"


def _environment(folder: Path) -> dict[str, str]:
    """Keep state, cache and temporary files in the clip's folder, and no account of anything."""
    return {
        **{
            name: value for name, value in os.environ.items() if not name.startswith(("B2_", "AWS_", "VAST_", "UPREZ_"))
        },
        "UPREZ_STATE_DIR": str(folder / "state"),
        "UPREZ_CACHE_DIR": str(folder / "cache"),
        "TMPDIR": str(folder),
    }


def _reason(code: int, said: str) -> str:
    """Give the first line in which the product says why there is no result."""
    found = re.search(r"^.*\[(?:ERROR|FAIL)\].*$", said, re.MULTILINE)
    return f"exit code {code}: {found[0].strip() if found else said.strip()[-200:]}"


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep:
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="uprez-matrix-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _say(text: str, code: int = 0) -> int:
    print(text, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
