"""The markets at which this computer may have machines: this computer, and the account whose key is set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uprez.fleet.ledger import Ledger
    from uprez.market.base import Market
    from uprez.report.console import Console


@dataclass(frozen=True, kw_only=True)
class Places:
    """What can be looked at."""

    markets: list[Market]
    ledger: Ledger
    locks: Path
    unseen: str
    """Why Vast.ai is not among them, "" where it is."""

    def blind(self, console: Console) -> bool:
        """Say what could not be looked at, each lease of it by name; gives whether there is any.

        An all-clear by somebody who could not look is worse than none.
        """
        here = {market.place for market in self.markets}
        rows = [row for row in self.ledger.open_leases() if row.place not in here]
        for row in rows:
            lease = f"${row.rates.usd_per_hour:.3f}/hr, lease {row.id}, on {row.place}"
            console.error(f"{row.named} ({lease}) may still run, and bill: it was not seen")
        if self.unseen:
            console.warn(f"Vast.ai was not asked: {self.unseen}")
            console.line("HINT", "set the VAST_API_KEY and VAST_URL that were rented with (.env is read here)")
        return bool(rows)


@contextlib.contextmanager
def each_place(
    flags: Mapping[str, object], config: Path | None, preset: str | None, console: Console
) -> Iterator[Places]:
    """Open the ledger and the markets; a market that cannot be asked is no reason not to look at the others."""
    from uprez.config.layers import load  # these for their weight
    from uprez.errors import MarketError
    from uprez.fleet import markets
    from uprez.fleet.ledger import Ledger
    from uprez.market.local import LocalMarket
    from uprez.market.vast.market import VastMarket

    settings = load({**flags, "market": "local"}, config=config, preset=preset)
    places: list[Market] = [LocalMarket(settings.state_dir / "local")]
    ledger = Ledger(settings.state_dir / "ledger.sqlite")
    try:
        unseen = "VAST_API_KEY is not set"
        if settings.vast_api_key is not None:
            try:
                vast = VastMarket.open(markets.account(settings))
            except MarketError as error:
                unseen = error.message
            else:
                unseen = ""
                vast.tell_trouble = console.warn
                ledger.clock = vast.vast.now
                places.append(vast)
        yield Places(markets=places, ledger=ledger, locks=settings.state_dir / "batches", unseen=unseen)
    finally:
        ledger.close()
