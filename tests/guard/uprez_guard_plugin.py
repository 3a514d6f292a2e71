"""The pytest half of the guard: an autouse fixture that watches each test and gives it an empty home folder."""

from __future__ import annotations

import os
import pwd
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import uprez_guard

HERE = Path(__file__).resolve().parent
XDG = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share"}
XDG |= {"XDG_STATE_HOME": ".local/state"}
PIP = {
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_CACHE_DIR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
UNSET = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CACHE_DIR", "XDG_RUNTIME_DIR")


def real_homes() -> tuple[str, ...]:
    """Give the home folders of whoever runs the tests: by $HOME and by the user database; never "/"."""
    return _both({os.path.expanduser("~"), pwd.getpwuid(os.getuid()).pw_dir})


def own_folders() -> tuple[str, ...]:
    """Give the folders that belong to the run and may lie under home: checkout, interpreter, libraries, temp files."""
    paths = {sys.prefix, sys.base_prefix, tempfile.gettempdir(), str(HERE.parents[1])}
    paths |= {*sys.path, *site.getsitepackages(), *sysconfig.get_paths().values()}
    paths |= {os.environ.get("UPREZ_TEST_MATERIALS", "")}
    return tuple(path for path in _both(paths - {""}) if path not in REAL_HOMES)


def _both(paths: set[str]) -> tuple[str, ...]:
    """Give each path as written and with its links followed."""
    both = {form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))}
    return tuple(sorted(both - {os.sep}))


REAL_HOMES = real_homes()
OWN_FOLDERS = own_folders()
sys.addaudithook(uprez_guard.hook)


@pytest.fixture(autouse=True)
def guard(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Watch this test; fail it if it, or a Python that it starts, touches home or another machine."""
    folder = tmp_path_factory.mktemp("guard")
    home, report = folder / "home", folder / "report.txt"
    home.mkdir()
    forbidden = tuple(dict.fromkeys((*REAL_HOMES, *_both({str(home)}))))
    _set_environment(monkeypatch, home, report, forbidden)
    watch = uprez_guard.WATCH
    watch.seen.clear()
    watch.allowed, watch.forbidden = OWN_FOLDERS, forbidden
    try:
        yield
    finally:
        watch.forbidden = ()
    touched = [*watch.seen, *_lines(report), *(f"{path} appeared in the home folder" for path in home.rglob("*"))]
    if touched:
        pytest.fail("\n".join(touched), pytrace=False)


def _set_environment(monkeypatch: pytest.MonkeyPatch, home: Path, report: Path, forbidden: tuple[str, ...]) -> None:
    search = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    values = {"HOME": str(home), "PYTHONPATH": search, **PIP} | {name: str(home / path) for name, path in XDG.items()}
    values |= {
        uprez_guard.FORBIDDEN: os.pathsep.join(forbidden),
        uprez_guard.ALLOWED: os.pathsep.join(OWN_FOLDERS),
        uprez_guard.REPORT: str(report),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)


def _lines(report: Path) -> list[str]:
    return report.read_text().splitlines() if report.exists() else []
