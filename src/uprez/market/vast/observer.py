"""What an instance of Vast.ai really is, from looks that lag and sometimes err: one look never condemns it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from uprez.market.base import Instance, InstanceState, Rates
from uprez.market.vast.destroy import ABSENT
from uprez.market.vast.records import VastInstance
from uprez.market.vast.rules import HOURS_PER_MONTH

AGREE = 3
"""Looks in a row that must find an instance in a bad state before the last of them is believed."""
YOUNG_S = 90.0
"""The list may lag behind a renting for so long."""
_ON_ITS_WAY = frozenset({"", "created", "loading", "rebooting", "recycling", "restarting", "scheduling"})
_GOOD: frozenset[InstanceState] = frozenset({"booting", "running"})


@dataclass(kw_only=True)
class _Known:
    """What is remembered of one instance."""

    shown: Instance
    since: float
    bad: list[InstanceState] = field(default_factory=list)
    missing: int = 0
    missing_since: datetime | None = None
    listed: bool = False
    """A list has shown it: then one that does not is no lag."""
    ran: bool = False


class Observer:
    """Turns lists into instances. An instance that was made is listed from that moment on, whatever the list says."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self.gone: dict[str, datetime] = {}
        """What ended without us, and when a list first lacked it."""

    def made(self, instance: Instance) -> None:
        """Take note of an instance that was rented a moment ago."""
        self._known[instance.id] = _Known(shown=instance, since=self._clock())

    def forget(self, instance: str) -> None:
        """Take note of an instance that was seen gone."""
        self._known.pop(instance, None)

    def is_young(self, instance: str) -> bool:
        """Say whether an instance was rented so short a while ago that the server may not show it yet."""
        known = self._known.get(instance)
        return known is not None and self._clock() - known.since < YOUNG_S

    def knows(self, instance: str) -> bool:
        """Say whether an instance was seen or made before: it is ours, whatever label somebody gave it since."""
        return instance in self._known

    def look(self, listed: Sequence[VastInstance], now: datetime) -> list[Instance]:
        """Take a complete list, and give what there is. `now`: the market's time."""
        found = {str(one.id): one for one in listed}
        for name, one in found.items():
            known = self._known.setdefault(name, _Known(shown=instance(one, "booting"), since=-YOUNG_S))
            known.missing, known.missing_since, known.listed = 0, None, True
            self._see(known, one)
        for name, known in list(self._known.items()):
            if name not in found:
                known.missing += 1
                known.missing_since = known.missing_since or now
                if known.missing >= ABSENT and (known.listed or self._clock() - known.since >= YOUNG_S):
                    self.gone[name] = known.missing_since
                    del self._known[name]
        return [known.shown for known in self._known.values()]

    @staticmethod
    def _see(known: _Known, one: VastInstance) -> None:
        state = state_of(one, ran=known.ran)
        known.ran = known.ran or state == "running"
        if state in _GOOD:
            known.bad.clear()
        else:
            known.bad.append(state)
            if len(known.bad) < AGREE:
                state = known.shown.state
        known.shown = instance(one, state)


def state_of(one: VastInstance, *, ran: bool) -> InstanceState:
    """Say what the fields of one look mean together (status_msg is for people and never decides).

    `ran`: its container was seen running before, so that what stops now was taken away and did not fail to start.
    """
    halted = one.intended_status == "stopped" and one.cur_state in ("stopped", "")
    if one.actual_status in _ON_ITS_WAY:
        if halted:
            return "stopped" if ran else "failed"
        return "booting"
    if halted or one.actual_status in ("stopped", "frozen"):
        return "stopped"
    if one.actual_status == "running":
        return "running"
    return "ended" if one.actual_status == "exited" else "lost"


def instance(one: VastInstance, state: InstanceState) -> Instance:
    """Say it in every market's terms."""
    return Instance(
        id=str(one.id),
        label=one.label,
        state=state,
        # The host's word; what the contract says ("stopped") is the market's own.
        sure=state in ("booting", "running", "stopped", "failed"),
        detail=" ".join(one.status_msg.split())[:200],
        disk_gb=one.disk_gb,
        gpu=one.gpu_name,
        rates=rates(one),
        created_at=None if one.start_s is None else datetime.fromtimestamp(float(one.start_s), UTC),
    )


def rates(one: VastInstance) -> Rates | None:
    """Give what an instance costs by its own row, None where that does not say all of it."""
    known = (one.base_usd_per_hour, one.storage_usd_per_gb_month, one.disk_gb, one.down_usd_per_gb, one.up_usd_per_gb)
    if any(value is None for value in known):
        return None
    gpu, storage, disk, down, up = (value or Decimal(0) for value in known)
    return Rates(
        gpu_usd_per_hour=gpu,
        disk_usd_per_hour=storage * disk / HOURS_PER_MONTH,
        down_usd_per_gb=down,
        up_usd_per_gb=up,
    )
