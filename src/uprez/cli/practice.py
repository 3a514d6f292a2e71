"""`uprez practice`: a Vast.ai market on this machine, to try renting without an account."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from uprez.errors import UsageError

MOST_FACTOR = 1000.0


def practice(
    *,
    port: Annotated[int, typer.Option(help="Where to listen on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    seed: Annotated[int, typer.Option(help="Which table of offers.", metavar="N")] = 1,
    time_factor: Annotated[
        float, typer.Option(help="How many times faster than real the market's time passes.", metavar="X")
    ] = 1.0,
    credit: Annotated[str, typer.Option(help="The account's money.", metavar="USD")] = "25",
    limits: Annotated[bool, typer.Option("--limits/--no-limits", help="Refuse calls that come too often.")] = True,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Let this go wrong once (may be repeated); `list` names all.", metavar="NAME"),
    ] = None,
) -> None:
    """Run a practice market until Ctrl-C: it speaks Vast.ai's API and really runs what is rented, on this machine."""
    from uprez.practice.faults import AT_START, FAULTS  # for its weight

    if fault and "list" in fault:
        for name, text in FAULTS.items():
            typer.echo(f"{name:18} {text}")
        return
    _check(fault or [], AT_START)
    if not 0 < time_factor <= MOST_FACTOR:
        raise UsageError(f"--time-factor {time_factor} must be above 0 and at most {MOST_FACTOR:g}")
    with tempfile.TemporaryDirectory(prefix="uprez-practice-") as folder:
        _serve(Path(folder), port, seed, time_factor, _money(credit), limits, fault or [])


def _check(wanted: list[str], known: frozenset[str]) -> None:
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"--fault {name}: there is no such fault, or it needs an instance to strike",
                hint="see `uprez practice --fault list`; those that need an instance go to POST /practice/fault",
            )


def _money(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise UsageError(f"--credit {text} is not an amount of USD", hint="write 25 or 0.50")
    return value


def _serve(folder: Path, port: int, seed: int, factor: float, credit: Decimal, limits: bool, faults: list[str]) -> None:
    from uprez.practice import Clock, Market, Options, PracticeServer, Processes
    from uprez.practice.faults import Armed

    options = Options(seed=seed, credit_usd=credit, limits=limits)
    market = Market(Clock(factor, start_s=time.time()), Processes(folder), options)
    try:
        server = PracticeServer(market, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}", hint="--port 0 takes a free port"
        ) from error
    with contextlib.closing(server), _until_told() as told:
        for name in faults:
            market.inject(Armed(name=name))
        typer.echo(f"VAST_URL={server.url}")
        typer.echo(f"VAST_API_KEY={market.key}")
        typer.echo(f"UPREZ_PRACTICE_KEY={server.control_key}")
        typer.echo(f"[OK] Practice market: {len(market.offer_list())} offers. Ctrl-C ends it and all it runs", err=True)
        told.wait()
    typer.echo(f"[OK] Practice market ended: {len(market.bills)} rented, {market.spent_usd():.4f} USD", err=True)


@contextlib.contextmanager
def _until_told() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM or a closed terminal sets."""
    told = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: told.set()) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield told
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
