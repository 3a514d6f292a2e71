"""The output folder: made and marked, never somebody else's, held by one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from house import located
from uprez.errors import UsageError
from uprez.store import keys, objects
from uprez.store.open import exclusive, find_home, open_home, sweep

NAMES = ["a b", "#1", "100%", "%41", "naïve 😀", "new\nline", "back\\slash", os.fsdecode(b"\xff\xfe"), "x/../y"]


def listing(folder: Path) -> list[str]:
    """Name what is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_every_folder_name_works(tmp_path: Path, name: str) -> None:
    """An output folder may be called anything: what is written there is listed, read and pinned."""
    (tmp_path / "x").mkdir()
    home = open_home(located(tmp_path / name), None)
    key = keys.sheet("01234567")
    home.state.write(key, b"data")
    assert objects.listing(home, "") == [key, keys.MARKER]
    assert (tmp_path / name / keys.PREFIX / key).read_bytes() == b"data"
    assert objects.holds(home, objects.pin(home, key))


def test_a_folder_is_made_and_marked(tmp_path: Path) -> None:
    """A folder that is missing is made, with a state prefix that opens again; a dry look finds it only then."""
    folder = tmp_path / "deep" / "out"
    assert find_home(located(folder), None) is None
    assert not folder.exists()
    home = open_home(located(folder), None)
    assert (folder / ".uprez" / "uprez.json").is_file()
    assert home.outputs.url == folder.as_uri()
    again, found = open_home(located(folder), None), find_home(located(folder), None)
    assert found is not None
    assert (again.root, again.prefix) == (home.root, home.prefix) == (found.root, found.prefix)


def test_the_state_may_lie_elsewhere(tmp_path: Path) -> None:
    """With a prefix of its own nothing of ours appears in the output folder."""
    home = open_home(located(tmp_path / "out"), None, state=tmp_path / "state" / "p")
    assert listing(tmp_path / "out") == []
    assert home.state.read(keys.MARKER)
    assert find_home(located(tmp_path / "out"), None) is None
    assert find_home(located(tmp_path / "out"), None, state=tmp_path / "state" / "p") is not None


def test_a_strange_prefix_is_refused(tmp_path: Path) -> None:
    """A folder of our name with files but no marker is somebody else's: nothing is written to it."""
    (tmp_path / ".uprez").mkdir()
    (tmp_path / ".uprez" / "theirs.txt").touch()
    with pytest.raises(UsageError, match=r"not uprez's marker uprez\.json") as caught:
        open_home(located(tmp_path), None)
    assert "--output-dir" in str(caught.value.hint)
    assert listing(tmp_path / ".uprez") == ["theirs.txt"]


def test_a_first_start_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    """A marker that was still being written is no stranger, and a sweep removes it."""
    (tmp_path / ".uprez").mkdir()
    (tmp_path / ".uprez" / "uprez.json#1").touch()
    home = open_home(located(tmp_path), None)
    assert home.state.read(keys.MARKER)
    sweep(home)
    assert listing(home.prefix) == ["uprez.json"]


def test_a_sweep_takes_only_what_a_killed_write_left(tmp_path: Path) -> None:
    """Objects and foreign files stay, staged names go, at any depth."""
    home = open_home(located(tmp_path), None)
    home.state.write(keys.sheet("01234567"), b"")
    folder = home.prefix / "leases" / "01234567"
    for name in ("status.json#42", "notes#a", "#7"):
        (folder / name).touch()
    sweep(home)
    assert listing(folder) == ["notes#a", "sheet.json"]


@pytest.mark.parametrize("folder", ["file", "file/below", "n" * 300])
def test_a_folder_that_cannot_be_is_a_usage_error(tmp_path: Path, folder: str) -> None:
    """The error names the folder, the reason and the flag."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"the output folder .* cannot be used") as caught:
        open_home(located(tmp_path / folder), None)
    assert "--output-dir" in str(caught.value.hint)


def test_a_folder_that_takes_no_files_is_a_usage_error() -> None:
    """A read-only place is refused for what it is (the kernel's own takes no folders even from root)."""
    if not Path("/proc/self").is_dir():
        pytest.skip("needs Linux")
    with pytest.raises(UsageError, match="the output folder /proc/self/out cannot be used: "):
        open_home(located(Path("/proc/self/out")), None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_usage_error(tmp_path: Path) -> None:
    """A folder without write permission is refused before anything starts."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            open_home(located(tmp_path), None)
    finally:
        tmp_path.chmod(0o700)


def test_a_home_that_became_read_only_is_a_usage_error(tmp_path: Path) -> None:
    """A marked folder whose marker cannot be opened for writing is refused, not a defect."""
    (tmp_path / ".uprez" / "uprez.json").mkdir(parents=True)
    home = open_home(located(tmp_path), None)
    with pytest.raises(UsageError, match="cannot be written") as caught, exclusive(home, home.root):
        pass
    assert "--output-dir" in str(caught.value.hint)


HOLD = """
import sys
from pathlib import Path
from uprez.config.settings import Location
from uprez.store.open import exclusive, open_home
folder = Path(sys.argv[1])
with exclusive(open_home(Location(text="", folder=folder), None), folder):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    """While another process holds a folder the second is refused with what to do; when it is killed, it is free."""
    home = open_home(located(tmp_path), None)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another uprez run is working in") as caught, exclusive(home, home.root):
            pass
        assert "wait" in str(caught.value.hint)
        child.kill()
    with exclusive(home, home.root):
        assert listing(home.prefix) == ["uprez.json"]
