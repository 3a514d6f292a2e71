"""Rules of the house that no tool checks: what files may say, how decisions are numbered, what the wheel carries."""

from __future__ import annotations

import os
import re
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.build import build_wheel

REPO = Path(__file__).resolve().parent.parent
MADE = {".git", ".venv", ".cache", "demo", "dist", "output", "shared", "__pycache__"}
"""Folders that are not part of the source."""
INDEX_HOSTS = ("pypi." + "org", "python" + "hosted", "npmjs" + ".", "deb.debian" + ".", "archive.ubuntu" + ".")
"""In two pieces, so that this file passes its own test."""


def sources() -> Iterator[Path]:
    """Give every file of the source tree."""
    for folder, folders, files in os.walk(REPO):
        folders[:] = [name for name in folders if name not in MADE and not name.endswith("_cache")]
        yield from (Path(folder) / name for name in files)


def test_no_file_names_a_package_index_host() -> None:
    """Packages come from whatever index the machine is set up for, so no file names the host of one."""
    texts = {path.relative_to(REPO): path.read_bytes().decode(errors="replace") for path in sources()}
    assert Path("pyproject.toml") in texts
    assert [(str(path), host) for path, text in texts.items() for host in INDEX_HOSTS if host in text] == []


def test_pins_have_hashes_and_name_no_place() -> None:
    """Every pin is an exact version with hashes; the lock says nothing about where to fetch from."""
    text = (REPO / "requirements" / "dev.txt").read_text()
    pins = text.replace("\\\n", " ").splitlines()
    assert "://" not in text
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ (; .+? )?( *--hash=sha256:[0-9a-f]{64})+", pin) for pin in pins)


def test_pins_cover_what_the_project_declares() -> None:
    """Each dependency and development tool of pyproject.toml is in the lock, so a `--no-deps` install is complete."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=; ]", requirement)[0].lower().replace("_", "-") for requirement in declared}
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (REPO / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    assert names - pinned == set()


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions are NNNN-title.md from 0001 on, each with its number in its heading."""
    decisions = sorted((REPO / "docs" / "adr").iterdir())
    assert decisions
    numbers = [path.name[:4] for path in decisions]
    assert numbers == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
        assert path.read_text().startswith(f"# {path.name[:4]}: ")


def test_readme_is_short() -> None:
    """The README fits on two screens."""
    lines = (REPO / "README.md").read_text().splitlines()
    assert 10 < len(lines) < 120


def test_documents_link_to_what_is_there() -> None:
    """Each relative link of README, CHANGELOG and docs leads to a file."""
    for page in (REPO / "README.md", REPO / "CHANGELOG.md", *(REPO / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_wheel_carries_types_licence_command_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel holds every file of the package, data files too, the licence and the `uprez` command."""
    monkeypatch.chdir(REPO)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = set(wheel.namelist())
        commands = next(wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    package = REPO / "src"
    files = {str(path.relative_to(package)) for path in sources() if path.is_relative_to(package / "uprez")}
    assert "uprez/py.typed" in files
    assert files - names == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "uprez = uprez.cli.main:run_cli" in commands
