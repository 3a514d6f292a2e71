"""`uprez work`: what runs on an instance. Its only input is the address of its sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def work(
    boot_url: Annotated[str, typer.Option(envvar="UPREZ_BOOT_URL", show_envvar=True, help="The address of the sheet.")],
    deadline_file: Annotated[
        Path | None, typer.Option(envvar="UPREZ_DEADLINE_FILE", show_envvar=True, help="What the dead-man reads.")
    ] = None,
) -> None:
    """Serve one lease. Started by a market, not by people."""
    from uprez import worker  # for its weight

    raise typer.Exit(worker.run(boot_url, folder=Path.cwd(), deadline_file=deadline_file))
