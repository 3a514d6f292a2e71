"""What an earlier run left.

Done jobs are skipped, pins that hold count, what was published and not yet seen is checked and adopted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from uprez.errors import StoreError, UprezError
from uprez.fleet import checks, evidence, surveys
from uprez.fleet.records import finished, intact, read
from uprez.fleet.work import Work
from uprez.job import Pin, Plan, Survey
from uprez.report.results import Manifest, Output, Pending
from uprez.status import Done
from uprez.store import keys, objects
from uprez.store.open import Home

T = TypeVar("T")
R = TypeVar("R")

NOTHING: Mapping[str, Done] = {}
AT_ONCE = 16
"""Requests at a time, where each takes a while: thousands of finished jobs are looked at in seconds."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a place says of all its jobs, read once at the start of a run."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    """Of the jobs that were done, by id."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """Of the jobs whose result was about to get its name."""
    untidy: frozenset[str] = frozenset()
    """Ids of jobs that have a manifest and other objects beside it: a run ended before it had cleared up."""
    known: frozenset[str] = frozenset()
    """Ids of all jobs that have left anything here."""

    @property
    def outputs(self) -> frozenset[str]:
        """Name every output that this place's jobs made, or were about to: none of them is an input."""
        made = {output.path for manifest in self.manifests.values() for output in manifest.outputs}
        return frozenset(made | {pending.output.path for pending in self.pending.values()})


def remember(home: Home) -> Memory:
    """Read what a place says of its jobs."""
    found = [parsed for key in objects.listing(home, "jobs/") if (parsed := keys.parse(key))]
    done = [key.job for key in found if key.shape == "manifest"]
    begun = [key.job for key in found if key.shape == "publish"]
    manifests = each(home, lambda job: read(home, keys.manifest(job), Manifest), done)
    pending = each(home, lambda job: read(home, keys.publish(job), Pending), begun)
    return Memory(
        manifests={job: manifest for job, manifest in zip(done, manifests, strict=True) if manifest},
        pending={job: one for job, one in zip(begun, pending, strict=True) if one},
        known=frozenset(key.job for key in found),
        untidy=frozenset(key.job for key in found if key.shape not in ("manifest", "evidence")) & frozenset(done),
    )


def each(home: Home, function: Callable[[T], R], items: Iterable[T], *, most: int = AT_ONCE) -> list[R]:
    """Apply a function to each item; several at a time where each one is a request. Gives the results in order."""
    return at_once(function, items, most=most) if home.remote else [function(item) for item in items]


def at_once(function: Callable[[T], R], items: Iterable[T], *, most: int = AT_ONCE) -> list[R]:
    """Apply a function to each item, `most` at a time; gives the results in order."""
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(function, items))


def is_ours(home: Home, work: Work, memory: Memory) -> bool:
    """Say whether the job's output name is held by the job itself, published or about to be; writes nothing."""
    manifest, pending = memory.manifests.get(work.job.id), memory.pending.get(work.job.id)
    if pending is not None and pending.output.path == work.output:
        return True
    return manifest is not None and finished(home, manifest, (work.output,)) is not None


def restore(home: Home, work: Work, told: Mapping[str, Done] = NOTHING) -> None:
    """Bring a job to where an earlier run left it.

    `told`: what workers said of objects that they published while nobody watched, by key.
    """
    if (not work.again and _done(home, work)) or _publish(home, work):
        return
    _plan(home, work)
    if work.plan is None:
        return
    for segment in work.plan.segments:
        _segment(home, work, segment.number, told)
    if len(work.counted) == len(work.plan.segments):
        _assembled(home, work)


def _done(home: Home, work: Work) -> bool:
    manifest = read(home, keys.manifest(work.job.id), Manifest)
    found = [_refreshed(home, output) for output in manifest.outputs if intact(home, output)] if manifest else []
    if manifest is None or not found:
        return False
    wanted = next((output for output in found if output.path in checks.names(work)), None)
    if wanted is None:
        # The same work under another name: nothing to compute, only to place once more.
        wanted = checks.place_again(home, work, found[0])
        found.append(wanted)
    if tuple(found) != manifest.outputs:
        checks.record(home, work, tuple(found), manifest.made)
    checks.tidy(home, work)
    work.state, work.result, work.made, work.assembled = "skipped", wanted, manifest.made, True
    return True


def _refreshed(home: Home, output: Output) -> Output:
    """Take up the ETag and version that an intact output has now."""
    meta = home.outputs.head(output.path)
    return replace(output, etag=meta.etag, version=meta.version) if meta else output


def _publish(home: Home, work: Work) -> bool:
    pending = read(home, keys.publish(work.job.id), Pending)
    if pending is None or not objects.holds(home, pending.pin):
        return False
    published = checks.publish(home, work, pending)
    work.finish(published.output, published.made)
    return True


def _plan(home: Home, work: Work) -> None:
    """Take up the newest plan, if the survey it was made from still counts."""
    pin = read(home, keys.index_pin(work.job.id), Pin)
    plan_ids = checks.plan_ids(home, work) if pin else []
    if pin is None or not plan_ids or not objects.holds(home, pin):
        return
    survey = read(home, pin.key, Survey)
    key = keys.plan(work.job.id, plan_ids[-1])
    plan = read(home, key, Plan)
    if survey is None or plan is None or plan.options != work.job.options or plan.container != work.container:
        return
    if surveys.differs(survey.index.video, work.video):
        return  # an earlier version's, which saw other things in the video
    work.follow(survey, pin, plan, objects.pin(home, key))


def _segment(home: Home, work: Work, number: int, told: Mapping[str, Done]) -> None:
    pin = read(home, keys.segment_pin(work.job.id, work.plan_id, number), Pin)
    if pin is not None and not checks.unspoilt(home, pin):
        work.warnings.append(f"segment {number + 1} of an earlier run has changed since it counted: it is made again")
        evidence.note(
            home, work, pin.key, f"segment {number + 1} counted with SHA-256 {pin.sha256}, and has other bytes now"
        )
        checks.forget(home, work, number, pin)
        pin = None
    if pin is not None and not pin.packets:
        pin = None  # an earlier version's: it is looked at once more
    if pin is None:
        pin = _adopted(home, work, number, told)
    if pin is not None:
        work.counted[number] = pin
        work.adopted += pin.key not in told


def _adopted(home: Home, work: Work, number: int, told: Mapping[str, Done]) -> Pin | None:
    """Check what was published and not yet seen; the first that is right counts.

    Those that a result may have been joined from come first: it is compared with what counts.
    """
    found = objects.listing(home, keys.segment(work.job.id, work.plan_id, number, ""))
    for key in sorted(found, key=lambda key: key not in told):
        try:
            pin = checks.segment(home, work, number, key, told[key].suspect if key in told else ())
        except StoreError:
            raise
        except UprezError as error:
            work.note_looks(number, error)
            work.warnings.append(f"segment {number + 1} of an earlier run is not used: {error.message}")
        else:
            if key in told:
                work.note_done(told[key])
                work.seconds += told[key].seconds
            return pin
    return None


def _assembled(home: Home, work: Work) -> None:
    for key in objects.listing(home, keys.assembly(work.job.id, work.plan_id, "")):
        try:
            found = checks.result(home, work, key)
        except StoreError:
            raise
        except UprezError as error:
            work.warnings.append(f"the result of an earlier run is not used: {error.message}")
            continue
        if isinstance(found, checks.Spoilt):
            for number in found.pins:
                work.counted.pop(number, None)
            work.warnings.append(f"the result of an earlier run is not used: a segment {found.reason}")
            return
        work.finish(found.output, found.made)
        return
