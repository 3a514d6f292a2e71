"""`uprez history`, `logs`, `resume` and `cancel` where no run is waited for: what a person reads, and the code."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paper import intended
from uprez import batch
from uprez.config.layers import load
from uprez.config.saved import saved
from uprez.config.settings import Settings
from uprez.fleet import locks
from uprez.fleet.batches import JobLine, Summary
from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import Controller, batch_lock
from uprez.report.results import JobState

Command = Callable[..., tuple[int, str, str]]
Write = Callable[..., None]
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    """Open this computer's ledger."""
    with closing(Ledger(folder / "state" / "ledger.sqlite", clock=lambda: BEGAN)) as ledger:
        yield ledger


@pytest.fixture
def write(ledger: Ledger, folder: Path) -> Write:
    """Write down a batch with so many jobs in each state, and how it ended, with the options that are given."""

    def write(number: str, *, code: int | None = 0, continues: str = "", began: datetime = BEGAN, **flags: Any) -> None:
        states: tuple[JobState, ...] = ("done", "skipped", "failed", "unfinished")
        counts = {state: flags.pop(state, 0) for state in states}
        kept = saved(load({"input_dir": "./films", **flags}))
        ledger.clock = lambda: began
        ledger.begin_batch(number, (folder / "output").as_uri(), {}, saved=kept)
        lines = (
            JobLine(job=f"{number}{state:_<7}{index}"[:16], input=f"{state}{index}.mp4", state=state)
            for state in states
            for index in range(counts[state])
        )
        ledger.summarise(number, Summary(jobs=tuple(lines), continues=continues))
        ledger.clock = lambda: began + timedelta(seconds=754)
        if code is not None:
            ledger.end_batch(number, code)

    return write


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, str]]:
    """Take note of what is run, and run nothing."""
    found: list[tuple[Settings, str]] = []

    async def run(settings: Settings, _: object, *, continues: str = "") -> int:
        await asyncio.sleep(0)
        found.append((settings, continues))
        return 0

    monkeypatch.setattr(batch, "run", run)
    return found


def test_history_is_a_table_of_80_columns(command: Command, ledger: Ledger, write: Write, folder: Path) -> None:
    """The newest first, with what each cost; one that was killed has no length, one that lives says so."""
    write("aaaa0001", done=9999, skipped=9999, failed=9999, unfinished=9999, code=130)
    row = intended(ledger, "aaaa0001", market="vast.ai#7", usd_per_hour=Decimal(3600), now=BEGAN)
    ledger.held(row.id, "7")
    ledger.running(row.id, at=BEGAN)
    ledger.ended(row.id, "gone", at=BEGAN + timedelta(seconds=999))
    write("aaaa0002", unfinished=1, code=None)
    write("aaaa0003", done=2, code=None, began=datetime.now(UTC) - timedelta(hours=99))
    with batch_lock(folder / "state" / "batches", "aaaa0003"):
        code, out, _ = command("history")
    head, *rows = out.splitlines()
    assert code == 0
    assert [text.split()[0] for text in rows] == ["aaaa0003", "aaaa0002", "aaaa0001"]
    assert rows[2] == "aaaa0001 2026-01-02 03:04  0:12:34 9999 9999 9999 9999        1 999.000 130"
    assert rows[1].split()[3:] == ["-", "0", "0", "0", "1", "0", "0.000", "killed"]
    assert rows[0].endswith("running")
    assert max(map(len, (head, *rows))) <= 80


def test_history_for_programs(command: Command, write: Write) -> None:
    """Every figure by its name, and money as text."""
    write("aaaa0001", done=2, failed=1, code=1)
    write("aaaa0002", done=1, continues="aaaa0001")
    code, out, _ = command("history", "--json")
    second, first = json.loads(out)["batches"]
    assert code == 0
    assert second["continues"] == "aaaa0001"
    assert first["jobs"] == {"done": 2, "skipped": 0, "failed": 1, "unfinished": 0, "detached": 0}
    assert (first["seconds"], first["cost_usd"], first["state"], first["exit_code"]) == (754, "0.000000", "ended", 1)


@pytest.mark.parametrize("verb", ["history", "resume"])
def test_without_a_run_there_is_nothing_to_look_back_at(command: Command, verb: str, folder: Path) -> None:
    """And looking makes no ledger."""
    assert command(verb) == (0, "[OK] No batch has run on this computer so far\n", "")
    assert not (folder / "state").exists()


def test_resume_takes_the_options_of_the_batch(
    command: Command, write: Write, asked: list[tuple[Settings, str]], folder: Path
) -> None:
    """In its folder, and the flags of the present count before them; their paths begin where they were given."""
    write("aaaa0001", unfinished=1, code=None, scale="3", budget="2")
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    code, out, _ = command("resume", "--budget", "7", "--download", "here")
    ((settings, continues),) = asked
    assert (code, continues) == (0, "aaaa0001")
    assert "[OK] Going on with batch aaaa0001: 1 of 1 jobs are left" in out
    assert Path.cwd() == folder
    assert (settings.budget_usd, settings.options.scale) == (Decimal(7), 3)
    assert settings.download == folder / "elsewhere" / "here"
    assert settings.state_dir == folder / "state"


def test_resume_keeps_to_the_videos_of_its_batch(
    command: Command, write: Write, asked: list[tuple[Settings, str]]
) -> None:
    """Of three that were asked for one is done, so two are; a flag says otherwise."""
    write("aaaa0001", done=1, unfinished=2, code=130, max_files=3)
    command("resume")
    command("resume", "--max-files", "9")
    assert [settings.max_files for settings, _ in asked] == [2, 9]


def test_what_was_done_anew_is_not_done_anew_once_more(
    command: Command, write: Write, asked: list[tuple[Settings, str]]
) -> None:
    """Of a batch without --skip-existing: what it and the ones that it goes on with have made counts as done."""
    write("aaaa0001", done=1, unfinished=1, code=130, skip_existing=False)
    write("aaaa0002", done=1, unfinished=1, code=130, skip_existing=False, continues="aaaa0001")
    command("resume")
    ((settings, _),) = asked
    assert not settings.skip_existing
    assert {job[:8] for job in settings.redone} == {"aaaa0001", "aaaa0002"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("saved = NULL", "the options of batch aaaa0001 were not kept"),
        ("detached_at = '2026-01-02T03:04:05+00:00'", "batch aaaa0001 works without a controller"),
        ("saved = json_set(saved, '$.folder', '/nowhere')", "ran in /nowhere, which cannot be entered"),
        ("saved = json_set(saved, '$.schema', 2)", "the saved settings have schema 2, this version reads 1"),
    ],
)
def test_a_batch_that_cannot_be_gone_on_with_says_why(
    command: Command, ledger: Ledger, write: Write, asked: list[tuple[Settings, str]], change: str, words: str
) -> None:
    """Code 2, and nothing is run."""
    write("aaaa0001", unfinished=1, code=None)
    ledger._run(f"UPDATE batches SET {change}")  # noqa: S608  the table above
    code, _, err = command("resume", "aaaa0001")
    assert (code, asked) == (2, [])
    assert words in err


def test_a_log_does_nothing_to_the_terminal(command: Command, ledger: Ledger, write: Write, folder: Path) -> None:
    """Control characters are escaped; of several leases each line says whose it is."""
    write("aaaa0001", done=1)
    one, other = intended(ledger, "aaaa0001"), intended(ledger, "aaaa0001")
    (folder / "state" / "logs").mkdir()
    for number, row in enumerate((one, other)):
        text = f"{number + 1} 2026-01-02T03:04:0{number}Z \x1b[2J\x07 text\n"
        (folder / "state" / "logs" / f"{row.id}.log").write_text(text)
    code, out, err = command("logs")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{one.id} 2026-01-02T03:04:00Z \\x1b[2J\\x07 text",
        f"{other.id} 2026-01-02T03:04:01Z \\x1b[2J\\x07 text",
    ]
    assert command("logs", other.id)[1] == "2026-01-02T03:04:01Z \\x1b[2J\\x07 text\n"


def test_where_no_log_is_left_it_says_where_it_looked(
    command: Command, ledger: Ledger, write: Write, folder: Path
) -> None:
    """Code 1, with the folder, and what has removed it; a batch without leases says that."""
    write("aaaa0001", done=1)
    code, out, err = command("logs")
    assert (code, out) == (1, "")
    assert "batch aaaa0001 has no leases" in err
    row = intended(ledger, "aaaa0001")
    code, out, err = command("logs", row.id)
    assert (code, out) == (1, "")
    assert f"No line of lease {row.id} is left in {folder / 'state' / 'logs'}" in err
    assert "[HINT] uprez clean removes logs" in err


def test_a_bucket_that_cannot_be_opened_hides_no_copy(
    command: Command, ledger: Ledger, write: Write, folder: Path
) -> None:
    """Without the keys the machine's own parts are out of reach, and what was seen here is shown."""
    write("aaaa0001", done=1)
    ledger._run("UPDATE batches SET home = 's3://films', saved = NULL")
    row = intended(ledger, "aaaa0001")
    (folder / "state" / "logs").mkdir()
    (folder / "state" / "logs" / f"{row.id}.log").write_text("1 2026-01-02T03:04:00Z seen\n")
    code, out, err = command("logs")
    assert (code, out) == (0, "2026-01-02T03:04:00Z seen\n")
    assert "[WARN] The place of batch aaaa0001 was not looked at" in err


def test_cancel_asks_which_of_several(command: Command, write: Write, folder: Path) -> None:
    """Two batches run, and none was named."""
    for number in ("aaaa0001", "aaaa0002"):
        write(number, unfinished=1, code=None)
    held = folder / "state" / "batches"
    with batch_lock(held, "aaaa0001"), batch_lock(held, "aaaa0002"):
        code, _, err = command("cancel")
    assert code == 2
    assert "several batches run here: aaaa0002, aaaa0001" in err


@pytest.mark.parametrize(
    ("holder", "words", "hint"),
    [
        (Controller(pid=1, host="elsewhere"), "is run by pid 1 on elsewhere", "uprez cancel aaaa0001, there"),
        (Controller(), "is run by a process that does not give its number", "fuser "),
    ],
)
def test_cancel_signals_nobody_whom_it_does_not_know(
    command: Command,
    write: Write,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    holder: Controller,
    words: str,
    hint: str,
) -> None:
    """A number of another host is another process here."""
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled"))
    write("aaaa0001", unfinished=1, code=None)
    with batch_lock(folder / "state" / "batches", "aaaa0001"):
        monkeypatch.setattr(locks, "read", lambda *_: holder)
        code, _, err = command("cancel", "aaaa")
    assert code == 2
    assert words in err
    assert f"[HINT] {hint}" in err


def test_cancel_finds_the_run_that_goes_on_with_a_batch(
    command: Command, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names the old number means the new run."""
    write("aaaa0001", unfinished=1, code=None)
    write("aaaa0002", unfinished=1, code=None, continues="aaaa0001")
    with batch_lock(folder / "state" / "batches", "aaaa0002"):
        monkeypatch.setattr(locks, "read", lambda *_: replace(Controller(), pid=1, host="elsewhere"))
        _, _, err = command("cancel", "aaaa0001")
    assert "batch aaaa0002 is run by" in err
