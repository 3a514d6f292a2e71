"""The worker's journey, on whatever machine it was started: read sheet -> index | enhance | assemble -> next.

It knows its sheet and nothing else: no credential, no configuration, no other machine.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from uprez import wire
from uprez.enhance import memory, pipeline, trial
from uprez.enhance.clock import Clock
from uprez.enhance.engine import Engine, open_engine, share_between
from uprez.enhance.feed import Feed
from uprez.enhance.upscale import Means
from uprez.errors import (
    BusyError,
    DeniedError,
    EncodeError,
    InputError,
    ModelError,
    PlanError,
    Stopped,
    StoreError,
    UprezError,
    VerifyError,
)
from uprez.job import Encoding, Index, Options, Plan, Preflight, Segment, Survey
from uprez.logbook import Logbook, Progress, Reporter, starts
from uprez.machine import Machine
from uprez.media import decode, encode, mux, probe, timeline, verify
from uprez.media.containers import carried
from uprez.media.likeness import Finding
from uprez.media.target import Target, target
from uprez.media.witness import Witness, findings
from uprez.models.needed import models_of
from uprez.sheet import PUT_BYTES, Ref, Task, Upload
from uprez.status import Done, Fault, Stage
from uprez.store import urls
from uprez.watch import Watch

MARKER = "VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY"
"""The last line of a log when all went well; people and old scripts look for it, the controller does not."""

PUBLISH_PAUSES_S = (5.0, 15.0, 60.0, 120.0, 120.0, 120.0, 120.0, 120.0)
"""Between tries to publish what was made, when the store does not take it: it was work, and it lies here safely."""
READ_BY_RANGES = Fraction(1, 3)
"""Of an input from afar, what is read where it lies."""
T = TypeVar("T")


def run(
    boot_url: str,
    *,
    folder: Path,
    deadline_file: Path | None = None,
    deadline_epoch_file: Path | None = None,
    machine_file: Path | None = None,
) -> int:
    """Serve one lease from its first sheet to its end; gives the exit code 0 unless a task failed."""
    watch = Watch(boot_url, deadline_file=deadline_file, deadline_epoch_file=deadline_epoch_file)
    log = Logbook(watch.sheet.lease, start=starts(folder))
    reporter = Reporter(lambda: watch.sheet, log, _rented(machine_file), moved=folder / "moved")
    log.say(f"Worker ready: lease {watch.sheet.lease}, {watch.sheet.length_s:.0f} s long")
    worker = _Worker(watch, log, reporter, Path(tempfile.mkdtemp(prefix="scratch-", dir=folder)))
    reason = "defect"
    try:
        while task := watch.next_task(reporter.finished()):
            worker.serve(task)
            reporter.doing("idle")
        reason = worker.farewell()
    finally:
        reporter.close(reason)
        watch.close()
        worker.close()
    return 1 if worker.failed else 0


def _rented(machine_file: Path | None) -> Machine | None:
    """Read what was found out when the machine booted; None on a machine that nobody rented."""
    if machine_file is None:
        return None
    return wire.load(Machine, machine_file.read_bytes(), where=str(machine_file))


@dataclass(frozen=True, kw_only=True)
class Made:
    """What is to be said of a segment beside the file."""

    damaged: int = 0
    suspect: tuple[int, ...] = ()
    stages: tuple[Stage, ...] = ()
    reused: int = 0
    held: int = 0


class _Worker:
    """What is kept from task to task: the open session, plans and surveys already read."""

    def __init__(self, watch: Watch, log: Logbook, reporter: Reporter, scratch: Path) -> None:
        self.watch = watch
        self.log = log
        self.reporter = reporter
        self._scratch = scratch
        self._engine: tuple[object, Engine] | None = None
        self._compiled = scratch.parent / "compiled"
        self._proved: list[Plan] = []
        self._shares: dict[str, Fraction] = {}
        """Of each job's input, how much was asked for here; a part that is read twice counts twice."""
        self.failed = 0
        self._delays: dict[str, int] = {}
        """Of the segments made here, by task."""
        self._stopped = False
        self._made = Made()

    def close(self) -> None:
        """Remove what was written on this machine."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def farewell(self) -> str:
        """Print the log's last line and give the reason for leaving."""
        sheet = self.watch.sheet
        reason = "told to stop" if sheet.stop else "lease ended or nothing to do"
        if self.failed:
            self.log.say(f"ERROR: Pipeline failed lease={sheet.lease}: {self.failed} tasks")
        elif self._stopped:
            self.log.say(f"Stopped before the work was done: {reason}")
        else:
            self.log.say(f"{MARKER} lease={sheet.lease}")
        return reason

    def serve(self, task: Task) -> None:
        """Do one task and report how it ended. Where nobody watches, one that fails is done once more, here."""
        done = self._done(task)
        if self.watch.sheet.detached and done.fault not in (None, "input", "stopped"):
            self.log.say(f"Once more: {_title(task)}")
            done = self._done(task)
        self.failed += done.fault not in (None, "stopped")
        self._stopped = self._stopped or done.fault == "stopped"
        self.reporter.done(done)

    def _done(self, task: Task) -> Done:
        """Do one task; only a defect of ours passes through, and that only where somebody watches."""
        self.reporter.doing("working", task.id)
        self._made = Made()
        started = time.monotonic()
        done = Done(task=task.id, key=task.put.key)
        try:
            with self._part(task) as part:
                frames = self._steps(task)(task, part)
                self._publish(task, part)
                done = Done(
                    task=task.id,
                    key=task.put.key,
                    size=part.stat().st_size,
                    sha256=urls.digest(part),
                    frames=frames,
                    damaged=self._made.damaged,
                    suspect=self._made.suspect,
                    stages=self._made.stages,
                    reused=self._made.reused,
                    held=self._made.held,
                    seconds=time.monotonic() - started,
                )
            self.log.say(f"Upload complete: {task.put.key}")
        except Stopped as stop:
            self.log.say(f"Stopped {_title(task)}: {stop.message}")
            done = Done(task=task.id, key=task.put.key, fault="stopped", error=stop.message)
        except UprezError as error:
            text = error.message.replace(str(self._source_path(task)), task.name)
            self.log.say(f"ERROR: Pipeline failed for {_title(task)}: {text}")
            done = Done(task=task.id, key=task.put.key, fault=_fault(error), error=text, hint=error.hint)
        except OSError as error:
            text = f"{error.strerror or error} ({error.filename or self._scratch})"
            self.log.say(f"ERROR: Pipeline failed for {_title(task)}: {text}")
            done = Done(task=task.id, key=task.put.key, fault="store", error=text, hint="is the disk full?")
        except Exception as error:
            # A defect of ours ends this worker, but it must be known which task it came from: the others go on.
            text = f"a defect of uprez: {type(error).__name__}: {error}"
            done = Done(task=task.id, key=task.put.key, fault="defect", error=text)
            if not self.watch.sheet.detached:
                self.reporter.done(done)
                raise
            self.log.say(f"ERROR: Pipeline failed for {_title(task)}: {text}")
        return done

    def _publish(self, task: Task, part: Path) -> None:
        """Write what was made; again, should the store be busy, for as long as anybody wants it."""
        alone = itertools.repeat(PUBLISH_PAUSES_S[-1]) if self.watch.sheet.detached else ()
        for pause_s in itertools.chain(PUBLISH_PAUSES_S, alone):
            try:
                self._put(task, part)
            except (BusyError, DeniedError) as error:  # denied: a signature that has run out is renewed in the sheet
                self.log.say(f"[WARN] {_title(task)} was not taken, trying again: {error.message}")
                self._rest(task, pause_s)
            else:
                return
        self._put(task, part)

    def _rest(self, task: Task, seconds: float) -> None:
        """Wait, unless the task is no longer wanted; raises Stopped."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch.check(task, left_s=None)
            self.reporter.moved()
            time.sleep(min(1.0, seconds))

    def _put(self, task: Task, part: Path) -> None:
        """Write what was made, by the URLs that the sheet has now."""
        put = self.watch.current(task).put
        if put.upload_url is None:
            if not put.url.startswith("file:") and part.stat().st_size > PUT_BYTES:
                raise StoreError(f"{put.key} has {part.stat().st_size} bytes: one PUT takes {PUT_BYTES}")
            urls.put(put.url, part)
            return
        fetched = urls.get(put.upload_url)
        if fetched is None:
            raise StoreError(f"{put.key}: the description of its upload is missing")
        urls.put_parts(wire.load(Upload, fetched.data, where="the upload's description"), part)

    def _source(self, task: Task, share: Fraction = Fraction(1)) -> str:
        """Give a URL of the input, of which so large a share will be read.

        One from afar is brought here once for all its tasks, as soon as they need more than a third of it.
        """
        if task.source_url.startswith("file:"):
            return task.source_url
        path = self._source_path(task)
        self._shares[task.job] = self._shares.get(task.job, Fraction(0)) + share
        if not path.exists():
            if self._shares[task.job] <= READ_BY_RANGES:
                return self.watch.current(task).source_url
            for old in self._scratch.glob("source-*"):
                old.unlink()  # jobs come one after the other: the disk needs to hold one
            self.log.say(f"Fetching {task.name} ({task.source_size / 1e6:.1f} MB)")
            beside = path.with_name(f"new-{path.name}")
            url = self.watch.current(task).source_url
            urls.fetch_source(
                url, beside, size=task.source_size, etag=task.source_etag, moved=lambda _: self._keep_on(task)
            )
            beside.replace(path)
        return path.as_uri()

    def _keep_on(self, task: Task) -> None:
        """Go on with what takes long and makes no frames, as long as it is wanted; raises Stopped."""
        self.reporter.moved()
        self.watch.check(task, left_s=None)

    def _source_path(self, task: Task) -> Path:
        return self._scratch / f"source-{task.job}{PurePosixPath(task.name).suffix.lower()}"

    def _steps(self, task: Task) -> Callable[[Task, Path], int]:
        return {"index": self._index, "enhance": self._enhance, "assemble": self._assemble}[task.kind]

    def _index(self, task: Task, part: Path) -> int:
        """Read every packet, and find out by trying what this machine can do with them."""
        self.log.say(f"Reading the index of {task.name}")
        index = probe.index(self._source(task))
        first, count = timeline.select(index, task.options.start, task.options.duration)
        self.log.say(f"{len(index.pts)} frames, {count} to process; trying model and encoder")
        survey = Survey(index=index, preflight=self._preflight(task, index, first))
        part.write_bytes(wire.dump(survey))
        ready = survey.preflight
        self.log.say(f"Ready: {ready.provider} ({ready.precision}), {ready.encoding.rung} on {ready.device}")
        return len(index.pts)

    def _preflight(self, task: Task, index: Index, first: int) -> Preflight:
        video, options = index.video, task.options
        wanted, families = target(video, options), self.watch.sheet.families
        choice = encode.choose(
            wanted.codec,
            encode.picture(video, options, wanted),
            crf=options.crf,
            preset=options.encoder_preset,
            threads=task.threads,
            without=task.without,
        )
        engine = self._open(options, index, wanted, families, choice.encoding)
        between = share_between(index, first, options)
        frames = list(
            decode.frames(
                self._source(task),
                index,
                first,
                min(2, len(index.pts) - first),
                threads=task.threads,
                deinterlace=options.deinterlace,
            )
        )
        seconds = trial.seconds_per_frame(engine, trial.moments(frames, between=options.interpolates), between)
        session = engine.session
        return Preflight(
            family=session.family,
            provider=session.provider,
            precision=session.precision,
            device=session.device,
            encoding=choice.encoding,
            extradata_sha256=choice.extradata_sha256,
            seconds_per_frame=max(seconds, choice.seconds_per_frame),
            ladder=(*engine.ladder, *choice.ladder),
        )

    def _enhance(self, task: Task, part: Path) -> int:
        """Make one segment: decode, enhance and encode at the same time, then check what was written."""
        plan, survey = self._plan(task)
        segment = plan.segments[_given(task.segment, "segment number")]
        index, encoding, options = survey.index, plan.preflight.encoding, plan.options
        times = timeline.planned(index, plan)
        title = f"segment {segment.number + 1} of {len(plan.segments)}"
        self.log.say(f"Enhancing {task.name}, {title}: {segment.count} frames")
        wanted = target(index.video, options)
        engine = self._follow(plan, index, wanted)
        first, count = times.needed(segment.first, segment.count)
        url, threads = self._source(task, Fraction(count, len(index.pts))), encoding.threads
        frames = decode.frames(url, index, first, count, threads=threads, deinterlace=options.deinterlace)
        feed = Feed(frames, first, index.video)
        progress = Progress(self.reporter, self.log, segment.count, title, partial(self.watch.check, task))
        shown = times.shown(segment.first, segment.count)
        witness = Witness.of(index, shown)
        clocks = {name: Clock(name=name) for name in ("decode", "encode", "verify")}
        with encode.Encoder(part, encoding, encode.picture(index.video, options, wanted)) as encoder:
            made = pipeline.run(
                clocks["decode"].timed(witness.seeing(feed.shown(shown))),
                engine.frames,
                clocks["encode"].counting(encoder.write),
                on_frame=progress.frame,
                depth=memory.queue_depth(self._memory(), index.video, wanted),
            )
        with clocks["verify"].running(made):
            walk = verify.segment(part.resolve().as_uri(), plan=plan, index=index, segment=segment, at=witness.places)
        self._delays[task.id] = walk.delay
        self._made = Made(
            damaged=feed.damaged,
            suspect=self._unlike(findings(walk.thumbs, witness.windows()), segment),
            stages=tuple(
                clock.stage() for clock in (clocks["decode"], *engine.clocks, clocks["encode"], clocks["verify"])
            ),
            reused=engine.reused,
            held=feed.held,
        )
        self.log.say(f"Finished {title}: {made} frames at {progress.fps(made):.2f} fps")
        return made

    def _unlike(self, found: dict[int, Finding], segment: Segment) -> tuple[int, ...]:
        """Say what does not look like the source: whether it counts all the same is for the controller to say."""
        for number, finding in sorted(found.items()):
            self.log.say(f"[WARN] frame {segment.first + number} {finding.text}")
        return tuple(sorted(found))

    def _follow(self, plan: Plan, index: Index, wanted: Target) -> Engine:
        """Open what the plan says, and prove before the first frame that this machine's segments join the others."""
        ready, encoding = plan.preflight, plan.preflight.encoding
        engine = self._open(plan.options, index, wanted, (ready.family,), encoding)
        if engine.session.precision != ready.precision:
            raise PlanError(f"the plan wants {ready.precision}, {engine.session.provider} runs differently here")
        if plan not in self._proved:
            try:
                extradata = encode.trial(encoding, encode.picture(index.video, plan.options, wanted))
            except EncodeError as error:  # nothing is wrong with the encoder where the plan was made
                raise PlanError(f"this machine cannot follow the plan: {error.message}") from error
            if extradata != ready.extradata_sha256:
                raise PlanError(f"{encoding.rung} writes other settings here than where the plan was made")
            self._proved.append(plan)
        return engine

    def _assemble(self, task: Task, part: Path) -> int:
        """Join the segments that count, with the source's sound."""
        plan, survey = self._plan(task)
        own = self._own(task)
        self.log.say(f"Assembling {task.name} from {len(task.inputs)} segments")
        # Sound lies all over the file; without any, its headers are enough.
        share = Fraction(1 if carried(survey.index.video, plan.container) else 0)
        mux.assemble(
            part,
            plan=plan,
            index=survey.index,
            segments=self._segments(task),
            delay=max(task.delay, *(self._delays[name] for name in own), 0),
            source_url=self._source(task, share),
        )
        return plan.frames

    def _segments(self, task: Task) -> Iterator[Path]:
        """Fetch the segments that count, one at a time: the disk holds one beside the result."""
        for number in range(len(task.inputs)):
            self._keep_on(task)
            with self._part_of(f"input-{number}.mkv") as path:
                ref = self.watch.current(task).inputs[number]
                urls.fetch(ref.url, path, sha256=self._own(task)[ref.task].sha256 if ref.task else ref.sha256)
                yield path

    def _own(self, task: Task) -> dict[str, Done]:
        """Look up what this worker made itself of an assembly's parts, by task; raises StoreError where one failed."""
        names = [ref.task for ref in task.inputs if ref.task]
        found = {done.task: done for done in self.reporter.ended() if done.fault is None and done.task in names}
        if missing := [str(number + 1) for number, ref in enumerate(task.inputs) if ref.task and ref.task not in found]:
            raise StoreError(f"{task.name} cannot be joined without its segments {', '.join(missing)}")
        return found

    def _plan(self, task: Task) -> tuple[Plan, Survey]:
        task = self.watch.current(task)
        plan = self._document(Plan, _given(task.plan, "plan"))
        return plan, self._document(Survey, _given(task.survey, "survey"))

    def _document(self, kind: type[T], ref: Ref) -> T:
        with self._part_of(f"{ref.sha256}.json") as path:
            urls.fetch(ref.url, path, sha256=ref.sha256)
            return wire.load(kind, path.read_bytes(), where=f"the {kind.__name__.lower()} of this task")

    def _open(
        self, options: Options, index: Index, wanted: Target, families: tuple[str, ...], encoding: Encoding
    ) -> Engine:
        """Open the models for this picture, or take those that are open already: compiling costs seconds."""
        video = index.video
        _, frames = timeline.select(index, options.start, options.duration)
        kind = (
            options.mode,
            options.strategy,
            options.model,
            options.precision,
            trial.is_worth(options, video, frames),
        )
        opening = (kind, video.width, video.height, video.colour, video.turn, wanted, encoding)
        held = self._engine
        if held is None or held[0] != opening or held[1].session.family not in families:
            self._engine = None  # two at once may be too much for the memory
            means = Means(
                families=families,
                threads=encoding.threads,
                precision=options.precision,
                memory_bytes=memory.for_model(self._memory(), video, wanted, encoding),
                cache=self._compiled,
                say=self.log.say,
            )
            engine = open_engine(self._networks(options), options, video, wanted, means, frames=frames)
            held = self._engine = (opening, engine)
        engine = held[1]
        engine.begin()
        session = engine.session
        self.reporter.machine(session.device, session.provider, engine.ladder)
        return engine

    def _memory(self) -> int:
        """Give the main memory that this worker may use."""
        allowed = self.watch.sheet.memory_bytes
        return memory.machine_bytes() if allowed is None else min(allowed, memory.machine_bytes())

    def _networks(self, options: Options) -> dict[str, Path]:
        found = {model: self._network(model) for model in models_of(options)}
        return {model: path for model, path in found.items() if path is not None}

    def _network(self, model: str) -> Path | None:
        ref = self.watch.sheet.models.get(model)
        if ref is None:
            return None
        path = self._scratch / f"{ref.sha256}.onnx"
        if not path.exists():
            urls.fetch(ref.url, path, sha256=ref.sha256)
        return path

    def _part(self, task: Task) -> contextlib.AbstractContextManager[Path]:
        return self._part_of(f"{task.id}.part")

    @contextlib.contextmanager
    def _part_of(self, name: str) -> Iterator[Path]:
        path = self._scratch / name
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _given(value: T | None, what: str) -> T:
    if value is None:
        raise StoreError(f"the sheet's task has no {what}")
    return value


def _title(task: Task) -> str:
    return f"{task.kind} of {task.name}" if task.segment is None else f"segment {task.segment + 1} of {task.name}"


def _fault(error: UprezError) -> Fault:
    faults: tuple[tuple[type[UprezError], Fault], ...] = (
        (InputError, "input"),
        (PlanError, "plan"),
        (ModelError, "model"),
        (EncodeError, "encode"),
        (VerifyError, "verify"),
        (StoreError, "store"),
    )
    return next((fault for kind, fault in faults if isinstance(error, kind)), "defect")
