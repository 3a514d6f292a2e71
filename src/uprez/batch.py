"""The controller's journey.

find -> probe -> estimate -> lease -> plan -> watch -> assemble -> verify -> publish -> report. `run` is that journey;
plan to publish happen on leases, in `fleet.loop`. Whatever way it ends, machines are given back and what counts stays:
the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath

import uprez
from uprez.config.layers import one_of
from uprez.config.settings import Settings
from uprez.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    BillingError,
    InputError,
    UprezError,
    UsageError,
)
from uprez.fleet import background, estimate, reaper, resume
from uprez.fleet.interrupt import Interrupts
from uprez.fleet.ledger import LeaseRow, Ledger, batch_lock, utc_now
from uprez.fleet.loop import Loop
from uprez.fleet.work import Work
from uprez.job import Job, Options, Source, Video, job_id
from uprez.market.local import LocalMarket
from uprez.media import mux, probe
from uprez.models import MODELS, weights
from uprez.report import results
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.report.results import JobResult, JobState, LeaseResult, Results
from uprez.sheet import Ref
from uprez.store import find, keys, objects, urls
from uprez.store.open import Home, exclusive, find_home, open_home, sweep

FAMILIES = ("openvino", "cpu")
"""Execution provider families that the local market accepts."""


@dataclass(kw_only=True)
class Batch:
    """One run over many jobs: what was asked, what was found, what came of it."""

    settings: Settings
    console: Console
    works: list[Work] = field(default_factory=list)
    twins: list[Work] = field(default_factory=list)
    """Jobs that are the same work as one in `works`, under another name."""
    failed: list[JobResult] = field(default_factory=list)
    """Inputs that never became a job."""
    leases: list[LeaseRow] = field(default_factory=list)
    started_at: datetime = field(default_factory=utc_now)
    exit_code: int = EXIT_OK


async def run(settings: Settings, console: Console) -> int:
    """Enhance every video the settings name; gives the exit code. Raises UprezError before anything was started."""
    batch = Batch(settings=settings, console=console)
    _check_model(settings.options)
    console.ok(f"Market: {settings.market}")
    _find_and_probe(batch)
    _estimate(batch)
    if settings.dry_run or not (batch.works or batch.failed):
        return _report(batch, None, "")
    with _opened(batch) as (home, ledger, number):
        market = LocalMarket(settings.state_dir / "local")
        interrupts = Interrupts(console, BillingError.exit_code)
        try:
            with interrupts, console.live():
                await _enhance(batch, home, ledger, market, number)
        except asyncio.CancelledError:
            batch.exit_code = EXIT_INTERRUPTED
            console.warn(f"Stopped by {interrupts.name}; the same command goes on from here")
        except UprezError as error:
            batch.exit_code = error.exit_code
            console.error(error.message, error.hint)
        batch.leases = ledger.leases(number)
        code = _report(batch, home, number)
        ledger.end_batch(number, code)
        return code


async def _enhance(batch: Batch, home: Home, ledger: Ledger, market: LocalMarket, number: str) -> None:
    """Clear up after earlier runs, take up what they left, and do the rest on leases."""
    settings, console = batch.settings, batch.console
    await reaper.reap(market, ledger, _locks(settings), console)
    sweep(home)
    _restore(batch, home)
    if not any(work.state == "open" for work in batch.works):
        _place_twins(batch, home)
        return
    models = await background.start(partial(_models, batch))
    loop = Loop(
        home=home,
        market=market,
        ledger=ledger,
        console=console,
        settings=settings,
        batch=number,
        families=FAMILIES,
        models=models,
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        works=[work for work in batch.works if work.state == "open"],
        on_end=partial(_tell_end, batch, home),
    )
    await loop.run()
    _place_twins(batch, home)


def _check_model(options: Options) -> None:
    one_of(options.model, MODELS, "--model")
    least, most = MODELS[options.model].scales
    if not least <= options.scale <= most:
        span = str(least) if least == most else f"from {least} to {most}"
        raise UsageError(f"--scale {float(options.scale):g} does not suit {options.model}", hint=f"it takes {span}")


def _find_and_probe(batch: Batch) -> None:
    """Find the inputs and look at each; one that cannot be used fails, the others go on."""
    settings, console = batch.settings, batch.console
    home = find_home(settings.output_dir, settings.state_prefix)
    if settings.input is not None:
        found = [(settings.input, settings.input.name)]
        console.line("LIST", f"Video: {settings.input}")
    else:
        top = settings.input_dir or Path("input")
        console.line("LIST", f"Listing videos in {top}")
        made = resume.outputs(home) if home else frozenset()
        skip = frozenset(settings.output_dir.absolute() / name for name in made)
        found = [(path, path.relative_to(top).as_posix()) for path in find.folder(top, skip=skip)]
    if not found:
        console.warn(f"No videos in {settings.input_dir}: nothing to do")
    else:
        console.ok(f"Found {len(found)} video files")
    if settings.name is not None and len(found) > 1:
        raise UsageError(f"--name {settings.name} names one output, but {len(found)} videos were found")
    sha256 = weights.sha256_of_model(MODELS[settings.options.model])
    for path, name in found:
        _add(batch, path, name, sha256)
    _check_names(batch)
    _check_taken(batch, home)


def _add(batch: Batch, path: Path, name: str, model_sha256: str) -> None:
    options = batch.settings.options
    try:
        source = find.source(path, name)
        video = probe.quick(source.url)
        suffix = _container(video, options)
        job = Job(id=job_id(source, options, model_sha256), source=source, options=options, model_sha256=model_sha256)
        output = _output_name(batch.settings, source, suffix)
    except InputError as error:
        batch.console.error(f"{name}: {_without_path(error.message, path)}", error.hint)
        batch.failed.append(JobResult(job="", input=_text(name), state="failed", error=error.message, hint=error.hint))
        return
    work = Work(job=job, video=video, output=output, fixed=batch.settings.exact)
    lost = mux.left_behind(video, suffix)
    if lost:
        work.warnings.append(f"not carried into {suffix}: {', '.join(lost)}")
        batch.console.warn(f"{name}: not carried into {suffix}: {', '.join(lost)}")
    twin = any(other.job.id == job.id for other in batch.works)
    (batch.twins if twin else batch.works).append(work)


def _container(video: Video, options: Options) -> str:
    """Give the result's suffix; raises InputError when the one that was asked for would lose the sound."""
    fitting = mux.container_for(video, "h264" if options.codec == "auto" else options.codec)
    if options.container in ("auto", fitting, "mkv"):
        return fitting if options.container == "auto" else options.container
    carried = mux.carried(video, options.container)
    lost = [stream.codec for stream in video.audio if stream not in carried]
    if options.codec == "ffv1" or lost:
        what = "ffv1 pictures" if options.codec == "ffv1" else f"{', '.join(lost)} sound"
        raise InputError(f"{options.container} cannot carry {what}", hint="give the output the suffix .mkv")
    return options.container


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


def _check_taken(batch: Batch, home: Home | None) -> None:
    """A file that was asked for by its whole name must not be there yet, unless it is this job's own."""
    for work in batch.works:
        target = batch.settings.output_dir / work.output
        if work.fixed and os.path.lexists(target) and not (home and resume.is_ours(home, work)):
            raise UsageError(
                f"{target} exists already: it is left as it is", hint="choose another name, or move it away"
            )


def _check_names(batch: Batch) -> None:
    seen: dict[str, str] = {}
    for work in (*batch.works, *batch.twins):
        folded = unicodedata.normalize("NFC", work.output).casefold()
        if folded in seen:
            raise UsageError(
                f"{seen[folded]} and {work.job.source.name} would both become {work.output}",
                hint="rename one of them, or run them into two output folders",
            )
        seen[folded] = work.job.source.name


def _estimate(batch: Batch) -> None:
    """Say what is to be made, before anything is rented."""
    home = find_home(batch.settings.output_dir, batch.settings.state_prefix) if batch.settings.dry_run else None
    for work in (*batch.works, *batch.twins):
        if home is not None and resume.is_done(home, work):
            work.state = "skipped"
            batch.console.info(f"{work.job.source.name}: already done")
            continue
        video, options = work.video, work.job.options
        figures = estimate.estimate(video, options)
        frames = "an unknown number of" if figures.frames is None else f"~{figures.frames}"
        batch.console.info(
            f"{work.job.source.name}: {video.width}x{video.height} {video.codec}, {frames} frames"
            f" -> {figures.width}x{figures.height} by {options.model}"
        )


@contextlib.contextmanager
def _opened(batch: Batch) -> Iterator[tuple[Home, Ledger, str]]:
    """Open and hold the output folder and the ledger for one run."""
    settings = batch.settings
    home = open_home(settings.output_dir, settings.state_prefix)
    with exclusive(home):
        ledger = Ledger(settings.state_dir / "ledger.sqlite")
        try:
            number = ledger.new_batch()
            with batch_lock(_locks(settings), number):
                ledger.begin_batch(number, home.url, asdict(settings.options))
                yield home, ledger, number
        finally:
            ledger.close()


def _locks(settings: Settings) -> Path:
    return settings.state_dir / "batches"


def _restore(batch: Batch, home: Home) -> None:
    for work in batch.works:
        resume.restore(home, work)
        if work.state == "skipped":
            batch.console.info(f"Skipping {work.job.source.name}: already done")
            _tell_result(batch, home, work)
        elif work.state != "open":
            _tell_end(batch, home, work)
        elif work.counted and work.plan:
            batch.console.info(
                f"Resuming {work.job.source.name}: "
                f"{len(work.counted)} of {len(work.plan.segments)} segments count already"
            )


def _place_twins(batch: Batch, home: Home) -> None:
    """Give the work that was asked for twice its other name."""
    for twin in batch.twins:
        resume.restore(home, twin)
        if twin.state == "open":
            twin.fail("it is the same video as another input of this batch, which was not finished")
        batch.console.info(f"{twin.job.source.name} is the same work as another input: placed, not computed again")
        _tell_result(batch, home, twin)


def _models(batch: Batch) -> dict[str, Ref]:
    """Fetch and convert the weights, unless that was done before."""
    model = MODELS[batch.settings.options.model]
    path = weights.ensure(model, batch.settings.cache_dir, progress=Fetching(batch.console).tell)
    if path is None:
        return {}
    return {model.name: Ref(url=path.absolute().as_uri(), sha256=urls.digest(path), size=path.stat().st_size)}


def _tell_end(batch: Batch, home: Home, work: Work) -> None:
    if work.state == "failed":
        batch.console.error(f"{work.job.source.name}: {work.error}", work.hint)
        return
    batch.console.ok("Processing completed successfully!")
    _tell_result(batch, home, work)


def _tell_result(batch: Batch, home: Home, work: Work) -> None:
    for warning in work.warnings:
        batch.console.warn(f"{work.job.source.name}: {warning}")
    if work.result is not None:
        output = work.result
        batch.console.line(
            "RESULT",
            f"{home.root / output.path} ({output.width}x{output.height}, {output.frames} frames,"
            f" {output.duration_s:.3f} s, {output.size / 1e6:.1f} MB)",
        )


def _report(batch: Batch, home: Home | None, number: str) -> int:
    """Sum up, write results.json, and give the exit code."""
    jobs = (*batch.failed, *(_job_result(batch, work) for work in (*batch.works, *batch.twins)))
    if batch.exit_code == EXIT_OK and any(job.state == "failed" for job in jobs):
        batch.exit_code = EXIT_FAILED
    leases = tuple(_lease_result(row) for row in batch.leases)
    document = Results(
        uprez=uprez.__version__,
        batch=number,
        started_at=batch.started_at,
        ended_at=datetime.now(UTC),
        exit_code=batch.exit_code,
        dry_run=batch.settings.dry_run,
        output_dir=str(batch.settings.output_dir.absolute()),
        cost_usd=sum((lease.cost_usd for lease in leases), Decimal(0)),
        jobs=jobs,
        leases=leases,
    )
    if home is not None:
        objects.write(home, keys.results(number), results.text(document))
        batch.console.info(f"Results: {objects.path(home, keys.results(number))}")
    _summary(batch, jobs)
    batch.console.result(results.document(document))
    return batch.exit_code


def _summary(batch: Batch, jobs: Sequence[JobResult]) -> None:
    if batch.settings.dry_run:
        batch.console.ok(f"Dry run: {sum(job.state == 'planned' for job in jobs)} files would be processed")
        return
    states: list[JobState] = ["done", "skipped", "failed", "unfinished"]
    counts = ((state, sum(job.state == state for job in jobs)) for state in states)
    text = ", ".join(f"{count} {state}" for state, count in counts if count)
    say: Callable[[str], None] = batch.console.ok if batch.exit_code == EXIT_OK else batch.console.warn
    say(f"Batch processing complete: {len(jobs)} files" + (f" ({text})" if text else ""))


def _job_result(batch: Batch, work: Work) -> JobResult:
    state: JobState = work.state if work.state != "open" else "planned" if batch.settings.dry_run else "unfinished"
    return JobResult(
        job=work.job.id,
        input=work.job.source.name,
        state=state,
        output=work.result,
        made=work.made,
        segments_computed=work.computed,
        segments_adopted=work.adopted,
        seconds=round(work.seconds, 3),
        error=work.error,
        hint=work.hint,
        warnings=tuple(work.warnings),
    )


def _lease_result(row: LeaseRow) -> LeaseResult:
    ended, held = row.ended_at or datetime.now(UTC), row.held_at
    held_s = (ended - held).total_seconds() if held else 0.0
    return LeaseResult(
        lease=row.id,
        market=row.market,
        machine=row.machine,
        instance=row.instance,
        state=row.state,
        usd_per_hour=row.usd_per_hour,
        held_s=round(held_s, 3),
        cost_usd=(row.usd_per_hour * Decimal(str(held_s)) / 3600).quantize(Decimal("0.0001")),
        reason=row.reason,
    )


def _text(name: str) -> str:
    """Write a file's name down even where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _without_path(message: str, path: Path) -> str:
    return message.removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
