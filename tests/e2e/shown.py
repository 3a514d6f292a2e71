"""Console output as pages show it: read from them, and freed of what differs from run to run."""

from __future__ import annotations

import re
from pathlib import Path

CHANGING = (
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b\d+-[0-9a-f]{8}/", "PLAN/"),
    (r"\b[0-9a-f]{16}\b", "JOB"),
    (r"\b[0-9a-f]{8}\b", "ID"),
    (r"\d+\.\d\d fps", "FPS"),
    (r"/\S*/(?=output/)", ""),
    (r"\d+ CPU cores", "CORES"),
    (r"\b(CPUExecutionProvider|OpenVINO(ExecutionProvider)?|(?<=Ready: )ncnn|(?<=libx264, )ncnn)\b", "PROVIDER"),
    (r"(PROVIDER \(f32\), libx264 on ).*", r"\1DEVICE"),
    (r"\d+\.\d MB\)", "MB)"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"\?X-Amz-\S+", "?SIGNED"),
    (r"-[0-9a-f]{6}\.mp4", "-DIGITS.mp4"),
)
"""What differs from run to run and from machine to machine."""

PROGRESS = re.compile(
    r"  \[LOG\] \S+ segment \d+ of \d+: |\[INFO\] Model: |\[INFO\] Plan: |\[MONITOR\]|\[OK\] Instance running"
)
"""Lines whose number or place depends on the machine's speed."""


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """Give the commands of a page's console blocks, each with the output that stands below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
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
