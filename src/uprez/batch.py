"""The controller's journey.

find -> probe -> estimate -> lease -> plan -> watch -> assemble -> verify -> publish -> report. `run` is that journey;
plan to publish happen on leases, in `fleet.loop`. Whatever way it ends, machines are given back and what counts stays:
the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from uprez import background
from uprez.config.saved import saved
from uprez.config.settings import Settings
from uprez.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    BillingError,
    BudgetError,
    InputError,
    StoreError,
    UprezError,
    UsageError,
)
from uprez.fleet import (
    checks,
    cleaning,
    detached,
    download,
    forecast,
    foretold,
    markets,
    outcome,
    planning,
    progress,
    provisions,
    readiness,
    reconcile,
    reporting,
    resume,
    uploads,
)
from uprez.fleet.batches import summary
from uprez.fleet.intake import take_in
from uprez.fleet.interrupt import Interrupts
from uprez.fleet.ledger import Ledger, UploadLog, utc_now
from uprez.fleet.locks import batch_lock
from uprez.fleet.loop import Loop
from uprez.fleet.markets import Place
from uprez.fleet.reconcile import Reconciling
from uprez.fleet.renting import Foreseen, Renter, Terms
from uprez.fleet.reporting import Batch
from uprez.fleet.rows import DetachedRow
from uprez.fleet.speeds import Memory
from uprez.fleet.work import Work
from uprez.market.base import Offer
from uprez.report.console import Console
from uprez.report.fetching import Fetching
from uprez.report.notify import Notifier
from uprez.report.results import Made, Output
from uprez.status import Done
from uprez.store import keys
from uprez.store.open import Home, exclusive, find_home, open_home, sweep

QUIET = timedelta(hours=1)
"""After so long without a new object nobody works on a job any more."""


async def run(settings: Settings, console: Console, *, continues: str = "", collect: DetachedRow | None = None) -> int:
    """Enhance every video the settings name; gives the exit code. Raises UprezError before anything was started.

    `continues`: the run whose work it goes on with. `collect`: a batch that was left to its machines, which are gone:
    what they made is verified and published, nothing is rented.
    """
    markets.check_detach(settings)
    console.ok(f"Market: {settings.market}" + (f" ({settings.market_reason})" if settings.market_reason else ""))
    if settings.market == "local" and settings.deadline_s is not None:
        console.warn("deadline is for rented machines; here it changes nothing")
    if settings.market == "local" and settings.max_machines > 1:
        console.warn(f"max_machines {settings.max_machines} is for rented machines; here one works")
    if settings.market == "vast" and not settings.dry_run:
        markets.account(settings)  # without a key nothing is looked for
    notifier = Notifier(settings.webhook, console)
    where = partial(find_home, settings.output_dir, settings.access)
    # In a thread: thousands of inputs take a while, and Ctrl-C is heard meanwhile.
    home = await background.start(partial(where, prefix=settings.state_prefix, state=settings.state_folder))
    intake = await background.start(partial(take_in, settings, console, home))
    if collect is not None:
        intake.keep(collect.jobs)
    batch = Batch(
        settings=settings, console=console, intake=intake, notifier=notifier, continues=continues, collect=collect
    )
    reporting.tell_skipped(batch, home)
    forecast.tell(intake, settings, console)
    found = bool(intake.jobs or intake.failed or intake.skipped)
    if settings.dry_run:
        batch.plan = await planning.dry(settings, intake, console)
        foretold.table(batch.plan, settings, console)
        return reporting.report(batch, None, "")
    if not (found or await background.start(partial(reconcile.is_due, settings))):
        return reporting.report(batch, None, "")
    place = await background.start(partial(markets.open_market, settings, console))
    await _settle_detached(batch, home, place)
    return await _do(batch, place)


async def _do(batch: Batch, place: Place) -> int:
    """Do what was taken in, and report; gives the exit code."""
    settings, console = batch.settings, batch.console
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
            console.line("HINT", f"uprez resume {number} does so from anywhere")
        except UprezError as error:
            batch.exit_code = batch.exit_code or error.exit_code
            console.error(error.message, error.hint)
            batch.lacked = error if isinstance(error, BudgetError) else None
            for work in batch.intake.jobs:
                if work.state == "open":
                    work.error, work.hint = error.message, error.hint
        if reconciling.stuck:
            batch.exit_code = BillingError.exit_code  # outranks every other end
        batch.leases, batch.ended_at = ledger.leases(number), ledger.clock()
        if place.rented:
            outcome.tell_left(batch.leases, batch.ended_at, settings.budget_usd, console)
        code = reporting.report(batch, home, number)
        reconciling.clear(batch.leases, whole=code == EXIT_OK)
        with contextlib.suppress(StoreError):  # a full disk must not hide how the run ended
            ledger.summarise(number, summary(reporting.results_of(batch), batch.continues))
            if batch.detached:
                console.line("HINT", "uprez status says how far it is, and publishes what was made once it is done")
                console.line("HINT", f"uprez cancel {number} ends it")
            else:
                ledger.end_batch(number, code)
        await background.start(batch.notifier.close)
        return code


async def _enhance(batch: Batch, home: Home, ledger: Ledger, place: Place, reconciling: Reconciling) -> None:
    """Clear up after earlier runs, take up what they left, and do the rest on leases."""
    settings, console = batch.settings, batch.console
    reaping = asyncio.ensure_future(reconciling.begin())
    try:
        await asyncio.shield(reaping)
        await background.start(partial(uploads.reconcile, home, ledger, _locks(settings), console))
        sweep(home)
        alone = detached.of_home(ledger, home)
        told = await background.start(partial(detached.told, ledger, home, alone))
        await background.start(partial(_restore, batch, home, told))
        for each in alone:
            ledger.collected(each.id)
            if batch.collect is None:  # whose end this is: its own is written with its report
                ledger.end_batch(each.id, EXIT_OK if each.jobs <= _finished(batch) else EXIT_FAILED)
        if batch.collect is not None:
            _tell_left(batch)
        elif any(work.state == "open" for work in batch.intake.works):
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
        foretell=partial(_foretell, batch, works, ledger, terms),
    )
    loop = Loop(
        renter=renter,
        settings=settings,
        threads=place.threads,
        works=works,
        on_end=partial(reporting.note_end, batch, home, ledger),
    )
    async with progress.told(_locks(settings), batch.number, batch.intake.jobs, failed=len(batch.intake.failed)):
        await loop.run()


def _foretell(
    batch: Batch, works: Sequence[Work], ledger: Ledger, terms: Terms, offers: Sequence[Offer]
) -> Foreseen | None:
    """Say what the work will take on the machines that are offered, before the first of them is rented."""
    memory = Memory(ledger, rented=terms.budget_usd is not None)
    batch.plan = planning.foreseen(batch.settings, works, memory, terms, offers)
    foretold.say(batch.plan, batch.settings, batch.console)
    return planning.as_foreseen(batch.plan, batch.settings, works, memory)


@contextlib.contextmanager
def _opened(batch: Batch) -> Iterator[tuple[Home, Ledger, str]]:
    """Open and hold the place for outputs and the ledger for one run."""
    settings = batch.settings
    home = open_home(settings.output_dir, settings.access, prefix=settings.state_prefix, state=settings.state_folder)
    readiness.warn(home, settings.state_dir, [work.job.source.size for work in batch.intake.works], batch.console)
    with exclusive(home, _locks(settings)):
        ledger = Ledger(settings.state_dir / "ledger.sqlite")
        try:
            number = batch.collect.id if batch.collect else ledger.new_batch()
            with batch_lock(_locks(settings), number):
                kept = None if settings.exact else saved(settings)  # `uprez enhance` names its files itself
                if batch.collect is None:
                    ledger.begin_batch(number, home.outputs.url, asdict(settings.options), saved=kept)
                ledger.summarise(number, summary(reporting.results_of(batch), batch.continues))
                yield replace(home, uploads=UploadLog(ledger, number)), ledger, number
        finally:
            ledger.close()


def _locks(settings: Settings) -> Path:
    return settings.state_dir / "batches"


async def _settle_detached(batch: Batch, home: Home | None, place: Place) -> None:
    """End the leases that were left to themselves and are over.

    Raises UsageError while some still work for the same place of results: what they are at must not be paid for twice.
    """
    with cleaning.ledger_of(batch.settings.state_dir) as ledger:
        if ledger is None:
            return
        markets.set_clock(ledger, place.market)
        await detached.settle(place.market, ledger, home, batch.console)
        working = (
            [row.id for row in detached.of_home(ledger, home) if detached.is_working(ledger, row.id)] if home else ()
        )
        if working:
            raise UsageError(
                f"batch {working[0]} was detached and still works for this place",
                hint=f"uprez status says how far it is; uprez cancel {working[0]} ends it",
            )


def _restore(batch: Batch, home: Home, told: Mapping[str, Done]) -> None:
    for skipped in batch.intake.skipped:
        if skipped.untidy:
            with contextlib.suppress(StoreError):  # it is done all the same, and `uprez clean` comes by
                _clear_up(home, skipped.job.id)
    resume.each(home, partial(_take_up, home, told=told), [work for work in batch.intake.works if work.known], most=4)
    for work in batch.intake.works:
        if work.state == "skipped":
            batch.console.info(f"Skipping {work.job.source.name}: already done")
            reporting.tell_result(batch, home, work)
        elif work.state != "open":
            reporting.tell_end(batch, home, work)
        elif work.counted and work.plan:
            batch.console.info(
                f"{'' if batch.collect else 'Resuming '}{work.job.source.name}: "
                f"{len(work.counted)} of {len(work.plan.segments)} segments count already"
            )


def _clear_up(home: Home, job: str) -> None:
    """Remove what led to a finished job's result, unless it may be another machine's, which makes it once more."""
    written = (meta.modified for meta in home.state.listing(keys.job_prefix(job)))
    now = utc_now() + timedelta(seconds=home.skew_s)
    if not home.remote or all(time and now - time > QUIET for time in written):
        checks.clean(home, job)


def _finished(batch: Batch) -> frozenset[str]:
    """Name the jobs that are done by now, by id."""
    works = (work.job.id for work in batch.intake.works if work.state in ("done", "skipped"))
    return frozenset((*works, *(skipped.job.id for skipped in batch.intake.skipped)))


def _tell_left(batch: Batch) -> None:
    """Say what the machines that a batch was left to have not done."""
    for work in batch.intake.works:
        if work.state == "open":
            work.error = "its machine ended before it was done"
            work.hint = f"uprez resume {batch.number} goes on with it"
            batch.console.warn(f"{work.job.source.name}: {work.error}")


def _take_up(home: Home, work: Work, told: Mapping[str, Done] = resume.NOTHING) -> None:
    """Bring one job to where an earlier run left it; what is wrong with it is its own matter, not the batch's."""
    try:
        resume.restore(home, work, told)
    except StoreError:
        raise
    except UprezError as error:
        work.fail(error.message, error.hint)


def _place_twins(batch: Batch, home: Home) -> None:
    """Give the work that was asked for twice its other name."""
    for twin in batch.intake.twins:
        name = twin.job.source.name
        first = next(work for work in batch.intake.works if work.job.id == twin.job.id)
        if first.state == "detached":
            twin.state = "detached"  # whoever collects the first places it
            continue
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
            reporting.tell_result(batch, home, twin)


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
