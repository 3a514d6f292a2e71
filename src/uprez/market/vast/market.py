"""The `vast` market: rents machines of Vast.ai, by the protocol that every market has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Self, TypeVar
from urllib.parse import urlsplit

from uprez import background
from uprez.errors import BillingError, MarketError, MaybeMade, NoSuchInstance, Refused, Unclear
from uprez.market.base import Instance, Launch, Offer, OfferQuery
from uprez.market.vast import launch as boot
from uprez.market.vast.create import Order, labelled, rent
from uprez.market.vast.destroy import PAUSE_S, Destroyed, Verdict, by_hand, confirmed, destroy
from uprez.market.vast.observer import Observer
from uprez.market.vast.offers import Choice, search, searching, told, told_more
from uprez.market.vast.records import Account, Created, VastInstance
from uprez.market.vast.wire import Vast

OURS = "uprez/"
"""How the label of an instance begins that uprez rented."""
VENDOR = "vast.ai"
"""All its names lead to the same accounts."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
DAEMON_LINES = 20
T = TypeVar("T")


@dataclass(kw_only=True)
class VastMarket:
    """An account at Vast.ai, or at a practice market. Its calls block, so each runs in a thread."""

    vast: Vast
    account: Account
    tell: Callable[[str], None] = print
    """Hears what a search came to."""
    tell_more: Callable[[str], None] = lambda text: None
    tell_trouble: Callable[[str], None] = lambda text: None
    """Hears why giving a machine back takes so long."""
    bucket: str = ""
    endpoint: str = ""
    """Where its work goes, for people who look; no secrets."""
    name: str = "vast"
    _choices: dict[str, Choice] = field(default_factory=dict)
    _query: OfferQuery = field(default_factory=OfferQuery)
    _observer: Observer = field(default_factory=Observer)
    _printed: dict[str, str] = field(default_factory=dict)
    """The last snapshot of each log."""

    @classmethod
    def open(cls, vast: Vast) -> Self:
        """Ask whose key it is; raises MarketError (KeyRefused for a key that is none)."""
        account = vast.account()
        if account.id is None:
            raise Unclear(
                "Vast.ai does not say whose account this is, so what is rented could not be told from others'"
            )
        return cls(vast=vast, account=account, _observer=Observer(vast.limiter.now))

    @property
    def place(self) -> str:
        """Name server and account: an instance's number means something else anywhere else."""
        parts = urlsplit(self.vast.base)
        host = parts.hostname or ""
        whole = VENDOR if host == VENDOR or host.endswith(f".{VENDOR}") else parts.netloc.rpartition("@")[2]
        return f"{whole}#{self.account.id}"

    @property
    def practice(self) -> bool:
        """Say whether nothing here costs real money. Only a server on this machine may say so."""
        return self.account.practice and urlsplit(self.vast.base).hostname in LOOPBACK

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """Search, and remember what was found for renting it."""
        self.tell(searching(query))
        found = await self._call(partial(search, self.vast, query))
        for line in told(found):
            self.tell(line)
        for line in told_more(found):
            self.tell_more(line)
        self._query = query
        self._choices = {str(one.offer.id): one for one in found.choices}
        return [one.as_offer() for one in found.choices]

    async def create(self, offer: Offer, launch: Launch) -> Instance:
        """Rent, once; what may have been made all the same is looked for by its label."""
        choice = self._choices[offer.id]
        order = Order(
            image=launch.image,
            disk_gb=launch.disk_gb,
            label=launch.label,
            entrypoint=boot.ENTRYPOINT,
            args=boot.arguments(),
            environment={**self._environment(launch), **launch.environment},
            bid_usd_per_hour=choice.rates.gpu_usd_per_hour if self._query.bid else None,
        )
        made = await self._call(partial(self._rent, choice, order))
        new = Instance(id=str(made.id), label=launch.label, state="booting")
        self._observer.made(new)
        return new

    async def instances(self) -> list[Instance]:
        """List what carries our label."""
        listed = await self._call(self.vast.instances)
        ours = [one for one in listed if one.label.startswith(OURS) or self._knows(one)]
        return self._observer.look(ours, self.vast.now())

    async def logs(self, instance: str) -> str:
        """Ask for what it printed; a snapshot, which may be an old one."""
        return await self._log(instance, daemon=False)

    async def why(self, instance: str) -> str:
        """Ask for what the daemon of its host says."""
        return "\n".join((await self._log(instance, daemon=True)).splitlines()[-DAEMON_LINES:])

    async def relabel(self, instance: str, label: str) -> None:
        """Change its label."""
        await self._call(partial(self.vast.label, _number(instance), label))

    async def destroy(self, instance: str) -> datetime | None:
        """Destroy it until two complete lists lack it; raises BillingError."""
        gone = await self._call(partial(self._destroyed, instance))
        self._observer.forget(instance)
        return gone.ended_at or self._observer.gone.get(instance)

    def by_hand(self, instance: str) -> str:
        """Give the official client's command."""
        return by_hand(_number(instance))

    async def now(self) -> datetime:
        """Give the server's time."""
        return self.vast.now()

    async def funds(self) -> Decimal | None:
        """Ask for the account's credit."""
        credit = (await self._call(self.vast.account)).credit_usd
        if credit is None:
            raise Unclear("Vast.ai does not say how much credit there is")
        return credit

    async def _log(self, instance: str, *, daemon: bool) -> str:
        old = "" if daemon else self._printed.get(instance, "")
        try:
            said = await self._call(partial(self.vast.log, _number(instance), daemon=daemon, old=old)) or ""
        except NoSuchInstance:
            return ""
        if not daemon:
            self._printed[instance] = said
        return said

    def _environment(self, launch: Launch) -> dict[str, str]:
        return boot.environment(
            lease=launch.lease,
            boot_url=launch.boot_url,
            life_s=launch.life_s,
            hard_life_s=launch.hard_life_s,
            base_url=self.vast.base,
            bucket=self.bucket,
            endpoint=self.endpoint,
        )

    def _knows(self, one: VastInstance) -> bool:
        return self._observer.knows(str(one.id))

    def _destroyed(self, instance: str) -> Destroyed:
        """Destroy; an instance that is said not to exist so shortly after it was made may be about to show."""
        while True:
            gone = confirmed(self.vast, _number(instance), tell=self.tell_trouble)
            if gone.verdict is not Verdict.ALREADY_GONE or not self._observer.is_young(instance):
                return gone
            self.vast.limiter.pause(PAUSE_S)

    def _rent(self, choice: Choice, order: Order) -> Created:
        try:
            return rent(self.vast, choice.offer, order)
        except MaybeMade as error:
            return self._reconciled(error)

    def _reconciled(self, error: MaybeMade) -> Created:
        """Find out what an unclear renting made; raises Refused when it was nothing, BillingError when nobody knows."""
        try:
            found = labelled(self.vast, error.label)
        except MarketError as blind:
            raise BillingError(
                f"an instance labelled {error.label} may exist, and bill: {error.message}; the list: {blind.message}",
                hint="uprez reap finds it by its label; or look at the Instances page of console.vast.ai",
            ) from blind
        if not found:
            raise Refused(f"{error.message}; nothing came of it", status=error.status) from error
        first, *more = sorted(found, key=lambda one: one.id)
        for one in more:  # somebody between us and the server sent the order twice
            destroy(self.vast, one.id, rounds=2)  # one that stays is found by its label at the end of the run
        return Created(id=first.id, key=None)

    @staticmethod
    async def _call(work: Callable[[], T]) -> T:
        return await background.start(work)


def _number(instance: str) -> int:
    """Give an instance's number; what is none does not exist here."""
    return int(instance) if instance.isascii() and instance.isdigit() else 0
