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
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.errors import UsageError

if TYPE_CHECKING:
    from uprez.practice import Options, Processes

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
    meter: Annotated[
        bool, typer.Option("--meter/--no-meter", help="Measure what instances send and fetch, and charge for it.")
    ] = True,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(help="A folder of packages for machines to install; else an index.", metavar="DIR"),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Machines bring no packages: they install all of them.")] = False,
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
    from uprez.practice import Meter, Options, Processes

    options = Options(seed=seed, credit_usd=_money(credit), limits=limits)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="uprez-practice-"))
        measured = stack.enter_context(contextlib.closing(Meter())) if meter else None
        machines = Processes(Path(folder), image=_image(wheelhouse, cold=cold), meter=measured)
        _serve(machines, port, time_factor, options, fault or [])


def _image(wheelhouse: Path | None, *, cold: bool) -> dict[str, str]:
    """Give the environment that machines' images bring: the packages of this Python, where they are the pinned ones."""
    from uprez.config.environment import folders
    from uprez.practice import image

    if wheelhouse is not None and not wheelhouse.is_dir():
        raise UsageError(f"--wheelhouse {wheelhouse} is not a folder", hint="make wheelhouse fills .cache/wheelhouse")
    try:
        return image.environment(None if cold else folders()[1] / "practice", wheelhouse=wheelhouse)
    except image.Mismatch as error:
        typer.echo(f"[WARN] Machines install all packages anew: {error}", err=True)
        return image.environment(None, wheelhouse=wheelhouse)


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


def _serve(machines: Processes, port: int, factor: float, options: Options, faults: list[str]) -> None:
    from uprez.practice import Clock, Market, PracticeServer
    from uprez.practice.faults import Armed

    market = Market(Clock(factor, start_s=time.time()), machines, options)
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
