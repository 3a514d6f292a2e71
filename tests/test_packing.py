"""The wheel that rented machines install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from uprez import packing, sheet
from uprez.errors import UsageError

REPO = Path(__file__).resolve().parent.parent


def members(packed: packing.Packed) -> dict[str, bytes]:
    """Give what a wheel holds."""
    with zipfile.ZipFile(BytesIO(packed.data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a copy of this source that may be spoilt."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPO / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", folder)
    return folder


def test_the_wheel_holds_every_file_and_is_the_same_each_time() -> None:
    """Modules, SQL, YAML, the runner, pins, licence and command, without bytecode; its bytes depend on them alone."""
    packed = packing.pack_installed()
    found = members(packed)
    files = (path for path in (REPO / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {str(path.relative_to(REPO / "src")) for path in files} == {
        name for name in found if name.startswith("uprez/")
    }
    assert {"uprez/market/vast/remote_runner.sh", "uprez/market/pins/cpu.txt", "uprez/py.typed"} <= set(found)
    assert any(name.endswith("licenses/LICENSE") for name in found)
    assert packed == packing.pack_installed()
    assert packed.name == "uprez-0.1.0-py3-none-any.whl"


@pytest.mark.parametrize("source", ["installed", "clone"])
def test_pip_installs_it_and_the_command_works(
    tmp_path: Path, checkout: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without index and dependencies; `uprez --help` and packing what was installed gives the same wheel."""
    monkeypatch.setenv("HOME", str(tmp_path))  # pip asks rustc for its version, and rustup's writes there
    packed = packing.pack_installed() if source == "installed" else packing.pack_clone(checkout)
    wheel = tmp_path / packed.name
    wheel.write_bytes(packed.data)
    target = tmp_path / "target"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    environment = {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{os.environ['PYTHONPATH']}"}
    shown = subprocess.run(
        [target / "bin" / "uprez", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert "Usage" in shown.stdout
    code = "import uprez, importlib.metadata as m; print(uprez.__file__, m.version('uprez'))"
    where = subprocess.run([sys.executable, "-Pc", code], env=environment, capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(target))
    if source == "installed":
        again = "from uprez import packing; print(packing.pack_installed().sha256)"
        command = [sys.executable, "-Pc", again]
        repacked = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert repacked.stdout.strip() == packed.sha256


def test_a_clone_of_another_project_is_refused(checkout: Path) -> None:
    """The name in pyproject.toml decides, and is named."""
    path = checkout / "pyproject.toml"
    path.write_text(path.read_text().replace('name = "uprez"', 'name = "other"', 1))
    with pytest.raises(UsageError, match="'other', not 'uprez'"):
        packing.pack_clone(checkout)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        packing.pack_clone(checkout)


@pytest.mark.parametrize(("line", "named"), [("SCHEMA: int = 99", "99"), ("", "None"), ("SCHEMA = (", "None")])
def test_a_clone_that_reads_other_sheets_is_refused(checkout: Path, line: str, named: str) -> None:
    """Both schemas are named; the clone's code is read, never run."""
    path = checkout / "src" / "uprez" / "sheet.py"
    path.write_text(f"raise SystemExit\n{path.read_text().replace(f'SCHEMA = {sheet.SCHEMA}', line, 1)}")
    with pytest.raises(UsageError, match=f"schema {named}, this one writes {sheet.SCHEMA}"):
        packing.pack_clone(checkout)


def test_links_of_a_clone_are_left_out(checkout: Path, tmp_path: Path) -> None:
    """A link, also a folder's, could lead to a secret of this machine."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("canary")
    (checkout / "src" / "uprez" / "a.json").symlink_to(tmp_path / "secret" / "key")
    (checkout / "src" / "uprez" / "b").symlink_to(tmp_path / "secret")
    assert not any(b"canary" in data for data in members(packing.pack_clone(checkout)).values())


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a repository with two branches."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for branch in ("main", "more"):
        git(folder, *(("checkout", "--quiet", "-b", branch) if branch == "more" else ("status",)))
        (folder / "file").write_text(branch)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "-m", branch)
    git(folder, "checkout", "--quiet", "main")
    return folder


def refuse(text: str) -> None:
    """Fail: nothing was to be said."""
    pytest.fail(text)


def test_a_branch_is_cloned_and_its_commit_known(repository: Path, tmp_path: Path) -> None:
    """The named branch, or the repository's own choice; the commit is what pins it."""
    url = repository.as_uri()
    for branch in ("more", None):
        target = tmp_path / f"clone-{branch}"
        assert packing.clone(url, branch, target, warn=refuse) == git(repository, "rev-parse", branch or "main")
        assert (target / "file").read_text() == (branch or "main")


def test_what_cannot_be_cloned_is_a_usage_error(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing branch or repository is named with git's words and no password; a missing git too."""
    with pytest.raises(UsageError, match=r"git_branch absent cannot be cloned: .*absent"):
        packing.clone(repository.as_uri(), "absent", tmp_path / "a", warn=refuse)
    with pytest.raises(UsageError, match="cannot be cloned") as raised:
        packing.clone("http://me:pa55word@127.0.0.1:1/x.git", None, tmp_path / "b", warn=refuse)
    assert "pa55word" not in raised.value.message
    with pytest.raises(UsageError, match="cannot be cloned"):
        packing.clone("--upload-pack=touch x", None, tmp_path / "d", warn=refuse)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no git here"):
        packing.clone(repository.as_uri(), None, tmp_path / "c", warn=refuse)


def test_the_superseded_repository_is_not_used(tmp_path: Path) -> None:
    """It warns and clones nothing."""
    said: list[str] = []
    assert packing.clone("https://x/vastai_inerup.git", "main", tmp_path / "a", warn=said.append) is None
    assert "remove this key" in said[0]
    assert not (tmp_path / "a").exists()
