"""The command line's one boundary: what a person reads and the exit code, for every way a command can end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import uprez
from uprez import batch, errors
from uprez.errors import UprezError

REPO = Path(__file__).resolve().parents[2]
CODES = {
    "UprezError": 1,
    "UsageError": 2,
    "InputError": 1,
    "ModelError": 1,
    "MemoryShortError": 1,
    "NoProviderError": 1,
    "EncodeError": 1,
    "StoreError": 1,
    "DeniedError": 1,
    "BusyError": 1,
    "FetchError": 1,
    "UnlikeError": 1,
    "VerifyError": 1,
    "WorkerError": 1,
    "PlanError": 1,
    "Stopped": 1,
    "RentError": 4,
    "MarketError": 4,
    "KeyRefused": 2,
    "NoSuchAsk": 4,
    "NoSuchInstance": 4,
    "RateLimited": 4,
    "QuotaExceeded": 4,
    "Refused": 4,
    "Unclear": 4,
    "MaybeMade": 4,
    "BudgetError": 5,
    "BillingError": 6,
}
"""As the tree in the docstring of `uprez.errors` says."""


Ended = tuple[int, str, str]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[[BaseException | int], None]:
    """Let `uprez run` end in a chosen way once it has found its folder."""
    (folder / "input").mkdir()

    def choose(end: BaseException | int) -> None:
        async def run(*_: object) -> int:
            if isinstance(end, BaseException):
                raise end
            return end

        monkeypatch.setattr(batch, "run", run)

    return choose


def tree(top: type[UprezError]) -> list[type[UprezError]]:
    """List an exception and all below it."""
    return [top, *(found for below in top.__subclasses__() for found in tree(below))]


def test_every_error_is_in_the_table() -> None:
    """A new exception gets a documented exit code, here and in the tree that people read."""
    found = {error.__name__: error.exit_code for error in tree(UprezError)}
    assert found == CODES
    assert all(name in str(errors.__doc__) for name in found)


@pytest.mark.parametrize("name", CODES)
def test_an_expected_error_is_a_message_a_hint_and_its_code(
    name: str, command: Callable[..., Ended], ending: Callable[[BaseException | int], None], folder: Path
) -> None:
    """Nothing but two lines on standard error, and no crash log."""
    ending(getattr(errors, name)("it is so", hint="do that"))
    assert command("run") == (CODES[name], "", "[ERROR] it is so\n[HINT] do that\n")
    assert not (folder / "state").exists()


def test_an_error_without_a_hint_is_one_line(
    command: Callable[..., Ended], ending: Callable[[BaseException | int], None]
) -> None:
    """No empty hint is shown."""
    ending(errors.RentError("nothing to rent"))
    assert command("run") == (4, "", "[ERROR] nothing to rent\n")


def test_a_name_in_an_error_does_nothing(
    command: Callable[..., Ended], ending: Callable[[BaseException | int], None]
) -> None:
    """Control characters of a file's name are escaped on standard error too."""
    ending(errors.InputError("a\x1b[2J\n[OK] done", hint="rename a\x1b"))
    assert command("run")[2] == "[ERROR] a\\x1b[2J\\n[OK] done\n[HINT] rename a\\x1b\n"


@pytest.mark.parametrize("code", [0, 1, 5, 6, 130])
def test_the_journeys_code_is_the_commands(
    code: int, command: Callable[..., Ended], ending: Callable[[BaseException | int], None]
) -> None:
    """What the batch decided is what the shell sees."""
    ending(code)
    assert command("run") == (code, "", "")


def test_ctrl_c_is_130(
    command: Callable[..., Ended], ending: Callable[[BaseException | int], None], folder: Path
) -> None:
    """An interrupt has its own code and shows no traceback and no crash log."""
    ending(KeyboardInterrupt())
    code, out, err = command("run")
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert not (folder / "state").exists()


def test_a_defect_leaves_a_log(
    command: Callable[..., Ended], ending: Callable[[BaseException | int], None], folder: Path
) -> None:
    """Anything unexpected is code 3, one readable line, and a log with the traceback whose path is shown."""
    ending(RuntimeError("odd \x1b[2J \udcff"))
    code, out, err = command("run")
    (log,) = (folder / "state").glob("crash-*.log")
    assert (code, out) == (3, "")
    assert "defect of uprez: RuntimeError: odd \\x1b[2J" in err
    assert str(log) in err
    assert "Traceback" not in err
    assert "RuntimeError: odd" in log.read_text(encoding="utf-8")


def test_a_defect_without_a_place_for_its_log_is_shown(
    command: Callable[..., Ended],
    ending: Callable[[BaseException | int], None],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the log cannot be written the traceback is printed instead of lost."""
    (folder / "file").touch()
    monkeypatch.setenv("UPREZ_STATE_DIR", str(folder / "file" / "state"))
    ending(RuntimeError("odd"))
    code, _, err = command("run")
    assert code == 3
    assert "Traceback" in err
    assert "RuntimeError: odd" in err


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("rnu",), "'run'"),
        (("run", "--scal", "2"), "--scale"),
        (("run", "--crf", "low"), "--crf"),
        (("run", "--start"), "--start"),
        (("run", "extra"), "extra"),
        (("enhance",), "'input'"),
        (("models", "lst"), "'list'"),
        (("models", "pull", "lanczso"), "'lanczos'"),
        (("run", "--model", "lanczso"), "'lanczos'"),
        (("run", "--codec", "hevv"), "'hevc'"),
    ],
)
def test_a_mistake_is_named_with_the_nearest(
    arguments: tuple[str, ...], wanted: str, command: Callable[..., Ended], folder: Path
) -> None:
    """Unknown verbs, flags and values are usage errors: one error line with what was probably meant, one hint."""
    (folder / "input").mkdir()
    code, _, err = command(*arguments)
    assert code == 2
    error, hint = err.splitlines()
    assert error.startswith("[ERROR] ")
    assert wanted in error
    assert hint.startswith("[HINT] ")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("run", "--input", "a.mp4", "--input-dir", "in"), "exclude each other"),
        (("run", "--input", "none.mp4"), "--input none.mp4 is not a file"),
        (("run", "--input-dir", "none"), "the input folder none does not exist"),
        (("run",), "the input folder input does not exist"),
        (("enhance", "none.mp4", "b.mp4"), "none.mp4 is not a file"),
        (("enhance", "a.mp4", "a.mp4"), "a.mp4 is the input itself"),
        (("enhance", "a.mp4", "b"), "no suffix that uprez writes"),
        (("enhance", "a.mp4", "b.avi"), ".avi"),
    ],
)
def test_a_wrong_path_stops_before_anything_starts(
    arguments: tuple[str, ...], wanted: str, command: Callable[..., Ended], folder: Path
) -> None:
    """The path is named, and nothing was made."""
    (folder / "a.mp4").write_bytes(b"x")
    code, _, err = command(*arguments)
    assert code == 2
    assert wanted in err
    assert [path.name for path in folder.iterdir()] == ["a.mp4"]


def test_an_empty_folder_is_no_failure(command: Callable[..., Ended], folder: Path) -> None:
    """Nothing to do is a warning and code 0; nothing is made."""
    (folder / "input").mkdir()
    code, out, err = command("run")
    assert (code, err) == (0, "")
    assert "[WARN] No videos in" in out
    assert [path.name for path in folder.iterdir()] == ["input"]


def test_the_version_is_shown(command: Callable[..., Ended]) -> None:
    """One line with the name and the version."""
    assert command("--version") == (0, f"uprez {uprez.__version__}\n", "")


def test_without_a_verb_help_is_shown(command: Callable[..., Ended]) -> None:
    """Help is shown and the code says that nothing was done; the instance's verb is for machines."""
    code, out, _ = command()
    assert code == 2
    assert "enhance" in out
    assert "\n  work" not in out
    assert command("--help")[:2] == (0, out) == command("-h")[:2]


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `$python` is this interpreter; a pipe's failure is the line's."""
    environment = {**os.environ, **variables, "python": sys.executable}
    command = ["/bin/bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_reader_that_leaves_early_hears_no_complaint(folder: Path) -> None:
    """`uprez ... | head` ends quietly."""
    (folder / "input").mkdir()
    done = shell('"$python" -m uprez run | true')
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_is_no_defect(folder: Path) -> None:
    """Started without standard output, as some schedulers do, a command still ends with its own code."""
    (folder / "input").mkdir()
    done = shell('"$python" -m uprez run >&-')
    assert (done.returncode, done.stderr) == (0, "")


def test_an_ascii_console_shows_every_name(folder: Path) -> None:
    """Where a console knows only ASCII a name is escaped on both streams, and what follows is still said."""
    line = '"$python" -m uprez run --input-dir "naïve 😀"'
    done = shell(line, PYTHONUTF8="1", PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 2
    assert "[LIST] Listing videos in na\\xefve \\U0001f600\n" in done.stdout
    assert "[ERROR] the input folder na\\xefve \\U0001f600 does not exist\n" in done.stderr


def old_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script that people know from before."""
    command = [sys.executable, str(REPO / "batch_processor.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_old_command_is_run(folder: Path) -> None:
    """`python batch_processor.py` takes the flags of `uprez run` and gives its help, errors and codes."""
    shown = old_command("--help")
    assert shown.returncode == 0
    assert "--input-dir" in shown.stdout
    missing = old_command("--input-dir", "none")
    assert missing.returncode == 2
    assert "[ERROR] the input folder none does not exist" in missing.stderr
    assert "--input-dir" in missing.stderr
    assert list(folder.iterdir()) == []
