"""docs/reference/complaints.md tells the truth: its rows are whole, its tests exist, its guards are in the code."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import guards
from guards import GUARDS, PACKAGE, REPO

PAGE = REPO / "docs" / "reference" / "complaints.md"
COUNT = 33
STATES = ("proved", "partly", "not in this version")
CHOSEN, SEED = 10, 33


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    number: int
    met: str
    state: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """Read the table."""
    found = re.findall(r"^\| (\d+) \| ([^|]+) \| [^|]+ \| ([a-z ]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    return [
        Row(number=int(number), met=met, state=state, tests=tuple(re.findall(r"`([^`]+)`", tests)))
        for number, met, state, tests in found
    ]


@cache
def collected(path: Path) -> frozenset[str]:
    """Give the names of a file's tests, as pytest collects them here: functions at the top."""
    tree = ast.parse(path.read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def exists(test: str) -> bool:
    """Say whether a test is in its file, and the file among those that are collected."""
    path, _, name = test.partition("::")
    return bool(re.fullmatch(r"tests/(\w+/)*test_\w+\.py", path)) and name in collected(REPO / path)


def test_every_complaint_has_a_row_and_every_row_its_tests() -> None:
    """33 rows in order, each with the issues it comes from, a state, and tests that are there."""
    table = rows()
    assert [row.number for row in table] == list(range(1, COUNT + 1))
    for row in table:
        assert re.search(r"#\d+", row.met), row
        assert row.state in STATES, row
        assert row.tests, row
        assert [test for test in row.tests if not exists(test)] == [], row


def test_the_page_counts_its_rows() -> None:
    """The numbers above the table are those of the table."""
    count = Counter(row.state for row in rows())
    text = PAGE.read_text().replace("\n", " ")
    for state in STATES:
        assert f"{count[state]} {'is' if count[state] == 1 else 'are'} *{state}*" in text
    assert f"Ten of the {count['proved'] + count['partly']} rows" in text


def test_the_guards_are_those_that_chance_chose() -> None:
    """Ten of the rows that prove something, and each guard's test is one of its row's; the page shows them."""
    provable = [row.number for row in rows() if row.state != "not in this version"]
    assert list(GUARDS) == random.Random(SEED).sample(provable, CHOSEN)  # noqa: S311  chance, no secret
    tests = {row.number: row.tests for row in rows()}
    for number, guard in GUARDS.items():
        assert guard.test in tests[number]
        assert guards.row(number, guard) in PAGE.read_text().splitlines()


@pytest.mark.parametrize("number", GUARDS)
def test_every_guard_is_there_once(number: int) -> None:
    """What `make guards` takes out is in the code, so that nothing is proved by changing nothing."""
    guard = GUARDS[number]
    assert (PACKAGE / guard.path).read_text().count(guard.old) == 1
    assert guard.old != guard.new
