"""The image of practice machines: packages are there, uprez is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uprez.market import install
from uprez.market.base import QUIET
from uprez.practice import image


def test_dependencies_are_there_and_uprez_is_not(tmp_path: Path) -> None:
    """A fresh environment imports the heavy ones by it; pip takes them for installed, hashes asked for or not."""
    given = image.environment(tmp_path / "cache")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    environment = {**os.environ, **QUIET, **given}
    code = "import av, numpy, onnxruntime, pydantic, yaml, importlib.util as u; print(u.find_spec('uprez'))"
    command = [venv / "bin" / "python", "-c", code]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "None\n"
    assert image.prepared(tmp_path / "cache") == Path(given["PYTHONPATH"])


def test_other_versions_are_a_mismatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter with other packages than the pinned ones is no image, and none is half made."""
    monkeypatch.setattr(image, "pins", lambda _: b"six==0.1 --hash=sha256:0")
    with pytest.raises(image.Mismatch, match=r"the pins say 0\.1"):
        image.environment(tmp_path)
    monkeypatch.setattr(image, "pins", lambda _: b"no-such-thing==0.1 --hash=sha256:0")
    with pytest.raises(image.Mismatch, match="not installed here"):
        image.environment(tmp_path)
    assert not [path for path in tmp_path.iterdir() if "." not in path.name]


def test_a_machine_without_links_asks_the_wheelhouse_or_the_index(tmp_path: Path) -> None:
    """What is given decides where pip looks; a python3 is always found."""
    plain = image.environment()
    assert set(plain) == {"UPREZ_PROVIDER", "PATH"}
    housed = image.environment(wheelhouse=tmp_path)
    assert (housed["PIP_FIND_LINKS"], housed["PIP_NO_INDEX"]) == (str(tmp_path), "1")
    assert install.pins(plain["UPREZ_PROVIDER"])
