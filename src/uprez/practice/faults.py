"""What can go wrong on demand, one by one: each fault is armed for a number of times and used up where it strikes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

FAULTS: dict[str, str] = {
    "429_text": "a request is refused as too frequent, in plain text (`endpoint` chooses)",
    "429_detail": 'the same as JSON {"detail": ...}',
    "429_json": 'the same as JSON {"error": "rate_limit_exceeded"} with retry_after in the body and Retry-After',
    "quota": "a search hits the daily quota: 429 search_quota_exceeded, Retry-After to UTC midnight, X-RateLimit-Reset",
    "500": "a request fails with 500 before anything is done (`endpoint` chooses)",
    "502": "a gateway answers 502 with HTML before anything is done (`endpoint` chooses)",
    "lost": "the request is done and the connection closed without an answer (`endpoint` chooses)",
    "502_done": "the request is done, then a gateway answers 502 with HTML (`endpoint` chooses)",
    "garbled": "the request is done and answered 200 with half of its JSON (`endpoint` chooses)",
    "no_such_ask_404": "create: the offer is gone, status 404",
    "no_such_ask_410": "create: the offer is gone, status 410",
    "no_such_ask_400": "create: the offer is gone, status 400 with error invalid_args",
    "stopped_contract": "create: success is false, yet new_contract names a stopped instance that bills its disk",
    "capped_disk": "create: half of the disk asked for, without a word",
    "boot_forever": "boot: `loading` for ever with an empty status_msg, intended_status `stopped`",
    "boot_bad_image": "boot: `loading` for ever with `manifest unknown` in status_msg",
    "boot_cdi": "boot: `created`, all states `stopped`, `failed to inject CDI devices` in status_msg",
    "wrong_gpu": "boot: nvidia-smi answers for a GTX 1650 instead of what was rented",
    "vram_taken": "boot: nvidia-smi shows nearly all memory held by somebody else's process",
    "exited": "the container's processes die; actual_status `exited` (`instance` chooses, else the newest)",
    "offline": "the host is gone: processes dead, `offline`, disk not billed; back after `seconds` if given",
    "outbid": "a bid instance is displaced: paused, all states `stopped`, until its bid is raised",
    "restart": "the container is started again on its disk, as after a host's reboot",
    "misreported": "actual_status reads `exited` for the next `times` looks although all is well",
    "regpu": "start: refused with resources_unavailable, the start stays queued; fires after `seconds` (default 60)",
    "credit_0": "the account's money is gone at once: everything stops, create says insufficient_credit",
    "list_lag": "list: an instance younger than a minute is not shown yet",
    "show_lag": "show: an instance younger than a minute is not there yet",
    "show_404": "show: an instance that is gone is 404 no_such_instance instead of 200 with null",
    "list_page": "list: the second page fails with 500",
    "v0_gone": "the v0 list answers 410, as for accounts made after June 2026 (on from the start; disarm to have it)",
    "ignored_filter": "search: no condition is applied",
    "logs_stale": "request_logs: the snapshot is not renewed, the previous one stays",
    "logs_late": "request_logs: the snapshot comes 20 s later",
    "logs_404": "request_logs: the snapshot never comes",
    "logs_cut": "request_logs: the snapshot ends in the middle of a line",
    "logs_rotated": "request_logs: the host has rotated the log, only the last quarter of its lines is left",
}
"""Every fault, by name."""
IMMEDIATE = frozenset({"exited", "offline", "outbid", "restart", "credit_0"})
"""They strike when they are armed, once."""
AT_START = frozenset(FAULTS) - IMMEDIATE | {"credit_0"}
"""Those that make sense before anything is rented."""


@dataclass(kw_only=True)
class Armed:
    """A fault that waits for its moment."""

    name: str
    times: int = 1
    """-1: always."""
    endpoint: str | None = None
    instance: int | None = None
    seconds: float | None = None


class Faults:
    """The faults that wait, and how often each has struck."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Armed] = []
        self.struck: Counter[str] = Counter()

    def arm(self, fault: Armed) -> None:
        """Let a fault strike; raises KeyError for one that there is not."""
        if fault.name not in FAULTS:
            raise KeyError(fault.name)
        with self._lock:
            self._armed.append(fault)

    def disarm(self, name: str | None = None) -> None:
        """Forget a fault, or all of them."""
        with self._lock:
            self._armed = [one for one in self._armed if name is not None and one.name != name]

    def waiting(self) -> list[Armed]:
        """Give what has not struck yet."""
        with self._lock:
            return [one for one in self._armed if one.times]

    def take(self, name: str, *, endpoint: str | None = None, instance: int | None = None) -> Armed | None:
        """Use up one fault of that name that is meant for this endpoint and this instance."""
        with self._lock:
            for one in self._armed:
                fits = one.endpoint in (None, endpoint) and one.instance in (None, instance)
                if one.name == name and one.times and fits:
                    one.times -= 1 if one.times > 0 else 0
                    self.struck[name] += 1
                    return one
        return None

    def first(self, names: tuple[str, ...], *, endpoint: str | None = None) -> str | None:
        """Use up the first of several and give its name."""
        return next((name for name in names if self.take(name, endpoint=endpoint)), None)
