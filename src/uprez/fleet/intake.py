"""Find -> probe: what a run is asked to do, and which of it can be done; nothing is written or rented here."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from uprez.config.layers import one_of
from uprez.config.settings import Settings
from uprez.errors import InputError, UsageError
from uprez.fleet import resume
from uprez.fleet.work import Work
from uprez.job import Job, Options, Source, Video, job_id
from uprez.media import mux, probe
from uprez.models import MODELS, weights
from uprez.report.console import Console
from uprez.report.results import JobResult
from uprez.store import find
from uprez.store.open import Home


@dataclass(kw_only=True)
class Intake:
    """What was found."""

    works: list[Work] = field(default_factory=list)
    twins: list[Work] = field(default_factory=list)
    """Jobs that are the same work as one in `works`, under another name."""
    failed: list[JobResult] = field(default_factory=list)
    """Inputs that never became a job."""

    @property
    def jobs(self) -> tuple[Work, ...]:
        """All that became a job."""
        return (*self.works, *self.twins)


def take_in(settings: Settings, console: Console, home: Home | None) -> Intake:
    """Find the inputs and look at each; one that cannot be used fails, the others go on.

    `home` is the output folder's state, None where there is none yet. Raises UsageError when nothing may be started:
    a folder that is not there, a model that does not take the scale, two inputs with one output name.
    """
    _check_model(settings.options)
    found = _found(settings, console, home)
    if settings.name is not None and len(found) > 1:
        raise UsageError(f"--name {settings.name} names one output, but {len(found)} videos were found")
    intake = Intake()
    sha256 = weights.sha256_of_model(MODELS[settings.options.model])
    for path, name in found:
        _add(intake, settings, console, path, name, sha256)
    _check_names(intake)
    _check_taken(intake, settings, home)
    return intake


def _check_model(options: Options) -> None:
    one_of(options.model, MODELS, "--model")
    least, most = MODELS[options.model].scales
    if not least <= options.scale <= most:
        span = str(least) if least == most else f"from {least} to {most}"
        raise UsageError(f"--scale {float(options.scale):g} does not suit {options.model}", hint=f"it takes {span}")


def _found(settings: Settings, console: Console, home: Home | None) -> list[tuple[Path, str]]:
    """List the inputs with their names for people; our own outputs are none."""
    if settings.input is not None:
        console.line("LIST", f"Video: {settings.input}")
        found = [(settings.input, settings.input.name)]
    else:
        top = settings.input_dir or Path("input")
        console.line("LIST", f"Listing videos in {top}")
        made = resume.outputs(home) if home else frozenset()
        skip = frozenset(settings.output_dir.absolute() / name for name in made)
        found = [(path, path.relative_to(top).as_posix()) for path in find.folder(top, skip=skip, warn=console.warn)]
        if not found:
            console.warn(f"No videos in {top}: nothing to do")
            return []
    console.ok(f"Found {len(found)} video files")
    return found


def _add(intake: Intake, settings: Settings, console: Console, path: Path, name: str, model_sha256: str) -> None:
    options = settings.options
    try:
        source = find.source(path, name)
        video = probe.quick(source.url)
        suffix = _container(video, options)
        job = Job(id=job_id(source, options, model_sha256), source=source, options=options, model_sha256=model_sha256)
        output = _output_name(settings, source, suffix)
    except InputError as error:
        console.error(f"{name}: {_without_path(error.message, path)}", error.hint)
        intake.failed.append(JobResult(job="", input=_text(name), state="failed", error=error.message, hint=error.hint))
        return
    work = Work(job=job, video=video, output=output, fixed=settings.exact)
    lost = mux.left_behind(video, suffix)
    if lost:
        work.warnings.append(f"not carried into {suffix}: {', '.join(lost)}")
        work.told = 1
        console.warn(f"{name}: not carried into {suffix}: {', '.join(lost)}")
    twin = any(other.job.id == job.id for other in intake.works)
    (intake.twins if twin else intake.works).append(work)


def _container(video: Video, options: Options) -> str:
    """Give the result's suffix; raises InputError when the one that was asked for would lose the sound."""
    fitting = mux.container_for(video, "h264" if options.codec == "auto" else options.codec)
    container = fitting if options.container == "auto" else options.container
    carried = mux.carried(video, container)
    lost = [stream.codec for stream in video.audio if stream not in carried]
    if lost:
        hint = (
            "give the output the suffix .mkv" if container == "mp4" else "convert the sound first, to FLAC for example"
        )
        raise InputError(f"{container} cannot carry its sound ({', '.join(lost)})", hint=hint)
    if options.codec == "ffv1" and container == "mp4":
        raise InputError("mp4 cannot carry ffv1 pictures", hint="give the output the suffix .mkv")
    return container


def _output_name(settings: Settings, source: Source, suffix: str) -> str:
    if settings.name is not None:
        return (
            settings.name
            if settings.exact or PurePosixPath(settings.name).suffix == f".{suffix}"
            else f"{settings.name}.{suffix}"
        )
    path = PurePosixPath(source.name)
    scale = settings.options.scale
    tag = f"x{scale.numerator}" if scale.denominator == 1 else f"x{float(scale):g}"
    name = f"{path.stem}.{tag}.{suffix}"
    if len(name.encode()) > 240:
        raise InputError(f"the output's name {name} would be too long", hint="give a shorter one with --name")
    return str(path.with_name(name))


def _check_taken(intake: Intake, settings: Settings, home: Home | None) -> None:
    """A file that was asked for by its whole name must not be there yet, unless it is this job's own."""
    for work in intake.works:
        target = settings.output_dir / work.output
        if work.fixed and os.path.lexists(target) and not (home and resume.is_ours(home, work)):
            raise UsageError(
                f"{target} exists already: it is left as it is", hint="choose another name, or move it away"
            )


def _check_names(intake: Intake) -> None:
    seen: dict[str, str] = {}
    for work in intake.jobs:
        folded = unicodedata.normalize("NFC", work.output).casefold()
        if folded in seen:
            raise UsageError(
                f"{seen[folded]} and {work.job.source.name} would both become {work.output}",
                hint="rename one of them, or run them into two output folders",
            )
        seen[folded] = work.job.source.name


def _text(name: str) -> str:
    """Write a file's name down even where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _without_path(message: str, path: Path) -> str:
    return message.removeprefix(f"{path.absolute()}: ").removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
