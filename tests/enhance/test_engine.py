"""The engine: every frame of a result, in order and at its time, whatever is done to pictures and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import Waves, psnr, stored
from plain import COLOUR, VIDEO
from small import small_network
from uprez.enhance import session as sessions
from uprez.enhance.clock import Clock
from uprez.enhance.engine import Engine, Larger, open_engine
from uprez.enhance.feed import Feed
from uprez.enhance.upscale import Means
from uprez.errors import ModelError
from uprez.job import Colour, Index, Mode, Options, Strategy, Turn, Video
from uprez.media import timeline
from uprez.media.frame import Frame, Moment
from uprez.media.target import target
from uprez.models.ifnet import LAYERS
from uprez.models.motion import LAYERS_OUT

SIZE = (64, 64)
HALF = Fraction(1, 2)
EDGE = 14
"""Samples from the border where nobody can know what comes in."""
MEANS = Means(families=("cpu",), threads=2)
OPTIONS = Options(mode="interp", scale=Fraction(1), model="lanczos", codec="ffv1")
STRATEGIES: tuple[Strategy, Strategy] = ("interp-then-upscale", "upscale-then-interp")

Open = Callable[..., Engine]
Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def video(size: tuple[int, int] = SIZE, colour: Colour = COLOUR) -> Video:
    """A video of this size, stored so."""
    return replace(VIDEO, width=size[0], height=size[1], colour=colour)


def waves(size: tuple[int, int] = SIZE, colour: Colour = COLOUR, **more: object) -> Waves:
    """What such a video shows."""
    return Waves(width=size[0], height=size[1], colour=colour, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def opened(rife_file: Path) -> Open:
    """Open an engine for options, a size and a way to store; those that are open already are taken again."""
    held: dict[object, Engine] = {}

    def make(options: Options, size: tuple[int, int] = SIZE, colour: Colour = COLOUR, *, reuse: bool = True) -> Engine:
        kind = (options.mode, options.scale, options.strategy, size, colour, reuse)
        if kind not in held:
            source = video(size, colour)
            held[kind] = open_engine({"rife": rife_file}, options, source, target(source, options), MEANS, reuse=reuse)
        held[kind].begin()
        return held[kind]

    return make


def moments(*places: tuple[Frame, Frame, Fraction] | Frame) -> Iterator[Moment]:
    """Give moments: of a frame alone, or between two."""
    for place in places:
        left, right, fraction = (place, place, Fraction(0)) if isinstance(place, Frame) else place
        yield Moment(left=left, right=right, fraction=fraction)


def equal(one: Frame, other: Frame) -> bool:
    """Say whether two frames have the same samples, of the same type."""
    pairs = zip(one.planes, other.planes, strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


# --- how many, when, and what they show


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source's clock, what is asked for, and when a result's frames are due."""

    time_base: Fraction
    pts: Sequence[int]
    last: int
    asked: Mapping[str, Fraction]

    @property
    def marks(self) -> list[Fraction]:
        """When each frame of the source is shown, and when the last one ends; in seconds."""
        return [at * self.time_base for at in (*self.pts, self.pts[-1] + self.last)]

    def due(self) -> list[tuple[Fraction, Fraction]]:
        """Give the time of each output frame, and its position in the source."""
        marks = self.marks
        if "factor" in self.asked:
            factor = self.asked["factor"]
            positions = [number / factor for number in range(int(len(self.pts) * factor))]
            times = [
                marks[int(at)] + (at - int(at)) * (marks[int(at) + 1] - marks[int(at)])
                for at in map(Fraction, positions)
            ]
        else:
            count = round((marks[-1] - marks[0]) * self.asked["target_fps"])
            times = [marks[0] + number / self.asked["target_fps"] for number in range(count)]
            positions = [self._position(at) for at in times]
        most = len(self.pts) - 1
        return list(zip(times, [min(Fraction(most), at) for at in positions], strict=True))

    def _position(self, at: Fraction) -> Fraction:
        marks = self.marks
        left = max(number for number, mark in enumerate(marks[:-1]) if mark <= at)
        return left + (at - marks[left]) / (marks[left + 1] - marks[left])


UNEVEN = (0, 40, 100, 120, 220, 245, 330)
CASES = {
    "x2": Case(time_base=Fraction(1, 12800), pts=range(0, 8 * 512, 512), last=512, asked={"factor": Fraction(2)}),
    "23.976 to 60": Case(
        time_base=Fraction(1, 24000), pts=range(0, 8 * 1001, 1001), last=1001, asked={"target_fps": Fraction(60)}
    ),
    "25 to 60": Case(
        time_base=Fraction(1, 12800), pts=range(0, 7 * 512, 512), last=512, asked={"target_fps": Fraction(60)}
    ),
    "29.97 to 60": Case(
        time_base=Fraction(1, 30000), pts=range(0, 9 * 1001, 1001), last=1001, asked={"target_fps": Fraction(60)}
    ),
    "uneven x2": Case(time_base=Fraction(1, 1000), pts=UNEVEN, last=40, asked={"factor": Fraction(2)}),
    "uneven to 60": Case(time_base=Fraction(1, 1000), pts=UNEVEN, last=40, asked={"target_fps": Fraction(60)}),
}
KINDS: tuple[tuple[Mode, Strategy], ...] = (("interp", STRATEGIES[0]), *(("both", each) for each in STRATEGIES))
WAYS = [
    pytest.param(
        name,
        kind,
        marks=[] if kind == KINDS[0] or name == "uneven to 60" else [pytest.mark.long("longer")],
        id=f"{name}-{' '.join(kind)}",
    )
    for name in CASES
    for kind in KINDS
]
"""The suite takes each timeline once, and the hardest one in every way."""


@pytest.mark.parametrize(("name", "kind"), WAYS)
def test_every_frame_is_there_at_its_time(opened: Open, name: str, kind: tuple[Mode, Strategy]) -> None:
    """As many frames as the timeline has, at exact times, each showing what is in the picture at that very time."""
    case, (mode, strategy) = CASES[name], kind
    scale = 2 if mode == "both" else 1
    options = replace(OPTIONS, mode=mode, strategy=strategy, scale=Fraction(scale), **case.asked)
    index = Index(video=video(), time_base=case.time_base, pts=tuple(case.pts), keyframes=(0,), last_duration=case.last)
    times = timeline.asked(index, 0, len(case.pts), options)
    due = case.due()
    assert [at * times.time_base for at in times.pts] == [at for at, _ in due]
    source = waves()
    frames = (source.at(number, pts=at) for number, at in enumerate(case.pts))
    shown = times.shown(0, times.frames)
    made = list(opened(options).frames(Feed(frames, 0, index.video).shown(shown)))
    assert len(made) == times.frames == len(due)
    assert [frame.pts for frame in made] == [case.pts[int(position)] for _, position in due]
    for frame, (_, position) in zip(made, due, strict=True):
        near = [_nearness(frame, source, position + off, scale) for off in (0, Fraction(-2, 5), Fraction(2, 5))]
        assert near[0] > 32, (position, near)
        assert near[0] > max(near[1:]) + 3, (position, near)


def _nearness(frame: Frame, source: Waves, position: Fraction, scale: int) -> float:
    """Say how near a frame is to the picture of a position, `scale` times as large."""
    luma = stored(source.level("y", position, scale), source.colour)
    return psnr(frame.planes[0], luma, edge=EDGE * scale)


def test_a_larger_picture_alone_has_the_sources_frames(opened: Open) -> None:
    """Mode upscale makes one frame of each, at its pts, and no network looks for motion."""
    options = replace(OPTIONS, mode="upscale", scale=Fraction(2))
    source = waves()
    engine = opened(options)
    made = list(engine.frames(moments(*(source.at(number, pts=7 * number) for number in range(3)))))
    assert [frame.pts for frame in made] == [0, 7, 14]
    assert all(_nearness(frame, source, Fraction(number), 2) > 32 for number, frame in enumerate(made))
    assert [clock.name for clock in engine.clocks] == ["upscale"]


# --- what is not made is not touched


DEEP = replace(COLOUR, depth=10)


@pytest.mark.parametrize("colour", [COLOUR, DEEP, replace(COLOUR, across=1, down=1)], ids=["8", "10", "444"])
def test_the_sources_frames_pass_untouched(opened: Open, colour: Colour) -> None:
    """In mode interp what was decoded comes out bit for bit, noise and forbidden codes too; so does a held frame."""
    rng = np.random.default_rng(5)
    top = 1 << colour.depth
    frames = []
    for number in range(3):
        planes = tuple(
            rng.integers(0, top, plane.shape).astype(plane.dtype) for plane in waves(colour=colour).at(0).planes
        )
        frames.append(Frame(planes=planes, pts=number))
    kept = [tuple(plane.copy() for plane in frame.planes) for frame in frames]
    made = list(opened(OPTIONS, colour=colour).frames(moments(frames[0], (frames[0], frames[1], HALF), *frames[1:])))
    for got, due in zip((made[0], *made[2:]), kept, strict=True):
        assert equal(got, Frame(planes=due, pts=0))
    assert {plane.dtype for frame in made for plane in frame.planes} == {np.dtype("u1" if colour.depth == 8 else "u2")}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cut_holds(opened: Open, strategy: Strategy) -> None:
    """Between two scenes the frame before stays, bit for bit, until the next one comes; nothing is a mixture."""
    options = replace(OPTIONS, mode="both", scale=Fraction(2), strategy=strategy, factor=Fraction(3))
    one, other = waves(), waves(seed=9)
    frames = [one.at(0, pts=0), one.at(1, pts=1), other.at(2, pts=2), other.at(3, pts=3)]
    index = Index(video=video(), time_base=Fraction(1, 25), pts=(0, 1, 2, 3), keyframes=(0,), last_duration=1)
    times = timeline.asked(index, 0, 4, options)
    feed, engine = Feed(iter(frames), 0, index.video), opened(options)
    made = list(engine.frames(feed.shown(times.shown(0, times.frames))))
    assert feed.held == 2
    assert engine.reused == 2 + 2  # at the cut, and of the last frame, which has no next one
    alone = [opened(options).frame(Moment(left=frame, right=frame)) for frame in frames]
    for number, of in {0: 0, 3: 1, 4: 1, 5: 1, 6: 2, 9: 3, 10: 3, 11: 3}.items():
        assert equal(made[number], alone[of]), number
    assert not any(equal(made[number], frame) for number in (1, 2, 7, 8) for frame in alone)


# --- what was made once


def identical(frame: Frame, **changes: object) -> Frame:
    """The same picture in memory of its own."""
    return replace(frame, planes=tuple(plane.copy() for plane in frame.planes), **changes)


@pytest.mark.parametrize(("mode", "strategy"), [("upscale", STRATEGIES[0]), *(("both", each) for each in STRATEGIES)])
def test_identical_frames_are_made_once(opened: Open, mode: Mode, strategy: Strategy) -> None:
    """A clip on twos: each picture goes through the network once, the rest is counted, and nothing else differs."""
    options = replace(OPTIONS, mode=mode, scale=Fraction(2), strategy=strategy)
    source = waves()
    pictures = [source.at(number, pts=2 * number) for number in range(3)]
    frames = [each for one in pictures for each in (one, identical(one, pts=one.pts + 1, damaged=one.pts == 2))]
    index = Index(video=video(), time_base=Fraction(1, 25), pts=tuple(range(6)), keyframes=(0,), last_duration=1)
    times = timeline.asked(index, 0, 6, options)
    made = {}
    for reuse in (True, False):
        engine = opened(options, reuse=reuse)
        feed = Feed(iter(frames), 0, index.video)
        made[reuse] = list(engine.frames(feed.shown(times.shown(0, times.frames))))
        enlarged = next(clock for clock in engine.clocks if clock.name == "upscale").frames
        between = 2 if mode == "both" else 0  # of twelve places between, those from one picture to the next
        if reuse:
            assert engine.reused == times.frames - 3 - between
            assert enlarged == 3 + (between if strategy == STRATEGIES[0] else 0)
        else:
            assert enlarged >= 6
    for one, other in zip(made[True], made[False], strict=True):
        assert equal(one, other)
        assert (one.pts, one.damaged) == (other.pts, other.damaged)
    assert [frame.damaged for frame in made[True] if frame.pts in (2, 3)].count(True) >= 1


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), max_size=12), st.booleans())
@settings(max_examples=25, deadline=None)
def test_reuse_changes_nothing_but_the_work(steps: list[tuple[int, bool, bool]], again: bool) -> None:
    """Whatever comes after whatever: planes, pts and damage are those without reuse, and a frame is its own."""
    waves_ = Waves(width=8, height=8, colour=COLOUR)
    first = {seed: replace(waves_, seed=seed).at(0) for seed in range(3)}

    def enlarge(frame: Frame) -> Frame:
        return replace(frame, planes=tuple(np.repeat(plane, 2, axis=0) for plane in frame.planes))

    larger = {reuse: Larger(enlarge, Clock(name="upscale"), reuse=reuse) for reuse in (True, False)}
    for number, (seed, damaged, shown) in enumerate(steps):
        frame = identical(first[seed], pts=number, damaged=damaged)
        for _ in range(1 + again):
            got, due = (larger[reuse](frame, is_output=shown) for reuse in (True, False))
            assert equal(got, due)
            assert (got.pts, got.damaged) == (due.pts, due.damaged) == (number, damaged)
    assert larger[False].reused == 0
    assert larger[True].reused <= sum(shown for *_, shown in steps) * (1 + again)


@pytest.mark.parametrize("mode", ["upscale", "both"])
def test_frames_at_once_are_those_one_by_one(rife_file: Path, tmp_path: Path, mode: Mode) -> None:
    """The same pictures in the same order, and of identical frames one; ncnn is what makes two at once."""
    options = Options(mode=mode, model="realesr-animevideov3", scale=Fraction(2), codec="ffv1")
    larger = tmp_path / "network.onnx"
    onnx.save_model(small_network(4), larger)
    engine = open_engine({"rife": rife_file, options.model: larger}, options, video(), target(video(), options), MEANS)
    assert "ncnn" in engine.providers
    one, two, three = (waves().at(number, pts=number) for number in range(3))
    places = (
        [one, (one, two, Fraction(1, 2)), two, identical(two, pts=7), three] if mode == "both" else [one, two, three]
    )
    due = [engine.frame(moment) for moment in moments(*places)]
    reused = engine.reused
    engine.begin()
    made = list(engine.frames(moments(*places)))
    assert [frame.pts for frame in made] == [frame.pts for frame in due]
    assert engine.reused == reused
    for got, wanted in zip(made, due, strict=True):
        assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(got.planes, wanted.planes, strict=True)) <= 1


def test_what_is_only_made_something_of_is_not_reused() -> None:
    """A frame that was enlarged for those between counts as reused only once it is shown a second time."""
    larger = Larger(lambda frame: frame, Clock(name="upscale"))
    frame = waves().at(0)
    larger(frame, is_output=False)
    larger(frame)
    assert larger.reused == 0
    larger(frame)
    larger(identical(frame, pts=1))
    assert larger.reused == 2


def heads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count what is asked of the graph that makes a frame's layers."""
    counted: list[int] = []
    call = sessions.Session.call

    def counting(self: sessions.Session, *args: Mapping[str, Array]) -> dict[str, Array]:
        made = call(self, *args)
        if LAYERS_OUT in made:
            assert made[LAYERS_OUT].shape[1] == LAYERS
            counted.append(1)
        return made

    monkeypatch.setattr(sessions.Session, "call", counting)
    return counted


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_layers_are_made_once_a_frame(
    opened: Open, kind: tuple[Mode, Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame takes part in two pairs and in all that is made between them; its layers are made for the first."""
    mode, strategy = kind
    options = replace(OPTIONS, mode=mode, strategy=strategy, scale=Fraction(2 if mode == "both" else 1))
    engine, counted = opened(options), heads(monkeypatch)
    frames = [waves(seed=20).at(number, pts=number) for number in range(4)]
    places = [Fraction(each, 4) for each in (1, 2, 3)]
    list(engine.frames(moments(*((one, other, at) for one, other in pairwise(frames) for at in places))))
    assert len(counted) == 4


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_layers_are_made_once_a_picture(
    opened: Open, kind: tuple[Mode, Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On twos, the second of two identical frames has the layers of the first."""
    mode, strategy = kind
    options = replace(OPTIONS, mode=mode, strategy=strategy, scale=Fraction(2 if mode == "both" else 1))
    engine, counted = opened(options), heads(monkeypatch)
    pictures = [waves(seed=21).at(number) for number in range(3)]
    (a, b, c), (a2, b2) = pictures, [identical(each, pts=1) for each in pictures[:2]]
    places = [Fraction(1, 3), Fraction(2, 3)]
    list(engine.frames(moments(*((one, other, at) for one, other in ((a2, b), (b2, c)) for at in places), a)))
    assert len(counted) == 3


# --- what is said


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_damage_passes_on(opened: Open, kind: tuple[Mode, Strategy]) -> None:
    """A frame is damaged when one that it is made of is."""
    mode, strategy = kind
    options = replace(OPTIONS, mode=mode, strategy=strategy, scale=Fraction(2 if mode == "both" else 1))
    a, b, c = (waves().at(number, pts=number, damaged=number == 1) for number in range(3))
    made = opened(options).frames(moments(a, (a, b, HALF), b, (b, c, HALF), c))
    assert [frame.damaged for frame in made] == [False, True, True, True, False]


def test_stages_are_told_in_the_order_of_the_work(opened: Open) -> None:
    """Those that there are, with what each made since the segment began."""
    source = waves()
    a, b = source.at(0), source.at(1)
    told = {}
    for mode, strategy in (("upscale", STRATEGIES[0]), *KINDS):
        scale = Fraction(1 if mode == "interp" else 2)
        engine = opened(replace(OPTIONS, mode=mode, strategy=strategy, scale=scale))
        list(engine.frames(moments(a, *([(a, b, HALF)] if mode != "upscale" else []), b)))
        told[mode, strategy] = [(clock.name, clock.frames) for clock in engine.clocks]
        assert all(clock.seconds > 0 for clock in engine.clocks)
        engine.begin()
        assert [(clock.frames, clock.seconds) for clock in engine.clocks] == [(0, 0.0)] * len(engine.clocks)
        assert engine.reused == 0
    assert told == {
        ("upscale", STRATEGIES[0]): [("upscale", 2)],
        ("interp", STRATEGIES[0]): [("interpolate", 1)],
        ("both", STRATEGIES[0]): [("interpolate", 1), ("upscale", 3)],
        ("both", STRATEGIES[1]): [("upscale", 2), ("interpolate", 1)],
    }


def test_the_ladder_and_the_provider_are_of_the_whole(opened: Open) -> None:
    """What counts is the session of the network; every rung is told."""
    engine = opened(replace(OPTIONS, mode="both", scale=Fraction(2)))
    assert (engine.session.family, engine.session.precision) == ("cpu", "f32")
    assert engine.ladder == ("CPUExecutionProvider (f32): runs",)


@pytest.mark.parametrize(("frames", "is_tried"), [(1, False), (1_000_000, True), (None, True)])
def test_a_short_job_takes_what_starts_soonest(tmp_path: Path, frames: int | None, is_tried: bool) -> None:
    """A trial would take longer than it saves; a long job, or one of unknown length, has one."""
    means = replace(MEANS, families=("openvino", "cpu"))
    options, larger = Options(model="realesr-animevideov3", scale=Fraction(2), codec="ffv1"), tmp_path / "network.onnx"
    onnx.save_model(small_network(4), larger)
    wanted = target(video(), options)
    engine = open_engine({options.model: larger}, options, video(), wanted, means, frames=frames)
    assert any(" ms for " in step for step in engine.ladder) == is_tried
    if not is_tried:
        assert (engine.session.family, engine.ladder) == ("cpu", ("ncnn (f32): runs",))


@pytest.mark.parametrize(("frames", "family"), [(1, "cpu"), (1_000_000, "openvino"), (None, "openvino")])
def test_what_moves_is_found_by_openvino(rife_file: Path, frames: int | None, family: str) -> None:
    """Without a trial, which nothing was seen to win against it; a short job takes what starts soonest."""
    means = replace(MEANS, families=("openvino", "cpu"))
    engine = open_engine({"rife": rife_file}, OPTIONS, video(), target(video(), OPTIONS), means, frames=frames)
    assert engine.session.family == family
    assert not any(" ms for " in step for step in engine.ladder)


def test_nothing_is_opened_where_no_family_runs_all(rife_file: Path) -> None:
    """Without a family that is known, the engine says which there are."""
    options = replace(OPTIONS, mode="both", scale=Fraction(2))
    with pytest.raises(ModelError, match="no execution provider of none-such"):
        open_engine(
            {"rife": rife_file}, options, video(), target(video(), options), replace(MEANS, families=("none-such",))
        )


def test_moments_are_closed_with_the_frames(opened: Open) -> None:
    """Whoever leaves early leaves no file open."""
    closed = []

    def endless() -> Iterator[Moment]:
        frame = waves().at(0)
        try:
            while True:
                yield Moment(left=frame, right=frame)
        finally:
            closed.append(1)

    frames = opened(OPTIONS).frames(endless())
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert closed == [1]


# --- the pictures between


@pytest.mark.parametrize("depth", [8, 10])
def test_light_beyond_white_moves_with_the_rest(opened: Open, depth: int) -> None:
    """Codes above white in both frames are above white in the one between, and no darker than they were."""
    colour, unit = replace(COLOUR, depth=depth), 1 << (depth - 8)
    bright = waves(colour=colour, low=1.03, high=1.08, motion=(2.0, 1.0))
    a, b = bright.at(0), bright.at(1)
    assert min(a.planes[0].min(), b.planes[0].min()) > 235 * unit
    made = opened(OPTIONS, colour=colour).frame(Moment(left=a, right=b, fraction=HALF))
    inside = made.planes[0][EDGE:-EDGE, EDGE:-EDGE]
    assert inside.min() >= min(a.planes[0].min(), b.planes[0].min()) - 2 * unit
    assert inside.max() > 248 * unit
    assert psnr(made.planes[0], bright.at(HALF).planes[0], depth=depth, edge=EDGE) > 40


STORED = {
    "8": COLOUR,
    "10": DEEP,
    "12, 4:4:4": replace(COLOUR, depth=12, across=1, down=1),
    "4:2:2, full range": replace(COLOUR, down=1, full_range=True, siting="center"),
    "gray": replace(COLOUR, family="gray", across=1, down=1, full_range=True),
    "rgb": replace(COLOUR, family="rgb", across=1, down=1, full_range=True),
    "bt2020, 10, top left": replace(DEEP, matrix="bt2020", siting="topleft"),
}


@pytest.mark.parametrize("size", [SIZE, (75, 61)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", STORED)
def test_however_samples_are_stored_what_moves_is_found(opened: Open, name: str, size: tuple[int, int]) -> None:
    """A known motion: the frame between is nearer to the true one than the blend by 6 dB at least, chroma too."""
    colour = STORED[name]
    source = waves(size, colour)
    at = Fraction(2, 5)
    a, b, due = source.at(0), source.at(1), source.at(at)
    engine = opened(OPTIONS, size, colour)
    kept = engine.frame(Moment(left=a, right=a))
    made = engine.frame(Moment(left=a, right=b, fraction=at))
    result = target(video(size, colour), OPTIONS).colour
    assert [plane.shape for plane in made.planes] == [plane.shape for plane in kept.planes]
    blends = [(1 - float(at)) * one + float(at) * other for one, other in zip(a.planes, b.planes, strict=True)]
    if result != colour:  # gray and RGB become YUV of gray: a ramp from black to white
        span = (1 << result.depth) - 1 if result.full_range else 219 << (result.depth - 8)
        low = 0 if result.full_range else 16 << (result.depth - 8)
        luma, blend = (low + plane / ((1 << colour.depth) - 1) * span for plane in (due.planes[0], blends[0]))
        assert np.abs(kept.planes[0] - (low + a.planes[0] / ((1 << colour.depth) - 1) * span)).max() <= 1
        assert all(np.abs(plane.astype(int) - (1 << (result.depth - 1))).max() <= 1 for plane in made.planes[1:])
        found, plain = ((plane, luma) for plane in (made.planes[0], blend))
        assert psnr(*found, edge=EDGE) >= psnr(*plain, edge=EDGE) + 6
        return
    assert equal(kept, a)
    for number, (plane, wanted, blend) in enumerate(zip(made.planes, due.planes, blends, strict=True)):
        edge = EDGE // (2 if number else 1)
        ours, mixed = (psnr(each, wanted, depth=colour.depth, edge=edge) for each in (plane, blend))
        print(name, size, number, ours, mixed)
        assert ours >= mixed + 6


@pytest.mark.parametrize("motion", [(8.0, 0.0), (-6.0, 5.0), (12.0, -4.0), (0.5, 9.0)], ids=str)
def test_motion_beats_the_blend(opened: Open, motion: tuple[float, float]) -> None:
    """To each side, and at every share of the way."""
    source = waves(motion=motion)
    a, b = source.at(0), source.at(1)
    for at in (Fraction(1, 4), HALF, Fraction(4, 5)):
        made = opened(OPTIONS).frame(Moment(left=a, right=b, fraction=at))
        luma = source.at(at).planes[0]
        blend = (1 - float(at)) * a.planes[0] + float(at) * b.planes[0]
        ours, mixed = (psnr(each, luma, edge=EDGE) for each in (made.planes[0], blend))
        print(motion, at, ours, mixed)
        assert ours >= mixed + 6


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_turned_source_comes_out_upright(rife_file: Path, kind: tuple[Mode, Strategy]) -> None:
    """A phone's portrait video: turned and made deeper on the way, before or after what lies between was found."""
    mode, strategy = kind
    scale = 2 if mode == "both" else 1
    options = replace(OPTIONS, mode=mode, strategy=strategy, scale=Fraction(scale), pix_fmt="yuv444p10le")
    size = (64, 48)
    lying = replace(video(size), turn=Turn(quarters=1))
    wanted = target(lying, options)
    engine = open_engine({"rife": rife_file}, options, lying, wanted, MEANS)
    source = waves(size)
    a, b = source.at(0, pts=3), source.at(1, pts=4)
    made = list(engine.frames(moments(a, (a, b, HALF), b)))
    assert [frame.pts for frame in made] == [3, 3, 4]
    for frame, position in zip(made, (Fraction(0), HALF, Fraction(1)), strict=True):
        assert {plane.shape for plane in frame.planes} == {(wanted.height, wanted.width)} == {(64 * scale, 48 * scale)}
        luma = np.rot90(stored(source.level("y", position, scale), replace(COLOUR, depth=10)), -1)
        assert psnr(frame.planes[0], luma, depth=10, edge=EDGE * scale) > 32
