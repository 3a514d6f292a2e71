"""How time passes: from event to event, so that nothing depends on how often anybody looks."""

from __future__ import annotations

from decimal import ROUND_CEILING

from uprez.practice import life, room
from uprez.practice.billing import MS_A_DAY, MS_AN_HOUR
from uprez.practice.instance import Instance
from uprez.practice.state import State

KEPT_MS = 48 * MS_AN_HOUR
"""A contract that has ended is deleted after so long."""


def settle(state: State) -> None:
    """Let the time that has passed happen."""
    now = max(state.clock.now_ms(), state.at_ms)
    while True:
        at = max(state.at_ms, min([now, *_due(state)]))
        _charge(state, at)
        _turn_all(state)
        if at >= now:
            break
    for one in state.instances.values():
        one.show_boot(now)
        if one.actual == "running" and not one.hidden and state.machines.ended(one.id):
            one.actual, one.status_msg = "exited", ""
        life.charge_traffic(state, one)
    _stop_the_broke(state)
    life.bury(state)


def _due(state: State) -> list[int]:
    """Give the times, after the last one, at which something happens by itself."""
    if not state.instances:
        return []
    times: list[int | None] = [_broke_ms(state), (state.day + 1) * MS_A_DAY]
    for one in state.instances.values():
        times += [one.boots_ms, one.back_ms, one.queued_ms, one.end_ms, one.end_ms + KEPT_MS]
    return [each for each in times if each is not None and each > state.at_ms]


def _broke_ms(state: State) -> int | None:
    """Give when the money ends if nothing changes."""
    left = state.credit_usd()
    burn = sum(
        (one.bill.rates.gpu_usd_per_hour * one.bills_gpu + one.bill.rates.disk_usd_per_hour)
        for one in state.instances.values()
        if not one.hidden
    )
    if left <= 0 or not burn:
        return None
    return state.at_ms + int((left * MS_AN_HOUR / burn).to_integral_value(ROUND_CEILING))


def _charge(state: State, at: int) -> None:
    passed, day = at - state.at_ms, state.day
    state.at_ms = at
    for one in state.instances.values():
        one.bill.pass_time(passed, day=day, gpu=one.bills_gpu, disk=not one.hidden)


def _turn_all(state: State) -> None:
    """Do what is due, and then what that has made possible, such as a start that waited for a GPU."""
    _stop_the_broke(state)
    while any([_turn(state, one) for one in list(state.instances.values())]):  # noqa: C419  all of them, at each pass
        pass


def _turn(state: State, one: Instance) -> bool:
    """Do what is due for one instance and say whether there was anything."""
    at = state.at_ms
    if at >= one.end_ms + KEPT_MS:
        life.drop(state, one)
    elif at >= one.end_ms:
        if one.intended == "stopped":
            return False
        life.pause(state, one, "exited")
    elif one.boots_ms is not None and at >= one.boots_ms:
        life.boot_ends(state, one)
    elif one.back_ms is not None and at >= one.back_ms:
        life.come_back(state, one)
    elif (room.starts_now(state, one) or room.comes_back(state, one)) and state.credit_usd() > 0:
        life.boot(state, one, life.REBOOT_MS)
    else:
        return False
    return True


def _stop_the_broke(state: State) -> None:
    if state.credit_usd() <= 0:
        for one in state.instances.values():
            if one.intended != "stopped":
                life.pause(state, one, "exited")
