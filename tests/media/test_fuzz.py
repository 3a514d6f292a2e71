"""Damaged files through probe and decode, for a minute; and that what looks at them sees what it is to see."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fuzz
import fuzz_files

TOOLS = Path(__file__).resolve().parents[2] / "tools"

FIRST = 1_000_000
"""Not among the seeds of `make fuzz`, and the same on every day."""


@pytest.mark.slow
def test_damaged_files_end_in_a_right_result_or_in_a_clean_error() -> None:
    """Every file that once failed, then some seconds of others: none crashes, hangs, fills the memory or lies."""
    seconds = os.environ.get("UPREZ_FUZZ_SECONDS", "10")
    command = [sys.executable, str(TOOLS / "fuzz.py"), "--first", str(FIRST), "--count", "1000000"]
    command += ["--seconds", seconds, "--children", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a video of 12 frames."""
    base = next(base for base in fuzz_files.BASES if base.name == "h264.mp4")
    return fuzz_files.make_one(tmp_path_factory.mktemp("bases") / base.name, base)


def _play(tmp_path: Path, video: bytes, planted: str, *, limit_s: float = 10.0) -> dict[int, fuzz.Answer]:
    """Read a right file as seeds 1 to 3, with a planted fault; gives what came of each."""
    source = tmp_path / "planted.py"
    head = "import os, signal, time\nfrom dataclasses import replace\n"
    source.write_text(f"{head}from uprez.errors import InputError\nfrom uprez.media import decode, probe\n{planted}")
    cases = [fuzz_files.Case(seed=seed, base="h264.mp4", edits=("none",), data=video) for seed in (1, 2, 3)]
    return {case.seed: answer for case, answer in fuzz.play(cases, 1, planted=source, limit_s=limit_s).outcomes}


def _second(does: str) -> str:
    """Plant something in `quick`, for seed 2 alone."""
    return textwrap.dedent(
        f"""
        def quick(url):
            if "seed-2." in url:
                {does}
            return probe.quick(url)
        """
    )


def test_undamaged_videos_are_right(tmp_path: Path) -> None:
    """Every video is right as it was made, so an error is the damage's."""
    made = fuzz_files.make(tmp_path)
    cases = [fuzz_files.Case(seed=0, base=base, edits=(), data=data) for base, data in made.items()]
    outcomes = fuzz.play(cases, 2).outcomes
    assert [(case.base, answer.text) for case, answer in outcomes if answer.kind != "right"] == []
    assert len(outcomes) + len(fuzz_files.missing()) == len(fuzz_files.BASES)
    assert all(len(data) < 60_000 for data in made.values())


def test_a_seed_is_the_same_file_every_time(tmp_path: Path) -> None:
    """Bases and damage do not depend on the day."""
    first, second = (fuzz_files.make(tmp_path) for _ in range(2))
    assert first == second
    files = [[fuzz_files.damaged(seed, bases) for seed in range(200)] for bases in (first, second)]
    assert files[0] == files[1]
    assert len({case.data for case in files[0] if case}) > 150


@pytest.mark.parametrize(
    ("does", "kind", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("os._exit(7)", "crash", "exit code 7"),
        ("probe.hog = b'x' * (1100 << 20)", "memory", "MB, then right"),
        ("probe.hog = b'x' * (5 << 30)", "unclean", "MemoryError"),
        ("raise KeyError(url)", "unclean", "KeyError"),
        ("raise InputError('damaged')", "unclean", "does not name the file"),
        ("raise InputError(url[7:] + ': first\\nsecond')", "unclean", "not one printable line"),
        ("raise InputError(url[7:] + ': damaged')", "clean", "damaged"),
    ],
)
def test_what_a_file_does_to_its_reader_is_seen(tmp_path: Path, video: bytes, does: str, kind: str, says: str) -> None:
    """A crash, too much memory and errors that are not clean are found, with what they said; the next file is read."""
    answers = _play(tmp_path, video, _second(does))
    assert [answers[seed].kind for seed in (1, 2, 3)] == ["right", kind, "right"]
    assert says in answers[2].text
    assert answers[2].found == (kind != "clean")


@pytest.mark.parametrize("does", ["time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)"], ids=["waits", "stopped"])
def test_a_hang_is_seen_and_ended(tmp_path: Path, video: bytes, does: str) -> None:
    """A file that takes too long, twice, is found, even when its reader cannot end itself; the next one is read."""
    answers = _play(tmp_path, video, _second(does), limit_s=1.5)
    assert [answers[seed].kind for seed in (1, 2, 3)] == ["right", "hang", "right"]
    assert answers[2].seconds >= 1.5
    assert ("planted.py" in answers[2].text) == ("sleep" in does)


def test_a_file_that_is_slow_once_is_no_hang(tmp_path: Path, video: bytes) -> None:
    """Other work on the machine makes no finding: what hung is tried again."""
    mark = tmp_path / "mark"
    does = f"os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w').close(), time.sleep(60))"
    answers = _play(tmp_path, video, _second(does), limit_s=1.5)
    assert [(answer.kind, answer.slow_once) for answer in answers.values()] == [
        ("right", False),
        ("right", True),
        ("right", False),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("replace(frame, pts=frame.pts + (number == 3))", "frame 3 has pts"),
        ("frame if number != 3 else replace(frame, planes=frame.planes[:1])", "planes of [(48, 64)]"),
        ("replace(frame, planes=tuple(plane.astype('f4') for plane in frame.planes))", "samples of"),
    ],
)
def test_a_wrong_frame_is_seen(tmp_path: Path, video: bytes, change: str, says: str) -> None:
    """A frame with another time, other planes or other samples than the index states is found."""
    planted = f"""
def frames(*given, **named):
    for number, frame in enumerate(decode.frames(*given, **named)):
        yield {change}
"""
    answers = _play(tmp_path, video, planted)
    assert {answer.kind for answer in answers.values()} == {"wrong"}
    assert says in answers[1].text


@pytest.mark.parametrize(("shown", "says"), [("[1:]", "frame 0 has pts"), ("[:-1]", "11 frames, not 12")])
def test_a_missing_frame_is_seen(tmp_path: Path, video: bytes, shown: str, says: str) -> None:
    """A decoder that leaves out the first frame, or the last, is found."""
    planted = f"\ndef frames(*given, **named):\n    return iter(list(decode.frames(*given, **named)){shown})\n"
    answers = _play(tmp_path, video, planted)
    assert {answer.kind for answer in answers.values()} == {"wrong"}
    assert says in answers[1].text


def test_an_index_that_contradicts_itself_is_seen(tmp_path: Path, video: bytes) -> None:
    """Times that do not ascend, and a last frame without a duration, are found."""
    planted = """
def index(url):
    found = probe.index(url)
    return replace(found, pts=(*found.pts[1:], found.pts[0]), last_duration=0)
"""
    text = _play(tmp_path, video, planted)[1].text
    assert text == "the index: pts do not ascend, the last frame lasts 0 ticks"


def test_a_kept_file_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: bytes) -> None:
    """What is kept is the file itself, once for each seed, with why."""
    monkeypatch.setattr(fuzz_files, "KEPT", tmp_path / "seeds.json")
    assert list(fuzz_files.kept()) == []
    case = fuzz_files.Case(seed=5, base="h264.mp4", edits=("cut off",), data=video[:-9])
    for why in ("it crashed", "it crashed the decoder"):
        fuzz_files.keep(case, why)
    (again,) = fuzz_files.kept()
    assert (again.data, again.seed, again.edits) == (case.data, 5, ("kept: it crashed the decoder",))
