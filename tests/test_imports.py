"""What importing costs: the command answers quickly because it loads the heavy libraries only where they work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = {"av", "botocore", "numpy", "onnx", "onnxruntime", "onnxruntime_ep_openvino"}
HELP = ("-m", "uprez", "--help")


def imported(*arguments: str) -> set[str]:
    """Run Python with `arguments` and give the top-level packages that it imported."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_help_imports_nothing_heavy() -> None:
    """`uprez --help` imports none of ONNX Runtime, PyAV, NumPy and botocore."""
    seen = imported(*HELP)
    assert "typer" in seen
    assert seen & HEAVY == set()


@pytest.mark.parametrize("module", ["uprez.job", "uprez.config", "uprez.models", "uprez.wire"])
def test_nouns_and_tables_import_nothing_heavy(module: str) -> None:
    """The nouns, the configuration and the MODELS table can be read without loading NumPy or ONNX."""
    seen = imported("-c", f"import {module}")
    assert "uprez" in seen
    assert seen & HEAVY == set()


def test_help_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """`uprez --help` takes less than half a second, best of five."""
    guard = str(Path(__file__).resolve().parent / "guard")
    search = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != guard]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))  # the guard's own start is not the command's
    assert min(seconds(sys.executable, *HELP) for _ in range(5)) < 0.5


def seconds(*command: str) -> float:
    """Give the wall time of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - begin
