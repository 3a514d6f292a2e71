"""The market: who has rented what, what state it is in, and what it costs, by a clock that tests can move.

Nothing happens between two calls: each call first lets the time since the last one pass (`settle`), event by event, so
that a boot, the end of the money and a bill come out the same however seldom anybody looks. `PracticeServer` also
calls `settle` by itself, so that processes start when nobody asks.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
from collections.abc import Iterator, Mapping
from decimal import Decimal

from uprez.practice import charges, launch, life, listing, logs, offers, passage, renting, room, strikes
from uprez.practice.access import EVERYTHING, Key, Limits
from uprez.practice.clock import Clock
from uprez.practice.faults import IMMEDIATE, Armed, Faults
from uprez.practice.instance import Instance, row
from uprez.practice.process import Machines
from uprez.practice.query import Row
from uprez.practice.refusal import Refusal, no_such_instance, refuse
from uprez.practice.state import Options, State

__all__ = ["Market", "Options"]

LAG_MS = 60_000
"""How young an instance is that `list_lag` and `show_lag` hide."""


class Market:
    """One account's view of a market. Safe to call from many threads."""

    def __init__(self, clock: Clock, machines: Machines, options: Options | None = None) -> None:
        self.clock = clock
        self.options = options or Options()
        self.faults = Faults()
        self.faults.arm(Armed(name="v0_gone", times=-1))
        self.limits = Limits(style=self.options.style, retry_after=self.options.retry_after)
        self.key = secrets.token_hex(32)
        self.keys = {self.key: Key(permissions=EVERYTHING)}
        self._lock = threading.RLock()
        self._state = State(
            clock=clock,
            options=self.options,
            machines=machines,
            faults=self.faults,
            rng=random.Random(self.options.seed),  # noqa: S311  lengths of boots, not a secret
            at_ms=clock.now_ms(),
            listed=offers.table(self.options.seed, machines=self.options.machines, now_s=clock.now_s()),
            keys=self.keys,
            granted_usd=self.options.credit_usd,
        )
        self.bills = self._state.bills
        """Of every instance that ever was."""

    # --- time

    def settle(self) -> None:
        """Let the time that has passed happen."""
        with self._now():
            pass

    def advance(self, seconds: float) -> None:
        """Move the clock forward and let it happen."""
        self.clock.advance(seconds)
        self.settle()

    @contextlib.contextmanager
    def _now(self) -> Iterator[State]:
        """Give the state as it is by now, to one caller at a time."""
        with self._lock:
            passage.settle(self._state)
            yield self._state

    @property
    def busy(self) -> bool:
        """Whether anything could happen by itself."""
        return bool(self._state.instances or self._state.doomed)

    # --- what clients ask

    def search(self, query: Mapping[str, object]) -> list[dict[str, object]]:
        """Answer a search; raises Refusal."""
        with self._now() as state:
            free = room.free(state, bid=query.get("type") in ("bid", "interruptible"))
            ignored = ("*",) if self.faults.take("ignored_filter") else ()
            return offers.search(free, query, now_s=self.clock.now_s(), ignored=ignored)

    def create(self, ask: int, body: Mapping[str, object]) -> dict[str, object]:
        """Rent an offer; raises Refusal. The answer may name an instance although it is no success."""
        with self._now() as state:
            return renting.rent(state, ask, body)

    def page(self, query: Mapping[str, str]) -> dict[str, object]:
        """Give one page of the instances; raises Refusal."""
        with self._now() as state:
            if query.get("after_token") and self.faults.take("list_page"):
                raise Refusal(500, {"success": False, "error": "internal", "msg": "internal server error"})
            lag = self.faults.take("list_lag")
            shown = [one for one in state.instances.values() if not lag or state.at_ms - one.created_ms > LAG_MS]
            return listing.page([self._row(one) for one in shown], query)

    def list_v0(self) -> dict[str, object]:
        """Give all instances the old way; raises Refusal, for accounts that are too new."""
        if self.faults.take("v0_gone"):
            raise refuse(410, "gone", "This endpoint is deprecated: use /api/v1/instances/")
        with self._now() as state:
            rows = [self._row(one) for one in state.instances.values()]
            return {"success": True, "instances_found": len(rows), "instances": rows}

    def show(self, instance: int) -> Row | None:
        """Give one instance, None when it is gone; raises Refusal."""
        with self._now() as state:
            one = state.instances.get(instance)
            if one is None and self.faults.take("show_404"):
                raise no_such_instance(instance)
            young = one is not None and state.at_ms - one.created_ms <= LAG_MS
            if one is None or (young and self.faults.take("show_lag", instance=instance)):
                return None
            return self._row(one)

    def _row(self, one: Instance) -> Row:
        wrong = one.status == "running" and bool(self.faults.take("misreported", instance=one.id))
        return row(one, now_s=self.clock.now_s(), misreported=wrong)

    def manage(self, instance: int, body: Mapping[str, object], *, own: bool = False) -> None:
        """Change label or state; raises Refusal."""
        with self._now() as state:
            one = state.get(instance)
            wanted = body.get("state")
            if "state" in body and wanted not in ("stopped", "running"):
                raise refuse(400, "invalid_args", f"state {wanted} must be running or stopped")
            if "label" in body:
                one.label = launch.check_label(body["label"], launch.MOST_LABEL_LATER, "label_too_long")
            elif "state" not in body:
                raise refuse(400, "invalid_args", "nothing to change: give state or label")
            if wanted == "stopped":
                life.pause(state, one, "stopped", own=own)
                passage.settle(state)  # whoever waits for its GPU
            elif wanted == "running":
                life.start(state, one)

    def change_bid(self, instance: int, price: object) -> None:
        """Change what a bid instance pays; a displaced one goes on when it is enough. Raises Refusal."""
        with self._now() as state:
            one = state.get(instance)
            if one.bid is None:
                raise refuse(400, "invalid_args", "Can't change price of on-demand contract.")
            one.bid = launch.check_bid(price)
            one.bill.reprice(one.bid)
            if one.holds and one.bid < room.least_bid(state, one):
                life.outbid(state, one)
            passage.settle(state)  # it, or whoever waits for its GPU

    def reboot(self, instance: int) -> None:
        """Stop and start, keeping GPU and disk; raises Refusal."""
        with self._now() as state:
            life.reboot(state, state.get(instance))

    def recycle(self, instance: int) -> None:
        """Make the container anew from its image, on an empty disk, keeping the GPU; raises Refusal."""
        with self._now() as state:
            life.reboot(state, state.get(instance), fresh=True)

    def destroy(self, instance: int, *, own: bool = False) -> None:
        """Remove an instance with its disk, logs and key; raises Refusal when it is not there."""
        with self._now() as state:
            life.drop(state, state.get(instance), own=own)
            passage.settle(state)  # whoever waits for its GPU

    def request_logs(self, instance: int, body: Mapping[str, object]) -> str:
        """Make a snapshot and give the name under which it will appear; raises Refusal."""
        with self._now() as state:
            if instance not in state.instances:
                raise refuse(404, "invalid_id", f"Instance {instance} not found.")
            one = state.instances[instance]
            if one.actual is None:
                raise Refusal(200, {"success": False, "error": "not_ready", "msg": "Instance is not ready yet."})
            printed = state.machines.log(one.id)
            delay_ms = round(self.options.log_delay_s * 1000)
            return logs.take(
                state.snapshots, one, printed, body, faults=self.faults, now_ms=state.at_ms, delay_ms=delay_ms
            )

    def log_file(self, name: str) -> bytes | None:
        """Give a snapshot that has appeared."""
        with self._lock:
            return self._state.snapshots.get(name, self.clock.now_ms())

    # --- money and truth

    def charges(self, query: Mapping[str, str]) -> dict[str, object]:
        """Give one page of what each instance has cost on each day; raises Refusal."""
        with self._now() as state:
            return charges.page(state.bills.values(), query)

    def credit_usd(self) -> Decimal:
        """Give what is left of the account's money; storage may bring it below zero."""
        with self._lock:
            return self._state.credit_usd()

    def spent_usd(self) -> Decimal:
        """Give what everything has cost so far."""
        with self._lock:
            return self._state.spent_usd()

    def traffic(self, instance: int, *, down: int = 0, up: int = 0) -> None:
        """Charge an instance for bytes that it is said to have moved; raises Refusal."""
        with self._now() as state:
            state.get(instance).bill.pass_traffic(day=state.day, down=down, up=up)

    def rows(self) -> list[Row]:
        """Give every instance that there is, whatever faults would hide."""
        with self._now() as state:
            return [row(one, now_s=self.clock.now_s()) for one in state.instances.values()]

    def offer_list(self) -> list[offers.Offer]:
        """Give all asks, those without room too."""
        with self._lock:
            return list(self._state.listed)

    def inject(self, fault: Armed) -> None:
        """Arm a fault, or let it strike when it is one that strikes at once; raises KeyError, Refusal."""
        with self._now() as state:
            if fault.name in IMMEDIATE:
                strikes.strike(state, fault)
                passage.settle(state)
            else:
                self.faults.arm(fault)

    def close(self) -> None:
        """End everything that runs."""
        with self._lock:
            for instance in (*self._state.instances, *self._state.doomed):
                self._state.machines.kill(instance)
