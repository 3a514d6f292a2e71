"""Who has the GPUs of a machine, and who could have them."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from uprez.practice.instance import Instance
from uprez.practice.offers import Offer
from uprez.practice.state import State


def used(state: State, *, bid: bool) -> dict[int, int]:
    """Count the GPUs that are held, by machine: bids give way to whoever pays the full price."""
    held: dict[int, int] = defaultdict(int)
    for one in state.instances.values():
        if one.holds and (bid or one.bid is None):
            held[one.offer.machine_id] += one.offer.num_gpus
    return held


def fits(state: State, offer: Offer, *, bid: bool) -> bool:
    """Say whether a machine has the GPUs."""
    return offer.num_gpus <= offer.machine_gpus - used(state, bid=bid).get(offer.machine_id, 0)


def free(state: State, *, bid: bool) -> list[Offer]:
    """Give the asks that can be had."""
    held = used(state, bid=bid)
    return [each for each in state.listed if each.num_gpus <= each.machine_gpus - held.get(each.machine_id, 0)]


def least_bid(state: State, one: Instance) -> Decimal:
    """Give what an instance's GPUs must be bid now."""
    return next((each.min_bid for each in state.listed if each.same_ask(one.offer)), one.offer.min_bid)


def comes_back(state: State, one: Instance) -> bool:
    """Say whether a displaced bid has the highest claim again."""
    return (
        one.displaced
        and not one.hidden
        and one.bid is not None
        and one.bid >= least_bid(state, one)
        and fits(state, one.offer, bid=True)
    )


def starts_now(state: State, one: Instance) -> bool:
    """Say whether a start that waits can be made."""
    due = one.queued_ms is not None and state.at_ms >= one.queued_ms
    return due and not one.hidden and fits(state, one.offer, bid=one.bid is not None)
