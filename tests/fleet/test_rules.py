"""The rules for what fails, over whole runs in virtual time: inputs, machines, money, and a bucket that is away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import storm as storms
from storm import TIMING, Aftermath, Storm, broken, rage, state_folder
from uprez.config.settings import Settings
from uprez.fleet.ledger import Ledger
from uprez.practice.faults import Armed
from uprez.store import keys
from virtual import Now, World, install

CALM = Storm(seed=1, faults=())
POOR = Storm(seed=3, faults=(), dear=True, budget_usd=Decimal("0.45"))
"""There is money for most of the work."""
AWAY_S = 600
Told = dict[str, Any]


@pytest.fixture(autouse=True)
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for real."""
    install(monkeypatch)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Give a folder for the ledger."""
    with state_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let runs have other settings than a storm's."""
    made: Callable[..., Settings] = storms._settings

    def ask(**more: Any) -> None:
        monkeypatch.setattr(storms, "_settings", lambda *given: replace(made(*given), **more))

    return ask


def machines(result: Aftermath) -> list[str]:
    """List the machines that were had by all runs so far, in order."""
    return [row.machine for row in result.rows if row.instance is not None]


def faults(state: Path) -> list[tuple[str, float]]:
    """List the machines with a fault, each with the days for which it is shunned."""
    with closing(Ledger(state / "ledger.sqlite")) as ledger:
        return [(ban.machine, (ban.until - ban.banned_at).total_seconds() / 86400) for ban in ledger.bans()]


def told(result: Aftermath) -> Told:
    """Read the results.json of a run."""
    (batch,) = re.findall(r"Results: memory:/(\S+)", result.said)
    found: Told = json.loads(result.world.state.get(batch) or b"")
    return found


def forget(world: World) -> None:
    """Let the two videos be new again, an hour later."""
    world.pass_time(3600)
    world.state.delete([keys.manifest(name * 16) for name in "ab"])
    world.outputs.delete([meta.key for meta in [*world.outputs.listing()]])


# --- inputs


def test_an_input_that_fails_on_two_machines_fails_its_job_and_no_other(state: Path) -> None:
    """The first machine does all the rest, then another one tries; the error names both, and neither is blamed."""
    result = rage(replace(CALM, sour=True), state)
    assert result.codes == [1]
    assert not broken(result)
    one, other = machines(result)
    assert one != other
    done, failed = result.jobs
    assert (done.state, failed.state) == ("done", "failed")
    assert failed.error == f"b.mkv is no video (on machine {one}; machine {other} says so too)"
    assert result.said.count(f"b.mkv failed on {one}: b.mkv is no video (another is to try)") == 1
    assert faults(state) == []


def test_a_machine_that_cannot_read_what_is_right_fails_no_job(state: Path) -> None:
    """Its word alone is not enough: the next machine does the work, and its fault is remembered."""
    result = rage(CALM, state, before=lambda: setattr(Now.world.bench, "blind", 1))
    assert result.codes == [0]
    assert not broken(result)
    one, other = machines(result)
    assert one != other
    assert faults(state) == [(one, 0)], "once may be bad luck"


def test_where_no_other_machine_is_offered_one_word_is_enough(state: Path) -> None:
    """The job fails, and says why nobody else was asked."""
    result = rage(replace(CALM, sour=True), state, before=lambda: alone(Now.world))
    assert result.codes == [1]
    (one,) = machines(result)
    error = result.jobs[1].error or ""
    assert error.startswith(f"b.mkv is no video (on machine {one}, and no other could be tried: the market vast offers")
    assert result.jobs[0].state == "done"


def alone(world: World) -> None:
    """Let the market have the offers of one machine only: the one that is chosen first."""
    listed = world.market._state.listed
    listed[:] = [offer for offer in listed if str(offer.machine_id) == "12147"]


# --- machines


def test_a_machine_that_fails_twice_in_a_week_is_shunned_by_the_next_run(state: Path) -> None:
    """Two batches lose it, the third does not rent it and says so once; when its ban is over it is rented again."""
    first = rage(CALM, state, before=lambda: Now.world.market.inject(Armed(name="boot_forever")))
    world, bad = first.world, machines(first)[0]
    assert (first.codes, faults(state)) == ([0], [(bad, 0)])
    forget(world)
    second = rage(CALM, state, world=world, before=lambda: Now.world.market.inject(Armed(name="boot_forever")))
    assert machines(second)[2] == bad, "once is not enough"
    assert faults(state) == [(bad, 0), (bad, 1)]
    assert f"Machine {bad} is shunned until" in second.said
    forget(world)
    third = rage(CALM, state, world=world)
    assert bad not in machines(third)[len(machines(second)) :]
    assert len(re.findall(rf"machine {bad} until .*Z: no worker began", third.said)) == 1
    world.pass_time(86400)
    forget(world)
    fourth = rage(CALM, state, world=world)
    assert machines(fourth)[len(machines(third)) :] == [bad]
    assert "not rented, for what" not in first.said + second.said + fourth.said


@pytest.mark.parametrize("fault", ["outbid", "stopped_contract", "credit_0"])
def test_a_machine_that_is_taken_away_is_not_at_fault(state: Path, fault: str) -> None:
    """Somebody paid more, its contract or the credit ended."""
    result = rage(Storm(seed=2, faults=(fault,), bid=fault == "outbid"), state)
    assert result.struck[fault]
    assert faults(state) == []


# --- money


@pytest.mark.parametrize("mode", ["finish", "stop"])
def test_what_is_left_at_the_end_of_the_money_is_told(state: Path, mode: str, asked: Callable[..., None]) -> None:
    """Exit 5, with the work in numbers and the command that goes on; results.json has the same."""
    asked(on_budget=mode)
    result = rage(POOR, state)
    assert result.codes == [5]
    assert not broken(result)
    remains, document = told(result)["remains"], told(result)
    left = [work for work in result.jobs if work.state == "open"]
    assert remains["videos"] == len(left) == sum(job["state"] == "unfinished" for job in document["jobs"])
    assert remains["frames"] == sum(60 - work.frames_counted for work in left)
    assert remains["segments"] == sum(3 - len(work.counted) for work in left)
    assert Decimal(remains["usd"]) == pytest.approx(
        Decimal(remains["usd_per_hour"]) * Decimal(str(remains["seconds"])) / 3600, abs=Decimal("0.0001")
    )
    command = f"uprez resume {document['batch']} --budget {remains['budget_usd']}"
    assert remains["command"] == command
    assert f"[HINT] {command}\n" in result.said
    assert f"Left: {remains['videos']} video" in result.said


def test_the_sum_that_is_named_does(state: Path) -> None:
    """A run with it ends the work."""
    result = rage(POOR, state)
    enough = Decimal(told(result)["remains"]["budget_usd"])
    again = rage(replace(POOR, budget_usd=enough), state, world=result.world)
    assert again.codes == [0], again.said
    assert told(again)["remains"] is None


def test_what_fits_is_finished_and_nothing_else_is_begun(state: Path, asked: Callable[..., None]) -> None:
    """To finish makes more of the same money than to stop; both give back before a task would be cut off."""
    finished = rage(POOR, state)
    assert "is not renewed" in (finished.rows[0].reason or "")
    assert not re.search(r"stopped|lost", finished.said)
    with state_folder(state) as other:
        asked(on_budget="stop")
        stopped = rage(POOR, other)
    frames = [sum(work.frames_counted for work in one.jobs) for one in (finished, stopped)]
    assert frames[0] > frames[1]
    assert [work.state for work in finished.jobs] == ["done", "open"], "an assembly goes before a segment"
    assert [work.state for work in stopped.jobs] == ["open", "open"]
    unfit = stopped.said.partition("is not renewed")[2]
    assert "counts" not in unfit


# --- the bucket


@pytest.mark.parametrize("after_s", range(0, 540, 45))
def test_a_bucket_that_is_away_for_ten_minutes_only_costs_time(
    state: Path, after_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever that begins: one machine does all, nothing that counts is made again, and nobody is blamed."""
    monkeypatch.setattr(storms, "TIMING", replace(TIMING, lease_s=1800))

    def away() -> None:
        Now.world.away_s = (Now.world.now_s + 20 + after_s, Now.world.now_s + 20 + after_s + AWAY_S)

    result = rage(CALM, state, before=away)
    assert result.codes == [0], result.said
    assert not broken(result)
    assert len(machines(result)) == 1, result.said
    assert faults(state) == []


def test_a_bucket_that_is_away_longer_than_a_lease_costs_a_machine(state: Path) -> None:
    """Whose lease cannot be renewed gives itself back; another goes on when the bucket is there again."""

    def away() -> None:
        Now.world.away_s = (Now.world.now_s + 300, Now.world.now_s + 300 + AWAY_S)

    result = rage(CALM, state, before=away)
    assert result.codes == [0], result.said
    assert not broken(result)
    assert len(machines(result)) == 2
    assert faults(state) == []
