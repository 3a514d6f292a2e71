"""One lease while it lasts: its sheet and tasks, its renewal, and its confirmed end. `renting` begins it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from uprez import background, wire
from uprez.errors import BillingError, MarketError, StoreError
from uprez.fleet import clock, labels
from uprez.fleet import plan as plans
from uprez.fleet.budget import Traffic
from uprez.fleet.ledger import Ledger
from uprez.fleet.monitor import Monitor
from uprez.fleet.rows import LeaseRow
from uprez.fleet.supplies import Supplies, signed
from uprez.fleet.work import Piece, Work
from uprez.job import Pin, Plan
from uprez.market.base import Market, Offer
from uprez.report.console import Console
from uprez.sheet import PUT_BYTES, Put, Ref, Sheet, Task
from uprez.store import find, keys
from uprez.store.bucket import BucketStore
from uprez.store.multipart import Begun
from uprez.store.open import Home
from uprez.store.send import PART_BYTES, PARTS_MOST

LOG_PARTS = 400
"""Parts of a log that a lease may publish; the worker makes them longer as time goes on."""
UNSETTLED_S = 240.0
"""A call that rents may take two minutes, and the list may lag behind it: until then "not listed" proves nothing."""
UPLOAD_S = 24 * 3600.0
"""For how long the parts of a large result may be written."""
VALID_S = 30 * 60.0
"""For how long beyond a lease's length its URLs are valid."""
SLACK_BYTES = 64 << 20
"""What a container may add to its segments and to what it takes from the source."""


class Unsettled(Exception):  # noqa: N818  no error: it is asked again later
    """Whether a renting that nobody heard the end of has made anything cannot be known yet."""


@dataclass(kw_only=True)
class Lease:
    """A machine we have, what is asked of it and what is seen of it."""

    row: LeaseRow
    offer: Offer
    instance: str
    monitor: Monitor
    sheet: Sheet
    max_runtime_s: float | None = None
    """Longest life; None: for as long as it is renewed."""
    life_s: float = math.inf
    """From its creation until its dead-man ends it, or its owner takes it back, whatever is renewed."""
    disk_gb: int = 0
    """What was asked for."""
    traffic: Traffic = field(default_factory=Traffic)
    """What was committed in the budget."""
    assigned: dict[str, tuple[Work, Piece]] = field(default_factory=dict)
    """Tasks on the sheet by id."""
    handled: set[str] = field(default_factory=set)
    """Tasks whose end was taken note of."""
    plans: dict[str, Plan | None] = field(default_factory=dict)
    """By task, the plan that its job had when it was given out."""
    began: float = field(default_factory=clock.now)
    """When the market had answered that there is a machine."""
    renewed: float = field(default_factory=clock.now)
    last_words: str = ""
    """Why it is not renewed any more."""
    unpaid: bool = False
    """There is no money to renew it."""
    count: int = 0
    uploads: dict[str, tuple[str, Begun]] = field(default_factory=dict)
    """Multipart uploads that are open, by task, with their keys."""
    log_urls: bytes = b""
    """The sheet's, packed: of all that is kept of a lease they would be most, and they differ in little."""

    def __post_init__(self) -> None:
        """Keep the sheet without the addresses of its log."""
        self.keep(self.sheet)

    @property
    def id(self) -> str:
        """The lease's id."""
        return self.row.id

    @property
    def age_s(self) -> float:
        """Seconds since it was rented."""
        return clock.now() - self.began

    def keep(self, sheet: Sheet) -> None:
        """Take a sheet as the one that was written last; one without addresses for its log has those of before."""
        if sheet.log_urls:
            self.log_urls = zlib.compress("\n".join(sheet.log_urls).encode(), 1)
        self.sheet = replace(sheet, log_urls=())

    def whole(self, sheet: Sheet) -> Sheet:
        """Give a sheet as it is written."""
        if sheet.log_urls or not self.log_urls:
            return sheet
        return replace(sheet, log_urls=tuple(zlib.decompress(self.log_urls).decode().split("\n")))

    def next_attempt(self) -> str:
        """Name one more try on this lease."""
        self.count += 1
        return keys.attempt(self.id, self.count)


async def write_sheet(home: Home, lease: Lease, sheet: Sheet) -> None:
    """Ask something else of a lease."""
    await background.start(partial(home.state.write, keys.sheet(lease.id), wire.dump(lease.whole(sheet))))
    lease.keep(sheet)


def stop(home: Home, lease: Lease) -> None:
    """Tell the worker to leave; it hears that at its next look."""
    home.state.write(keys.sheet(lease.id), wire.dump(replace(lease.whole(lease.sheet), stop=True, tasks=())))


def due(lease: Lease) -> bool:
    """Say whether a lease is to be renewed: when half of it is left."""
    return clock.now() - lease.renewed >= lease.sheet.length_s / 2


def task(
    home: Home,
    lease: Lease,
    work: Work,
    piece: Piece,
    threads: int,
    *,
    seconds: float,
    own: Mapping[int, Task] | None = None,
) -> Task:
    """Write down one piece of work as a task with a URL for every object it needs, valid for so many seconds.

    `own`, for an assembly: the tasks of the same sheet that make the segments that do not count yet, by number.
    """
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
        source_url=_source_url(home, work, seconds),
        source_size=job.source.size,
        source_etag=f'"{work.sent.etag}"' if work.sent else job.source.etag,
        put=Put(url=home.state.put_url(key, seconds=seconds), key=key),
        options=job.options,
        plan=_ref(home, work.plan_pin, seconds) if planned else None,
        survey=_ref(home, work.survey_pin, seconds) if planned else None,
        segment=piece.segment if piece.kind == "enhance" else None,
        inputs=_inputs(home, work, seconds, own or {}) if piece.kind == "assemble" else (),
        delay=max((pin.delay for pin in work.counted.values()), default=0),
        without=tuple(each.rung for each in work.given_up),
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
        source_url=_source_url(home, work, seconds),
        put=replace(old.put, url=home.state.put_url(old.put.key, seconds=seconds)),
        plan=_ref(home, work.plan_pin, seconds) if old.plan else None,
        survey=_ref(home, work.survey_pin, seconds) if old.survey else None,
        inputs=_inputs(home, work, seconds, {}) if old.inputs else (),
    )


def with_upload(home: Home, lease: Lease, task: Task, work: Work, *, seconds: float = UPLOAD_S) -> Task:
    """Begin a multipart upload for a result that may be too large for one PUT, and describe it beside the sheet.

    `seconds`: for how long its parts may be written.
    """
    bucket = home.state
    if task.kind != "assemble" or not isinstance(bucket, BucketStore):
        return task
    most = sum(pin.size for pin in work.counted.values()) + work.job.source.size + SLACK_BYTES
    if work.plan is not None and any(ref.task for ref in task.inputs):  # nobody knows their sizes yet
        most += work.plan.frames * plans.bytes_at_most(work.plan.width, work.plan.height, work.plan.preflight.encoding)
    if most <= PUT_BYTES:
        return task
    part = max(PART_BYTES, -(-most // PARTS_MOST))
    begun = bucket.begin_upload(task.put.key, home.uploads)
    lease.uploads[task.id] = (task.put.key, begun)
    described = bucket.upload(task.put.key, begun.upload, size=most, part_bytes=part, seconds=seconds)
    key = keys.upload(lease.id, lease.count)
    bucket.write(key, wire.dump(described))
    url = bucket.get_url(key, seconds=seconds)
    return replace(task, put=replace(task.put, upload_url=url))


def close_uploads(home: Home, lease: Lease, tasks: Iterable[str]) -> None:
    """Give up the uploads of tasks to which nobody writes any more; one that was completed is gone already."""
    for task in tasks:
        if task in lease.uploads and isinstance(home.state, BucketStore):
            key, begun = lease.uploads[task]
            home.state.abort_upload(key, begun.upload)
            home.uploads.ended(begun.number)
            del lease.uploads[task]


async def give_back(
    market: Market,
    ledger: Ledger,
    lease: LeaseRow,
    console: Console,
    reason: str,
    *,
    quiet: bool = False,
    by: datetime | None = None,
) -> None:
    """Destroy a lease's instance and see it gone, whatever else fails; it had ended itself `by` then, if it had.

    Raises BillingError when it may still run, Unsettled when nobody can know yet whether there is one.
    """
    instance = lease.instance
    if not quiet:
        console.line("CLEANUP", f"Destroying instance {instance or lease.id} ({reason})")
    ended_at = None
    try:
        found = [instance] if instance is not None else await _by_label(market, lease.label)
        if not found:
            if not is_settled(lease, await market.now(), market):
                raise Unsettled(lease.id)
            found = await _by_label(market, lease.label)  # one list alone may lag
        note(console, lambda: ledger.ending(lease.id, reason))
        for one in found:
            if instance is None:
                note(console, partial(ledger.held, lease.id, one))
            ended_at = await market.destroy(one)
    except BillingError:
        note(console, lambda: ledger.ended(lease.id, "lost"))
        raise
    except MarketError as error:
        note(console, lambda: ledger.ended(lease.id, "lost"))
        raise BillingError(
            f"lease {lease.id} may still have an instance labelled {lease.label}: {error.message}", hint=error.hint
        ) from error
    known = labels.parse(lease.label)
    if ended_at is None and instance is not None and known is not None:
        # It ended itself, or somebody ended it: by its deadline at the latest.
        ended_at = min(await market.now(), known.deadline, *([by] if by else ()))
    note(console, lambda: ledger.ended(lease.id, "gone", at=ended_at))
    console.ok("Instance destroyed")


def is_settled(lease: LeaseRow, now: datetime, market: Market) -> bool:
    """Say whether a renting without an answer must show in the list by now, if anything came of it."""
    return market.place == "local" or now - lease.intended_at > timedelta(seconds=UNSETTLED_S)


async def _by_label(market: Market, label: str) -> list[str]:
    """Find instances whose id we never learnt: the controller died between the call and its answer."""
    return [one.id for one in await market.instances() if labels.same(one.label, label)]


def note(console: Console, write: Callable[[], None]) -> None:
    """Write to the ledger, but never let a full or broken disk keep a machine running."""
    try:
        write()
    except StoreError as error:
        console.warn(error.message)


def addressed(sheet: Sheet, home: Home, supplies: Supplies) -> Sheet:
    """Fill in a lease's own addresses, valid from now on for its length and half an hour more."""
    lease, seconds = sheet.lease, valid_s(sheet)
    return replace(
        sheet,
        models=supplies.networks(home, seconds),
        install=supplies.install(home, seconds),
        status_url=home.state.put_url(keys.status(lease), seconds=seconds),
        log_urls=tuple(home.state.put_url(keys.log(lease, number), seconds=seconds) for number in range(LOG_PARTS)),
        next_sheet_url=home.state.get_url(keys.sheet(lease), seconds=seconds),
    )


def _source_url(home: Home, work: Work, seconds: float) -> str:
    """Give a URL that the worker can read the input by: of the copy that was sent, where it is not on this machine."""
    if work.sent is not None:
        return home.state.get_url(work.sent.key, seconds=seconds)
    return find.readable(work.job.source, work.store, seconds=seconds)


def _ref(home: Home, pin: Pin | None, seconds: float) -> Ref | None:
    return None if pin is None else signed(home, pin, seconds)


def _inputs(home: Home, work: Work, seconds: float, own: Mapping[int, Task]) -> tuple[Ref, ...]:
    found = {number: signed(home, pin, seconds) for number, pin in work.counted.items()}
    for number, made in own.items():
        url = home.state.get_url(made.put.key, seconds=seconds)
        found.setdefault(number, Ref(url=url, sha256="", size=0, task=made.id))
    return tuple(found[number] for number in sorted(found))
