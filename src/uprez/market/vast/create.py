"""Renting: what is sent, and what each answer decides. It is asked once; only the list may say more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from uprez.config.settings import Secret
from uprez.errors import BillingError, MarketError, Refused
from uprez.market.vast import answers
from uprez.market.vast.answers import Reply
from uprez.market.vast.destroy import destroy
from uprez.market.vast.fields import text
from uprez.market.vast.records import Created, VastInstance, VastOffer
from uprez.market.vast.wire import Vast, maybe

MOST_SCRIPT = 4000
"""Characters of entry point and arguments together: the documents say 4,048, 4,096 and 16 KB."""
MOST_LABEL = 256
RECONCILE_S = 60.0
"""How long the list may lag behind a renting."""
LOOK_S = 5.0
BLIND_S = 300.0
"""For how long a list that cannot be read is asked for again."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to run on a machine."""

    image: str
    disk_gb: int
    """Fixed for the instance's life."""
    label: str
    """Unique for ever: all that leads to an instance whose id was never learnt."""
    entrypoint: str = "/bin/bash"
    args: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    bid_usd_per_hour: Decimal | None = None
    """For an interruptible machine; None rents on demand, whatever was searched for."""

    def __post_init__(self) -> None:
        """Refuse what the server would cut off."""
        script = len(self.entrypoint) + sum(map(len, self.args))
        if script > MOST_SCRIPT or len(self.label) > MOST_LABEL:
            raise ValueError(f"the order holds a script of {script} and a label of {len(self.label)} characters")

    def as_json(self) -> dict[str, object]:
        """Write it for the server; it fails rather than make an instance that waits, stopped and billing."""
        price = {} if self.bid_usd_per_hour is None else {"price": float(self.bid_usd_per_hour)}
        return {
            "client_id": "me",
            "image": self.image,
            "disk": self.disk_gb,
            "label": self.label,
            "runtype": "args",
            "onstart": self.entrypoint,
            "args": list(self.args),
            "env": dict(self.environment),
            "target_state": "running",
            "cancel_unavail": True,
            **price,
        }


def rent(vast: Vast, offer: VastOffer, order: Order) -> Created:
    """Rent an offer.

    Raises NoSuchAsk (the next offer may do), RateLimited, KeyRefused or Refused when nothing was made; MaybeMade,
    with the label, when only the list can tell; BillingError when something was made and does not go away.
    """
    if offer.is_bid and order.bid_usd_per_hour is None:
        raise ValueError("an offer of a search for bids, rented without a bid, would be on demand")
    reply = vast.ask(offer.id, order.as_json(), order.label)
    if reply.contract is not None:
        return _made(vast, reply, reply.contract)
    error = answers.failure(reply, f"rent offer {offer.id}")
    if error is None or _is_unclear(reply):
        said = error.message if error else "Vast.ai says that it rented, and not what"
        raise maybe(said, order.label)
    raise error


def labelled(vast: Vast, label: str, *, within_s: float = RECONCILE_S) -> list[VastInstance]:
    """Look for what an unclear renting may have made, for as long as the list may lag; empty: nothing was made.

    The last word is a complete list. Raises MarketError when none could be had for `BLIND_S`.
    """
    began = vast.limiter.now()
    while True:
        over_s = vast.limiter.now() - began
        try:
            found = [instance for instance in vast.instances() if instance.label == label]
            if found or over_s >= within_s:
                return found
        except MarketError:
            if over_s >= BLIND_S:
                raise
        vast.limiter.pause(LOOK_S)


def _made(vast: Vast, reply: Reply, instance: int) -> Created:
    """Take what was made; a failure that made an instance left it stopped and billing, so it goes at once."""
    body = reply.body or {}
    if reply.status < 300 and body.get("success") is True:
        key = text(body, "instance_api_key")
        return Created(id=instance, key=Secret(key) if key else None)
    gone = destroy(vast, instance)
    what = f"Vast.ai made instance {instance} and did not start it: {reply.status} {reply.code}: {reply.words}"
    if not gone.is_gone:
        raise BillingError(f"{what}; it is not gone: {gone.reason}", hint=gone.hint)
    raise Refused(what, status=reply.status, code=reply.code)


def _is_unclear(reply: Reply) -> bool:
    """Say whether the answer leaves it open that an instance was made."""
    return "no_such_ask" not in reply.words + reply.code and (
        reply.status >= 500 or reply.status == 408 or reply.status in range(300, 400) or _is_noise(reply)
    )


def _is_noise(reply: Reply) -> bool:
    """An answer of 200 that is no JSON, or JSON that says neither yes nor no."""
    return reply.status < 300 and (reply.body is None or (reply.body.get("success") is not False and not reply.code))
