"""Labels: written once, read by whoever finds them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.fleet.labels import Label, parse

HEX = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(ledger=HEX, lease=HEX, seconds=st.integers(0, 10**10))
def test_a_label_is_read_as_it_was_written(ledger: str, lease: str, seconds: int) -> None:
    """To the second."""
    label = Label(ledger=ledger, lease=lease, deadline=datetime.fromtimestamp(seconds, UTC))
    assert parse(str(label)) == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uprez",
        "uprez/0/1/2",
        "uprez/00000000/11111111/",
        "uprez/00000000/11111111/9999999999999",
        "my film",
        "uprez/0000000g/11111111/5",
        "uprez/00000000/11111111/5 ",
    ],
)
def test_another_label_is_nobody_of_ours(text: str) -> None:
    """Whatever only looks like one is left alone."""
    assert parse(text) is None
