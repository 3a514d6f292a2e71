"""The typed client of Vast.ai's REST API: one method a call, each answer a record or an error by what it means.

For any number of threads. The key goes into one header and nowhere else. A call that may be repeated is tried again
here, when it came too soon or had no clear answer; renting is not, since a lost answer may hide a machine.
The waits between tries are the limiter's, so that every thread keeps them, and tests turn its clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from uprez import http
from uprez.config.settings import Secret
from uprez.errors import FetchError, MaybeMade, NoSuchInstance, RateLimited, Refused, Unclear
from uprez.http import Limits, shown
from uprez.market.vast import answers, records
from uprez.market.vast.answers import Reply
from uprez.market.vast.fields import row, text, whole
from uprez.market.vast.limiter import INTERVALS, LIMITER, MARGIN_S, PENALTIES, Endpoint, Limiter
from uprez.market.vast.records import Account, VastInstance, VastOffer
from uprez.market.vast.shared import Shared

LIMITS = Limits(connect_s=10, read_s=60, total_s=120, tries=1)
"""Of one try."""
TRIES = 4
MOST_WAIT_S = 60.0
"""A server that asks to be left alone for longer is not waited for."""
PAGE = 25
"""The most rows of a list that Vast.ai gives at once."""
PAGES = 400
"""More than this is a server that turns in a circle."""
LOG_WAIT_S = 9.0
"""A host uploads its log within 1 to 5 s, mostly."""
LOG_LOOK_S = 0.5
LOG_AGAIN_S = 1.5
MOST_LOG = 8 << 20
_ANSWERS = frozenset(range(300, 600))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search gave."""

    offers: tuple[VastOffer, ...]
    rows: int
    """Those that cannot be read counted in: it tells a page that is full."""


class Vast:
    """An account at `base`, the address without a path."""

    def __init__(self, base: str, key: Secret, *, limiter: Limiter = LIMITER, limits: Limits = LIMITS) -> None:
        self._base = base.rstrip("/")
        self._key = key
        self._limits = limits
        self.limiter = limiter
        self._skew: timedelta | None = None
        self._lists = Shared(self._listed, limiter.pause)

    def now(self) -> datetime:
        """Give the time by the server's clock, as its answers so far tell it."""
        return datetime.now(UTC) + (self._skew or timedelta())

    @property
    def base(self) -> str:
        """The address of the account's server."""
        return self._base

    def __repr__(self) -> str:
        return f"Vast({shown(self._base)})"

    def search(self, query: Mapping[str, object]) -> Found:
        """Search offers. Every row that comes counts against the day's quota."""
        reply = self._repeated("search", "POST", "/api/v0/bundles/", "search offers", query)
        rows = _rows(reply, "offers", "search offers")
        read = (records.offer(found) for one in rows if (found := row(one)) is not None)
        return Found(offers=tuple(one for one in read if one is not None), rows=len(rows))

    def ask(self, offer: int, order: Mapping[str, object], label: str) -> Reply:
        """Rent, once. Gives whatever the server answered; raises MaybeMade when it did not, or not clearly."""
        what = f"rent offer {offer}"
        try:
            reply = self._once("create", "PUT", f"/api/v0/asks/{offer}/", what, order)
        except Unclear as error:
            raise maybe(error.message, label) from error
        if reply.status == 429:
            self._hold("create", answers.failure(reply, what))
        return reply

    def instances(self) -> list[VastInstance]:
        """List every instance of the account, all or nothing: what cannot be read whole raises Unclear.

        Threads that ask while a list is on its way share the next one.
        """
        return list(self._lists.fresh())

    def _listed(self) -> list[VastInstance]:
        found: dict[int, VastInstance] = {}
        seen: set[str] = set()
        token: str | None = None
        for _ in range(PAGES):
            page = self._page(token)
            for one in _rows(page, "instances", "list the instances"):
                instance = records.instance(row(one) or {})
                if instance is None:
                    raise Unclear("Vast.ai lists an instance without an id")
                found[instance.id] = instance
            token = _next(page)
            if token is None:
                return _complete(found, page)
            if token in seen:
                raise Unclear("Vast.ai lists the same page of instances again")
            seen.add(token)
        raise Unclear(f"Vast.ai lists more than {PAGES} pages of instances")

    def show(self, instance: int) -> VastInstance | None:
        """Give one instance, None when it is gone; anything else raises."""
        what = f"show instance {instance}"
        try:
            reply = self._repeated("show", "GET", f"/api/v0/instances/{instance}/", what)
        except NoSuchInstance:
            return None
        body = reply.body or {}
        if "instances" in body and body["instances"] is None:
            return None
        found = records.instance(row(body.get("instances")) or {})
        if found is None or found.id != instance:
            raise Unclear(f"Vast.ai would not {what}: it answered with something else")
        return found

    def label(self, instance: int, label: str) -> None:
        """Give an instance a label."""
        self._manage(instance, f"label instance {instance}", {"label": label})

    def stop(self, instance: int) -> None:
        """Stop an instance: it goes on billing its disk. It cancels a start that waits for a free GPU."""
        self._manage(instance, f"stop instance {instance}", {"state": "stopped"})

    def bid(self, instance: int, usd_per_hour: str) -> None:
        """Change what is bid for an interruptible instance."""
        price = {"client_id": "me", "price": float(usd_per_hour)}
        what = f"change the bid for instance {instance}"
        self._repeated("bid", "PUT", f"/api/v0/instances/bid_price/{instance}/", what, price)

    def destroy(self, instance: int) -> bool:
        """Ask for an instance's end; False when it is gone already. Its log and its key end with it."""
        try:
            self._repeated("destroy", "DELETE", f"/api/v0/instances/{instance}/", f"destroy instance {instance}", {})
        except NoSuchInstance:
            return False
        return True

    def log(self, instance: int, *, tail: int = 1000, daemon: bool = False, old: str = "") -> str | None:
        """Give the last lines that an instance printed, or of its host's daemon; None when there are none yet.

        A snapshot, which may be an earlier one, lying at the same address: where it is the `old` one, it is fetched
        once more a little later. It never proves that nothing happened. Raises NoSuchInstance.
        """
        asked = {"tail": str(tail), **({"daemon_logs": "true"} if daemon else {})}
        what = f"ask for the log of instance {instance}"
        try:
            reply = self._repeated("logs", "PUT", f"/api/v0/instances/request_logs/{instance}/", what, asked)
        except Refused as error:
            if error.code in ("not_ready", "not_running"):
                return None
            raise
        url = text(reply.body or {}, "result_url", "temp_download_url")
        if not _fetchable(url, self._base):
            raise Unclear(f"Vast.ai would not {what}: it named no address for it")
        found = self._uploaded(url)
        if found is not None and found == old:
            self.limiter.pause(LOG_AGAIN_S)
            found = self._uploaded(url)
        return found

    def account(self) -> Account:
        """Say whose key it is, and what may be spent."""
        reply = self._repeated("account", "GET", "/api/v0/users/current", "show the account")
        return records.account(reply.body or {})

    def _manage(self, instance: int, what: str, change: Mapping[str, object]) -> None:
        self._repeated("manage", "PUT", f"/api/v0/instances/{instance}/", what, change)

    def _page(self, token: str | None) -> Reply:
        order = [{"col": "id", "dir": "asc"}]
        query = {"select_filters": "{}", "order_by": json.dumps(order), "limit": str(PAGE)}
        query |= {"after_token": token} if token else {}
        return self._repeated("list", "GET", f"/api/v1/instances/?{urlencode(query)}", "list the instances")

    def _uploaded(self, url: str) -> str | None:
        """Fetch a log, which is not there until the host has sent it; without the key: the address is public."""
        end = self.limiter.now() + LOG_WAIT_S
        while True:
            try:
                reply = http.request("GET", url, most=MOST_LOG, accept=frozenset({403, 404}), limits=self._limits)
                if reply.status < 300:
                    return reply.data.decode("utf-8", "replace")
            except FetchError as error:
                if self.limiter.now() >= end:
                    raise Unclear(error.message, status=error.status) from error
            if self.limiter.now() >= end:
                return None
            self.limiter.pause(LOG_LOOK_S)

    def _repeated(
        self, endpoint: Endpoint, method: str, path: str, what: str, body: Mapping[str, object] | None = None
    ) -> Reply:
        """Make a call that may be made twice, until it has a clear answer or the tries are spent."""
        for left in reversed(range(TRIES)):
            try:
                reply = self._once(endpoint, method, path, what, body)
                error = answers.failure(reply, what)
                if error is None:
                    return reply
                raise error
            except RateLimited as error:
                self._hold(endpoint, error)
                if not left or error.wait_s > MOST_WAIT_S:
                    raise
            except Unclear:
                if not left:
                    raise
                self.limiter.hold(endpoint, 2.0 ** (TRIES - left))
        raise AssertionError("no try was made")

    def _once(self, endpoint: Endpoint, method: str, path: str, what: str, body: Mapping[str, object] | None) -> Reply:
        """Send one request in its turn; Unclear when there is no answer."""
        self.limiter.wait(endpoint)
        key = self._key.reveal()
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        sent = None
        sent_at = datetime.now(UTC)
        if body is not None:
            headers["Content-Type"] = "application/json"
            sent = json.dumps(body).encode()
        try:
            response = http.request(
                method, self._base + path, headers=headers, body=sent, accept=_ANSWERS, limits=self._limits
            )
        except FetchError as error:
            message = f"Vast.ai may not have heard: {what}: {error.message}"
            raise Unclear(message, hint=error.hint, status=error.status) from error
        self._learn(response.headers.get("Date"), sent_at)
        return answers.read(response, key)

    def _learn(self, date: str | None, sent_at: datetime) -> None:
        """Learn the server's clock: it tells whole seconds, so each answer bounds its difference to ours."""
        try:
            told = parsedate_to_datetime(date or "")
            least, most = told - datetime.now(UTC), told + timedelta(seconds=1) - sent_at
        except (TypeError, ValueError, OverflowError):
            return  # it does not tell the time
        known = (least + most) / 2 if self._skew is None else self._skew
        self._skew = min(max(known, least), most)

    def _hold(self, endpoint: Endpoint, error: Exception | None) -> None:
        """Keep everybody off an endpoint that was called too soon, never for less than its interval."""
        asked = error.wait_s if isinstance(error, RateLimited) else 0.0
        least = max(INTERVALS[endpoint], PENALTIES.get(endpoint, 0.0))
        self.limiter.hold(endpoint, min(max(asked, least), MOST_WAIT_S) + MARGIN_S)


def maybe(message: str, label: str) -> MaybeMade:
    """Make the error for a renting without a clear answer."""
    error = MaybeMade(message, hint=f"an instance labelled {label} may exist: see the list before renting again")
    error.label = label
    return error


def _rows(reply: Reply, name: str, what: str) -> list[Any]:
    rows = (reply.body or {}).get(name)
    if not isinstance(rows, list):
        raise Unclear(f"Vast.ai would not {what}: the answer holds no {name}", status=reply.status)
    return rows


def _next(page: Reply) -> str | None:
    """Give the token of the next page, None at the end; an answer that does not say is no end if it is full."""
    body = page.body or {}
    token = body.get("next_token")
    if isinstance(token, str) and token:
        return token
    if token is not None or ("next_token" not in body and len(_rows(page, "instances", "list")) >= PAGE):
        raise Unclear("Vast.ai does not say whether its list of instances goes on")
    return None


def _complete(found: Mapping[int, VastInstance], last: Reply) -> list[VastInstance]:
    """Give the list, unless the server itself counts more than it gave."""
    total = whole(last.body or {}, "total_instances")
    if total is not None and total > len(found):
        raise Unclear(f"Vast.ai lists {len(found)} of {total} instances")
    return list(found.values())


def _fetchable(url: str, base: str) -> bool:
    """Say whether an address may be fetched: encrypted, unless the market itself is not."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return False
    return scheme == "https" or (scheme == "http" and urlsplit(base).scheme == "http")
