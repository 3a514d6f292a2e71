"""`uprez work`: what runs on an instance. Its only input is the address of its sheet, and files of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def work(
    boot_url: Annotated[str, typer.Option(envvar="UPREZ_BOOT_URL", show_envvar=True, help="The address of the sheet.")],
    deadline_file: Annotated[
        Path | None, typer.Option(envvar="UPREZ_DEADLINE_FILE", show_envvar=True, help="What the dead-man reads.")
    ] = None,
    deadline_epoch_file: Annotated[
        Path | None,
        typer.Option(
            envvar="UPREZ_DEADLINE_EPOCH_FILE",
            show_envvar=True,
            help="The same on a rented machine: seconds since 1970.",
        ),
    ] = None,
    machine_file: Annotated[
        Path | None,
        typer.Option(envvar="UPREZ_MACHINE_FILE", show_envvar=True, help="What the machine turned out to be."),
    ] = None,
) -> None:
    """Serve one lease. Started by a market, not by people."""
    from uprez import worker  # for its weight

    code = worker.run(
        boot_url,
        folder=Path.cwd(),
        deadline_file=deadline_file,
        deadline_epoch_file=deadline_epoch_file,
        machine_file=machine_file,
    )
    raise typer.Exit(code)
