"""The faults that strike when they are armed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from uprez.practice import life
from uprez.practice.faults import Armed
from uprez.practice.instance import Instance
from uprez.practice.refusal import refuse
from uprez.practice.state import State


def strike(state: State, fault: Armed) -> None:
    """Let a fault of `IMMEDIATE` happen; raises Refusal where it cannot."""
    if fault.name == "credit_0":
        state.granted_usd = state.spent_usd()
    else:
        newest = max(state.instances, default=-1)
        STRIKES[fault.name](state, state.get(newest if fault.instance is None else fault.instance), fault)
    state.faults.struck[fault.name] += 1


def _outbid(state: State, one: Instance, fault: Armed) -> None:
    del fault
    if one.bid is None:
        raise refuse(400, "invalid_args", f"Instance {one.id} is on demand: nobody can outbid it.")
    higher = (one.bid * Decimal("1.1")).quantize(Decimal("0.0001"), ROUND_CEILING)
    state.listed = [replace(each, min_bid=higher) if each.same_ask(one.offer) else each for each in state.listed]
    if one.holds:
        life.outbid(state, one)


def _offline(state: State, one: Instance, fault: Armed) -> None:
    life.hide(state, one, None if fault.seconds is None else state.at_ms + round(fault.seconds * 1000))


STRIKES: dict[str, Callable[[State, Instance, Armed], None]] = {
    "exited": lambda state, one, fault: life.exit_now(state, one),
    "restart": lambda state, one, fault: life.reboot(state, one),
    "outbid": _outbid,
    "offline": _offline,
}
"""Those that strike one instance."""
