"""How many machines are wanted while a batch runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from uprez.fleet import clock
from uprez.fleet.hiring import Hiring
from uprez.fleet.renting import Foreseen, Renter
from uprez.fleet.work import Work


@dataclass
class _Foretold:
    """As much of a renter as is asked here."""

    foreseen: Foreseen | None


def test_a_short_video_of_much_work_keeps_as_many_busy_as_was_foreseen(work_of: Callable[[str, int], Work]) -> None:
    """Its header alone says one segment; the plan of a machine will cut it by the seconds that its frames take."""
    work, told = work_of("a", 1), _Foretold(None)
    work.plan = None
    hiring = Hiring(renter=cast("Renter", told))
    assert hiring.pieces(work, segment_frames=None) == 1
    told.foreseen = Foreseen(machines=3, until=clock.now(), pieces={work.job.id: 5})
    assert hiring.pieces(work, segment_frames=None) == 5


@pytest.mark.parametrize(
    ("within_s", "held", "wanted"),
    [(None, 2, 6), (20.0, 2, 2), (10.0, 2, 6), (10.0, 4, 2)],
    ids=["nothing foreseen", "in time", "late", "in time with more"],
)
def test_what_was_foreseen_holds_until_it_turns_out_wrong(
    work_of: Callable[[str, int], Work], within_s: float | None, held: int, wanted: int
) -> None:
    """30 frames of half a second each: two machines need 7.5 s, two jobs 15."""
    foreseen = None if within_s is None else Foreseen(machines=2, until=clock.now() + within_s)
    hiring = Hiring(renter=cast("Renter", _Foretold(foreseen)))
    assert hiring.most([work_of("a", 3), work_of("b", 3)], held, 6) == wanted
