"""What is brought together for workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from uprez.config.layers import load
from uprez.fleet import provisions
from uprez.models import MODELS, Model, weights
from uprez.report.console import Console
from uprez.store.open import Home


@pytest.mark.parametrize(
    ("mode", "names"),
    [("upscale", ["realesr-animevideov3"]), ("interp", ["rife"]), ("both", ["realesr-animevideov3", "rife"])],
)
def test_every_network_of_a_job_is_there(
    mode: str,
    names: list[str],
    home: Home,
    console: Console,
    rife: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sheet names each of them; a machine that lacked one would stand idle and cost."""
    monkeypatch.chdir(tmp_path)

    def ensured(model: Model, cache: Path, **_: object) -> Path | None:
        path = cache / f"{model.name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.name.encode())
        return path

    monkeypatch.setattr(weights, "ensure", ensured)
    assert MODELS["rife"] is rife
    settings = replace(load({"mode": mode}), cache_dir=tmp_path / "cache")
    supplies = provisions.bring(settings, console, home, [], rented=False)
    assert list(supplies.models) == names
    assert {ref.url.rpartition("/")[2] for ref in supplies.models.values()} == {f"{name}.onnx" for name in names}
    assert len({ref.sha256 for ref in supplies.models.values()}) == len(names)


def test_a_resampler_needs_nothing(
    home: Home, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network there is nothing to fetch."""
    monkeypatch.chdir(tmp_path)
    assert provisions.bring(load({"model": "lanczos"}), console, home, [], rented=False).models == {}
