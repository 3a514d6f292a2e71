"""Find -> probe: what a run is asked to do, and which of it can be done; nothing is written or rented here."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from uprez import http
from uprez.config.layers import one_of
from uprez.config.settings import Location, Settings
from uprez.errors import DeniedError, EncodeError, FetchError, InputError, UprezError, UsageError
from uprez.fleet import naming, records, resume
from uprez.fleet.resume import Memory
from uprez.fleet.work import Work
from uprez.job import Job, Options, Source, Video, job_id
from uprez.media import containers, ladders, probe
from uprez.media.layouts import stored
from uprez.media.target import target
from uprez.models import MODELS, weights
from uprez.models.needed import models_of
from uprez.report.console import Console
from uprez.report.results import JobResult, Made, Output
from uprez.store import find
from uprez.store.base import Store
from uprez.store.open import Home, bucket_store, find_home

DRY_PROBES = 50
"""Videos that a dry run looks into where `max_files` says nothing; the rest is estimated from them."""
PROBE_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A job that was done before."""

    job: Job
    output: Output
    made: Made
    untidy: bool
    """Objects that led to the result are still there."""
    aside: bool
    """Its first name was taken when it was published."""


@dataclass(kw_only=True)
class Intake:
    """What was found."""

    works: list[Work] = field(default_factory=list)
    twins: list[Work] = field(default_factory=list)
    """Jobs that are the same work as one in `works`, under another name."""
    skipped: list[Skipped] = field(default_factory=list)
    """Jobs that are done already; not even looked into."""
    failed: list[JobResult] = field(default_factory=list)
    """Inputs that never became a job."""
    left: list[Source] = field(default_factory=list)
    """Inputs beyond `max_files`."""

    @property
    def jobs(self) -> tuple[Work, ...]:
        """All that is to be done."""
        return (*self.works, *self.twins)

    def keep(self, jobs: Collection[str]) -> None:
        """Forget all but these jobs, by id."""
        self.works = [work for work in self.works if work.job.id in jobs]
        self.twins = [work for work in self.twins if work.job.id in jobs]
        self.skipped = [skipped for skipped in self.skipped if skipped.job.id in jobs]
        self.failed.clear()
        self.left.clear()


@dataclass(frozen=True, kw_only=True)
class Found:
    """One input before it is looked into: what it is called, and how to say what it is (raises InputError)."""

    name: str
    source: Callable[[], Source]


def take_in(settings: Settings, console: Console, home: Home | None) -> Intake:
    """Find the inputs, pass over what is done, and look at the others; one that cannot be used fails, the others go on.

    `home` is the outputs' place, None where there is none yet. Raises UsageError when nothing may be started:
    a folder that is not there, a model that does not take the scale, a preset that no encoder knows, two inputs with
    one output name.
    """
    _check_model(settings.options)
    _check_encoder(settings, console)
    memory = resume.remember(home) if home else Memory()
    store, found = _found(settings, console, memory)
    if settings.name is not None and len(found) > 1:
        raise UsageError(f"--name {settings.name} names one output, but {len(found)} videos were found")
    intake = Intake()
    jobs = _jobs(intake, settings, console, found)
    todo = _pass_over(intake, settings, home, memory, jobs)
    most = settings.max_files if settings.max_files is not None else DRY_PROBES if settings.dry_run else None
    while todo and (most is None or len(intake.jobs) < most):  # those that cannot be used do not count
        some = todo if most is None else todo[: most - len(intake.jobs)]
        todo = todo[len(some) :]
        for job, video in _probed(intake, console, store, some):
            _add(intake, settings, console, memory, store, job, video)
    intake.left.extend(job.source for job in todo)
    _check_names(intake, _folded if settings.output_dir.folder else _as_it_is)
    _check_taken(intake, settings, home, memory)
    return intake


def _check_model(options: Options) -> None:
    one_of(options.model, MODELS, "--model")
    larger = [model.name for model in MODELS.values() if model.kind == "upscale"]
    if options.model not in larger:
        raise UsageError(
            f"--model {options.model} makes frames between others, and no picture larger",
            hint=f"--mode interp or both uses it; to make pictures larger: {', '.join(larger)}",
        )
    least, most = MODELS[options.model].scales
    if not least <= options.scale <= most:
        span = str(least) if least == most else f"from {least} to {most}"
        raise UsageError(f"--scale {float(options.scale):g} does not suit {options.model}", hint=f"it takes {span}")


def _check_encoder(settings: Settings, console: Console) -> None:
    options = settings.options
    crf, preset = options.crf, options.encoder_preset
    asked = None if options.pix_fmt == "auto" else options.pix_fmt
    ladders.check(options.codec, crf=crf, preset=preset, pix_fmt=asked)
    _check_pair(options)
    passed = ladders.passes_gpu(options.codec, crf=crf, preset=preset)
    if passed and settings.market == "vast":
        console.warn(f"The rented machine's CPU will encode, not its GPU ({passed})")


def _check_pair(options: Options) -> None:
    """A codec and a container that never fit are a mistake in the flags, whatever the video."""
    codec, container = options.codec, options.container
    if "auto" in (codec, container) or codec in containers.PICTURES[container]:
        return
    others = [name for name, codecs in containers.PICTURES.items() if codec in codecs]
    raise UsageError(
        f"{container} cannot carry {codec} pictures",
        hint=f"choose --container {' or '.join(others)}, or a name that ends so",
    )


# --- find


def _found(settings: Settings, console: Console, memory: Memory) -> tuple[Store | None, list[Found]]:
    """List the inputs with their names for people, and the bucket they are in; our own outputs are none."""
    if settings.input is not None:
        console.line("LIST", f"Video: {_shown(settings.input)}")
        store, found = one(settings, settings.input)
    else:
        top = settings.input_dir or Location(text="input", folder=Path("input"))
        console.line("LIST", f"Listing videos in {_shown(top)}")
        store, found = _all(settings, top, memory, console)
        if not found:
            console.warn(f"No videos in {_shown(top)}: nothing to do")
            return store, []
    console.ok(f"Found {len(found)} video files")
    return store, found


def one(settings: Settings, where: Location) -> tuple[Store | None, list[Found]]:
    """Look up one video, and the bucket it is in; raises UsageError when there is none."""
    if where.url is not None:
        source = find.at_url(where.url)
        return None, [Found(name=source.name, source=lambda: source)]
    if where.bucket is not None:
        store = bucket_store(where, settings.access)
        meta = store.head(where.key)
        if meta is None:
            raise UsageError(f"--input {where.text}: there is no such object", hint="a prefix goes to --input-dir")
        found = find.bucket_source(store, meta, PurePosixPath(where.key).name)
        return store, [Found(name=found.name, source=partial(_itself, found))]
    path = where.folder or Path()
    if not path.is_file():
        raise UsageError(f"--input {where.text} is not a file", hint="a folder is given with --input-dir")
    return None, [Found(name=path.name, source=partial(find.source, path, path.name))]


def _all(settings: Settings, top: Location, memory: Memory, console: Console) -> tuple[Store | None, list[Found]]:
    out = settings.output_dir
    if top.url is not None:
        raise UsageError(f"{top.text} is one video, not a folder of them", hint="give it with --input")
    if top.bucket is not None:
        store = bucket_store(top, settings.access)
        state = f"{settings.state_prefix.strip('/')}/"
        if f"{top.key.strip('/')}/".startswith(state):
            raise UsageError(
                f"{_shown(top)} lies in uprez's own {state}: nothing there is an input",
                hint="choose another state_prefix",
            )
        made = memory.outputs if out.bucket == top.bucket else frozenset[str]()
        sources = find.in_bucket(
            store, top.key, skip=lambda key: key.startswith(state) or key in made, recursive=settings.recursive
        )
        return store, [Found(name=source.name, source=partial(_itself, source)) for source in sources]
    folder = top.folder or Path()
    skip = frozenset(out.folder.absolute() / name for name in memory.outputs) if out.folder else frozenset[Path]()
    paths = find.folder(folder, skip=skip, outputs=_made_in, recursive=settings.recursive, warn=console.warn)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return None, [
        Found(name=name, source=partial(find.source, path, name)) for path, name in zip(paths, names, strict=True)
    ]


def _made_in(folder: Path) -> frozenset[Path]:
    """List what earlier runs made in another output folder, which lies among the inputs."""
    home = find_home(Location(text=str(folder), folder=folder), None)
    return frozenset(folder / name for name in resume.remember(home).outputs) if home else frozenset()


def _itself(source: Source) -> Source:
    if not source.size:
        raise InputError(f"{source.name}: is empty (0 bytes)")
    return source


def _shown(where: Location) -> str:
    if where.bucket is not None:
        return f"s3://{where.bucket}/{where.key}"
    return http.shown(where.url) if where.url else where.text


def _jobs(intake: Intake, settings: Settings, console: Console, found: Sequence[Found]) -> list[Job]:
    sha256 = _sha256_of(settings.options)
    jobs = []
    for each in found:
        try:
            source = each.source()
        except InputError as error:
            _refuse(intake, console, each.name, error)
            continue
        options = settings.options
        jobs.append(
            Job(id=job_id(source, options, sha256), source=source, options=options, model_sha256=sha256),
        )
    return jobs


def _sha256_of(options: Options) -> str:
    """Name the weights of a job: those of its only model, or a digest over those of several."""
    found = [weights.sha256_of_model(MODELS[name]) for name in models_of(options)]
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()


def _pass_over(intake: Intake, settings: Settings, home: Home | None, memory: Memory, jobs: Sequence[Job]) -> list[Job]:
    """Keep what is not done yet."""
    if home is None:
        return list(jobs)

    def done(job: Job) -> Output | None:
        if not settings.skip_existing and job.id not in settings.redone:
            return None
        manifest = memory.manifests.get(job.id)
        return records.finished(home, manifest, naming.possible(settings, job)) if manifest else None

    todo = []
    for job, output in zip(jobs, resume.each(home, done, jobs), strict=True):
        if output is None:
            todo.append(job)
        else:
            made, untidy = memory.manifests[job.id].made, job.id in memory.untidy
            aside = output.path not in naming.possible(settings, job)[: len(naming.SUFFIXES)] and settings.name is None
            intake.skipped.append(Skipped(job=job, output=output, made=made, untidy=untidy, aside=aside))
    return todo


# --- probe


def _probed(intake: Intake, console: Console, store: Store | None, jobs: Sequence[Job]) -> list[tuple[Job, Video]]:
    """Look into each input; many at a time where they are far away."""

    def look(job: Job) -> Video | UprezError:
        try:
            return probe.quick(find.readable(job.source, store, seconds=PROBE_S))
        except DeniedError:
            raise  # as it would be for every other
        except (InputError, FetchError) as error:
            return error

    videos = [look(job) for job in jobs] if store is None else resume.at_once(look, jobs)
    good = []
    for job, video in zip(jobs, videos, strict=True):
        if isinstance(video, UprezError):
            _refuse(intake, console, job.source.name, video)
        else:
            good.append((job, video))
    return good


def _refuse(intake: Intake, console: Console, name: str, error: UprezError) -> None:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    # The message names the place itself, where a person knows the input by its name.
    message = next(
        (error.message.partition(f"{each}: ")[2] for each in (name, shown) if f"{each}: " in error.message),
        error.message,
    )
    console.error(f"{shown}: {message}", error.hint)
    intake.failed.append(JobResult(job="", input=shown, state="failed", error=message, hint=error.hint))


def _add(
    intake: Intake,
    settings: Settings,
    console: Console,
    memory: Memory,
    store: Store | None,
    job: Job,
    video: Video,
) -> None:
    name = job.source.name
    try:
        _check_start(video, job.options)
        _check_target(video, job.options)
        suffix = _container(video, job.options)
        output = naming.output_name(settings, job.source, suffix)
    except (InputError, EncodeError, UsageError) as error:
        _refuse(intake, console, name, error)
        return
    work = Work(
        job=job,
        video=video,
        output=output,
        container=suffix,
        store=store,
        fixed=settings.exact,
        replace=settings.overwrite,
    )
    work.known = job.id in memory.known
    manifest = memory.manifests.get(job.id)
    if manifest is not None and not settings.skip_existing:
        work.again, work.own = True, frozenset(made.path for made in manifest.outputs)
    lost = containers.left_behind(video, suffix)
    if lost:
        work.warnings.append(f"not carried into {suffix}: {', '.join(lost)}")
        work.told = 1
        console.warn(f"{name}: not carried into {suffix}: {', '.join(lost)}")
    twin = any(other.job.id == job.id for other in intake.works)
    (intake.twins if twin else intake.works).append(work)


def _container(video: Video, options: Options) -> str:
    """Give the result's suffix; raises InputError where the one that was asked for would lose something."""
    codec = "h264" if options.codec == "auto" else options.codec  # or HEVC, which all three carry too
    container = containers.container_for(video, codec) if options.container == "auto" else options.container
    lost = containers.lost(video, container)
    silent = [stream for stream in video.audio if stream not in containers.carried(video, container)]
    if (lost or silent) and not options.drop_unsupported:
        streams = [stream for stream in video.others if stream in lost or stream in silent]
        names = ", ".join(map(containers.named, streams))
        fitting = containers.container_for(video, codec)
        fits = all(containers.fits(each, video, fitting) for each in streams)
        other = f"choose --container {fitting}" if fits else "convert the sound first, to FLAC for example"
        raise InputError(
            f"{container} cannot carry {names}", hint=f"{other}, or leave such streams out with --drop-unsupported"
        )
    return container


def _check_target(video: Video, options: Options) -> None:
    """Refuse what its codec, which may depend on its size, cannot be or has no encoder for."""
    wanted = target(video, options)
    ladders.check(wanted.codec, crf=options.crf, preset=options.encoder_preset, pix_fmt=stored(wanted.colour))


def _check_start(video: Video, options: Options) -> None:
    """Headers are not exact; a start that is a second beyond the end by them holds no frame."""
    if video.duration is not None and options.start > video.duration + 1:
        raise InputError(
            f"--start {float(options.start):g} s is beyond its end: it lasts {float(video.duration):.3f} s",
            hint="choose an earlier --start",
        )


# --- names


def _check_taken(intake: Intake, settings: Settings, home: Home | None, memory: Memory) -> None:
    """A file that was asked for by its whole name must not be there yet, unless it is this job's own."""
    for work in intake.works:
        if not work.fixed or work.replace or (home and resume.is_ours(home, work, memory)):
            continue
        folder = settings.output_dir.folder
        if os.path.lexists(folder / work.output) if folder else home and home.outputs.head(work.output):
            raise UsageError(
                f"{settings.output_dir.text.rstrip('/')}/{work.output} exists already: it is left as it is",
                hint="choose another name, move it away, or replace it with --overwrite",
            )


def _check_names(intake: Intake, fold: Callable[[str], str]) -> None:
    seen = {fold(skipped.output.path): skipped.job.source.name for skipped in intake.skipped}
    for work in intake.jobs:
        folded = fold(work.output)
        if folded in seen:
            raise UsageError(
                f"{seen[folded]} and {work.job.source.name} would both become {work.output}",
                hint="rename one of them, or run them into two output folders",
            )
        seen[folded] = work.job.source.name


def _folded(name: str) -> str:
    """Give what two names share that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _as_it_is(name: str) -> str:
    return name  # a bucket tells A from a


def estimated(intake: Intake, frames: Sequence[int]) -> int | None:
    """Estimate the frames of what was not looked into, from those that were: by bytes; None without any."""
    size = sum(work.job.source.size for work in intake.jobs)
    if not size or not frames:
        return None
    return round(sum(frames) * sum(source.size for source in intake.left) / size)
