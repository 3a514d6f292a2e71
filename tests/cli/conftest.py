"""What the tests of commands share: an empty folder with nobody's settings in it, and the command itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from uprez.cli.main import run_cli
from uprez.config.variables import FALLBACKS, NAMES, OLD_NAMES

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with this machine's state and cache in it and no variable of ours."""
    for name in (*NAMES, *OLD_NAMES, *FALLBACKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; give its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            run_cli(arguments)
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err

    return run
