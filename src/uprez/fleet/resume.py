"""What an earlier run left.

Done jobs are skipped, pins that hold count, what was published and not yet seen is checked and adopted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from uprez import wire
from uprez.errors import StoreError, UprezError, WorkerError
from uprez.fleet import checks
from uprez.fleet.work import Work
from uprez.job import Pin, Plan, Survey
from uprez.report.results import Manifest, Output, Pending
from uprez.store import keys, objects
from uprez.store.open import Home

T = TypeVar("T")


def outputs(home: Home) -> frozenset[str]:
    """Name every file that this place's jobs made, or were about to: none of them is an input."""
    found: set[str] = set()
    for key in objects.listing(home, "jobs/"):
        parsed = keys.parse(key)
        if parsed and parsed.shape == "manifest" and (manifest := _read(home, key, Manifest)):
            found.update(output.path for output in manifest.outputs)
        if parsed and parsed.shape == "publish" and (pending := _read(home, key, Pending)):
            found.add(pending.output.path)
    return frozenset(found)


def is_done(home: Home, work: Work) -> bool:
    """Say whether the job is recorded as done and an output of it is as it was; writes nothing."""
    manifest = _read(home, keys.manifest(work.job.id), Manifest)
    return manifest is not None and any(_intact(home, output) for output in manifest.outputs)


def is_ours(home: Home, work: Work) -> bool:
    """Say whether the job's output name is held by the job itself, published or about to be; writes nothing."""
    pending = _read(home, keys.publish(work.job.id), Pending)
    manifest = _read(home, keys.manifest(work.job.id), Manifest)
    made = [output for output in manifest.outputs if _intact(home, output)] if manifest else []
    return any(output.path == work.output for output in (*made, *([pending.output] if pending else [])))


def restore(home: Home, work: Work) -> None:
    """Bring a job to where an earlier run left it."""
    if _done(home, work) or _publish(home, work):
        return
    _plan(home, work)
    if work.plan is None:
        return
    for segment in work.plan.segments:
        _segment(home, work, segment.number)
    if len(work.counted) == len(work.plan.segments):
        _assembled(home, work)


def _done(home: Home, work: Work) -> bool:
    manifest = _read(home, keys.manifest(work.job.id), Manifest)
    intact = [output for output in manifest.outputs if _intact(home, output)] if manifest else []
    if manifest is None or not intact:
        return False
    wanted = next((output for output in intact if output.path in checks.names(work)), None)
    if wanted is None:
        # The same work under another name: nothing to compute, only to place once more.
        wanted = checks.place_again(home, work, intact[0])
    refreshed = tuple(replace(output, etag=objects.etag(home.root / output.path)) for output in intact)
    everything = refreshed if wanted in intact else (*refreshed, wanted)
    if everything != manifest.outputs:
        checks.record(home, work, everything, manifest.made)
    checks.clean(home, work)
    work.state, work.result, work.made, work.assembled = "skipped", wanted, manifest.made, True
    return True


def _publish(home: Home, work: Work) -> bool:
    pending = _read(home, keys.publish(work.job.id), Pending)
    if pending is None or not objects.holds(home, pending.pin):
        return False
    published = checks.publish(home, work, pending)
    work.finish(published.output, published.made)
    return True


def _plan(home: Home, work: Work) -> None:
    """Take up the newest plan, if the survey it was made from still counts."""
    pin = _read(home, keys.index_pin(work.job.id), Pin)
    numbers = sorted(checks.plan_numbers(home, work))
    if pin is None or not numbers or not objects.holds(home, pin):
        return
    survey = _read(home, pin.key, Survey)
    key = keys.plan(work.job.id, numbers[-1])
    plan = _read(home, key, Plan)
    if survey is None or plan is None or plan.options != work.job.options:
        return
    work.survey, work.survey_pin, work.plan, work.plan_pin = survey, pin, plan, objects.pin(home, key)


def _segment(home: Home, work: Work, number: int) -> None:
    pin = _read(home, keys.segment_pin(work.job.id, work.plan_id, number), Pin)
    if pin is not None and not _unspoilt(home, pin):
        work.warnings.append(f"segment {number + 1} of an earlier run has changed since it counted: it is made again")
        objects.delete(home, [keys.segment_pin(work.job.id, work.plan_id, number), pin.key])
        pin = None
    if pin is None:
        pin = _adopted(home, work, number)
    if pin is not None:
        work.counted[number] = pin
        work.adopted += 1


def _unspoilt(home: Home, pin: Pin) -> bool:
    """Read a pinned object whole: a disk may have lost a byte while size and time stayed."""
    return objects.same(objects.path(home, pin.key), size=pin.size, sha256=pin.sha256)


def _adopted(home: Home, work: Work, number: int) -> Pin | None:
    """Check what was published and not yet seen; the first that is right counts."""
    for key in objects.listing(home, keys.segment(work.job.id, work.plan_id, number, "")):
        try:
            return checks.segment(home, work, number, key)
        except UprezError as error:
            work.warnings.append(f"segment {number + 1} of an earlier run is not used: {error.message}")
    return None


def _assembled(home: Home, work: Work) -> None:
    for key in objects.listing(home, keys.assembly(work.job.id, work.plan_id, "")):
        try:
            published = checks.result(home, work, key)
        except UprezError as error:
            work.warnings.append(f"the result of an earlier run is not used: {error.message}")
            continue
        work.finish(published.output, published.made)
        return


def _intact(home: Home, output: Output) -> bool:
    """The same size and ETag, or, where a copy or a touch changed the ETag, the same bytes."""
    path = home.root / output.path
    try:
        if objects.etag(path) == output.etag and path.stat().st_size == output.size:
            return True
    except OSError:
        return False
    return objects.same(path, size=output.size, sha256=output.sha256)


def _read(home: Home, key: str, kind: type[T]) -> T | None:
    """Read a record; one that is missing, or that this version cannot read, is treated as not there."""
    try:
        data = objects.read(home, key)
        return None if data is None else wire.load(kind, data, where=key)
    except (StoreError, WorkerError):
        return None
