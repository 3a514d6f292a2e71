"""The orders of one lease."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from uprez import sheet, wire
from uprez.errors import WorkerError
from uprez.job import Options
from uprez.sheet import Install, Put, Ref, Sheet, Task

REF = Ref(url="file:///o/%23%20", sha256="a" * 64, size=1)
SHEET = Sheet(
    lease="0123abcd",
    length_s=60.0,
    grace_s=10.0,
    families=("openvino", "cpu"),
    install=Install(wheel=REF, wheel_name="uprez-1-py3-none-any.whl", constraints=REF),
    models={"m": REF},
    tasks=(
        Task(
            id="0123abcd-1",
            kind="enhance",
            job="0" * 16,
            name="näme\n.mp4",
            source_url="file:///in/a.mp4",
            source_size=1,
            put=Put(url="file:///o/k", key="k"),
            options=Options(scale=Fraction(3, 2), duration=Fraction(1, 3)),
            plan=REF,
            segment=0,
            inputs=(REF, REF),
        ),
    ),
    status_url="file:///o/status.json",
    log_urls=("file:///o/log-0.txt",),
    next_sheet_url="file:///o/sheet.json",
)


def test_a_sheet_survives() -> None:
    """A worker reads exactly what the controller wrote."""
    assert sheet.read(wire.dump(SHEET)) == SHEET


def test_a_sheet_of_another_schema_is_refused() -> None:
    """A worker never guesses at orders of another version; both schemas are named."""
    with pytest.raises(WorkerError, match="the sheet has schema 8, this worker reads 7"):
        sheet.read(wire.dump(replace(SHEET, schema=8)))


def test_a_malformed_sheet_names_its_field() -> None:
    """An unknown kind of task is refused by name and place."""
    with pytest.raises(WorkerError, match=r"^the sheet is not a valid Sheet: tasks\.0\.kind: "):
        sheet.read(wire.dump(SHEET).replace(b'"enhance"', b'"dance"'))


def test_half_a_sheet_is_refused() -> None:
    """A cut document is an error at every length."""
    data = wire.dump(SHEET)
    for length in range(0, len(data), 37):
        with pytest.raises(WorkerError, match="the sheet is not a valid Sheet"):
            sheet.read(data[:length])
