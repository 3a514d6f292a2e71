"""The worker's journey, on whatever machine it was started: read sheet -> index | enhance | assemble -> next.

It knows its sheet and nothing else: no credential, no configuration, no other machine.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from uprez import wire
from uprez.enhance import pipeline
from uprez.enhance.upscale import Upscaler, open_upscaler
from uprez.errors import EncodeError, InputError, ModelError, PlanError, Stopped, StoreError, UprezError, VerifyError
from uprez.job import Index, Plan, Preflight, Survey, Video, scaled
from uprez.logbook import Logbook, Reporter
from uprez.media import decode, encode, mux, probe, timeline, verify
from uprez.media.encode import Picture
from uprez.models import MODELS
from uprez.sheet import Ref, Task
from uprez.status import Done, Fault
from uprez.store import urls
from uprez.watch import Watch

MARKER = "VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY"
"""The last line of a log when all went well; people and old scripts look for it, the controller does not."""

PROGRESS_S = 5.0
T = TypeVar("T")


def run(boot_url: str, *, folder: Path, deadline_file: Path | None) -> int:
    """Serve one lease from its first sheet to its end; gives the exit code 0 unless a task failed."""
    watch = Watch(boot_url, deadline_file=deadline_file)
    log = Logbook(watch.sheet.lease)
    reporter = Reporter(watch.sheet, log)
    log.say(f"Worker ready: lease {watch.sheet.lease}, {watch.sheet.length_s:.0f} s long")
    worker = _Worker(watch, log, reporter, Path(tempfile.mkdtemp(prefix="scratch-", dir=folder)))
    reason = "defect"
    try:
        while task := watch.next_task(reporter.finished()):
            worker.do(task)
            reporter.doing("idle")
        reason = worker.farewell()
    finally:
        reporter.close(reason)
        watch.close()
        worker.close()
    return 1 if worker.failed else 0


class _Worker:
    """What is kept from task to task: the open session, plans and surveys already read."""

    def __init__(self, watch: Watch, log: Logbook, reporter: Reporter, scratch: Path) -> None:
        self.watch = watch
        self.log = log
        self.reporter = reporter
        self._scratch = scratch
        self._upscaler: tuple[object, Upscaler] | None = None
        self._proved: list[Plan] = []
        self.failed = 0
        self._stopped = False

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

    def do(self, task: Task) -> None:
        """Do one task and report how it ended; only a defect of ours passes through."""
        self.reporter.doing("working", task.id)
        started = time.monotonic()
        done = Done(task=task.id, key=task.put.key)
        try:
            with self._part(task) as part:
                frames = self._steps(task)(task, part)
                urls.put(task.put.url, part)
                done = Done(
                    task=task.id,
                    key=task.put.key,
                    size=part.stat().st_size,
                    sha256=urls.digest(part),
                    frames=frames,
                    seconds=time.monotonic() - started,
                )
            self.log.say(f"Upload complete: {task.put.key}")
        except Stopped as stop:
            self._stopped = True
            self.log.say(f"Stopped {_title(task)}: {stop.message}")
            done = Done(task=task.id, key=task.put.key, fault="stopped", error=stop.message)
        except UprezError as error:
            self.failed += 1
            self.log.say(f"ERROR: Pipeline failed for {_title(task)}: {error.message}")
            done = Done(task=task.id, key=task.put.key, fault=_fault(error), error=error.message, hint=error.hint)
        except OSError as error:
            self.failed += 1
            text = f"{error.strerror or error} ({error.filename or self._scratch})"
            self.log.say(f"ERROR: Pipeline failed for {_title(task)}: {text}")
            done = Done(task=task.id, key=task.put.key, fault="store", error=text, hint="is the disk full?")
        except Exception as error:
            # A defect of ours ends this worker, but it must be known which task it came from: the others go on.
            text = f"a defect of uprez: {type(error).__name__}: {error}"
            self.reporter.done(Done(task=task.id, key=task.put.key, fault="defect", error=text))
            raise
        self.reporter.done(done)

    def _steps(self, task: Task) -> Callable[[Task, Path], int]:
        return {"index": self._index, "enhance": self._enhance, "assemble": self._assemble}[task.kind]

    def _index(self, task: Task, part: Path) -> int:
        """Read every packet, and find out by trying what this machine can do with them."""
        self.log.say(f"Reading the index of {task.name}")
        index = probe.index(task.source_url)
        first, count = timeline.select(index, task.options.start, task.options.duration)
        self.log.say(f"{len(index.pts)} frames, {count} to process; trying model and encoder")
        survey = Survey(index=index, preflight=self._preflight(task, index, first))
        part.write_bytes(wire.dump(survey))
        ready = survey.preflight
        self.log.say(f"Ready: {ready.provider} ({ready.precision}), {ready.encoding.rung} on {ready.device}")
        return len(index.pts)

    def _preflight(self, task: Task, index: Index, first: int) -> Preflight:
        video, options = index.video, task.options
        width, height = scaled(video.width, options.scale), scaled(video.height, options.scale)
        families = self.watch.sheet.families
        upscaler = self._open(task.options.model, video, width, height, families, task.threads)
        (frame,) = decode.frames(task.source_url, index, first, 1, threads=task.threads)
        upscaler(frame)  # warm-up
        began = time.monotonic()
        upscaler(frame)
        seconds = time.monotonic() - began
        picture = _picture(video, width, height)
        choice = encode.choose(options.codec, picture, crf=options.crf, threads=task.threads)
        session = upscaler.session
        return Preflight(
            family=session.family,
            provider=session.provider,
            precision=session.precision,
            device=session.device,
            encoding=choice.encoding,
            extradata_sha256=choice.extradata_sha256,
            seconds_per_frame=seconds,
            ladder=(*session.ladder, *choice.ladder),
        )

    def _enhance(self, task: Task, part: Path) -> int:
        """Make one segment: decode, enhance and encode at the same time, then check what was written."""
        plan, survey = self._plan(task)
        segment = plan.segments[_given(task.segment, "segment number")]
        index, ready = survey.index, plan.preflight
        title = f"segment {segment.number + 1} of {len(plan.segments)}"
        self.log.say(f"Enhancing {task.name}, {title}: {segment.count} frames")
        upscaler = self._follow(plan, index.video)
        source = decode.frames(
            task.source_url, index, plan.first + segment.first, segment.count, threads=ready.encoding.threads
        )
        progress = _Progress(self, task, segment.count, title)
        with encode.Encoder(part, ready.encoding, _picture(index.video, plan.width, plan.height)) as encoder:
            frames = pipeline.run(source, upscaler, encoder.write, on_frame=progress.frame)
        verify.segment(part, plan=plan, segment=segment)
        self.log.say(f"Finished {title}: {frames} frames at {progress.fps(frames):.2f} fps")
        return frames

    def _follow(self, plan: Plan, video: Video) -> Upscaler:
        """Open what the plan says, and prove before the first frame that this machine's segments join the others."""
        ready, encoding = plan.preflight, plan.preflight.encoding
        upscaler = self._open(plan.options.model, video, plan.width, plan.height, (ready.family,), encoding.threads)
        if upscaler.session.precision != ready.precision:
            raise PlanError(f"the plan wants {ready.precision}, {upscaler.session.provider} runs differently here")
        if plan not in self._proved:
            if encode.trial(encoding, _picture(video, plan.width, plan.height)) != ready.extradata_sha256:
                raise PlanError(f"{encoding.rung} writes other settings here than where the plan was made")
            self._proved.append(plan)
        return upscaler

    def _assemble(self, task: Task, part: Path) -> int:
        """Join the segments that count, with the source's sound."""
        plan, survey = self._plan(task)
        self.log.say(f"Assembling {task.name} from {len(task.inputs)} segments")
        segments = [self._fetched(ref, number) for number, ref in enumerate(task.inputs)]
        self.watch.check(task, left_s=None)
        mux.assemble(part, plan=plan, index=survey.index, segments=segments, source_url=task.source_url)
        for segment in segments:
            segment.unlink()
        return plan.count

    def _plan(self, task: Task) -> tuple[Plan, Survey]:
        plan = self._document(Plan, _given(task.plan, "plan"))
        return plan, self._document(Survey, _given(task.survey, "survey"))

    def _document(self, kind: type[T], ref: Ref) -> T:
        with self._part_of(f"{ref.sha256}.json") as path:
            urls.fetch(ref.url, path, sha256=ref.sha256)
            return wire.load(kind, path.read_bytes(), where=ref.url)

    def _fetched(self, ref: Ref, number: int) -> Path:
        path = self._scratch / f"input-{number}.mkv"
        urls.fetch(ref.url, path, sha256=ref.sha256)
        return path

    def _open(
        self, model_name: str, video: Video, width: int, height: int, families: tuple[str, ...], threads: int
    ) -> Upscaler:
        """Open the model for this picture, or take the session that is open already: compiling costs seconds."""
        model = MODELS[model_name]
        wanted = (model.name, video.width, video.height, video.colour, width, height, threads)
        held = self._upscaler
        if held is None or held[0] != wanted or held[1].session.family not in families:
            self._upscaler = None
            network = self._network(model.name)
            opened = open_upscaler(network, model, video, width, height, families=families, threads=threads)
            held = self._upscaler = (wanted, opened)
        upscaler = held[1]
        session = upscaler.session
        self.reporter.machine(session.device, session.provider, session.ladder)
        return upscaler

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


class _Progress:
    """Counts the frames of a task, says so now and then, and stops the task when the sheet says so."""

    def __init__(self, worker: _Worker, task: Task, total: int, title: str) -> None:
        self._worker = worker
        self._task = task
        self._total = total
        self._title = title
        self._began = time.monotonic()
        self._said = self._began

    def frame(self, frames: int) -> None:
        """Take note of `frames` finished frames; raises Stopped."""
        now = time.monotonic()
        fps = self.fps(frames)
        self._worker.reporter.frames(frames, fps)
        if now - self._said >= PROGRESS_S and frames < self._total:
            self._said = now
            self._worker.log.say(f"{self._title}: {frames}/{self._total} frames, {fps:.2f} fps")
        self._worker.watch.check(self._task, left_s=(self._total - frames) / fps if fps else None)

    def fps(self, frames: int) -> float:
        """Frames a second so far."""
        return frames / max(time.monotonic() - self._began, 1e-6)


def _picture(video: Video, width: int, height: int) -> Picture:
    return Picture(width=width, height=height, sar=video.sar, rate=video.rate or Fraction(25), colour=video.colour)


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
