"""The README's commands, run as they stand there, print what stands there."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from house import House
from shown import blocks, settled

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow
def test_the_readme_tells_the_truth(house: House, materials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `uprez` command of the README exits 0 and prints the lines that stand below it."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(materials))
    monkeypatch.setenv("PATH", str(house.top))  # pip asks every rustc on the PATH for its version
    (house.top / "videos").mkdir()
    shutil.copy(materials / "carphone_pristine.mp4", house.top / "videos" / "phone.mp4")
    commands = [(shlex.split(command), shown) for command, shown in blocks(README) if command.startswith("uprez ")]
    assert len(commands) >= 3
    for arguments, shown in commands:
        ended = house.uprez(*arguments[1:])
        assert ended.code == 0, ended.out + ended.err
        if shown:
            assert settled(ended.lines) == settled(shown), arguments
