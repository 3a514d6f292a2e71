"""A folder for settings, with none of the machine's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from uprez.config.variables import FALLBACKS, NAMES, OLD_NAMES


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


Write = Callable[[str], None]


@pytest.fixture
def config(folder: Path) -> Write:
    """Write config.yaml."""

    def write(text: str) -> None:
        (folder / "config.yaml").write_text(text, encoding="utf-8")

    return write
