"""Whatever kills or interrupts the controller of a rented machine: the machine goes, and the work goes on.

`make kills` does this at every call (docs/kills.md); here are the sharpest moments, of which the suite takes one.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from killed import Moment, Rented, full_disk
from waiting import until

if TYPE_CHECKING:
    from s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="practice machines need /proc")]
BOOTING = Moment(endpoint="list", since="create", nth=2)
SMALL_PIPE = 4096
DEADLINE_S = 5 + 3 + 5
SLACK_S = 15
"""For a machine that is busy with other tests; one that does not end itself has minutes."""


class MakeRented(Protocol):
    """Makes a market, a bucket and a folder for the command."""

    def __call__(self, *, lease_s: float = 10, boot_s: float = 90) -> Rented:
        """Make them, with these lengths of a lease and of a boot."""


@pytest.fixture
def rent(tmp_path: Path, s3_server: S3Server) -> Iterator[MakeRented]:
    """Make markets, and end them after the test."""
    made: list[Rented] = []

    def make(*, lease_s: float = 10, boot_s: float = 90) -> Rented:
        made.append(Rented(tmp_path, s3_server, lease_s=lease_s, boot_s=boot_s, limits=False))
        return made[-1]

    yield make
    for rented in made:
        rented.close()


@pytest.mark.parametrize(
    "moment",
    [
        Moment(endpoint="create", when="after"),
        *(
            pytest.param(moment, marks=pytest.mark.long("kills"))
            for moment in (
                Moment(endpoint="create"),
                Moment(endpoint="list", since="create"),
                Moment(endpoint="destroy"),
                Moment(endpoint="destroy", when="after"),
            )
        ),
    ],
    ids=lambda moment: moment.title,
)
def test_a_killed_controller_leaves_nothing_that_the_next_does_not_end(rent: MakeRented, moment: Moment) -> None:
    """Killed when nobody knows yet whether there is a machine, or whether it is gone: the same command ends with 0."""
    rented = rent()
    rented.strike_run(moment)
    assert rented.struck.is_set()
    counted = rented.counted()
    if rented.unheard():
        rented.settle()
    assert rented.wrong(rented.uprez(), counted) == []


def test_a_machine_whose_controller_left_for_good_ends_itself(rent: MakeRented) -> None:
    """A second Ctrl-C names what is still being destroyed, a third leaves with 6; by its deadline the machine is gone.

    Its market would not destroy it for a while, whoever asked.
    """
    rented = rent(boot_s=5, lease_s=3)
    rented.fault("500", endpoint="destroy", times=-1)
    run = rented.strike_run(BOOTING, signal.SIGINT)
    (number,) = rented.instances()
    (bill,) = rented.market.bills.values()
    until(lambda: rented.market.faults.struck["500"])
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)
    ended = rented.end(run)
    assert ended.code == 6, ended.out
    assert f"[WARN] Still being destroyed: instance {number}" in ended.lines
    assert f"[ERROR] instance {number} may still be running, and bill" in ended.lines
    assert f"[HINT] vastai destroy instance {number} -y" in ended.lines
    rented.market.faults.disarm("500")
    rented.wait_until_gone(DEADLINE_S + SLACK_S)
    assert bill.disk_ms / 1000 < DEADLINE_S + SLACK_S
    assert rented.uprez("reap").code == 0
    assert rented.faults() == []


def test_an_interrupted_start_still_gives_back_what_an_earlier_run_left(rent: MakeRented) -> None:
    """Ctrl-C while a machine of a dead run is being destroyed: it is destroyed, and the run ends with 130."""
    rented = rent()
    rented.fault("500", endpoint="destroy", times=-1)
    run = rented.strike_run(BOOTING, signal.SIGINT)
    until(lambda: rented.market.faults.struck["500"])
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert rented.end(run).code == 6
    assert rented.instances()
    rented.market.faults.disarm("500")
    ended = rented.end(rented.strike_run(Moment(endpoint="destroy"), signal.SIGTERM))
    assert rented.struck.is_set()
    assert ended.code == 130, ended.out
    assert rented.faults() == []


@pytest.mark.long("kills")
def test_a_reader_that_stops_reading_stops_neither_lease_nor_signal(rent: MakeRented) -> None:
    """With a full pipe the lease is renewed all the same; a closed terminal's SIGHUP gives the machine back: 130."""
    rented = rent(lease_s=4)
    rented.show(2500)  # the work must outlast the first renewal
    run = rented.start("run", "--verbose", pipe_bytes=SMALL_PIPE)
    rented.wait_for_calls("manage", 1)
    run.send_signal(signal.SIGHUP)
    assert run.wait(100) == 130
    assert rented.faults() == []


def test_a_full_disk_keeps_no_machine(rent: MakeRented) -> None:
    """The ledger cannot take down that a machine was rented: it is given back at once, and the next start goes on."""
    rented = rent()
    ended = rented.end(rented.strike_run(Moment(endpoint="create", when="after"), full_disk))
    assert rented.struck.is_set()
    assert ended.code not in (0, 3), ended.out
    assert "could not be recorded, so it was given back" in ended.out
    assert rented.instances() == []
