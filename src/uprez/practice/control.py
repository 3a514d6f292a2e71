"""What `/practice/` does, for whoever runs the market.

    GET  /practice/state       clock, credit, every instance with its bill, faults that wait, how often each struck
    GET  /practice/requests    what clients have asked, with whole bodies and statuses, never with headers
    POST /practice/fault       {"name": ..., "times": 1, "endpoint": null, "instance": null, "seconds": null}
    POST /practice/disarm      {"name": null}: forget a fault, or all
    POST /practice/advance     {"seconds": 60}
    POST /practice/traffic     {"instance": ..., "down": bytes, "up": bytes}
    POST /practice/kill        {"pid": ..., "signal": 9, "endpoint": "create", "when": "before" | "after", "times": 1}

All of it needs `Authorization: Bearer <control key>`; the market's own keys do not open it.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uprez.practice.access import ENDPOINTS
from uprez.practice.call import Seen, identifier
from uprez.practice.faults import Armed
from uprez.practice.kills import WHENS, Kill, Kills
from uprez.practice.market import Market
from uprez.practice.query import number

MOST_SEEN = 10_000

Body = Mapping[str, object]


@dataclass(kw_only=True)
class Desk:
    """What the control endpoints look at and change."""

    market: Market
    kills: Kills = field(default_factory=Kills)
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=MOST_SEEN))
    requests: int = 0
    """How many there were, those too that are no longer kept."""

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, seen: Seen) -> None:
        """Keep a request."""
        with self._lock:
            self.seen.append(seen)
            self.requests += 1

    def kept(self) -> tuple[list[Seen], int]:
        """Give the requests that are kept, and how many are not."""
        with self._lock:
            return list(self.seen), self.requests - len(self.seen)

    def state(self) -> dict[str, object]:
        """Give the truth: what there is and what it has cost, money as text."""
        market = self.market
        rows = market.rows()
        return {
            "now": market.clock.now_s(),
            "credit_usd": str(market.credit_usd()),
            "spent_usd": str(market.spent_usd()),
            "instances": rows,
            "bills": [
                {
                    "instance": bill.instance,
                    "label": bill.label,
                    "usd": str(bill.usd()),
                    "items": {name: str(usd) for name, usd in bill.items.items()},
                    "gpu_ms": bill.gpu_ms,
                    "disk_ms": bill.disk_ms,
                    "down_bytes": bill.down,
                    "up_bytes": bill.up,
                }
                for bill in list(market.bills.values())
            ],
            "faults": [vars(one) for one in market.faults.waiting()],
            "struck": dict(market.faults.struck),
            "kills": [vars(one) for one in self.kills.waiting()],
        }


def _requests(desk: Desk, body: Body) -> object:
    del body
    kept, dropped = desk.kept()
    return {"requests": [vars(one) for one in kept], "dropped": dropped}


def _endpoint(body: Body) -> str | None:
    endpoint = body.get("endpoint")
    if endpoint is not None and endpoint not in ENDPOINTS:
        raise ValueError(f"no endpoint {endpoint}; there are {', '.join(ENDPOINTS)}")
    return None if endpoint is None else str(endpoint)


def _whole(body: Body, name: str, usual: int | None = None) -> int | None:
    value = number(body.get(name))
    return usual if value is None else int(value)


def _arm(desk: Desk, body: Body) -> object:
    desk.market.inject(
        Armed(
            name=str(body["name"]),
            times=_whole(body, "times") or 1,
            endpoint=_endpoint(body),
            instance=_whole(body, "instance"),
            seconds=number(body.get("seconds")),
        )
    )
    return {"success": True}


def _disarm(desk: Desk, body: Body) -> object:
    desk.market.faults.disarm(None if body.get("name") is None else str(body["name"]))
    return {"success": True}


def _advance(desk: Desk, body: Body) -> object:
    desk.market.advance(number(body["seconds"]) or 0.0)
    return {"now": desk.market.clock.now_s()}


def _traffic(desk: Desk, body: Body) -> object:
    down, up = _whole(body, "down") or 0, _whole(body, "up") or 0
    desk.market.traffic(identifier(str(body["instance"])), down=down, up=up)
    return {"success": True}


def _kill(desk: Desk, body: Body) -> object:
    endpoint, when = _endpoint(body), next((each for each in WHENS if each == body.get("when")), None)
    if endpoint is None or when is None:
        raise ValueError('endpoint and when ("before" or "after") are needed')
    sent = _whole(body, "signal") or signal.SIGKILL
    pid, times = _whole(body, "pid") or 0, _whole(body, "times") or 1
    desk.kills.arm(Kill(pid=pid, signal=sent, endpoint=endpoint, when=when, times=times))
    return {"success": True}


CONTROLS: dict[tuple[str, str], Callable[[Desk, Body], object]] = {
    ("GET", "state"): lambda desk, body: desk.state(),
    ("GET", "requests"): _requests,
    ("POST", "fault"): _arm,
    ("POST", "disarm"): _disarm,
    ("POST", "advance"): _advance,
    ("POST", "traffic"): _traffic,
    ("POST", "kill"): _kill,
}
"""What each order does, by method and name."""
