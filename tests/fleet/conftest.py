"""What the tests of leases share: jobs that need no video, an output folder, a console that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest

import plain
from house import located
from uprez.config.settings import Timing
from uprez.fleet import plan as plans
from uprez.fleet.ledger import Ledger
from uprez.fleet.work import Work
from uprez.job import Encoding, Job, Options, Pin, Plan, Preflight, Source, Survey, Video
from uprez.models import MODELS, Model
from uprez.models.needed import INTERPOLATOR
from uprez.report.console import Console
from uprez.store.open import Home, open_home

VIDEO = plain.counted(100)
PREFLIGHT = Preflight(
    family="cpu",
    provider="CPUExecutionProvider",
    precision="f32",
    device="test",
    encoding=Encoding(codec="h264", rung="libx264", pix_fmt="yuv420p", options=(), threads=2),
    extradata_sha256="0" * 64,
    seconds_per_frame=0.5,
)


@pytest.fixture(scope="session")
def video() -> Video:
    """100 frames of 320x180 at 25 a second."""
    return VIDEO


@pytest.fixture
def rife(monkeypatch: pytest.MonkeyPatch) -> Model:
    """Give an interpolating model a row without weights: nothing of these tests is fetched or run."""
    row = Model(
        name=INTERPOLATOR,
        kind="interp",
        architecture="ifnet",
        native_scale=1,
        scales=(Fraction(1), Fraction(1)),
        licence="MIT",
        tiles=False,
        macs_per_pixel=200_000,
    )
    monkeypatch.setitem(MODELS, INTERPOLATOR, row)
    return row


@pytest.fixture(scope="session")
def survey() -> Survey:
    """What a lease found out about `video`."""
    return Survey(index=plain.indexed(VIDEO, 100), preflight=PREFLIGHT)


@pytest.fixture(scope="session")
def work_of(survey: Survey) -> Callable[[str, int], Work]:
    """Make an open job of a given id; with a plan of so many segments, or without one when that is 0."""

    def make(name: str, segments: int) -> Work:
        source = Source(url=f"file:///in/{name}.mkv", name=f"{name}.mkv", size=1000, identity=name)
        options = Options(model="identity", scale=Fraction(1))
        job = Job(id=name, source=source, options=options, model_sha256="")
        work = Work(job=job, video=VIDEO, output=f"{name}.x1.mkv")
        if segments:
            work.survey, work.survey_pin = survey, _pin(f"jobs/{name}/index/0-1")
            work.plan, work.plan_pin = _plan(work, survey, segments), _pin(f"jobs/{name}/plan-1.json")
        return work

    return make


def _plan(work: Work, survey: Survey, segments: int) -> Plan:
    return Plan(
        number=1,
        job=work.job.id,
        options=work.job.options,
        first=0,
        count=segments * 10,
        width=320,
        height=180,
        container="mkv",
        preflight=survey.preflight,
        segments=plans.cut(segments * 10, 10),
    )


def _pin(key: str) -> Pin:
    return Pin(key=key, size=1, etag="e", sha256="a" * 64)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give an empty output folder."""
    return open_home(located(tmp_path / "out"), None)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a new ledger."""
    ledger = Ledger(tmp_path / "state" / "ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def said() -> StringIO:
    """Give what `console` was told so far."""
    return StringIO()


@pytest.fixture
def console(said: StringIO) -> Console:
    """Give a console that writes to `said`."""
    return Console(stream=said)


@pytest.fixture(scope="session")
def timing() -> Timing:
    """Give numbers that no test waits for."""
    return Timing(
        boot_s=60,
        lease_s=30,
        grace_s=10,
        watch_s=1,
        status_s=2,
        poll_s=0.2,
        log_s=0,
        silence_s=20,
        stall_s=120,
        hard_life_s=7200,
    )
