"""The machines that one batch does not rent: by what earlier batches saw of them, and by what it saw itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from uprez.errors import StoreError
from uprez.fleet import bans
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import Ban
from uprez.report.console import Console


@dataclass(kw_only=True)
class Shunning:
    """Remembers, for one batch, which machines are no good."""

    ledger: Ledger
    place: str
    batch: str
    console: Console
    banned: set[str] = field(default_factory=set)
    """Machines that were found bad in this batch."""
    _suspects: dict[str, str] = field(default_factory=dict)
    """Machines that never came up, and why, as long as none did: the image may be to blame."""
    _proved: bool = False
    """A machine came up."""
    _told: bool = False

    def of_earlier(self) -> dict[str, Ban]:
        """Give the machines that earlier batches found bad, and say so once."""
        found = bans.current(self.ledger.bans(self.place), self.ledger.clock())
        for line in bans.told(found.values()) if not self._told else ():
            self.console.info(line)
        self._told = True
        return found

    def shun(
        self,
        machine: str,
        reason: str,
        *,
        fault: bool,
        booted: bool = True,
        lied: bool = False,
        evidence: str | None = None,
    ) -> None:
        """Rent a machine no more in this batch; where it is at fault, later ones are to know.

        One that never `booted` is so only if others do: the image may be to blame.
        """
        if machine in self.banned:
            return
        self.banned.add(machine)
        if fault and not (booted or self._proved):
            self._suspects[machine] = reason
        elif fault:
            self._blame(machine, reason, lied=lied, evidence=evidence)

    def came_up(self) -> None:
        """Take note that a machine came up: where others did not, they are to blame."""
        self._proved = True
        for machine, reason in self._suspects.items():
            self._blame(machine, reason)
        self._suspects.clear()

    def _blame(self, machine: str, reason: str, *, lied: bool = False, evidence: str | None = None) -> None:
        try:
            ban = bans.note(self.ledger, self.place, machine, self.batch, reason, lied=lied, evidence=evidence)
        except StoreError as error:  # a full disk must not end what works
            self.console.warn(error.message)
            return
        if ban.until > ban.banned_at:
            self.console.warn(f"Machine {machine} is shunned until {ban.until:%Y-%m-%d %H:%M}Z: {reason}")
