"""What counts: the controller looks at everything a worker published before anything is built on it.

Each check writes the record that makes an attempt count, or raises VerifyError and, of a segment or a result, removes
it and keeps why (`evidence`); a StoreError leaves all as it is. They run in threads: reading video takes a while, and a
lease must be renewed meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path, PurePosixPath
from random import SystemRandom

from uprez import wire
from uprez.errors import BusyError, DeniedError, InputError, StoreError, VerifyError
from uprez.fleet import evidence, records, surveys
from uprez.fleet import plan as plans
from uprez.fleet.lookout import Lookout
from uprez.fleet.work import Work
from uprez.job import Pin, Plan, Survey
from uprez.media import timeline, verify, witness
from uprez.media.tracks import LISTENED_S
from uprez.media.witness import Looks
from uprez.models.needed import models_of
from uprez.report.results import Made, Manifest, Output, Pending
from uprez.store import find, keys, objects, urls
from uprez.store.base import Store
from uprez.store.open import Home

_random = SystemRandom()
LISTENED_AT = 7
"""Places at which the sound of a large source far away is compared."""


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


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """Segments that counted, and do so no longer."""

    pins: dict[int, Pin]
    reason: str = "has changed since it counted"
    """To follow a segment's name."""


def survey(home: Home, work: Work, key: str, segment_frames: int | None) -> Surveyed:
    """Check a worker's survey against the quick probe, pin it, and make the job's plan from it."""
    with _steady(home, key), evidence.sensible(key):
        with objects.checked(home, key) as (pin, url):
            fetched = urls.get(url)
        if fetched is None:
            raise StoreError(f"{key} is gone")
        found = wire.load(Survey, fetched.data, where=key)
        surveys.check(found, work)
        found = surveys.sharing(found)
        number = 1 + max(map(_number, plan_ids(home, work)), default=0)
        made = plans.make(
            work.job.id,
            number,
            work.job.options,
            found,
            container=work.container,
            given_up=work.given_up,
            segment_frames=segment_frames,
        )
    home.state.write(keys.index_pin(work.job.id), wire.dump(pin))
    data = wire.dump(made)
    plan_key = keys.plan(work.job.id, keys.plan_id(number, hashlib.sha256(data).hexdigest()))
    home.state.write(plan_key, data)
    return Surveyed(survey=found, survey_pin=pin, plan=made, plan_pin=objects.pin(home, plan_key))


def segment(home: Home, work: Work, number: int, key: str, suspect: Collection[int] = ()) -> Pin:
    """Check one segment in full and pin it: from here on it counts.

    It is decoded whole, and frames that its worker cannot foresee are compared with the source; `suspect` are some
    that the worker itself wondered at, counted from the segment's first. One that fails is removed, and what was seen
    of it is kept as evidence. Raises UnlikeError for pictures that are not the source's.
    """
    plan, index, lookout = _plan(work), _survey(work).index, _lookout(work)
    part, earlier = plan.segments[number], work.unlike.get(number)
    _check_source(work)
    asked = lookout.places(part, more=[part.first + frame for frame in suspect])
    places = sorted(earlier.thumbs) if earlier else asked
    with evidence.refused(home, work, key), _steady(home, key), objects.checked(home, key) as (pin, url):
        at = [place - part.first for place in places]
        made = verify.segment(url, plan=plan, index=index, segment=part, at=at)
        thumbs = {part.first + frame: thumb for frame, thumb in made.thumbs.items()}
        looks = witness.looks(thumbs, lookout.windows(places))
        evidence.judge(home, work, number, key, looks, earlier)
    counts = replace(pin, packets=made.packets, delay=made.delay)
    home.state.write(keys.segment_pin(work.job.id, work.plan_id, number), wire.dump(counts))
    return counts


def result(home: Home, work: Work, key: str) -> Published | Spoilt:
    """Check an assembled result, give it its name, record the job as done, and remove what led to it.

    Its picture is that of the segments that count, packet by packet: where it shows something else than the source,
    these segments no longer count.
    """
    plan, index, lookout = _plan(work), _survey(work).index, _lookout(work)
    _check_source(work)
    places, digest, numbers = _places(work), hashlib.sha256(), lookout.of_result()
    with evidence.refused(home, work, key), _steady(home, key):
        with objects.lent(home, key) as (meta, url):
            facts = verify.result(
                url,
                plan=plan,
                index=index,
                source_url=work.source_url(),
                pins=[work.counted[each.number] for each in plan.segments],
                digest=digest,
                at=numbers,
                places=places,
            )
            looks = witness.looks(facts.thumbs, lookout.windows(numbers))
            doubted = _doubted(home, work, key, looks)
        if doubted.pins:
            evidence.refuse(home, work, key, doubted.reason)
            return doubted
        _check_source(work)
        pin = objects.pinned(meta, digest.hexdigest())
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
        return publish(home, work, Pending(pin=pin, output=output, made=_made(work, plan, places)))


def _places(work: Work) -> list[Fraction] | None:
    """Say where the sound is compared, in seconds on the source's clock; None: everywhere.

    A source that is far away and large is not read whole only for that. One whose clock jumps is: it cannot be sought.
    """
    index = _survey(work).index
    if work.store is None and work.job.source.url.startswith("file:"):
        return None
    if work.job.source.size <= objects.COPY_MOST or index.breaks or index.patched:
        return None
    part = timeline.planned(index, _plan(work)).part
    start, end = part.marks[0] * part.tick, part.marks[-1] * part.tick
    between = (Fraction(_random.random()) for _ in range(LISTENED_AT - 2))  # nobody can foresee them
    return sorted([start, *(start + (end - start) * share for share in between), max(start, end - LISTENED_S)])


@contextmanager
def _steady(home: Home, key: str) -> Iterator[None]:
    """Tell a store that fails from an object that somebody overwrites while it is looked at: that is a refusal."""
    before = home.state.head(key)
    try:
        yield
    except (BusyError, DeniedError):
        raise
    except StoreError as error:
        now = home.state.head(key)
        if before is None or now is None or objects.same(now, before):
            raise
        raise VerifyError(f"{home.state_shown(key)} was overwritten while it was checked") from error


def _doubted(home: Home, work: Work, key: str, looks: Looks) -> Spoilt:
    """Find the segments whose frames a result shows otherwise than the source; mere distance was judged before."""
    hard = {frame: finding for frame, finding in evidence.certain(work, looks).items() if not finding.soft}
    if not hard:
        return Spoilt(pins={})
    parts = [each for each in _plan(work).segments if any(each.first <= at < each.first + each.count for at in hard)]
    frame, finding = next(iter(hard.items()))
    picture = evidence.show(home, work, key, looks, frame)
    pins = {each.number: work.counted[each.number] for each in parts}
    for number, pin in pins.items():
        forget(home, work, number, pin)
    return Spoilt(pins=pins, reason=f"counts no longer: frame {frame} {finding.text}, see {picture}")


def spoilt(home: Home, work: Work) -> Spoilt:
    """Find the segments that counted and whose objects are others now, and forget their pins."""
    found = {number: pin for number, pin in work.counted.items() if not unspoilt(home, pin)}
    for number, pin in found.items():
        evidence.note(
            home, work, pin.key, f"segment {number + 1} counted with SHA-256 {pin.sha256}, and has other bytes now"
        )
        forget(home, work, number, pin)
    return Spoilt(pins=found)


def unspoilt(home: Home, pin: Pin) -> bool:
    """Say whether a pinned object is as it was.

    A folder's is read whole: a disk may have lost a byte while size and time stayed. A bucket vouches for its objects.
    """
    if home.prefix is None:
        return objects.holds(home, pin)
    return objects.holds_bytes(Path(home.prefix / pin.key), size=pin.size, sha256=pin.sha256)


def forget(home: Home, work: Work, number: int, pin: Pin) -> None:
    """Let a segment no longer count: its pin goes first."""
    objects.delete(home, [keys.segment_pin(work.job.id, work.plan_id, number), pin.key])


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
    """Remove what led to a finished job's result: pins first, so that none is left without its object.

    The manifest stays, and the evidence of refused attempts: `uprez clean` removes that.
    """
    parsed = {key: keys.parse(key) for key in objects.listing(home, keys.job_prefix(job))}
    found = [key for key, said in parsed.items() if said and said.shape not in ("manifest", "evidence")]
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


def _made(work: Work, plan: Plan, places: Sequence[Fraction] | None) -> Made:
    ready = plan.preflight
    return Made(
        plan=plan.number,
        model=" and ".join(models_of(work.job.options)),
        family=ready.family,
        provider=ready.provider,
        precision=ready.precision,
        encoder=ready.encoding.rung,
        ladder=ready.ladder,
        segments=len(plan.segments),
        given_up=plan.given_up,
        verified=f"every packet of the picture; all else {f'at {len(places)} places' if places else 'in full'}",
    )


def _lookout(work: Work) -> Lookout:
    if work.lookout is None:
        raise AssertionError("a piece of a job without a plan")
    return work.lookout


def _plan(work: Work) -> Plan:
    if work.plan is None:
        raise AssertionError("a piece of a job without a plan")
    return work.plan


def _survey(work: Work) -> Survey:
    if work.survey is None:
        raise AssertionError("a piece of a job without a survey")
    return work.survey
