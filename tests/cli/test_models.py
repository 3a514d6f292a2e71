"""`uprez models`: the table of models, and fetching their weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from uprez.cli.main import run_cli
from uprez.models import MODELS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start with an empty cache."""
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "cache"


def test_every_model_is_listed(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    """One line a model: name, use, licence, and whether a run needs the network, in columns that 80 characters hold.

    Looking fetches nothing.
    """
    with pytest.raises(SystemExit, match="0"):
        run_cli(["models", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)
    for line, model in zip(lines, MODELS.values(), strict=True):
        assert ("frames between" if model.kind == "interp" else "scale 1") in line
        assert line.index(model.licence) == lines[0].index("BSD-3-Clause")
        assert len(line) <= 80
        assert model.licence in line
        assert line.endswith("not fetched" if model.source else "no weights needed")
    assert not cache.exists()


def test_a_model_that_interpolates_is_listed_as_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no scale that could be asked for."""
    monkeypatch.setitem(MODELS, "rife", replace(MODELS["lanczos"], name="rife", kind="interp"))
    with pytest.raises(SystemExit, match="0"):
        run_cli(["models", "list"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rife ")]
    assert line.split() == ["rife", "frames", "between", "MIT", "no", "weights", "needed"]


def test_a_model_without_weights_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """Pulling what needs nothing succeeds and says so."""
    with pytest.raises(SystemExit, match="0"):
        run_cli(["models", "pull", "lanczos"])
    assert capsys.readouterr().out == "[OK] lanczos: needs no weights\n"
