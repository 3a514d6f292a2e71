"""`uprez offers`: what could be rented now."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_OK, RentError

if TYPE_CHECKING:
    from uprez.config.settings import Settings
    from uprez.market.vast.offers import Choice, Choices
    from uprez.market.vast.wire import Vast
    from uprez.report.console import Console

HEAD = "    $/h  GPU               VRAM  CUDA  reliab  Mbit/s     location    id"
"""Prices with disk and expected traffic; Mbit/s down/up."""


@shared.with_settings()
def offers(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
    verbose: shared.Verbose = False,
) -> None:
    """List the machines of Vast.ai that `uprez run` could rent with these flags, the best first. Rents nothing."""
    from uprez.config.layers import load  # these for their weight
    from uprez.fleet import markets
    from uprez.market import base
    from uprez.market.vast import offers as search
    from uprez.report.console import Console, printable

    # Looking rents nothing and makes nothing, so neither a market nor a mode that is to come stands in the way.
    settings = load({**flags, "market": "local", "mode": "upscale"}, config=config, preset=preset)
    console = Console(verbose=verbose, stream=sys.stderr if as_json else None)
    shared.tell(settings.notes, console.line)
    account = markets.account(settings)
    query = replace(base.query(settings.rental), families=markets.GPU, machines=_shunned(settings, account, console))
    console.info(search.searching(query))
    found = search.search(account, query)
    for line in search.told(found):
        console.info(line)
    for line in search.told_more(found):
        console.debug(line)
    if as_json:
        typer.echo(json.dumps(_document(found)))
    elif found.choices:
        typer.echo("\n".join([HEAD, *(printable(_line(one)) for one in found.choices)]))
    raise typer.Exit(EXIT_OK if found.choices else RentError.exit_code)


def _shunned(settings: Settings, account: Vast, console: Console) -> tuple[str, ...]:
    """Name the machines of this account that a run would leave out, and say why."""
    from uprez.fleet import bans  # these for their weight
    from uprez.fleet.ledger import Ledger
    from uprez.market.vast.market import VastMarket

    path = settings.state_dir / "ledger.sqlite"
    if not path.exists():
        return ()
    with closing(Ledger(path)) as ledger:
        if not ledger.bans():
            return ()
        found = bans.current(ledger.bans(VastMarket.open(account).place), account.now())
    for line in bans.told(found.values()):
        console.info(line)
    return tuple(found)


def _line(one: Choice) -> str:
    from uprez.market.vast.offers import vram_gb

    offer = one.offer
    net = f"{_whole(offer.inet_down_mbps)}/{_whole(offer.inet_up_mbps)}"
    return (
        f"{one.usd_per_hour:7.3f}  {offer.gpu_name[:16]:16} {vram_gb(offer):3}GB  {_text(offer.cuda):4}"
        f"  {_text(offer.reliability)[:6]:6}  {net:9}  {offer.location.rpartition(', ')[2][:10]:10}  {offer.id}"
    )


def _document(found: Choices) -> dict[str, object]:
    return {"offers": [_row(one) for one in found.choices], "dropped": dict(found.dropped), "capped": found.capped}


def _row(one: Choice) -> dict[str, object]:
    """Money is text: a number of JSON is not exact."""
    from uprez.market.vast.offers import vram_gb

    offer = one.offer
    return {
        "id": offer.id,
        "machine": offer.machine,
        "host": offer.host,
        "gpu": offer.gpu_name,
        "vram_gb": vram_gb(offer),
        "usd_per_hour": f"{one.usd_per_hour:.6f}",
        "machine_usd_per_hour": f"{one.machine_usd_per_hour:.6f}",
        "usd_per_1000_frames": None if one.usd_per_kframe is None else f"{one.usd_per_kframe:.6f}",
        "cuda": _number(offer.cuda),
        "compute_cap": offer.compute_cap,
        "reliability": _number(offer.reliability),
        "inet_down_mbps": _number(offer.inet_down_mbps),
        "inet_up_mbps": _number(offer.inet_up_mbps),
        "disk_gb": _number(offer.disk_gb),
        "duration_s": _number(offer.duration_s),
        "location": offer.location,
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _text(value: Decimal | None) -> str:
    return "?" if value is None else str(value)


def _whole(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:.0f}"
