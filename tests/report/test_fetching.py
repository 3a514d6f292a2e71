"""How a download is told."""

from __future__ import annotations

import io

from uprez.report.console import Console
from uprez.report.fetching import Fetching


def told(*steps: tuple[str, int, int]) -> list[str]:
    """Tell some steps, give the lines."""
    stream = io.StringIO()
    fetching = Fetching(Console(stream=stream))
    for step in steps:
        fetching.tell(*step)
    return stream.getvalue().splitlines()


def test_each_tenth_is_told_once() -> None:
    """A download of many small pieces makes eleven lines, in order, ending at 100 %."""
    lines = told(*(("weights", done, 40_000_000) for done in range(0, 40_000_001, 100_000)))
    assert lines == [f"[INFO] Model: weights: {share} % of 40 MB" for share in range(0, 101, 10)]


def test_more_than_was_announced_stays_at_all_of_it() -> None:
    """A size that was an estimate never shows more than 100 %."""
    assert told(("weights", 50, 40))[0].startswith("[INFO] Model: weights: 100 %")


def test_a_step_without_size_is_told_by_name() -> None:
    """What has nothing to count is said once."""
    assert told(("converting", 0, 0), ("converting", 1, 0)) == ["[INFO] Model: converting"]
