"""How an offer becomes an instance, and how it is refused."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from uprez.practice import launch, life, room
from uprez.practice.access import INSTANCE, Key
from uprez.practice.billing import Bill, Rates
from uprez.practice.instance import Instance
from uprez.practice.offers import Offer
from uprez.practice.refusal import Refusal, refuse
from uprez.practice.state import State


def rent(state: State, ask: int, body: Mapping[str, object]) -> dict[str, object]:
    """Rent an offer; raises Refusal. The answer may name an instance although it is no success."""
    wanted = launch.parse(body)
    if state.credit_usd() <= 0:
        raise refuse(400, "insufficient_credit", "Your account has no credit left.")
    _refuse_by_fault(state, ask)
    listed = next((each for each in state.listed if each.id == ask), None)
    offer = listed or state.taken.get(ask)
    if offer is None:
        raise gone(ask, 404)
    available = (
        listed is not None
        and room.fits(state, offer, bid=wanted.bid is not None)
        and (wanted.bid is None or wanted.bid >= offer.min_bid)
    )
    if not available and wanted.cancel_unavail:
        raise gone(ask, 410)
    fine = available and not state.faults.take("stopped_contract")
    one = _make(state, offer, wanted)
    if fine:
        _relist(state, offer)
    if fine and not wanted.stopped:
        life.boot(state, one, round(state.rng.uniform(*state.options.boot_s) * 1000))
    else:
        one.pause("created")
        one.displaced = wanted.bid is not None and not available
    answer = {"success": fine, "new_contract": one.id, "instance_api_key": one.key}
    return answer if fine else answer | {"error": "resources_unavailable", "msg": "Instance created, stopped."}


def _refuse_by_fault(state: State, ask: int) -> None:
    for status in (404, 410, 400):
        if state.faults.take(f"no_such_ask_{status}"):
            raise gone(ask, status)


def _make(state: State, offer: Offer, wanted: launch.Launch) -> Instance:
    state.last_instance += 1 + state.rng.randrange(40)
    disk = min(wanted.disk_gb, offer.disk_gb)
    if state.faults.take("capped_disk"):
        disk = round(disk / 2, 1)
    rates = Rates(
        gpu_usd_per_hour=offer.usd_per_hour if wanted.bid is None else wanted.bid,
        disk_usd_per_hour=offer.storage_usd_per_hour(disk),
        down_usd_per_gb=offer.down_usd_per_gb,
        up_usd_per_gb=offer.up_usd_per_gb,
    )
    one = Instance(
        id=state.last_instance,
        offer=offer,
        launch=wanted,
        key=secrets.token_hex(32),
        label=wanted.label,
        disk_gb=disk,
        created_ms=state.at_ms,
        bill=Bill(instance=state.last_instance, label=wanted.label, rates=rates),
        bid=wanted.bid,
    )
    state.bills[one.id] = one.bill
    state.keys[one.key] = Key(permissions=INSTANCE, instance=one.id)
    state.instances[one.id] = one
    return one


def _relist(state: State, offer: Offer) -> None:
    """List an ask that was taken under a new id: it is shown again when its machine has room."""
    state.taken[offer.id] = offer
    state.last_ask += 1
    state.listed[state.listed.index(offer)] = replace(offer, id=state.last_ask)


def gone(ask: int, status: int) -> Refusal:
    """Say that an offer is not there, in the words that go with each status."""
    if status == 410:
        return refuse(
            410, "no_such_ask", f"error 410/3907: no_such_ask Instance type by id {ask} is no longer available."
        )
    text = f"error 404/3603: no_such_ask Instance type by id {ask} is not available."
    return refuse(status, "invalid_args" if status == 400 else "no_such_ask", text, ask_id=ask)
