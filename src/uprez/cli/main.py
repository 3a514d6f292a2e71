"""The parser and the one error boundary.

Expected errors become a message, a hint and their exit code; Ctrl-C is 130; anything else is our defect: exit code 3
and the path of a log. Only what every verb needs is imported here, so that `uprez --help` stays quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from uprez import __version__
from uprez.cli import (
    bans,
    cancel,
    clean,
    compare,
    config,
    doctor,
    enhance,
    flags,
    history,
    logs,
    models,
    offers,
    practice,
    probe,
    reap,
    resume,
    run,
    status,
    url,
    work,
)
from uprez.config.environment import folders
from uprez.errors import EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, UprezError
from uprez.report.console import printable

app = typer.Typer(
    name="uprez",
    help="Make batches of video larger: on this machine, hands-free, resumable at any point.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=flags.Grouped)(run.run)
app.command("enhance", cls=flags.Grouped)(enhance.enhance)
app.command("resume", cls=flags.Grouped)(resume.resume)
app.command("url", cls=flags.Grouped)(url.url)
app.command("clean", cls=flags.Grouped)(clean.clean)
app.command("doctor", cls=flags.Grouped)(doctor.doctor)
app.command("offers", cls=flags.Grouped)(offers.offers)
app.command("config", cls=flags.Grouped)(config.config)
app.command("practice", cls=flags.Grouped)(practice.practice)
app.command("probe")(probe.probe)
app.command("compare")(compare.compare)
app.command("status")(status.status)
app.command("history")(history.history)
app.command("logs")(logs.logs)
app.command("cancel")(cancel.cancel)
app.command("bans")(bans.bans)
app.command("reap")(reap.reap)
app.command("work", hidden=True)(work.work)
app.add_typer(models.app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uprez {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def run_cli(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    if sys.stdout is None:  # started with its output closed
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  for as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # no name of a file can be too strange for a console
    code = _guarded(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        # The reader is gone. Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def _guarded(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, standalone_mode=False)
    except UprezError as error:
        _say(printable(f"[ERROR] {error.message}"), printable(f"[HINT] {error.hint}") if error.hint else None)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _say("[WARN] Interrupted", None)
        return EXIT_INTERRUPTED
    except typer.Exit as done:
        return done.exit_code
    except TyperException as error:
        _say(f"[ERROR] {error.format_message()}", "[HINT] see: uprez --help")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001  the boundary: whatever it is, it gets a code and a log
        return _defect(error)
    return code if isinstance(code, int) else EXIT_OK


def _defect(error: Exception) -> int:
    text = "".join(traceback.format_exception(error))
    path = folders()[0] / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        where: Path | str = path
    except OSError:
        where = "the lines above"
        _say(text, None)
    _say(
        printable(f"[ERROR] This is a defect of uprez: {type(error).__name__}: {error}"),
        f"[HINT] The same command goes on from here. Please report it with {where}",
    )
    return EXIT_DEFECT


def _say(message: str, hint: str | None) -> None:
    with contextlib.suppress(OSError):
        for line in (message, hint):
            if line:
                print(line, file=sys.stderr)  # noqa: T201
