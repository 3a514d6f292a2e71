"""`uprez models`: the models there are, and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uprez.errors import EXIT_USAGE

if TYPE_CHECKING:  # imported where it is used, as all of the command's modules are
    from uprez.models import Model

app = typer.Typer(help="The models there are, and their weights.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


@app.command("list")
def list_models() -> None:
    """List the models, and whether their weights are here."""
    from uprez.config.environment import folders
    from uprez.models import MODELS, weights

    _, cache = folders()
    for model in MODELS.values():
        state = (
            "no weights needed"
            if model.source is None
            else "ready"
            if weights.is_cached(model, cache)
            else "not fetched"
        )
        typer.echo(f"{model.name:24} {_use(model):14} {model.licence:14} {state}")


def _use(model: Model) -> str:
    if model.kind == "interp":
        return "frames between"
    least, most = model.scales
    return f"scale {least}" if least == most else f"scale {least} to {most}"


@app.command("pull")
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models to fetch; none: all.", metavar="[NAME]...")] = None,
) -> None:
    """Fetch weights now, so that later runs need no network."""
    from uprez.config.environment import folders
    from uprez.config.layers import one_of
    from uprez.models import MODELS, weights
    from uprez.report.console import Console
    from uprez.report.fetching import Fetching

    _, cache = folders()
    console = Console()
    for name in names or MODELS:
        model = MODELS[one_of(name, MODELS, "model")]
        path = weights.ensure(model, cache, progress=Fetching(console).tell)
        console.ok(f"{model.name}: {path or 'needs no weights'}")
