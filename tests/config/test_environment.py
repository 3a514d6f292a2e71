"""The folders that uprez keeps on a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uprez.config.environment import folders


def test_the_environment_names_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UPREZ_STATE_DIR and UPREZ_CACHE_DIR count, made absolute; nothing is created."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPREZ_STATE_DIR", "state")
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(tmp_path / "cache"))
    assert folders() == (tmp_path / "state", tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_without_them_the_platforms_folders_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset or empty, they are below the home folder, apart from each other."""
    monkeypatch.delenv("UPREZ_STATE_DIR", raising=False)
    monkeypatch.setenv("UPREZ_CACHE_DIR", "")
    state, cache = folders()
    assert Path(os.environ["HOME"]) in state.parents
    assert Path(os.environ["HOME"]) in cache.parents
    assert state != cache
