"""What a run says of itself beforehand: machines, time and money, and what would fit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest

import plain
from season import TIMING
from uprez.config.settings import Location, Rental, Settings
from uprez.fleet import foretold, planning
from uprez.fleet.intake import Intake
from uprez.fleet.renting import Terms
from uprez.fleet.speeds import Memory
from uprez.fleet.work import Work
from uprez.job import Job, Options, Source
from uprez.market.base import Offer, Rates
from uprez.report.console import Console
from uprez.report.results import BatchPlan

OPTIONS = Options(model="realesr-animevideov3", scale=Fraction(2))
NOBODYS = Memory(None, rented=True)


def job(name: str, frames: int = 20_000) -> Work:
    """Make a job of 1080p."""
    source = Source(url=f"file:///{name}", name=name, size=10**9, identity=name)
    video = plain.counted(frames, width=1920, height=1080)
    return Work(job=Job(id=name, source=source, options=OPTIONS, model_sha256=""), video=video, output=f"{name}.x2")


def offers(*gpus: str) -> list[Offer]:
    """Make offers of these GPUs, at 30 cents an hour."""
    rates = Rates(gpu_usd_per_hour=Decimal("0.3"), disk_usd_per_hour=Decimal("0.01"))
    return [
        Offer(id=str(number), machine=str(number), description=gpu, usd_per_hour=Decimal("0.31"), rates=rates, gpu=gpu)
        for number, gpu in enumerate(gpus)
    ]


@pytest.fixture
def wanted(tmp_path: Path) -> Settings:
    """Give the settings of a run on up to four rented machines."""
    return Settings(
        options=OPTIONS,
        input_dir=None,
        input=None,
        output_dir=Location(text="b2://films", bucket="films"),
        name=None,
        exact=False,
        market="vast",
        budget_usd=Decimal(50),
        max_machines=4,
        segment_frames=None,
        dry_run=True,
        state_dir=tmp_path / "state",
        cache_dir=tmp_path,
        local=TIMING,
        bucket_timing=TIMING,
        rented=TIMING,
    )


def plan(settings: Settings, listed: Sequence[Offer], *works: Work) -> BatchPlan:
    """Foresee a batch by what was published."""
    terms = Terms(timing=TIMING, budget_usd=settings.budget_usd)
    return planning.foreseen(settings, works or [job("a"), job("b")], NOBODYS, terms, listed)


def test_without_a_deadline_there_are_as_many_machines_as_pay(wanted: Settings) -> None:
    """An hour of work has up to max_machines, a minute's has one."""
    known = offers(*["RTX 4090"] * 6)
    assert plan(wanted, known, *(job(str(number)) for number in range(20))).machines == 4
    assert plan(wanted, known, job("a", frames=500)).machines == 1


def test_a_deadline_is_met_by_the_fewest_machines(wanted: Settings) -> None:
    """A tighter one takes more, until none meets it: then what would is said, and the batch goes on with all."""
    known, works = offers(*["RTX 4090"] * 12), [job(str(number)) for number in range(20)]
    free = plan(wanted, known, *works)
    assert free.seconds is not None
    counts = []
    for share in (4.0, 2.0, 1.05):
        found = plan(replace(wanted, deadline_s=share * free.seconds.high), known, *works)
        assert found.seconds is not None
        assert found.fits_deadline
        assert found.seconds.high <= share * free.seconds.high
        counts.append(found.machines)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= 4
    late = plan(replace(wanted, deadline_s=0.6 * free.seconds.high), known, *works)
    assert (late.machines, late.fits_deadline) == (4, False)
    (hint,) = late.notes
    assert hint.startswith("--max-machines ")
    more = plan(replace(wanted, deadline_s=0.6 * free.seconds.high, max_machines=int(hint.split()[1])), known, *works)
    assert more.fits_deadline
    never = plan(replace(wanted, deadline_s=60.0), known, *works)
    assert never.notes == ("the deadline cannot be met with the machines that are offered within the limits",)


def test_a_budget_bounds_the_machines_and_what_would_do_is_said(wanted: Settings) -> None:
    """Each machine commits its first end; of what is beyond the budget the sum that would be enough is named."""
    known, works = offers(*["RTX 4090"] * 6), [job(str(number)) for number in range(20)]
    small = plan(replace(wanted, budget_usd=Decimal("0.60")), known, *works)
    assert small.machines is not None
    assert small.machines < 4
    assert small.fits_budget is False
    (hint,) = small.notes
    enough = Decimal(hint.split()[1])
    assert plan(replace(wanted, budget_usd=enough), known, *works).fits_budget or enough > small.cost_usd.middle  # type: ignore[union-attr]
    assert plan(wanted, known, *works).fits_budget


def test_the_loop_is_told_how_many_machines_and_pieces_there_will_be(wanted: Settings) -> None:
    """A job is cut by what its frames take on the first machine, also where its header alone says one segment."""
    works = [job("a", frames=1000), job("b", frames=10)]
    slow = replace(OPTIONS, model="realesrgan-x4plus")
    for work in works:
        work.job = replace(work.job, options=slow)
    found = planning.foreseen(wanted, works, NOBODYS, Terms(timing=TIMING, budget_usd=Decimal(50)), offers("RTX 4090"))
    told = planning.as_foreseen(found, wanted, works, NOBODYS)
    assert told is not None
    assert told.machines == found.machines == 1
    assert told.pieces["a"] > 2
    assert told.pieces["b"] == 1


def test_what_nobody_has_measured_is_not_foreseen(wanted: Settings) -> None:
    """A GPU that is not known stands in the way where it would be rented, and each known one is told by itself."""
    strange = plan(wanted, offers("RTX 4070", "RTX 4090"))
    assert (strange.machines, strange.seconds, strange.cost_usd) == (None, None, None)
    assert "RTX 4070" in strange.notes[0]
    alone = {share.name: share.cost_usd for share in strange.one_machine}
    assert alone["RTX 4090"] is not None
    assert alone["RTX 3090"] is None
    limited = replace(wanted, rental=Rental(gpu_models=("rtx_4070", "RTX 4090")))
    assert [share.name for share in plan(limited, offers("RTX 4070")).one_machine] == ["RTX 4090"]
    later = plan(replace(wanted, max_machines=1), offers("RTX 4090", "RTX 4070"))
    assert later.machines == 1


def test_a_video_of_unknown_length_is_left_out_and_counted(wanted: Settings) -> None:
    """The rest is foreseen; with no other, nothing is."""
    endless = replace(job("c"), video=plain.VIDEO)
    assert plan(wanted, offers("RTX 4090"), job("a"), endless).uncounted == 1
    assert plan(wanted, offers("RTX 4090"), endless).machines is None


def test_a_dry_run_without_a_key_says_times_alone(wanted: Settings, said: StringIO, console: Console) -> None:
    """Nothing is asked for and nothing is made: the GPUs that are known, and what prices need."""
    found = asyncio.run(planning.dry(wanted, Intake(works=[job("a")]), console))
    foretold.table(found, wanted, console)
    lines = said.getvalue().splitlines()
    assert any(line.split()[1:3] == ["RTX", "4090"] and line.endswith("?") for line in lines), lines
    assert "[INFO] Prices need VAST_API_KEY: put it into .env" in lines
    assert not wanted.state_dir.exists()


def test_the_table_fits_80_columns(wanted: Settings, said: StringIO, console: Console) -> None:
    """Whatever names and sums are, each row has its name, frames, time and cost, and no more than 80 columns."""
    names = ["holiday-in-the-mountains-2019-part-two.mkv", "\x1b[31mred.mkv", "\u0432\u0438\u0434\u0435\u043e.mkv"]
    dear = [replace(offer, rates=replace(offer.rates, gpu_usd_per_hour=Decimal(90))) for offer in offers("RTX 4090")]
    works = [job(name, frames=2_000_000) for name in names]
    settings = replace(wanted, budget_usd=Decimal(5), deadline_s=3600.0)
    found = plan(settings, dear, *works)
    foretold.table(found, settings, console)
    foretold.say(found, settings, console)
    lines = said.getvalue().splitlines()
    assert len(lines) > 7
    assert max(map(len, lines[:6])) <= 80
    assert "[WARN] The budget of $5 may not be enough" in lines
    assert "[WARN] The deadline of 1:00:00 may be missed" in lines
    assert "\x1b" not in said.getvalue()


def test_this_machine_has_a_time_once_it_has_worked(wanted: Settings) -> None:
    """Before, nothing is foreseen there."""
    settings = replace(wanted, market="local")
    terms = Terms(timing=TIMING)
    here = [replace(offers("")[0], rates=Rates(), usd_per_hour=Decimal(0))]
    found = planning.foreseen(settings, [job("a")], Memory(None, rented=False), terms, here)
    assert found.machines is None
    assert found.notes == ("nothing is foreseen: this machine has not done such work yet",)
