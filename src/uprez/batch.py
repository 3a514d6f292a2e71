"""The controller's journey.

find -> probe -> estimate -> lease -> plan -> watch -> assemble -> verify -> publish -> report. `run` is that journey;
plan to publish happen on leases, in `fleet.loop`. Whatever way it ends, machines are given back and what counts stays:
the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import uprez
from uprez.config.settings import Settings
from uprez.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    BillingError,
    UprezError,
)
from uprez.fleet import background, estimate, reaper, resume
from uprez.fleet.intake import Intake, take_in
from uprez.fleet.interrupt import Interrupts
from uprez.fleet.ledger import LeaseRow, Ledger, batch_lock, utc_now
from uprez.fleet.loop import Loop
from uprez.fleet.outcome import job_result, lease_result
from uprez.fleet.work import Work
from uprez.market.local import LocalMarket
from uprez.models import MODELS, weights
from uprez.report import results
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.report.results import JobResult, JobState, Results
from uprez.sheet import Ref
from uprez.store import keys, objects, urls
from uprez.store.open import Home, exclusive, find_home, open_home, sweep

FAMILIES = ("openvino", "cpu")
"""Execution provider families that the local market accepts."""


@dataclass(kw_only=True)
class Batch:
    """One run over many jobs: what was asked, what was found, what came of it."""

    settings: Settings
    console: Console
    intake: Intake
    leases: list[LeaseRow] = field(default_factory=list)
    started_at: datetime = field(default_factory=utc_now)
    exit_code: int = EXIT_OK


async def run(settings: Settings, console: Console) -> int:
    """Enhance every video the settings name; gives the exit code. Raises UprezError before anything was started."""
    console.ok(f"Market: {settings.market}")
    home = find_home(settings.output_dir, settings.state_prefix)
    batch = Batch(settings=settings, console=console, intake=take_in(settings, console, home))
    _estimate(batch, home)
    if settings.dry_run or not (batch.intake.jobs or batch.intake.failed):
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
            for work in batch.intake.jobs:
                if work.state == "open":
                    work.error, work.hint = error.message, error.hint
        batch.leases = ledger.leases(number)
        code = _report(batch, home, number)
        if code == EXIT_OK:
            _clear(batch, home)
        ledger.end_batch(number, code)
        return code


async def _enhance(batch: Batch, home: Home, ledger: Ledger, market: LocalMarket, number: str) -> None:
    """Clear up after earlier runs, take up what they left, and do the rest on leases."""
    settings, console = batch.settings, batch.console
    await reaper.reap(market, ledger, _locks(settings), console)
    sweep(home)
    _restore(batch, home)
    if not any(work.state == "open" for work in batch.intake.works):
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
        works=[work for work in batch.intake.works if work.state == "open"],
        on_end=partial(_tell_end, batch, home),
    )
    await loop.run()
    _place_twins(batch, home)


def _estimate(batch: Batch, home: Home | None) -> None:
    """Say what is to be made, before anything is rented."""
    for work in batch.intake.jobs:
        if batch.settings.dry_run and home is not None and resume.is_done(home, work):
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
    for work in batch.intake.works:
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
    for twin in batch.intake.twins:
        resume.restore(home, twin)
        name = twin.job.source.name
        first = next(work.job.source.name for work in batch.intake.works if work.job.id == twin.job.id)
        if twin.state == "open":
            twin.fail(f"it is the same video as {first}, which was not finished")
            batch.console.error(f"{name}: {twin.error}")
        else:
            batch.console.info(f"{name} is the same video as {first}: placed, not computed again")
            _tell_result(batch, home, twin)


def _models(batch: Batch) -> dict[str, Ref]:
    """Fetch and convert the weights, unless that was done before."""
    model = MODELS[batch.settings.options.model]
    path = weights.ensure(model, batch.settings.cache_dir, progress=Fetching(batch.console).tell)
    if path is None:
        return {}
    return {model.name: Ref(url=path.absolute().as_uri(), sha256=urls.digest(path), size=path.stat().st_size)}


def _clear(batch: Batch, home: Home) -> None:
    """Remove the sheets, statuses and logs of a run that went well; those of another may tell why it did not."""
    for lease in batch.leases:
        objects.delete(home, objects.listing(home, keys.lease_prefix(lease.id)))


def _tell_end(batch: Batch, home: Home, work: Work) -> None:
    if work.state == "failed":
        batch.console.error(f"{work.job.source.name}: {work.error}", work.hint)
        return
    batch.console.ok("Processing completed successfully!")
    _tell_result(batch, home, work)


def _tell_result(batch: Batch, home: Home, work: Work) -> None:
    for warning in work.warnings[work.told :]:
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
    jobs = (*batch.intake.failed, *(job_result(work, dry_run=batch.settings.dry_run) for work in batch.intake.jobs))
    if batch.exit_code == EXIT_OK and any(job.state == "failed" for job in jobs):
        batch.exit_code = EXIT_FAILED
    leases = tuple(lease_result(row) for row in batch.leases)
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
