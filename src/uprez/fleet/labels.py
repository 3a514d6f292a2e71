"""The label of an instance: whose it is, for which lease, and until when. It outlives every memory of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_LABEL = re.compile(r"uprez/(?P<ledger>[0-9a-f]{8})/(?P<lease>[0-9a-f]{8})/(?P<deadline>[0-9]{1,11})")


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a label says."""

    ledger: str
    lease: str
    deadline: datetime
    """By the market's clock: nobody wants the instance after that."""

    def __str__(self) -> str:
        return f"uprez/{self.ledger}/{self.lease}/{int(self.deadline.timestamp())}"


def same(one: str, other: str) -> bool:
    """Say whether two labels are of one lease: a renewal changes the deadline in it."""
    first, second = parse(one), parse(other)
    if first is None or second is None:
        return one == other != ""
    return (first.ledger, first.lease) == (second.ledger, second.lease)


def parse(text: str) -> Label | None:
    """Read a label; None for one that is not ours."""
    found = _LABEL.fullmatch(text)
    if found is None:
        return None
    deadline = datetime.fromtimestamp(int(found["deadline"]), UTC)
    return Label(ledger=found["ledger"], lease=found["lease"], deadline=deadline)
