"""The trial of a CPU's families: the faster one makes the job, and both times are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest

from plain import VIDEO
from uprez.enhance import trial
from uprez.enhance.upscale import Means
from uprez.errors import NoProviderError
from uprez.job import Options, Turn, Video
from uprez.media.frame import Frame, Moment
from uprez.media.target import Target, target

HD = replace(VIDEO, width=1920, height=1080)
MEANS = Means(families=("openvino", "cpu"), threads=1)


@dataclass
class Clock:
    """Time that passes when something is made."""

    now: float = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@dataclass
class Slow:
    """Takes so long for a frame."""

    clock: Clock
    seconds: float
    providers: str
    seen: list[Moment] = field(default_factory=list)

    def begin(self) -> None:
        """Nothing is kept."""

    def frame(self, moment: Moment) -> Frame:
        """Make a frame."""
        self.clock.now += self.seconds
        self.seen.append(moment)
        return moment.left


class Machine:
    """Opens what it has, for pictures of any size."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.clock = Clock()
        monkeypatch.setattr(trial.time, "perf_counter", self.clock)
        self.made = {name: Slow(self.clock, took, f"{name}'s") for name, took in seconds.items()}
        self.videos: list[tuple[Video, Target]] = []

    def open(self, video: Video, wanted: Target, means: Means) -> Slow:
        """Open what the one accepted family has."""
        self.videos.append((video, wanted))
        (family,) = means.families
        if family not in self.made:
            raise NoProviderError(f"no {family} here")
        return self.made[family]


def tried(machine: Machine, options: Options, video: Video = HD) -> tuple[list[str], list[str]]:
    """Order both families for a job."""
    return trial.by_speed(["openvino", "cpu"], machine.open, options, video, target(video, options), MEANS)


def test_the_faster_family_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever that is, and both times are told with the size they were taken at."""
    machine = Machine(monkeypatch, openvino=0.2, cpu=0.125)
    order, said = tried(machine, Options())
    (small, _), *_ = machine.videos
    size = f"{small.width}x{small.height}"
    assert order == ["cpu", "openvino"]
    assert said == [f"openvino: 200 ms for {size} (openvino's)", f"cpu: 125 ms for {size} (cpu's)"]
    assert tried(Machine(monkeypatch, openvino=0.1, cpu=0.125), Options())[0] == ["openvino", "cpu"]


def test_what_tiles_cost_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster family is the slower one where its memory holds small tiles only, most of which is their border."""
    machine = Machine(monkeypatch, openvino=0.2, cpu=0.125)
    video, options = HD, Options()
    work = {"cpu": 3.0, "openvino": 1.5}.__getitem__
    order, said = trial.by_speed(["openvino", "cpu"], machine.open, options, video, target(video, options), MEANS, work)
    assert order == ["openvino", "cpu"]
    assert said[1].endswith("(cpu's), 3.0 times that in tiles")


def test_a_family_that_is_not_there_comes_first_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reasons are told when it is opened in earnest; a time alone says nothing."""
    assert tried(Machine(monkeypatch, cpu=0.1), Options()) == (["openvino", "cpu"], [])
    assert tried(Machine(monkeypatch, openvino=0.1), Options()) == (["cpu", "openvino"], [])


def test_one_family_needs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is opened for it."""
    machine = Machine(monkeypatch, cpu=0.1)
    assert trial.by_speed(["cpu"], machine.open, Options(), HD, target(HD, Options()), MEANS) == (["cpu"], [])
    assert machine.videos == []


def test_a_job_of_a_few_frames_is_not_worth_a_trial() -> None:
    """What counts is the work: as much of it may be few large frames or many small ones."""
    small = replace(HD, width=192, height=108)
    assert not trial.is_worth(Options(), HD, 0)
    assert trial.is_worth(Options(), HD, 2)
    assert not trial.is_worth(Options(), small, 50)
    assert trial.is_worth(Options(), small, 200)
    assert not trial.is_worth(Options(mode="interp"), HD, 3)
    assert trial.is_worth(Options(mode="interp"), HD, 10)
    assert not trial.is_worth(Options(model="lanczos"), HD, 10**6)


@pytest.mark.parametrize("mode", ["upscale", "both"])
def test_what_is_made_is_what_the_job_makes(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Frames between others are made where the job makes them."""
    machine = Machine(monkeypatch, openvino=0.1, cpu=0.1)
    tried(machine, Options(mode=mode))  # type: ignore[arg-type]
    between = [moment.fraction > 0 for moment in machine.made["cpu"].seen]
    assert any(between) == (mode == "both")
    assert not all(between)


@pytest.mark.parametrize(
    ("video", "scale"),
    [
        (HD, Fraction(2)),
        (replace(HD, width=7680, height=64), Fraction(1)),
        (replace(HD, width=40, height=36), Fraction(4)),
        (replace(HD, turn=Turn(quarters=1)), Fraction(3, 2)),
    ],
    ids=["1080p", "a strip", "tiny", "turned"],
)
def test_the_picture_is_small_and_of_the_same_kind(
    monkeypatch: pytest.MonkeyPatch, video: Video, scale: Fraction
) -> None:
    """Some thousand pixels, even sides, as much larger in the result as the job's."""
    machine = Machine(monkeypatch, openvino=0.1, cpu=0.1)
    tried(machine, Options(scale=scale), video)
    small, wanted = machine.videos[0]
    assert small.width * small.height <= 40_000
    assert (small.width % 2, small.height % 2, wanted.width % 2, wanted.height % 2) == (0, 0, 0, 0)
    assert abs(wanted.width - small.shown_size[0] * scale) <= 2
    assert abs(wanted.height - small.shown_size[1] * scale) <= 2
    assert (small.colour, small.turn) == (video.colour, video.turn)
    assert wanted.codec == target(video, Options(scale=scale)).codec
