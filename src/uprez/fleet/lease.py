"""One lease from intent to confirmed end: rent, write its sheet, renew, give back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from uprez import wire
from uprez.config.settings import Timing
from uprez.errors import BillingError, RentError, StoreError
from uprez.fleet import background
from uprez.fleet.ledger import LeaseRow, Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.work import Piece, Work
from uprez.job import Pin
from uprez.market.base import Launch, Market, OfferQuery
from uprez.report.console import Console
from uprez.sheet import PUT_BYTES, Put, Ref, Sheet, Task
from uprez.store import find, keys
from uprez.store.bucket import BucketStore
from uprez.store.multipart import Begun
from uprez.store.open import Home

LOG_PARTS = 400
"""Parts of a log that a lease may publish; the worker makes them longer as time goes on."""
UPLOAD_S = 24 * 3600.0
"""For how long the parts of a large result may be written."""
VALID_S = 30 * 60.0
"""For how long beyond a lease's length its URLs are valid."""
PART_BYTES = 64 << 20
"""Bytes of a part at least."""
PARTS_MOST = 10_000
SLACK_BYTES = 64 << 20
"""What a container may add to its segments and to what it takes from the source."""


@dataclass(kw_only=True)
class Lease:
    """A machine we have, what is asked of it and what is seen of it."""

    row: LeaseRow
    instance: str
    monitor: Monitor
    sheet: Sheet
    assigned: dict[str, tuple[Work, Piece]] = field(default_factory=dict)
    """Tasks on the sheet by id."""
    handled: set[str] = field(default_factory=set)
    """Tasks whose end was taken note of."""
    renewed: float = field(default_factory=time.monotonic)
    count: int = 0
    uploads: dict[str, tuple[str, Begun]] = field(default_factory=dict)
    """Multipart uploads that are open, by task, with their keys."""

    @property
    def id(self) -> str:
        """The lease's id."""
        return self.row.id

    def next_attempt(self) -> str:
        """Name one more try on this lease."""
        self.count += 1
        return keys.attempt(self.id, self.count)


async def acquire(
    market: Market, ledger: Ledger, home: Home, console: Console, *, batch: str, sheet: Sheet, timing: Timing
) -> Lease:
    """Rent the cheapest machine: the intent in the ledger, the sheet in the store, then the call that costs money.

    Raises RentError when nothing is offered or nothing starts.
    """
    offers = await market.offers(OfferQuery())
    if not offers:
        raise RentError(f"the market {market.name} offers no machine")
    offer = offers[0]
    life_s = timing.lease_s + timing.grace_s
    row = ledger.intend(
        batch=batch, market=market.name, machine=offer.machine, usd_per_hour=offer.usd_per_hour, life_s=life_s
    )
    console.debug(f"Cheapest of {len(offers)} offers: {offer.description}, ${offer.usd_per_hour}/hr; label {row.label}")
    sheet = addressed(replace(sheet, lease=row.id), home)
    try:
        await background.start(partial(home.state.write, keys.sheet(row.id), wire.dump(sheet)))
    except StoreError:
        ledger.ended(row.id, "gone")  # nothing was created
        raise
    launch = Launch(
        label=row.label, lease=row.id, boot_url=sheet.next_sheet_url, life_s=life_s, hard_life_s=timing.hard_life_s
    )
    try:
        instance = await market.create(offer, launch)
    except RentError:
        ledger.ended(row.id, "gone")
        raise
    try:
        ledger.held(row.id, instance.id)
    except StoreError as error:
        await market.destroy(instance.id)
        raise RentError(
            f"instance {instance.id} could not be recorded, so it was given back: {error.message}", hint=error.hint
        ) from error
    console.ok(f"Created instance {instance.id} on {offer.description} (${offer.usd_per_hour}/hr)")
    return Lease(row=row, instance=instance.id, monitor=Monitor(lease=row.id, timing=timing), sheet=sheet)


async def write_sheet(home: Home, lease: Lease, sheet: Sheet) -> None:
    """Ask something else of a lease."""
    await background.start(partial(home.state.write, keys.sheet(lease.id), wire.dump(sheet)))
    lease.sheet = sheet


def due(lease: Lease) -> bool:
    """Say whether a lease is to be renewed: when half of it is left."""
    return time.monotonic() - lease.renewed >= lease.sheet.length_s / 2


def task(home: Home, lease: Lease, work: Work, piece: Piece, threads: int) -> Task:
    """Write down one piece of work as a task with a URL for every object it needs."""
    attempt = lease.next_attempt()
    job = work.job
    key = {
        "index": lambda: keys.index(job.id, attempt),
        "enhance": lambda: keys.segment(job.id, work.plan_id, piece.segment, attempt),
        "assemble": lambda: keys.assembly(job.id, work.plan_id, attempt),
    }[piece.kind]()
    planned, seconds = piece.kind != "index", valid_s(lease.sheet)
    return Task(
        id=attempt,
        kind=piece.kind,
        job=job.id,
        name=job.source.name,
        source_url=find.readable(job.source, work.store, seconds=seconds),
        source_size=job.source.size,
        source_etag=job.source.etag,
        put=Put(url=home.state.put_url(key, seconds=seconds), key=key),
        options=job.options,
        plan=_ref(home, work.plan_pin, seconds) if planned else None,
        survey=_ref(home, work.survey_pin, seconds) if planned else None,
        segment=piece.segment if piece.kind == "enhance" else None,
        inputs=_inputs(home, work, seconds) if piece.kind == "assemble" else (),
        threads=threads,
    )


def valid_s(sheet: Sheet) -> float:
    """Say for how long a sheet's URLs are signed."""
    return sheet.length_s + VALID_S


def resigned(home: Home, old: Task, work: Work, sheet: Sheet) -> Task:
    """Give the same task with URLs that are valid for another lease's length."""
    if not home.remote and work.store is None:
        return old
    seconds = valid_s(sheet)
    return replace(
        old,
        source_url=find.readable(work.job.source, work.store, seconds=seconds),
        put=replace(old.put, url=home.state.put_url(old.put.key, seconds=seconds)),
        plan=_ref(home, work.plan_pin, seconds) if old.plan else None,
        survey=_ref(home, work.survey_pin, seconds) if old.survey else None,
        inputs=_inputs(home, work, seconds) if old.inputs else (),
    )


def with_upload(home: Home, lease: Lease, task: Task, work: Work) -> Task:
    """Begin a multipart upload for a result that may be too large for one PUT, and describe it beside the sheet."""
    bucket = home.state
    if task.kind != "assemble" or not isinstance(bucket, BucketStore):
        return task
    most = sum(pin.size for pin in work.counted.values()) + work.job.source.size + SLACK_BYTES
    if most <= PUT_BYTES:
        return task
    part = max(PART_BYTES, -(-most // PARTS_MOST))
    begun = bucket.begin_upload(task.put.key, home.uploads)
    lease.uploads[task.id] = (task.put.key, begun)
    described = bucket.upload(task.put.key, begun.upload, size=most, part_bytes=part, seconds=UPLOAD_S)
    key = keys.upload(lease.id, lease.count)
    bucket.write(key, wire.dump(described))
    url = bucket.get_url(key, seconds=UPLOAD_S)
    return replace(task, put=replace(task.put, upload_url=url))


def close_uploads(home: Home, lease: Lease, tasks: Iterable[str]) -> None:
    """Give up the uploads of tasks to which nobody writes any more; one that was completed is gone already."""
    for task in tasks:
        if task in lease.uploads and isinstance(home.state, BucketStore):
            key, begun = lease.uploads[task]
            home.state.abort_upload(key, begun.upload)
            home.uploads.ended(begun.number)
            del lease.uploads[task]


async def give_back(market: Market, ledger: Ledger, lease: LeaseRow, console: Console, reason: str) -> None:
    """Destroy a lease's instance and see it gone, whatever else fails; raises BillingError when it may still run."""
    instance = lease.instance
    console.line("CLEANUP", f"Destroying instance {instance or lease.id} ({reason})")
    _note(console, lambda: ledger.ending(lease.id, reason))
    try:
        if instance is None:
            instance = await _by_label(market, lease.label)
        if instance is not None:
            await market.destroy(instance)
    except BillingError:
        _note(console, lambda: ledger.ended(lease.id, "lost"))
        raise
    _note(console, lambda: ledger.ended(lease.id, "gone"))
    console.ok("Instance destroyed")


async def _by_label(market: Market, label: str) -> str | None:
    """Find an instance whose id we never learnt: the controller died between the call and its answer."""
    return next((found.id for found in await market.instances() if found.label == label), None)


def _note(console: Console, write: Callable[[], None]) -> None:
    """Write to the ledger, but never let a full disk keep a machine running."""
    try:
        write()
    except StoreError as error:
        console.warn(error.message)


def addressed(sheet: Sheet, home: Home) -> Sheet:
    """Fill in a lease's own addresses, valid from now on for its length and half an hour more."""
    lease, seconds = sheet.lease, valid_s(sheet)
    return replace(
        sheet,
        status_url=home.state.put_url(keys.status(lease), seconds=seconds),
        log_urls=tuple(home.state.put_url(keys.log(lease, number), seconds=seconds) for number in range(LOG_PARTS)),
        next_sheet_url=home.state.get_url(keys.sheet(lease), seconds=seconds),
    )


def _ref(home: Home, pin: Pin | None, seconds: float) -> Ref | None:
    return None if pin is None else _ref_to(home, pin, seconds)


def _ref_to(home: Home, pin: Pin, seconds: float) -> Ref:
    return Ref(url=home.state.get_url(pin.key, seconds=seconds), sha256=pin.sha256, size=pin.size)


def _inputs(home: Home, work: Work, seconds: float) -> tuple[Ref, ...]:
    return tuple(_ref_to(home, work.counted[number], seconds) for number in sorted(work.counted))
