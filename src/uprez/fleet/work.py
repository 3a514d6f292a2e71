"""What is known of each job while a batch runs: the pins that count, the tries that failed, how it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from uprez.errors import UnlikeError, UprezError
from uprez.fleet.lookout import Lookout
from uprez.job import GivenUp, Job, Pin, Plan, Survey, Video
from uprez.media.witness import Looks
from uprez.report.results import Loss, Made, Output
from uprez.status import STAGES, Done, Stage
from uprez.store import find, keys, objects
from uprez.store.base import Meta, Store

WorkState = Literal["open", "done", "skipped", "failed", "detached"]


class Doubt(NamedTuple):
    """What one machine said against a job's input."""

    piece: Piece
    error: str
    refused: bool = False
    """What it published of the input was refused."""


class Piece(NamedTuple):
    """One piece of a job's work."""

    kind: Literal["index", "enhance", "assemble"]
    segment: int = -1


INDEX = Piece("index")
ASSEMBLE = Piece("assemble")


@dataclass(kw_only=True)
class Work:
    """One job's progress in this run; changed by the loop's apply step only."""

    job: Job
    video: Video
    output: str
    """The name of the result, relative to the output folder or to the top of the bucket."""
    container: str = ""
    """The result's, as decided when the input was looked into."""
    store: Store | None = None
    """The bucket that the input is in, if it is in one."""
    sent: Meta | None = None
    """The copy of a local input in the state, where rented machines read it."""
    fixed: bool = False
    """The name was asked for: no other may be taken instead."""
    replace: bool = False
    """What holds the name already is to be replaced."""
    known: bool = True
    """Something of it is in the place for outputs already; if not, there is nothing to take up."""
    again: bool = False
    """It is to be done although it is done already."""
    own: frozenset[str] = frozenset()
    """Names of outputs that this very job made before: when it is done again they are replaced."""
    state: WorkState = "open"
    survey: Survey | None = None
    survey_pin: Pin | None = None
    plan: Plan | None = None
    plan_pin: Pin | None = None
    counted: dict[int, Pin] = field(default_factory=dict)
    """Segments that count, by number."""
    assembled: bool = False
    """The result is checked and has its name."""
    given_up: tuple[GivenUp, ...] = ()
    """Plans whose encoder failed on the way."""
    lookout: Lookout | None = None
    """Of the plan."""
    unlike: dict[int, Looks] = field(default_factory=dict)
    """What the last attempt at a segment showed that did not look like the source."""
    doubts: dict[str, Doubt] = field(default_factory=dict)
    """By machine; each of them gets no more of this job."""
    failures: int = 0
    """Times that the plan's encoder failed since a segment last counted."""
    tries: Counter[Piece] = field(default_factory=Counter)
    """Failed tries of each piece in this run."""
    adopted: int = 0
    computed: int = 0
    discarded: Counter[Loss] = field(default_factory=Counter)
    """Attempts at segments that were begun in this run and never counted."""
    damaged: int = 0
    """Source frames that could not be decoded whole, in the segments of this run."""
    stages: dict[str, Stage] = field(default_factory=dict)
    """What each stage took in the segments of this run, by name, in the order of the work."""
    reused: int = 0
    held: int = 0
    """As in `Done`, in the segments of this run."""
    seconds: float = 0.0
    made_s: float = 0.0
    made_frames: int = 0
    """That the segments which this run made and which count took and have."""
    result: Output | None = None
    made: Made | None = None
    error: str | None = None
    hint: str | None = None
    warnings: list[str] = field(default_factory=list)
    told: int = 0
    """How many of the warnings a person has seen already."""
    announced: bool = False

    @property
    def plan_id(self) -> str:
        """The plan's name in work keys."""
        if self.plan is None or self.plan_pin is None:
            raise AssertionError("a job without a plan has no plan id")
        return keys.plan_id(self.plan.number, self.plan_pin.sha256)

    @property
    def pixels(self) -> int:
        """Of a source frame: what all jobs of a batch, which have the same options, take in proportion to."""
        return max(1, self.video.width * self.video.height)

    def frame_s(self, usual_s: float | None) -> float:
        """Reckon what a frame takes: on a machine that takes `usual_s` for a pixel, or on that of the plan."""
        if usual_s:
            return usual_s * self.pixels
        return self.plan.preflight.seconds_per_frame if self.plan else 0.0

    @property
    def frames_counted(self) -> int:
        """Frames in the segments that count."""
        return sum(self.plan.segments[number].count for number in self.counted) if self.plan else 0

    @property
    def seconds_left(self) -> float:
        """Seconds that it still needs on the machine that its plan was made on; 0 where it has none yet."""
        if self.plan is None:
            return 0.0
        return (self.plan.frames - self.frames_counted) * self.plan.preflight.seconds_per_frame

    def fail(self, error: str, hint: str | None = None) -> None:
        """End the job without a result."""
        self.state, self.error, self.hint = "failed", error, hint

    def doubt(self, machine: str, piece: Piece, error: str, hint: str | None) -> bool:
        """Take note that a machine cannot use the input; says whether that ends the job, as a second word does."""
        self.doubts.setdefault(machine, Doubt(piece, error))
        if len(self.doubts) < 2:
            return False
        (one, first), (other, second) = [*self.doubts.items()][:2]
        also = "" if first.error == second.error else f": {second.error}"
        self.fail(f"{first.error} (on machine {one}; machine {other} says so too{also})", hint)
        return True

    def believe(self, why: str) -> None:
        """End the job by one machine's word, where `why` says that no other can be asked."""
        (machine, doubt), *_ = self.doubts.items()
        self.fail(f"{doubt.error} (on machine {machine}, and no other could be tried: {why})")

    def finish(self, output: Output, made: Made) -> None:
        """End the job with its result."""
        self.state, self.assembled, self.result, self.made = "done", True, output, made

    def follow(self, survey: Survey, survey_pin: Pin, plan: Plan, plan_pin: Pin) -> None:
        """Go by a plan from now on."""
        self.survey, self.survey_pin, self.plan, self.plan_pin = survey, survey_pin, plan, plan_pin
        self.given_up, self.failures = plan.given_up, 0
        self.unlike.clear()
        self.lookout = Lookout(url=self.source_url, plan=plan, index=survey.index)

    def forget_plan(self) -> None:
        """Begin again with a new survey: this plan cannot be followed here."""
        self.survey = self.survey_pin = self.plan = self.plan_pin = self.lookout = None
        self.counted.clear()
        self.unlike.clear()
        self.failures = 0

    def give_up(self, reason: str) -> None:
        """Begin again without the plan's encoder, which failed: frames made with it do not join another's."""
        if self.plan is None:
            raise AssertionError("a job without a plan has no encoder")
        rung = self.plan.preflight.encoding.rung
        lost = GivenUp(plan=self.plan.number, rung=rung, reason=reason, frames=self.frames_counted)
        self.given_up = (*self.given_up, lost)
        self.tries.clear()  # there are few encoders, and the next one has its own three tries
        self.forget_plan()

    def note_done(self, done: Done) -> None:
        """Remember how a segment that counts was made; what of it no stage or frame can be is left out."""
        self.computed += 1
        self.damaged += done.damaged
        self.made_s += max(0.0, done.seconds)
        self.made_frames += max(0, done.frames)
        self.reused += max(0, done.reused)
        self.held += max(0, done.held)
        for stage in done.stages:
            if stage.name in STAGES and stage.seconds >= 0 and stage.frames >= 0:
                before = self.stages.get(stage.name, Stage(name=stage.name, seconds=0.0, frames=0))
                seconds, frames = before.seconds + stage.seconds, before.frames + stage.frames
                self.stages[stage.name] = Stage(name=stage.name, seconds=seconds, frames=frames)

    def note_looks(self, number: int, error: UprezError) -> None:
        """Remember what a refused attempt at a segment showed: the next one is compared with it too."""
        if isinstance(error, UnlikeError) and isinstance(error.seen, Looks):
            self.unlike[number] = error.seen

    def source_url(self) -> str:
        """Give a URL that the controller can read the input by."""
        return find.readable(self.job.source, self.store, seconds=objects.READ_S)
