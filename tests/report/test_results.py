"""results.json: a documented, versioned contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez import wire
from uprez.job import Options, Pin
from uprez.report import results
from uprez.report.results import JobResult, LeaseResult, Made, Manifest, Output, Pending, Results

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "results.schema.json"
NOW = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
OUTPUT = Output(
    url="file:///o/a.x2.mp4",
    path="a.x2.mp4",
    size=1,
    etag="e",
    sha256="s",
    frames=50,
    duration_s=2.0,
    width=1280,
    height=720,
    audio_tracks=1,
)
MADE = Made(
    plan=1,
    model="m",
    family="cpu",
    provider="CPUExecutionProvider",
    precision="f32",
    encoder="libx264",
    ladder=("h264_nvenc: no device", "libx264"),
    segments=5,
)
LEASE = LeaseResult(
    lease="01234567",
    market="local",
    machine="this machine",
    instance=None,
    state="ended",
    usd_per_hour=Decimal("0.1234"),
    held_s=1.5,
    cost_usd=Decimal("0.0001"),
    reason=None,
)
RUN = Results(
    uprez="0.1.0",
    batch="89abcdef",
    started_at=NOW,
    ended_at=NOW,
    exit_code=1,
    output_dir="/o",
    cost_usd=Decimal("0.0001"),
    jobs=(
        JobResult(job="0" * 16, input="a.mp4", state="done", output=OUTPUT, made=MADE, segments_computed=5),
        JobResult(job="", input="é\n.mp4", state="failed", error="is empty", hint="h", warnings=("w",)),
    ),
    leases=(LEASE,),
)


def valid(document: object) -> None:
    """Check a document against the schema that is published."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_published_schema_is_the_one_in_use() -> None:
    """The reference is what the code writes; it is remade as this test says."""
    made = json.dumps(results.schema(), indent=2) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == made, "write json.dumps(results.schema(), indent=2) to that file"


def test_a_document_is_valid() -> None:
    """A run with every kind of part satisfies the schema, as a file too."""
    valid(results.document(RUN))
    assert json.loads(results.text(RUN)) == results.document(RUN)
    assert results.text(RUN).endswith(b"}\n")


@settings(deadline=None)  # a busy machine is no failure
@given(
    run=st.builds(
        Results,
        uprez=st.text(),
        batch=st.text(),
        started_at=st.datetimes(timezones=st.just(UTC)),
        ended_at=st.datetimes(timezones=st.just(UTC)),
        exit_code=st.integers(0, 130),
        output_dir=st.text(),
        cost_usd=st.decimals(0, 1000, places=4),
        jobs=st.lists(
            st.builds(
                JobResult,
                job=st.text(),
                input=st.text(),
                state=st.sampled_from(["done", "skipped", "failed", "unfinished", "planned"]),
                output=st.none() | st.just(OUTPUT),
                made=st.none() | st.just(MADE),
                seconds=st.floats(0, 1e9),
                error=st.none() | st.text(),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_every_document_is_valid(run: Results) -> None:
    """Whatever names, errors and numbers a run has, a program can read its results."""
    valid(json.loads(results.text(run)))


@pytest.mark.parametrize(
    "change", [{"exit_code": "0"}, {"jobs": [{"state": "lost"}]}, {"batch": None}, {"started_at": 5}]
)
def test_the_schema_refuses_what_is_wrong(change: dict[str, object]) -> None:
    """The schema is no formality: wrong types and unknown states do not pass it."""
    with pytest.raises(jsonschema.ValidationError):
        valid({**results.document(RUN), **change})


def test_a_document_without_its_facts_is_refused() -> None:
    """A run always says which version made it and how it ended."""
    for name in ("uprez", "batch", "exit_code", "output_dir"):
        document = results.document(RUN)
        del document[name]
        with pytest.raises(jsonschema.ValidationError):
            valid(document)


def test_money_and_times_are_exact_text() -> None:
    """Money is decimal text, times are UTC; neither is a float."""
    document = results.document(replace(RUN, cost_usd=Decimal("0.1000")))
    assert document["cost_usd"] == "0.1000"
    assert document["started_at"] == "2026-01-02T03:04:05.600000Z"
    assert document["schema"] == results.SCHEMA


def test_names_are_readable_in_the_file() -> None:
    """The file is UTF-8: names stay as they are, control characters are escaped."""
    assert b'"\xc3\xa9\\n.mp4"' in results.text(RUN)


def test_what_a_job_remembers_survives() -> None:
    """A manifest and a pending publish are read as they were written."""
    pending = Pending(pin=Pin(key="k", size=1, etag="e", sha256="s"), output=OUTPUT, made=MADE)
    manifest = Manifest(
        job="0" * 16,
        input="a.mp4",
        identity="i",
        options=Options(scale=Fraction(3, 2)),
        outputs=(OUTPUT, OUTPUT),
        made=MADE,
        finished_at=NOW,
    )
    assert wire.load(Pending, wire.dump(pending), where="here") == pending
    assert wire.load(Manifest, wire.dump(manifest), where="here") == manifest


@settings(deadline=None)  # a busy machine is no failure
@given(value=st.fractions(0, 10**6))
def test_seconds_are_given_to_the_microsecond(value: Fraction) -> None:
    """A time for people is within half a microsecond of the exact one."""
    assert abs(Fraction(results.seconds(value)) - value) <= Fraction(51, 10**8)
