"""What the ledger remembers of how long things took, and what is believed by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from paper import OFFER
from uprez.fleet import speeds
from uprez.fleet.ledger import Ledger
from uprez.fleet.speeds import Memory
from uprez.fleet.work import ASSEMBLE, INDEX, Piece, Work
from uprez.job import Options, Video
from uprez.market.base import Line
from uprez.market.vast import throughput
from uprez.models import MODELS
from uprez.status import Done
from uprez.store import keys

START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = Options(model="realesr-animevideov3", scale=Fraction(2))
GMAC_PER_FRAME = 320 * 180 * 619_200 / 1e9


@pytest.fixture
def planned(work_of: Callable[[str, int], Work]) -> Work:
    """Give a job of three segments of ten frames that a network makes larger."""
    work = work_of("a", 3)
    work.job = replace(work.job, options=OPTIONS)
    return work


def rented(ledger: Ledger, gpu: str = "RTX 4090", place: str = "vast", line: Line | None = None) -> str:
    """Write a lease down that runs after 100 s."""
    offer = replace(OFFER, gpu=gpu, usd_per_hour=Decimal(1), line=line)
    ledger.clock = lambda: START
    row = ledger.intend(batch="b0000001", market=place, place=place, offer=offer, now=START, life_s=60)
    ledger.clock = lambda: START + timedelta(seconds=100)
    ledger.running(row.id)
    ledger.clock = lambda: START + timedelta(seconds=180)
    return row.id


@pytest.fixture
def remembering(ledger: Ledger) -> Ledger:
    """Give a ledger with a batch."""
    ledger.begin_batch("b0000001", "memory://", {})
    return ledger


def done(lease: str, number: int, seconds: float, **more: object) -> Done:
    """Say that a task ended."""
    return Done(task=keys.attempt(lease, number), key="", seconds=seconds, **more)  # type: ignore[arg-type]


def test_a_boot_is_remembered_with_what_it_fetched(remembering: Ledger) -> None:
    """The offer's GPU is in the lease; the first word of its worker ends its boot, and a second changes nothing."""
    lease = rented(remembering)
    speeds.note_ready(remembering, lease, 2_000_000_000)
    row = remembering.lease(lease)
    assert (row.gpu, row.ready_at) == ("RTX 4090", START + timedelta(seconds=180))
    (boot,) = remembering.measurements(speeds.BOOT, most=9)
    assert (boot.seconds, boot.bytes, boot.lease) == (80, 2_000_000_000, lease)
    assert remembering.loads_s(rented=True, most=9) == [pytest.approx(100, abs=0.01)]
    assert remembering.loads_s(rented=False, most=9) == []
    remembering.clock = lambda: START + timedelta(seconds=999)
    remembering.ready(lease)
    assert remembering.lease(lease).ready_at == row.ready_at


def test_segments_of_one_machine_are_one_sample(remembering: Ledger, planned: Work, video: Video) -> None:
    """A machine's speed is what its networks computed over all its time; and another GPU's is not known by it."""
    memory = Memory(remembering, rented=True)
    before = memory.speeds(video, OPTIONS)
    lease = rented(remembering)
    for number in range(3):
        speeds.note_done(remembering, planned, Piece("enhance", number), done(lease, number, 1.0 + number, size=500))
    (row,) = remembering.measurements(speeds.kind_of(OPTIONS), "RTX 4090", most=9)
    assert (row.frames, row.bytes, row.seconds, row.tasks) == (30, 1500, 6.0, 3)
    assert row.gmac == pytest.approx(30 * GMAC_PER_FRAME)
    after = memory.speeds(video, OPTIONS)
    assert after["RTX 4090"].weight == pytest.approx(before["RTX 4090"].weight + 1)
    assert after["RTX 3090"] == before["RTX 3090"]
    assert "RTX 4070" not in after


def test_a_gpu_that_nobody_published_is_known_once_it_has_worked(
    remembering: Ledger, planned: Work, video: Video
) -> None:
    """Its middle is what was measured."""
    lease = rented(remembering, gpu="RTX 4070")
    speeds.note_done(remembering, planned, Piece("enhance", 0), done(lease, 1, 0.01))
    known = Memory(remembering, rented=True).speeds(video, OPTIONS)
    assert known["RTX 4070"].middle == pytest.approx(10 * GMAC_PER_FRAME / 0.01, rel=0.01)
    other = replace(OPTIONS, scale=Fraction(4))
    assert "RTX 4070" not in Memory(remembering, rented=True).speeds(video, other)


def test_this_machine_learns_for_itself(remembering: Ledger, planned: Work, video: Video) -> None:
    """What the local market did is known there, without any GPU's name, and nowhere else."""
    assert Memory(remembering, rented=False).speeds(video, OPTIONS) == {}
    lease = rented(remembering, gpu="", place="local")
    speeds.note_done(remembering, planned, Piece("enhance", 0), done(lease, 1, 5.0))
    assert list(Memory(remembering, rented=False).speeds(video, OPTIONS)) == [""]
    assert "" not in Memory(remembering, rented=True).speeds(video, OPTIONS)


def test_a_rented_gpu_without_a_name_teaches_nothing(remembering: Ledger, planned: Work) -> None:
    """Nor does a task that failed."""
    speeds.note_done(remembering, planned, Piece("enhance", 0), done(rented(remembering, gpu=""), 1, 5.0))
    speeds.note_done(remembering, planned, Piece("enhance", 0), done(rented(remembering), 1, 5.0, fault="encode"))
    assert remembering.measurements(speeds.kind_of(OPTIONS), most=9) == []


def test_indexes_joins_and_sizes_are_learnt(remembering: Ledger, planned: Work) -> None:
    """Each becomes more certain with what was measured; bits of a pixel by job, the rest by machine."""
    before = Memory(remembering, rented=True).beliefs(OPTIONS)
    for _ in range(2):
        lease = rented(remembering)
        speeds.note_ready(remembering, lease, 2_000_000_000)
        speeds.note_done(remembering, planned, INDEX, done(lease, 1, 40.0))
        speeds.note_done(remembering, planned, Piece("enhance", 0), done(lease, 2, 5.0, size=8_000))
        speeds.note_done(remembering, planned, ASSEMBLE, done(lease, 3, 10.0, size=24_000))
    after = Memory(remembering, rented=True).beliefs(OPTIONS)
    for name in ("load_s", "install_s", "packages_bytes", "index_s", "join_bytes_per_s"):
        assert getattr(after, name).weight == pytest.approx(getattr(before, name).weight + 2), name
    assert after.bits_per_pixel.weight == pytest.approx(before.bits_per_pixel.weight + 1)


def test_where_a_host_tells_of_its_line_the_rest_is_learnt_beside_it(remembering: Ledger, planned: Work) -> None:
    """2 GB at 400 Mbit/s of 800 are 40 s of a boot of 80; what is fetched and sent is no part of indexes and joins."""
    before = Memory(remembering, rented=True).beliefs(OPTIONS)
    told = Line(down=100e6, up=50e6)
    for _ in range(30):
        lease = rented(remembering, line=told)
        assert remembering.lease(lease).line == told
        speeds.note_ready(remembering, lease, 2_000_000_000, 400.0)
        planned.job = replace(planned.job, source=replace(planned.job.source, size=500_000_000))
        speeds.note_done(remembering, planned, INDEX, done(lease, 1, 40.0))
        speeds.note_done(remembering, planned, ASSEMBLE, done(lease, 2, 50.0, size=1_000_000_000))
    after = Memory(remembering, rented=True).beliefs(OPTIONS)
    assert after.line_share.middle == pytest.approx(0.5, rel=0.05)
    assert after.unpack_s.middle == pytest.approx(40, rel=0.1)
    assert after.read_s.middle == pytest.approx(30, rel=0.1)
    assert after.weave_bytes_per_s.middle == pytest.approx(1e9 / 5, rel=0.2), "never less than a tenth of the time"
    assert after.install_s.middle == pytest.approx(80, rel=0.1)
    assert before.line_share.middle != pytest.approx(0.5, rel=0.05)


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Looking ahead writes nothing."""
    with speeds.remembered(tmp_path / "state", rented=True) as memory:
        assert memory.beliefs(OPTIONS) == speeds.RENTED
    assert not (tmp_path / "state").exists()


def test_published_rates_are_of_the_networks_that_are_run_here() -> None:
    """The multiply-accumulates that they are reckoned with are those of the models' rows."""
    assert MODELS["realesrgan-x4plus"].macs_per_pixel == throughput.RRDB_MACS
    assert MODELS["rife"].macs_per_pixel == throughput.IFNET_MACS
    kinds = {model.architecture for model in MODELS.values() if model.architecture}
    assert set(throughput.PUBLISHED_FPS) == kinds
    # 61.52 frames of 1080p a second, as VSGAN-tensorrt-docker's README has it.
    assert throughput.gmac_per_s("RTX 4090", "srvgg") == pytest.approx(76_343, rel=0.001)
    assert throughput.gmac_per_s("RTX 3060 TI", "rrdb") == throughput.gmac_per_s("RTX 3060 Ti", "rrdb")
    assert throughput.gmac_per_s("RTX 4070", "srvgg") is None
