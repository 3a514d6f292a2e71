"""Records survive their JSON, and JSON that is not a record is refused in one line."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez import status, wire
from uprez.errors import WorkerError
from uprez.job import Options, Pin
from uprez.machine import Machine
from uprez.status import Done, Status

OPTIONS = st.builds(
    Options,
    scale=st.fractions(1, 4),
    model=st.text(),
    codec=st.text(),
    crf=st.none() | st.integers(0, 63),
    start=st.fractions(0),
    duration=st.none() | st.fractions(0),
)


@settings(deadline=None)  # a busy machine is no failure
@given(options=OPTIONS)
def test_options_survive(options: Options) -> None:
    """What is written is read again, exact to the last fraction, and is one line."""
    data = wire.dump(options)
    assert wire.load(Options, data, where="here") == options
    assert b"\n" not in data


def test_fractions_are_written_as_people_write_them() -> None:
    """A rate in a document reads 24000/1001."""
    assert b'"24000/1001"' in wire.dump(Options(scale=Fraction(24000, 1001)))


BAD = {
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "another type": b"[]",
    "a missing field": b'{"key": "a", "size": 1, "etag": "e"}',
    "a wrong type": b'{"key": "a", "size": "many", "etag": "e", "sha256": "s"}',
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_record_is_refused(what: str) -> None:
    """The error names the place and the record."""
    with pytest.raises(WorkerError, match=r"^jobs/x/index\.json is not a valid Pin: "):
        wire.load(Pin, BAD[what], where="jobs/x/index.json")


def test_the_error_names_the_field() -> None:
    """Somebody who looks for the fault is told where in the document it is."""
    with pytest.raises(WorkerError, match=r": size: "):
        wire.load(Pin, BAD["a wrong type"], where="here")


@pytest.mark.parametrize("scale", ['"1/0"', '"2x"', "NaN", '"inf"', "null"])
def test_no_fraction_from_outside_is_trusted(scale: str) -> None:
    """A fraction that is no number is refused like any other field."""
    with pytest.raises(WorkerError, match=r": scale: "):
        wire.load(Options, f'{{"scale": {scale}}}'.encode(), where="here")


@settings(deadline=None)  # a busy machine is no failure
@given(
    beat=st.integers(0, status.MOST),
    error=st.none() | st.text(),
    fault=st.sampled_from([None, "input", "defect"]),
    phase=st.sampled_from(["booting", "idle", "working", "left"]),
)
def test_a_status_survives(beat: int, error: str | None, fault: status.Fault | None, phase: status.Phase) -> None:
    """A status is read as it was written, whatever text an error carries."""
    done = Done(task="0123abcd-1", key="k", fault=fault, error=error)
    said = Status(lease="0123abcd", beat=beat, phase=phase, done=(done,), ladder=("a", "b"))
    assert status.read(wire.dump(said)) == said


def test_a_status_of_another_schema_is_refused() -> None:
    """Both schemas are named."""
    said = Status(schema=5, lease="0123abcd", beat=1, phase="idle")
    with pytest.raises(WorkerError, match="status has schema 5, this controller reads 4"):
        status.read(wire.dump(said))


@pytest.mark.parametrize("told", [{"down_bytes": 2**63}, {"fps": 1e300}, {"machine": Machine(vram_free_mb=10**400)}])
def test_a_status_with_a_number_that_cannot_be_is_refused(told: dict[str, object]) -> None:
    """Whoever wrote it may be anybody: such a number would stop whoever reckons with it."""
    said = Status(lease="0123abcd", beat=1, phase="idle", **told)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="a number that nothing here can be"):
        status.read(wire.dump(said))


def test_a_status_with_an_unknown_fault_is_refused() -> None:
    """The controller decides by the fault, so it must be one that it knows."""
    data = wire.dump(Status(lease="a", beat=1, phase="idle", done=(Done(task="t", key="k", fault="lost"),)))
    with pytest.raises(WorkerError, match=r"done\.0\.fault"):
        status.read(data.replace(b'"lost"', b'"bored"'))
