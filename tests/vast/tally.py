"""What storms, estimates and crews came to, told at the end: pytest's workers send it home with their reports."""

from __future__ import annotations

from collections import Counter
from typing import Any

FIGURES = ("outlook", "season", "many jobs", "leases")
"""Names of other properties, each a few figures."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many storms there were, how runs ended in them, and how often each fault struck; and other figures."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for name, value in (each for report in reports for each in report.user_properties):
        if name in FIGURES:
            terminalreporter.write_line(f"{name}: {value}")
    found = [value for report in reports for name, value in report.user_properties if name == "storms"]
    if not found:
        return
    struck: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for each in found:
        struck.update(each["struck"])
        ends.update(each["ends"])
    terminalreporter.section(f"{sum(each['seeds'] for each in found)} storms")
    terminalreporter.write_line("runs: " + ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    terminalreporter.write_line("struck: " + ", ".join(f"{name} {count}" for name, count in sorted(struck.items())))


__all__ = ["pytest_terminal_summary"]
