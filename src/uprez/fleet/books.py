"""The accounts of a run's leases: every pass feeds them, the ledger keeps them, and what is discarded is said."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from uprez.errors import StoreError
from uprez.fleet import account, clock
from uprez.fleet.account import Account, Came
from uprez.fleet.checking import title
from uprez.fleet.lease import Lease
from uprez.fleet.ledger import Ledger
from uprez.fleet.work import Piece, Work
from uprez.report.console import Console
from uprez.report.results import Loss

KEEP_S = 60.0
"""Between two entries of a lease in the ledger: what a killed controller had seen since the last was unseen."""
WHY: dict[Loss, str] = {
    "killed": "its machine was lost",
    "outbid": "its machine was taken away",
    "refused": "it is not right, or its machine is trusted no more",
    "raced": "another was sooner",
    "failed": "it failed",
    "stopped": "its run, its plan or its lease came to an end",
}


@dataclass(kw_only=True)
class Books:
    """Those of one run."""

    ledger: Ledger
    console: Console
    works: Mapping[str, Work]
    """The run's jobs by id."""
    _accounts: dict[str, Account] = field(default_factory=dict)
    """By lease."""
    _kept: dict[str, str] = field(default_factory=dict)
    """What the ledger has of each."""
    _kept_at: dict[str, float] = field(default_factory=dict)

    def open(self, lease: str) -> None:
        """Begin the books of a lease: its time counts from the answer that rented it."""
        began = None
        with contextlib.suppress(StoreError):
            began = self.ledger.lease(lease).held_at
        self._accounts[lease] = Account(at=began or self.ledger.clock())
        self._kept_at[lease] = clock.now()

    def look(self, lease: Lease) -> None:
        """Book what was seen of a lease in this pass."""
        assigned = {task: (work.job.id, piece) for task, (work, piece) in lease.assigned.items()}
        self._accounts[lease.id].look(self.ledger.clock(), lease.monitor.status, assigned)
        self._tell(lease.id)
        if clock.now() - self._kept_at[lease.id] >= KEEP_S:
            self._keep(lease.id)

    def end(self, task: str, came: Came) -> None:
        """Take note of what came of an attempt."""
        lease = task.partition("-")[0]
        if lease in self._accounts:  # an earlier run's is not ours to book
            self._accounts[lease].end(task, came)
            self._tell(lease)

    def give_up(self, lease: Lease, came: Loss) -> None:
        """Take note that a machine does no more."""
        self._accounts[lease.id].give_up(came, lease.assigned)
        self._tell(lease.id)

    def close(self, lease: str) -> None:
        """Take note that a machine was seen gone, or is given up."""
        self._accounts[lease].close(self.ledger.clock())
        self._keep(lease)

    def settle(self) -> None:
        """Keep what was found out after machines had gone."""
        for lease in self._accounts:
            self._keep(lease)

    def _keep(self, lease: str) -> None:
        """Write a lease's books into the ledger, if they have changed."""
        text = account.dump(self._accounts[lease].book())
        self._kept_at[lease] = clock.now()
        if text != self._kept.get(lease):
            with contextlib.suppress(StoreError):  # a full disk must not end a lease
                self.ledger.used(lease, text)
                self._kept[lease] = text

    def _tell(self, lease: str) -> None:
        """Say and count what is discarded from now on."""
        for attempt in self._accounts[lease].take_lost():
            if attempt.came is None or attempt.came == "counts":
                continue
            work = self.works[attempt.job]
            if attempt.piece.kind == "enhance":
                work.discarded[attempt.came] += 1
            self.console.info(
                f"{_named(work, attempt.piece)}: {attempt.amount.ms / 1000:.1f} s on lease {lease} are for nothing: "
                f"{WHY[attempt.came]} ({attempt.came})"
            )


def _named(work: Work, piece: Piece) -> str:
    """Name a piece, one of the whole job's too."""
    return title(work, piece) if piece.kind == "enhance" else f"{work.job.source.name}, {piece.kind}"
