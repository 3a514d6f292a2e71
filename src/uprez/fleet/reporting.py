"""What a run tells of itself: each job's end, the sum of it all, results.json."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uprez
from uprez.config.settings import Settings
from uprez.errors import EXIT_FAILED, EXIT_OK, BudgetError, StoreError
from uprez.fleet import bill as bills
from uprez.fleet import outcome, remains
from uprez.fleet.batches import summary
from uprez.fleet.intake import Intake
from uprez.fleet.ledger import Ledger, utc_now
from uprez.fleet.outcome import job_result, lease_result, skipped_result
from uprez.fleet.rows import DetachedRow, LeaseRow
from uprez.fleet.work import Work
from uprez.report import results
from uprez.report.console import Console
from uprez.report.notify import Notifier
from uprez.report.results import BatchPlan, JobResult, JobState, Output, Results
from uprez.store import keys
from uprez.store.open import Home

LINK_S = 7 * 24 * 3600.0
"""How long a download URL is valid: as long as S3 allows."""


@dataclass(kw_only=True)
class Batch:
    """One run over many jobs: what was asked, what was found, what came of it."""

    settings: Settings
    console: Console
    intake: Intake
    notifier: Notifier
    number: str = ""
    """Names the run, once it has begun."""
    continues: str = ""
    """The run whose work it goes on with."""
    leases: list[LeaseRow] = field(default_factory=list)
    started_at: datetime = field(default_factory=utc_now)
    ended_at: datetime = field(default_factory=utc_now)
    """By the market's clock."""
    plan: BatchPlan | None = None
    """What it was foreseen to take."""
    exit_code: int = EXIT_OK
    collect: DetachedRow | None = None
    """The run that is ended here: it was left to its machines."""
    lacked: BudgetError | None = None
    """What could not be paid, where that ended the run."""

    @property
    def detached(self) -> bool:
        """Say whether some of it goes on without this process."""
        return any(work.state == "detached" for work in self.intake.works)


def tell_skipped(batch: Batch, home: Home | None) -> None:
    """Tell what was done already when the inputs were looked through."""
    for skipped in batch.intake.skipped:
        batch.console.info(f"Skipping {skipped.job.source.name}: already done")
        if batch.settings.overwrite and skipped.aside:
            batch.console.warn(f"Another file holds its first name, so it is {skipped.output.path}")
            batch.console.line("HINT", "to replace that file, add --no-skip-existing")
        if home is not None:
            _tell_output(batch, home, skipped.output)


def note_end(batch: Batch, home: Home, ledger: Ledger, work: Work) -> None:
    """Remember a job's end, should nobody come to sum up, and tell of it: what was told is remembered."""
    with contextlib.suppress(StoreError):
        ledger.summarise(batch.number, summary(results_of(batch), batch.continues))
    tell_end(batch, home, work)


def tell_end(batch: Batch, home: Home, work: Work) -> None:
    """Tell of a job that is done or failed, on the console and to the webhook."""
    if work.state == "detached":
        return
    batch.notifier.job(batch.number, job_result(work, dry_run=False))
    if work.state == "failed":
        batch.console.error(f"{work.job.source.name}: {work.error}", work.hint)
        return
    batch.console.ok("Processing completed successfully!")
    outcome.tell(work, batch.console)
    tell_result(batch, home, work)


def tell_result(batch: Batch, home: Home, work: Work) -> None:
    """Tell what a job warns of, and where its result is."""
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


def results_of(batch: Batch) -> tuple[JobResult, ...]:
    """Give what has come of each input so far."""
    skipped = (skipped_result(skipped) for skipped in batch.intake.skipped)
    works = (job_result(work, dry_run=batch.settings.dry_run) for work in batch.intake.jobs)
    return (*batch.intake.failed, *skipped, *works)


def report(batch: Batch, home: Home | None, number: str) -> int:
    """Sum up, write results.json, and give the exit code."""
    bill = bills.of(batch.leases, batch.ended_at)
    jobs = bills.charged(results_of(batch), bill)
    bad: tuple[JobState, ...] = ("failed", "unfinished") if batch.collect else ("failed",)
    if batch.exit_code == EXIT_OK and any(job.state in bad for job in jobs):
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
        cost_usd=bill.usd,
        use_usd=dict(bill.by_use),
        remains=None if batch.settings.dry_run else _remains(batch),
        plan=batch.plan,
        jobs=jobs,
        leases=leases,
    )
    if batch.lacked and document.remains:
        remains.tell(document.remains, batch.console)
    if home is not None:
        _write_results(batch, home, number, results.text(document))
        for job in jobs:
            if job.state == "unfinished" or (job.state == "failed" and not job.job):
                batch.notifier.job(number, job)
        if not batch.detached:
            batch.notifier.batch(document, home.state_url(keys.results(number)))
    if batch.settings.market == "vast" and leases:
        batch.console.info(bill.line(batch.settings.budget_usd))
    _summary(batch, jobs)
    batch.console.result(results.document(document))
    return batch.exit_code


def _remains(batch: Batch) -> results.Remains | None:
    return remains.of(
        batch.intake.works,
        batch.leases,
        batch.ended_at,
        batch=batch.number,
        segment_frames=batch.settings.segment_frames,
        error=batch.lacked,
    )


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
    states: list[JobState] = ["done", "skipped", "failed", "unfinished", "detached"]
    counts = ((state, sum(job.state == state for job in jobs)) for state in states)
    text = ", ".join(f"{count} {state}" for state, count in counts if count)
    say: Callable[[str], None] = batch.console.ok if batch.exit_code == EXIT_OK else batch.console.warn
    say(f"Batch processing complete: {len(jobs)} files" + (f" ({text})" if text else ""))
