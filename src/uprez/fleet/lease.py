"""One lease from intent to confirmed end: rent, write its sheet, renew, give back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from uprez import wire
from uprez.config.settings import Timing
from uprez.errors import BillingError, RentError, StoreError
from uprez.fleet.ledger import LeaseRow, Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.work import Piece, Work
from uprez.job import Pin
from uprez.market.base import Launch, Market, OfferQuery
from uprez.report.console import Console
from uprez.sheet import Put, Ref, Sheet, Task
from uprez.store import keys, objects, sign
from uprez.store.open import Home

LOG_PARTS = 400
"""Parts of a log that a lease may publish; the worker makes them longer as time goes on."""


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
    sheet = _addressed(sheet, home, row.id)
    objects.write(home, keys.sheet(row.id), wire.dump(sheet))
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


def write_sheet(home: Home, lease: Lease, sheet: Sheet) -> None:
    """Ask something else of a lease."""
    objects.write(home, keys.sheet(lease.id), wire.dump(sheet))
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
    planned = piece.kind != "index"
    return Task(
        id=attempt,
        kind=piece.kind,
        job=job.id,
        name=job.source.name,
        source_url=job.source.url,
        put=Put(url=sign.url(home, key), key=key),
        options=job.options,
        plan=_ref(home, work.plan_pin) if planned else None,
        survey=_ref(home, work.survey_pin) if planned else None,
        segment=piece.segment if piece.kind == "enhance" else None,
        inputs=_inputs(home, work) if piece.kind == "assemble" else (),
        threads=threads,
    )


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


def _addressed(sheet: Sheet, home: Home, lease: str) -> Sheet:
    """Fill in the addresses of one lease."""
    return replace(
        sheet,
        lease=lease,
        status_url=sign.url(home, keys.status(lease)),
        log_urls=tuple(sign.url(home, keys.log(lease, number)) for number in range(LOG_PARTS)),
        next_sheet_url=sign.url(home, keys.sheet(lease)),
    )


def _ref(home: Home, pin: Pin | None) -> Ref | None:
    return None if pin is None else Ref(url=sign.url(home, pin.key), sha256=pin.sha256, size=pin.size)


def _inputs(home: Home, work: Work) -> tuple[Ref, ...]:
    pins = (work.counted[number] for number in sorted(work.counted))
    return tuple(Ref(url=sign.url(home, pin.key), sha256=pin.sha256, size=pin.size) for pin in pins)
