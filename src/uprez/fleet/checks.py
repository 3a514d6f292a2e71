"""What counts: the controller looks at everything a worker published before anything is built on it.

Each check raises VerifyError (or StoreError) and leaves the attempt where it is, or writes the record that makes it
count. They run in threads: reading video takes a while, and a lease must be renewed meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from uprez import wire
from uprez.errors import InputError, StoreError, VerifyError
from uprez.fleet import plan as plans
from uprez.fleet import records
from uprez.fleet.work import Work
from uprez.job import Pin, Plan, Survey, Video
from uprez.media import verify
from uprez.media.packets import JUMPING
from uprez.report.results import Made, Manifest, Output, Pending
from uprez.store import find, keys, objects, urls
from uprez.store.base import Store
from uprez.store.open import Home

TOLERANCE = 0.02
"""By which share an index may have more frames than the header says."""


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """A survey that counts, and the plan made from it."""

    survey: Survey
    survey_pin: Pin
    plan: Plan
    plan_pin: Pin


@dataclass(frozen=True, kw_only=True)
class Published:
    """A result that has its name."""

    output: Output
    made: Made


def survey(home: Home, work: Work, key: str, segment_frames: int | None) -> Surveyed:
    """Check a worker's survey against the quick probe, pin it, and make the job's plan from it."""
    with objects.checked(home, key) as (pin, url):
        fetched = urls.get(url)
    if fetched is None:
        raise StoreError(f"{key} is gone")
    found = wire.load(Survey, fetched.data, where=key)
    _plausible(found, work.video)
    home.state.write(keys.index_pin(work.job.id), wire.dump(pin))
    number = 1 + max(map(_number, plan_ids(home, work)), default=0)
    made = plans.make(work.job.id, number, work.job.options, found, segment_frames=segment_frames)
    data = wire.dump(made)
    plan_key = keys.plan(work.job.id, keys.plan_id(number, hashlib.sha256(data).hexdigest()))
    home.state.write(plan_key, data)
    return Surveyed(survey=found, survey_pin=pin, plan=made, plan_pin=objects.pin(home, plan_key))


def segment(home: Home, work: Work, number: int, key: str) -> Pin:
    """Check one segment in full and pin it: from here on it counts."""
    plan = _plan(work)
    _check_source(work)
    with objects.checked(home, key) as (pin, url):
        verify.segment(url, plan=plan, segment=plan.segments[number])
    home.state.write(keys.segment_pin(work.job.id, work.plan_id, number), wire.dump(pin))
    return pin


def result(home: Home, work: Work, key: str) -> Published:
    """Check an assembled result, give it its name, record the job as done, and remove what led to it."""
    plan, index = _plan(work), _survey(work).index
    source_url = find.readable(work.job.source, work.store, seconds=objects.READ_S)
    _check_source(work)
    with objects.checked(home, key) as (pin, url):
        facts = verify.result(url, plan=plan, index=index, source_url=source_url)
    _check_source(work)
    output = Output(
        path=work.output,
        url=home.url(work.output),
        size=pin.size,
        etag="",
        sha256=pin.sha256,
        frames=facts.frames,
        duration_s=round(float(facts.duration), 6),
        width=plan.width,
        height=plan.height,
        audio_tracks=facts.audio,
    )
    return publish(home, work, Pending(pin=pin, output=output, made=_made(work, plan)))


def _check_source(work: Work) -> None:
    """Pictures of two files must not be mixed: at the first sign of another input the job ends."""
    if not find.unchanged(work.job.source, work.store):
        raise InputError(f"{work.job.source.name} changed while it was processed", hint="run the command again")


def publish(home: Home, work: Work, pending: Pending) -> Published:
    """Finish what `publish.json` says; safe to repeat from any point at which it was interrupted."""

    def announce(output: Output) -> None:
        home.state.write(keys.publish(work.job.id), wire.dump(replace(pending, output=output)))

    output = _place(home, work, home.state, pending.pin, pending.output, announce)
    record(home, work, (output, *_others(home, work, output)), pending.made)
    tidy(home, work)
    return Published(output=output, made=pending.made)


def place_again(home: Home, work: Work, output: Output) -> Output:
    """Give a finished output another name: the same content was found, or asked for, under it."""
    pin = Pin(key=output.path, size=output.size, etag=output.etag, sha256=output.sha256, version=output.version)
    return _place(home, work, home.outputs, pin, output, lambda _: None)


def record(home: Home, work: Work, outputs: tuple[Output, ...], made: Made) -> None:
    """Write the manifest: from here on the job is done."""
    manifest = Manifest(
        job=work.job.id,
        input=work.job.source.name,
        identity=work.job.source.identity,
        options=work.job.options,
        outputs=outputs,
        made=made,
        finished_at=datetime.now(UTC),
    )
    home.state.write(keys.manifest(work.job.id), wire.dump(manifest))


def finished(home: Home, work: Work) -> Published | None:
    """Give the result of this very job that is recorded as done and is there; None when there is none."""
    manifest = records.read(home, keys.manifest(work.job.id), Manifest)
    output = records.finished(home, manifest, names(work)) if manifest else None
    return Published(output=output, made=manifest.made) if manifest and output else None


def tidy(home: Home, work: Work) -> None:
    """Remove what led to a result; a store that does not let us makes no done job a failed one."""
    try:
        clean(home, work.job.id)
    except StoreError as error:
        work.warnings.append(f"its checkpoints are still there: {error.message}")


def _others(home: Home, work: Work, output: Output) -> tuple[Output, ...]:
    """Give the outputs under other names that this job made before and that are still there."""
    manifest = records.read(home, keys.manifest(work.job.id), Manifest) if work.again else None
    old = manifest.outputs if manifest else ()
    return tuple(other for other in old if other.path != output.path and home.outputs.head(other.path) is not None)


def clean(home: Home, job: str) -> None:
    """Remove everything of a finished job but its manifest: pins first, so that none is left without its object."""
    found = [key for key in objects.listing(home, keys.job_prefix(job)) if key != keys.manifest(job)]
    objects.delete(home, sorted(found, key=lambda key: not key.endswith(".json")))


def _place(
    home: Home, work: Work, store: Store, pin: Pin, output: Output, announce: Callable[[Output], None]
) -> Output:
    """Put a checked object under the first of the job's names that is free."""
    for name in names(work):
        placed = replace(output, path=name, url=home.url(name))
        announce(placed)
        try:
            meta = home.outputs.place(store, pin, name, replace=work.replace or name in work.own, uploads=home.uploads)
        except FileExistsError:
            work.warnings.append(f"{name} exists already and was not made by this job: it is left as it is")
            continue
        return replace(placed, etag=meta.etag, version=meta.version)
    raise InputError(
        f"{home.shown(work.output)} exists already and was not made by this job: it is left as it is",
        hint="move it away, choose another name, or let it be replaced with --overwrite",
    )


def _plausible(survey: Survey, quick: Video) -> None:
    """A rented host may lie: compare the index with what the header says.

    Fewer frames than the header's are in order: an edit list hides some (a trimmed phone video), an AVI may count
    twice. That a file ends early was found when the index was read.
    """
    video, frames = survey.index.video, len(survey.index.pts)
    if (video.width, video.height, video.codec) != (quick.width, quick.height, quick.codec):
        raise VerifyError(f"the index is of {video.codec} {video.width}x{video.height}, another video than was probed")
    # Of a clock that jumps the header's length, and so its count, says little.
    counts = quick.frames if not survey.index.breaks or quick.container not in JUMPING else None
    if not frames or (counts and frames > max(counts + 2, counts * (1 + TOLERANCE))):
        raise VerifyError(f"the index has {frames} frames, the header says about {quick.frames}")


def plan_ids(home: Home, work: Work) -> list[str]:
    """List the plans that a job ever had, oldest first."""
    parsed = (keys.parse(key) for key in objects.listing(home, keys.job_prefix(work.job.id)))
    return sorted((key.plan_id for key in parsed if key and key.shape == "plan"), key=_number)


def _number(plan_id: str) -> int:
    return int(plan_id.partition("-")[0])


def names(work: Work) -> tuple[str, ...]:
    """List the names that a job's output may have, best first."""
    if work.fixed:
        return (work.output,)
    path = PurePosixPath(work.output)
    return work.output, str(path.with_name(f"{path.stem}-{work.job.id[:6]}{path.suffix}"))


def _made(work: Work, plan: Plan) -> Made:
    ready = plan.preflight
    return Made(
        plan=plan.number,
        model=work.job.options.model,
        family=ready.family,
        provider=ready.provider,
        precision=ready.precision,
        encoder=ready.encoding.rung,
        ladder=ready.ladder,
        segments=len(plan.segments),
    )


def _plan(work: Work) -> Plan:
    if work.plan is None:
        raise AssertionError("a piece of a job without a plan")
    return work.plan


def _survey(work: Work) -> Survey:
    if work.survey is None:
        raise AssertionError("a piece of a job without a survey")
    return work.survey
