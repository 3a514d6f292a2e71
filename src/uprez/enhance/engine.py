"""All that is done to the pictures of a segment, in one place: frames between others, larger frames, in either order.

moments -> [frames between] -> [larger] -> frames          interp-then-upscale, and each alone
moments -> [larger] -> [frames between] -> frames          upscale-then-interp
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from uprez.enhance.clock import Clock
from uprez.enhance.interpolate import Interpolator, open_interpolator
from uprez.enhance.rungs import RUNGS
from uprez.enhance.session import Session, no_provider
from uprez.enhance.trial import by_speed, is_worth
from uprez.enhance.upscale import ON_CPU, Means, Upscaler, open_upscaler, work_in_tiles
from uprez.errors import MemoryShortError, NoProviderError
from uprez.job import UPRIGHT, Colour, Index, Options, Video
from uprez.media import timeline
from uprez.media.frame import Frame, Moment
from uprez.media.scenes import same
from uprez.media.target import Target
from uprez.models import MODELS
from uprez.models.motion import MotionSpec
from uprez.models.needed import INTERPOLATOR, models_of

PLAIN = "lanczos"
"""The model that only changes how a picture is stored."""
LANES, LANES_HOLD = 2, 4
"""Frames that are enlarged at once, where a provider is faster so; and that wait at most, for each of these."""


class Larger:
    """Enlarges frames, and those that are the same bit for bit once."""

    def __init__(self, enlarge: Callable[[Frame], Frame] | None, clock: Clock, *, reuse: bool = True) -> None:
        """`enlarge` None: frames pass as they are."""
        self._enlarge = enlarge
        self._clock = clock
        self._reuse = reuse
        self._made: deque[_Made] = deque(maxlen=2)
        self.begun = 0
        """Frames that were not the same as one before."""
        self.reused = 0
        """Output frames that are an earlier one's result."""

    def __call__(self, frame: Frame, *, is_output: bool = True) -> Frame:
        """Give the larger frame; `is_output`: it is shown as it is, and not only made something of."""
        return self.begin(frame, is_output=is_output)()

    def begin(self, frame: Frame, *, is_output: bool = True, pool: Executor | None = None) -> Callable[[], Frame]:
        """Begin to make the larger frame, in the `pool` if there is one; gives what waits for it."""
        if self._enlarge is None:
            return lambda: frame
        made = next((made for made in reversed(self._made) if self._is_same(made.of, frame)), None)
        if made is None:
            made = _Made(of=frame, result=_begun(partial(self._timed, self._enlarge, frame), pool))
            self._made.append(made)
            self.begun += 1
        elif is_output and (made.shown or made.of is not frame):
            self.reused += 1
        made.shown |= is_output
        return partial(made.shown_as, frame)

    def _timed(self, enlarge: Callable[[Frame], Frame], frame: Frame) -> Frame:
        with self._clock.running():
            return enlarge(frame)

    def _is_same(self, before: Frame, frame: Frame) -> bool:
        return self._reuse and (before is frame or same(before, frame))


@dataclass(kw_only=True)
class _Made:
    of: Frame
    result: Callable[[], Frame]
    shown: bool = False

    def shown_as(self, frame: Frame) -> Frame:
        """Wait for the result, and give it as that of a frame that is the same."""
        result = self.result()
        return result if self.of is frame else replace(result, pts=frame.pts, damaged=frame.damaged)


def _begun(make: Callable[[], Frame], pool: Executor | None) -> Callable[[], Frame]:
    if pool is not None:
        return pool.submit(make).result
    made = make()
    return lambda: made


class Engine:
    """Makes output frames of moments. For one caller, and as many segments as are of one kind."""

    def __init__(
        self,
        options: Options,
        enlarge: Upscaler | None,
        between: Interpolator | None,
        ladder: tuple[str, ...] = (),
        *,
        reuse: bool = True,
    ) -> None:
        self._after = options.interpolates_last
        self._upscaler = enlarge
        self._between = between
        self._passed_over = ladder
        self._reuse = reuse
        self.begin()

    def begin(self) -> None:
        """Count from nothing: a new segment."""
        self._clocks = {name: Clock(name=name) for name in ("interpolate", "upscale")}
        self._larger = Larger(self._upscaler, self._clocks["upscale"], reuse=self._reuse)

    @property
    def session(self) -> Session:
        """A session of the family and the precision that all have."""
        of = self._between or self._upscaler
        assert of is not None  # noqa: S101  for the type: `open_engine` opens at least one
        return of.session

    @property
    def providers(self) -> str:
        """What runs the models, by name."""
        parts = (self._between, self._upscaler)
        return ", ".join(dict.fromkeys(part.session.provider for part in parts if part is not None))

    @property
    def ladder(self) -> tuple[str, ...]:
        """Every rung that was tried, and what memory made of the pictures."""
        found = [*self._passed_over]
        for part in (self._between, self._upscaler):
            found += [step for step in (part.session.ladder if part else ()) if step not in found]
        return (*found, *(self._upscaler.notes if self._upscaler else ()))

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """What each stage took since `begin`, in the order of the work; stages that are not there are left out."""
        parts = {"interpolate": self._between, "upscale": self._upscaler}
        names = [name for name, part in parts.items() if part is not None]
        return tuple(self._clocks[name] for name in (reversed(names) if self._after else names))

    @property
    def reused(self) -> int:
        """Output frames since `begin` that are the result of an earlier, identical one."""
        return self._larger.reused

    def frames(self, moments: Iterator[Moment]) -> Iterator[Frame]:
        """Make the frame of each moment, in order; several at once where that is faster. Raises ModelError."""
        try:
            lanes = self._upscaler.share(LANES) if self._upscaler is not None and not self._after else 1
            yield from map(self.frame, moments) if lanes == 1 else self._side_by_side(moments, lanes)
        finally:
            if isinstance(moments, Generator):
                moments.close()

    def _side_by_side(self, moments: Iterator[Moment], lanes: int) -> Iterator[Frame]:
        """Enlarge so many frames at once; one more is begun, so that none of them waits for the reader.

        Frames that are the same as one before are no work, and wait beside it, up to a bound.
        """
        waiting: deque[tuple[bool, Callable[[], Frame]]] = deque()
        pool = ThreadPoolExecutor(lanes, thread_name_prefix="uprez-upscale")
        try:
            for moment in moments:
                made = self._larger.begun
                result = self._larger.begin(self._in_between(moment), pool=pool)
                waiting.append((self._larger.begun > made, result))
                while sum(is_work for is_work, _ in waiting) > lanes or len(waiting) > LANES_HOLD * lanes:
                    yield waiting.popleft()[1]()
            while waiting:
                yield waiting.popleft()[1]()
        finally:
            pool.shutdown(cancel_futures=True)

    def frame(self, moment: Moment) -> Frame:
        """Make the frame of one moment."""
        shown = moment.left is moment.right
        if not self._after:
            return self._larger(self._in_between(moment))
        left = self._larger(moment.left, is_output=shown)
        if shown:
            return left
        right = self._larger(moment.right, is_output=False)
        return self._in_between(Moment(left=left, right=right, fraction=moment.fraction))

    def _in_between(self, moment: Moment) -> Frame:
        if self._between is None or moment.left is moment.right:
            return moment.left
        with self._clocks["interpolate"].running():
            return self._between(moment)


def open_engine(
    networks: Mapping[str, Path],
    options: Options,
    video: Video,
    wanted: Target,
    means: Means,
    *,
    frames: int | None = None,
    reuse: bool = True,
) -> Engine:
    """Open what the options ask for, all of it on providers of one family.

    `networks` has what `weights.ensure` gave, by model. `means.memory_bytes` is of the main memory, and limits what
    runs there. `frames` of the source are to come: for few, what starts soonest is taken, and not what a trial finds to
    be the fastest; None: many. Raises NoProviderError where no accepted family runs everything, ModelError where a
    model does not fit.
    """
    families = list(dict.fromkeys(rung.family for rung in RUNGS if rung.family in means.families))
    passed: list[str] = []
    is_little = frames is not None and not is_worth(options, video, frames)
    if not _has_network(options) or (is_little and ON_CPU.issuperset(families)):
        families.sort(key=lambda family: family == "openvino")  # it takes longer to start than it would save
    elif ON_CPU.issuperset(families) and MODELS[options.model].architecture and options.upscales:
        # What moves is found the fastest by OpenVINO, wherever it was tried: only what makes larger has two good ways.
        families, found = by_speed(
            families,
            lambda small, made, only: _opened(networks, options, small, made, only, (), reuse=False),
            options,
            video,
            wanted,
            means,
            partial(_work, options, video, wanted, means.memory_bytes),
        )
        passed += found
    for family in families:
        memory = means.memory_bytes if family in ON_CPU else None
        only = replace(means, families=(family,), memory_bytes=memory)
        try:
            return _opened(networks, options, video, wanted, only, tuple(passed), reuse=reuse)
        except NoProviderError as error:
            passed += error.ladder
    raise no_provider(means.families, means.precision, passed)


def _work(options: Options, video: Video, wanted: Target, memory_bytes: int | None, family: str) -> float:
    """Say how many times as much enlarging is in tiles, which differ in size from family to family."""
    if memory_bytes is None or not options.upscales:
        return 1.0
    return work_in_tiles(MODELS[options.model], video, wanted, family, memory_bytes)


def _has_network(options: Options) -> bool:
    return any(MODELS[name].architecture for name in models_of(options))


def _opened(
    networks: Mapping[str, Path],
    options: Options,
    video: Video,
    wanted: Target,
    means: Means,
    ladder: tuple[str, ...],
    *,
    reuse: bool,
) -> Engine:
    enlarge = between = None
    if options.interpolates:
        spec = MotionSpec(width=video.width, height=video.height, colour=video.colour)
        if options.interpolates_last:
            spec = MotionSpec(width=wanted.width, height=wanted.height, colour=wanted.colour)
        precision = means.precision_for(video.colour, wanted.colour)
        means = replace(means, memory_bytes=_after(spec, means, larger=options.interpolates_last), precision=precision)
        between = open_interpolator(networks[INTERPOLATOR], spec, means)
        means = replace(means, precision=between.session.precision)
    if options.upscales:
        enlarge = open_upscaler(networks.get(options.model), MODELS[options.model], video, wanted, means)
    elif not _as_it_is(video, wanted):
        enlarge = open_upscaler(None, MODELS[PLAIN], video, wanted, means)
    return Engine(options, enlarge, between, ladder, reuse=reuse)


def _after(spec: MotionSpec, means: Means, *, larger: bool) -> int | None:
    """Give what RIFE leaves of the memory, which sees whole pictures; raises MemoryShortError where it needs more."""
    if means.memory_bytes is None:
        return None
    per_px = max(MODELS[INTERPOLATOR].working_bytes.get(family, 0) for family in means.families)
    needed = per_px * spec.size.width * spec.size.height
    if needed > means.memory_bytes:
        raise MemoryShortError(
            f"to find motion in {spec.width}x{spec.height} takes about {needed >> 20} MiB, and beside the encoder and"
            f" frames on their way {means.memory_bytes >> 20} are left",
            hint="allow more with --memory, or choose a faster --encoder-preset"
            + (", or interpolate before upscaling" if larger else ""),
        )
    return means.memory_bytes - needed


def _as_it_is(video: Video, wanted: Target) -> bool:
    """Say whether a source's frames need no change to be a result's."""
    return (video.width, video.height, video.turn) == (wanted.width, wanted.height, UPRIGHT) and _storage(
        video.colour
    ) == _storage(wanted.colour)


def _storage(colour: Colour) -> tuple[object, ...]:
    siting = colour.siting if colour.across > 1 or colour.down > 1 else ""
    return colour.matrix, colour.full_range, siting, colour.depth, colour.family, colour.across, colour.down


def share_between(index: Index, first: int, options: Options) -> Fraction:
    """Say how many of a result's frames lie between the source's, about."""
    _, count = timeline.select(index, options.start, options.duration)
    frames = timeline.asked(index, first, count, options).frames
    return Fraction(max(0, frames - count), frames) if options.interpolates else Fraction(0)
