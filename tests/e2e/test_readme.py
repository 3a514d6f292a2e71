"""The README's commands, run as they stand there, print what stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from house import House

README = Path(__file__).resolve().parents[2] / "README.md"

CHANGING = (
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b\d+-[0-9a-f]{8}/", "PLAN/"),
    (r"\b[0-9a-f]{16}\b", "JOB"),
    (r"\b[0-9a-f]{8}\b", "ID"),
    (r"\d+\.\d\d fps", "FPS"),
    (r"/\S*/(?=output/)", ""),
    (r"\d+ CPU cores", "CORES"),
    (r"(CPU|OpenVINO)ExecutionProvider", "PROVIDER"),
    (r"(PROVIDER \(f32\), libx264 on ).*", r"\1DEVICE"),
    (r"\d+\.\d MB\)", "MB)"),
)
"""What differs from run to run and from machine to machine."""

PROGRESS = re.compile(r"  \[LOG\] \S+ segment \d+ of \d+: |\[INFO\] Model: |\[MONITOR\]|\[OK\] Instance running")
"""Lines whose number or place depends on the machine's speed."""


def blocks() -> list[tuple[str, list[str]]]:
    """Give the commands of the README's console blocks, each with the output that stands below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def settled(lines: list[str]) -> list[str]:
    """Take out what may differ; a worker's lines and the controller's keep their own order, not each other's."""
    kept = [line for line in lines if not PROGRESS.match(line)]
    for pattern, name in CHANGING:
        kept = [re.sub(pattern, name, line) for line in kept]
    logs = [line for line in kept if line.startswith("  [LOG]")]
    return logs + [line for line in kept if not line.startswith("  [LOG]")]


@pytest.mark.slow
def test_the_readme_tells_the_truth(house: House, materials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `uprez` command of the README exits 0 and prints the lines that stand below it."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(materials))
    monkeypatch.setenv("PATH", str(house.top))  # pip asks every rustc on the PATH for its version
    (house.top / "videos").mkdir()
    shutil.copy(materials / "carphone_pristine.mp4", house.top / "videos" / "phone.mp4")
    commands = [(shlex.split(command), shown) for command, shown in blocks() if command.startswith("uprez ")]
    assert len(commands) >= 3
    for arguments, shown in commands:
        ended = house.uprez(*arguments[1:])
        assert ended.code == 0, ended.out + ended.err
        if shown:
            assert settled(ended.lines) == settled(shown), arguments
