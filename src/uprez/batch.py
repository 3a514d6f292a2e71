"""The controller's journey.

find -> probe -> estimate -> lease -> plan -> watch -> assemble -> verify -> publish -> report. `run` is that journey;
plan to publish happen on leases, in `fleet.loop`. Whatever way it ends, machines are given back and what counts stays:
the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import uprez
from uprez import background
from uprez.config.settings import Settings
from uprez.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    BillingError,
    InputError,
    StoreError,
    UprezError,
)
from uprez.fleet import checks, download, forecast, markets, outcome, provisions, readiness, reconcile, resume, uploads
from uprez.fleet.intake import Intake, take_in
from uprez.fleet.interrupt import Interrupts
from uprez.fleet.ledger import LeaseRow, Ledger, UploadLog, batch_lock, utc_now
from uprez.fleet.loop import Loop
from uprez.fleet.markets import Place
from uprez.fleet.outcome import job_result, lease_result, skipped_result
from uprez.fleet.reconcile import Reconciling
from uprez.fleet.renting import Renter
from uprez.fleet.work import Work
from uprez.report import results
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.report.notify import Notifier
from uprez.report.results import JobResult, JobState, Made, Output, Results
from uprez.store import keys
from uprez.store.open import Home, exclusive, find_home, open_home, sweep

LINK_S = 7 * 24 * 3600.0
"""How long a download URL is valid: as long as S3 allows."""
QUIET = timedelta(hours=1)
"""After so long without a new object nobody works on a job any more."""


@dataclass(kw_only=True)
class Batch:
    """One run over many jobs: what was asked, what was found, what came of it."""

    settings: Settings
    console: Console
    intake: Intake
    notifier: Notifier
    number: str = ""
    """Names the run, once it has begun."""
    leases: list[LeaseRow] = field(default_factory=list)
    started_at: datetime = field(default_factory=utc_now)
    ended_at: datetime = field(default_factory=utc_now)
    """By the market's clock."""
    exit_code: int = EXIT_OK


async def run(settings: Settings, console: Console) -> int:
    """Enhance every video the settings name; gives the exit code. Raises UprezError before anything was started."""
    console.ok(f"Market: {settings.market}" + (f" ({settings.market_reason})" if settings.market_reason else ""))
    if settings.market == "local" and settings.max_machines > 1:
        console.warn(f"max_machines {settings.max_machines} is for rented machines; here one works")
    if settings.market == "vast":
        markets.account(settings)  # without a key nothing is looked for
    notifier = Notifier(settings.webhook, console)
    where = partial(find_home, settings.output_dir, settings.access)
    # In a thread: thousands of inputs take a while, and Ctrl-C is heard meanwhile.
    home = await background.start(partial(where, prefix=settings.state_prefix, state=settings.state_folder))
    intake = await background.start(partial(take_in, settings, console, home))
    batch = Batch(settings=settings, console=console, intake=intake, notifier=notifier)
    _tell_skipped(batch, home)
    forecast.tell(intake, settings, console)
    found = bool(intake.jobs or intake.failed or intake.skipped)
    if settings.dry_run or not (found or await background.start(partial(reconcile.is_due, settings))):
        return _report(batch, None, "")
    place = await background.start(partial(markets.open_market, settings, console))
    locks = _locks(settings)
    with _opened(batch) as (home, ledger, number):
        batch.number = number
        reconciling = Reconciling(home=home, ledger=ledger, place=place, locks=locks, console=console, batch=number)
        interrupts = Interrupts(console, BillingError.exit_code, reconciling.pending)
        try:
            with interrupts, console.live():
                await _enhance(batch, home, ledger, place, reconciling)
                await background.start(partial(_bring, batch, home))
        except asyncio.CancelledError:
            batch.exit_code = batch.exit_code or EXIT_INTERRUPTED
            console.warn(f"Stopped by {interrupts.name or 'Ctrl-C'}; the same command goes on from here")
        except UprezError as error:
            batch.exit_code = batch.exit_code or error.exit_code
            console.error(error.message, error.hint)
            for work in batch.intake.jobs:
                if work.state == "open":
                    work.error, work.hint = error.message, error.hint
        if reconciling.stuck:
            batch.exit_code = BillingError.exit_code  # outranks every other end
        batch.leases, batch.ended_at = ledger.leases(number), ledger.clock()
        code = _report(batch, home, number)
        reconciling.clear(batch.leases, whole=code == EXIT_OK)
        with contextlib.suppress(StoreError):  # a full disk must not hide how the run ended
            ledger.end_batch(number, code)
        await background.start(notifier.close)
        return code


async def _enhance(batch: Batch, home: Home, ledger: Ledger, place: Place, reconciling: Reconciling) -> None:
    """Clear up after earlier runs, take up what they left, and do the rest on leases."""
    settings, console = batch.settings, batch.console
    reaping = asyncio.ensure_future(reconciling.begin())
    try:
        await asyncio.shield(reaping)
        await background.start(partial(uploads.reconcile, home, ledger, _locks(settings), console))
        sweep(home)
        await background.start(partial(_restore, batch, home))
        if any(work.state == "open" for work in batch.intake.works):
            await _rent(batch, home, ledger, place)
        await background.start(partial(_place_twins, batch, home))
    finally:
        # Whoever interrupts this run wants nothing left running, of earlier runs neither.
        await background.whole(reconciling.end(reaping))


async def _rent(batch: Batch, home: Home, ledger: Ledger, place: Place) -> None:
    """Do the open work on leases."""
    settings, console = batch.settings, batch.console
    works = [work for work in batch.intake.works if work.state == "open"]
    supplies = await background.start(partial(provisions.bring, settings, console, home, works, rented=place.rented))
    terms = markets.terms(settings, works, place, supplies.size)
    renter = Renter(
        market=place.market,
        ledger=ledger,
        home=home,
        console=console,
        batch=batch.number,
        sheet=markets.sheet(settings, place),
        supplies=supplies,
        terms=terms,
    )
    loop = Loop(
        renter=renter, settings=settings, threads=place.threads, works=works, on_end=partial(_tell_end, batch, home)
    )
    await loop.run()


def _tell_skipped(batch: Batch, home: Home | None) -> None:
    for skipped in batch.intake.skipped:
        batch.console.info(f"Skipping {skipped.job.source.name}: already done")
        if batch.settings.overwrite and skipped.aside:
            batch.console.warn(f"Another file holds its first name, so it is {skipped.output.path}")
            batch.console.line("HINT", "to replace that file, add --no-skip-existing")
        if home is not None:
            _tell_output(batch, home, skipped.output)


@contextlib.contextmanager
def _opened(batch: Batch) -> Iterator[tuple[Home, Ledger, str]]:
    """Open and hold the place for outputs and the ledger for one run."""
    settings = batch.settings
    home = open_home(settings.output_dir, settings.access, prefix=settings.state_prefix, state=settings.state_folder)
    readiness.warn(home, settings.state_dir, [work.job.source.size for work in batch.intake.works], batch.console)
    with exclusive(home, _locks(settings)):
        ledger = Ledger(settings.state_dir / "ledger.sqlite")
        try:
            number = ledger.new_batch()
            with batch_lock(_locks(settings), number):
                ledger.begin_batch(number, home.outputs.url, asdict(settings.options))
                yield replace(home, uploads=UploadLog(ledger, number)), ledger, number
        finally:
            ledger.close()


def _locks(settings: Settings) -> Path:
    return settings.state_dir / "batches"


def _restore(batch: Batch, home: Home) -> None:
    for skipped in batch.intake.skipped:
        if skipped.untidy:
            with contextlib.suppress(StoreError):  # it is done all the same, and `uprez clean` comes by
                _clear_up(home, skipped.job.id)
    resume.each(home, partial(_take_up, home), [work for work in batch.intake.works if work.known], most=4)
    for work in batch.intake.works:
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


def _clear_up(home: Home, job: str) -> None:
    """Remove what led to a finished job's result, unless it may be another machine's, which makes it once more."""
    written = (meta.modified for meta in home.state.listing(keys.job_prefix(job)))
    if not home.remote or all(time and utc_now() - time > QUIET for time in written):
        checks.clean(home, job)


def _take_up(home: Home, work: Work) -> None:
    """Bring one job to where an earlier run left it; what is wrong with it is its own matter, not the batch's."""
    try:
        resume.restore(home, work)
    except StoreError:
        raise
    except UprezError as error:
        work.fail(error.message, error.hint)


def _place_twins(batch: Batch, home: Home) -> None:
    """Give the work that was asked for twice its other name."""
    for twin in batch.intake.twins:
        name = twin.job.source.name
        first = next(work for work in batch.intake.works if work.job.id == twin.job.id)
        if twin.again and first.state == "done" and first.result and first.made:
            _place_anew(home, twin, first.result, first.made)
        else:
            _take_up(home, twin)
        if twin.state == "open":
            twin.fail(f"it is the same video as {first.job.source.name}, which was not finished")
        if twin.state == "failed":
            batch.console.error(f"{name}: {twin.error}")
        else:
            batch.console.info(f"{name} is the same video as {first.job.source.name}: placed, not computed again")
            _tell_result(batch, home, twin)


def _bring(batch: Batch, home: Home) -> None:
    """Bring results here, when that was asked for; the machines are given back by now."""
    folder = batch.settings.download
    if folder is None or not home.remote:
        return
    results = (*(skipped.output for skipped in batch.intake.skipped), *(work.result for work in batch.intake.jobs))
    for output in results:
        if output is None:
            continue
        try:
            path = download.bring(home, output, folder, Fetching(batch.console, "Download").tell)
            batch.console.line("RESULT", f"Downloaded: {path}")
        except StoreError as error:
            batch.exit_code = EXIT_FAILED
            batch.console.error(f"{output.path} was not downloaded: {error.message}", error.hint)


def _place_anew(home: Home, twin: Work, made_anew: Output, made: Made) -> None:
    """Replace what a job had under its other name by what was made a moment ago."""
    try:
        placed = checks.place_again(home, twin, made_anew)
    except InputError as error:
        twin.fail(error.message, error.hint)
        return
    checks.record(home, twin, (made_anew, placed), made)
    twin.finish(placed, made)


def _tell_end(batch: Batch, home: Home, work: Work) -> None:
    batch.notifier.job(batch.number, job_result(work, dry_run=False))
    if work.state == "failed":
        batch.console.error(f"{work.job.source.name}: {work.error}", work.hint)
        return
    batch.console.ok("Processing completed successfully!")
    outcome.tell(work, batch.console)
    _tell_result(batch, home, work)


def _tell_result(batch: Batch, home: Home, work: Work) -> None:
    for warning in work.warnings[work.told :]:
        batch.console.warn(f"{work.job.source.name}: {warning}")
    if work.result is not None:
        _tell_output(batch, home, work.result)


def _tell_output(batch: Batch, home: Home, output: Output) -> None:
    """Name a result, with the address to fetch it by when it is in a bucket; signed here, shown nowhere else."""
    batch.console.line(
        "RESULT",
        f"{home.shown(output.path)} ({output.width}x{output.height}, {output.frames} frames,"
        f" {output.duration_s:.3f} s, {output.size / 1e6:.1f} MB)",
    )
    if home.remote and not batch.settings.dry_run:
        url = home.outputs.get_url(output.path, seconds=LINK_S)
        batch.console.line("RESULT", f"Download URL (valid for 7 days): {url}")


def _report(batch: Batch, home: Home | None, number: str) -> int:
    """Sum up, write results.json, and give the exit code."""
    skipped = (skipped_result(skipped) for skipped in batch.intake.skipped)
    jobs = (
        *batch.intake.failed,
        *skipped,
        *(job_result(work, dry_run=batch.settings.dry_run) for work in batch.intake.jobs),
    )
    if batch.exit_code == EXIT_OK and any(job.state == "failed" for job in jobs):
        batch.exit_code = EXIT_FAILED
    leases = tuple(lease_result(row, batch.ended_at) for row in batch.leases)
    document = Results(
        uprez=uprez.__version__,
        batch=number,
        started_at=batch.started_at,
        ended_at=datetime.now(UTC),
        exit_code=batch.exit_code,
        dry_run=batch.settings.dry_run,
        output_dir=_output_dir(batch.settings),
        left=len(batch.intake.left),
        cost_usd=sum((lease.cost_usd for lease in leases), Decimal(0)),
        jobs=jobs,
        leases=leases,
    )
    if home is not None:
        _write_results(batch, home, number, results.text(document))
        for job in jobs:
            if job.state == "unfinished" or (job.state == "failed" and not job.job):
                batch.notifier.job(number, job)
        batch.notifier.batch(document, home.state_url(keys.results(number)))
    _summary(batch, jobs)
    batch.console.result(results.document(document))
    return batch.exit_code


def _write_results(batch: Batch, home: Home, number: str, text: bytes) -> None:
    """Write results.json; where that fails, whatever else is to be told at the end is told all the same."""
    try:
        home.state.write(keys.results(number), text)
        batch.console.info(f"Results: {home.state_shown(keys.results(number))}")
    except StoreError as error:
        batch.console.error(error.message, error.hint)
        batch.exit_code = batch.exit_code or EXIT_FAILED


def _output_dir(settings: Settings) -> str:
    folder = settings.output_dir.folder
    return str(folder.absolute()) if folder else f"s3://{settings.output_dir.bucket}/{settings.output_dir.key}"


def _summary(batch: Batch, jobs: Sequence[JobResult]) -> None:
    if batch.settings.dry_run:
        planned = sum(job.state == "planned" for job in jobs)
        planned += len(batch.intake.left) if batch.settings.max_files is None else 0
        batch.console.ok(f"Dry run: {planned} files would be processed")
        return
    states: list[JobState] = ["done", "skipped", "failed", "unfinished"]
    counts = ((state, sum(job.state == state for job in jobs)) for state in states)
    text = ", ".join(f"{count} {state}" for state, count in counts if count)
    say: Callable[[str], None] = batch.console.ok if batch.exit_code == EXIT_OK else batch.console.warn
    say(f"Batch processing complete: {len(jobs)} files" + (f" ({text})" if text else ""))
