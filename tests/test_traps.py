"""docs/reference/traps.md tells the truth: each of its tests exists, and fails once its guard is gone."""

from __future__ import annotations

import importlib
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from guards import AT_ONCE, PACKAGE, REPO, Guard, taken_out

PAGE = REPO / "docs" / "reference" / "traps.md"
COUNT = 32
CHOSEN = 10
"""So many rows are tried each time; UPREZ_TRAPS=all or UPREZ_TRAPS=3,5 chooses others, UPREZ_TRAPS_SEED the chance."""

GUARDS: dict[int, tuple[str, str, str]] = {
    1: ("market/vast/wire.py", '"/api/v1/instances/?', '"/api/v0/instances/?'),
    2: ("market/vast/wire.py", 'if "instances" in body and body["instances"] is None:', "if False:"),
    3: (
        "market/vast/create.py",
        "if reply.contract is not None:",
        "if reply.contract and answers.failure(reply, '') is None:",
    ),
    4: (
        "market/vast/wire.py",
        "raise maybe(error.message, label) from error",
        'reply = self._once("create", "PUT", f"/api/v0/asks/{offer}/", what, order)',
    ),
    5: ("market/vast/destroy.py", "ABSENT = 2", "ABSENT = 0"),
    6: ("market/vast/answers.py", 'if "no_such_ask" in code or', "if status == 404 and"),
    7: ("market/vast/rules.py", "offer.machine not in query.machines", "str(offer.id) not in query.machines"),
    8: ("market/vast/offers.py", "PAGES = 5", "PAGES = 1"),
    9: ("market/vast/offers.py", "for offer in offers if reason(offer, query) is None]", "for offer in offers]"),
    10: ("market/base.py", 'SPARE = Decimal("0.93")', "SPARE = Decimal(1)"),
    11: ("market/vast/offers.py", '{"notin": list(never)}', '{"nin": list(never)}'),
    12: ("market/vast/observer.py", 'if one.actual_status == "running":', 'if one.status_msg.startswith("success"):'),
    13: ("fleet/watching.py", " and self._running and clock.now() >= self._fetch_at:", " and self._running:"),
    14: ("market/vast/wire.py", "/api/v0/instances/request_logs/{instance}/", "/api/v0/instances/{instance}/logs/"),
    15: (
        "market/vast/wire.py",
        'self._repeated("destroy", "DELETE", f"/api/v0/instances/{instance}/", f"destroy instance {instance}", {})',
        "self.stop(instance)",
    ),
    16: ("market/vast/observer.py", 'halted = one.intended_status == "stopped" and', "halted = ran and"),
    17: (
        "fleet/monitor.py",
        "if booting > self.timing.boot_s else None",
        "if booting > self.timing.silence_s else None",
    ),
    18: ("market/vast/wire.py", "if token is not None or (", "if token is not None and ("),
    19: (
        "fleet/monitor.py",
        'up = instance is not None and instance.state in ("running", "booting")',
        'up = instance is not None and instance.state in ("running", "booting", "stopped")',
    ),
    20: ("fleet/watching.py", "float(granted or 0) < asked * DISK_SHARE", "float(granted or 0) < 0"),
    21: ("fleet/admission.py", "and not same_gpu(offer.gpu, machine.gpu)", "and False"),
    22: ("fleet/monitor.py", "makes_frames and idle_s > self.timing.stall_s", "False"),
    23: (
        "market/vast/rules.py",
        "return machine_usd(offer, query) + traffic_usd(offer, query)",
        "return machine_usd(offer, query)",
    ),
    24: (
        "market/vast/rules.py",
        '"duration": lambda offer, query: _meets(',
        '"duration": lambda offer, query: True or (',
    ),
    25: ("fleet/renting.py", "return left if funds is None else min(left, funds)", "return left"),
    26: ("fleet/reaper.py", "elif label is not None and now > label.deadline + GRACE:", "elif False:"),
    27: ("market/install.py", "shutil.rmtree(venv, ignore_errors=True)", "pass"),
    28: ("market/vast/create.py", "MOST_SCRIPT = 4000", "MOST_SCRIPT = 16384"),
    29: ("market/vast/answers.py", "if reply.status < 300 and reply.body is not None and", "if True or"),
    30: ("market/vast/wire.py", "self._skew = min(max(known, least), most)", "pass"),
    31: ("market/vast/wire.py", "from uprez import http\n", "import vastai\nfrom uprez import http\n"),
    32: ("fleet/serving.py", "            await self.watcher.end()\n", "            pass\n"),
}
"""What each row's guard is (a file, and words that are there once), and what is put in its place."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    number: int
    does: str
    test: str


def rows() -> list[Row]:
    """Read the table."""
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| `([^`|]+)` \|$", PAGE.read_text(), re.MULTILINE)
    return [Row(number=int(number), does=does, test=test) for number, does, test in found]


def exists(name: str) -> bool:
    """Say whether uprez has a thing of that dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(("uprez", *parts[:cut])))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields.get(part) or getattr(found, part, None)
        return found is not None
    return False


def test_every_trap_has_a_row_and_every_row_is_true() -> None:
    """32 rows in order; each names things that are in the code, and a test that is in its file."""
    table = rows()
    assert [row.number for row in table] == list(range(1, COUNT + 1)) == sorted(GUARDS)
    for row in table:
        names = re.findall(r"`([a-z_]+(?:\.\w+)+)`", row.does)
        assert names, row
        assert [name for name in names if not exists(name)] == [], row
        path, _, name = row.test.partition("::")
        assert f"def {name}(" in (REPO / path).read_text(), row


@pytest.mark.parametrize("number", sorted(GUARDS))
def test_every_guard_is_there_once(number: int) -> None:
    """What is taken out below is in the code, so that nothing is proved by changing nothing."""
    path, old, new = GUARDS[number]
    assert (PACKAGE / path).read_text().count(old) == 1
    assert old != new


def unguarded(row: Row, folder: Path) -> str:
    """Run a row's test on a copy of uprez without its guard; gives what is wrong, "" when that test fails."""
    path, old, new = GUARDS[row.number]
    wrong = taken_out(Guard(path=path, old=old, new=new, test=row.test), folder)
    return wrong and f"trap {row.number}: {wrong}"


def chosen() -> list[Row]:
    """Choose the rows to try."""
    table, wish = rows(), os.environ.get("UPREZ_TRAPS", "")
    if wish == "all":
        return table
    if wish:
        return [row for row in table if str(row.number) in wish.split(",")]
    seed = int(os.environ.get("UPREZ_TRAPS_SEED") or random.randrange(10**6))  # noqa: S311  chance, no secret
    print(f"UPREZ_TRAPS_SEED={seed}")
    return random.Random(seed).sample(table, CHOSEN)  # noqa: S311  the same


@pytest.mark.timeout(600)
def test_without_its_guard_a_trap_is_noticed(tmp_path: Path) -> None:
    """Ten of them, taken by chance: the guard goes, and the test that the table names fails."""
    tried = chosen()
    print("traps", [row.number for row in tried])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(pool.map(lambda row: unguarded(row, tmp_path / str(row.number)), tried))
    assert "\n".join(filter(None, wrong)) == ""
