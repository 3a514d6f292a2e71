"""Who may ask what, and how often: keys with permissions, and the intervals between calls."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from uprez.practice.refusal import Refusal, refuse

Style = Literal["text", "detail", "json"]
STYLES: tuple[Style, ...] = ("text", "detail", "json")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One kind of request."""

    permission: str | None
    """None: no key needed."""
    interval_s: float = 0.0
    """Least time between two calls of one key."""
    penalty_s: float = 0.0
    """How long a call that came too early shuts the door."""


ENDPOINTS: dict[str, Endpoint] = {
    "search": Endpoint(permission=None, interval_s=2.0),
    "create": Endpoint(permission="instance_write", interval_s=4.5, penalty_s=12.0),
    "list": Endpoint(permission="instance_read", interval_s=1.0),
    "list_v0": Endpoint(permission="instance_read", interval_s=20.0),
    "show": Endpoint(permission="instance_read", interval_s=2.0),
    "manage": Endpoint(permission="instance_write", interval_s=1.0),
    "manage_many": Endpoint(permission="instance_write", interval_s=1.0),
    "destroy": Endpoint(permission="instance_write", interval_s=3.0),
    "destroy_many": Endpoint(permission="instance_write", interval_s=3.0),
    "logs": Endpoint(permission="instance_read", interval_s=2.0),
    "log_file": Endpoint(permission=None),
    "bid": Endpoint(permission="instance_write", interval_s=5.5),
    "reboot": Endpoint(permission="instance_write", interval_s=1.0),
    "recycle": Endpoint(permission="instance_write", interval_s=1.0),
    "filters": Endpoint(permission="instance_read"),
    "gpu_names": Endpoint(permission=None),
    "user": Endpoint(permission="user_read"),
    "charges": Endpoint(permission="billing_read"),
}
"""Every kind of request that the market answers. The interval of `logs` is unpublished; 2 s is what clients assume."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a key may do; an instance's own key is bound to it."""

    permissions: frozenset[str]
    instance: int | None = None


EVERYTHING = frozenset({"instance_read", "instance_write", "user_read", "misc", "billing_read"})
INSTANCE = frozenset({"instance_read", "instance_write", "misc"})
"""What an instance's own key may do, to itself alone; listing too."""
LISTS = frozenset({"list", "list_v0", "filters"})


def check(key: Key | None, name: str, instance: int | None) -> None:
    """Raise Refusal unless the key may make this kind of request (of that instance)."""
    needed = ENDPOINTS[name].permission
    if needed is None:
        return
    if key is None:
        raise refuse(401, "auth_error", "Invalid user key")
    if needed not in key.permissions:
        raise refuse(401, "auth_error", f"This key lacks the permission {needed}")
    if key.instance is not None and name not in LISTS and instance != key.instance:
        raise refuse(401, "auth_error", f'This key is limited by the constraint {{"id":{{"eq":{key.instance}}}}}')


class Limits:
    """The least intervals between calls, for each kind of request and each key."""

    def __init__(self, *, style: Style = "detail", retry_after: bool = False) -> None:
        self.style: Style = style
        self.retry_after = retry_after
        self._lock = threading.Lock()
        self._free_ms: dict[tuple[str, str], int] = {}

    def pass_or_refuse(self, name: str, key: str, now_ms: int) -> None:
        """Count one call; raises Refusal when it comes too early."""
        endpoint = ENDPOINTS[name]
        with self._lock:
            free = self._free_ms.get((name, key), 0)
            early = now_ms < free
            if early:
                self._free_ms[name, key] = max(free, now_ms + round(endpoint.penalty_s * 1000))
            else:
                self._free_ms[name, key] = now_ms + round(endpoint.interval_s * 1000)
        if early:
            raise too_frequent(self.style, endpoint.interval_s, retry_after=self.retry_after)


def too_frequent(style: Style, threshold_s: float, *, retry_after: bool = False) -> Refusal:
    """Make a 429 in one of the three styles that have been seen."""
    text = f"API requests too frequent endpoint threshold={threshold_s}"
    headers = {"Retry-After": str(max(1, round(threshold_s)))} if retry_after else {}
    if style == "text":
        return Refusal(429, text, headers=headers)
    if style == "detail":
        return Refusal(429, {"detail": text}, headers=headers)
    body = {"success": False, "error": "rate_limit_exceeded", "msg": text}
    return Refusal(429, body | ({"retry_after": threshold_s} if retry_after else {}), headers=headers)
