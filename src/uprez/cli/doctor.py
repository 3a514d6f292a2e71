"""`uprez doctor`: try everything that a run needs, say what is wrong and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uprez.cli import flags as shared
from uprez.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from uprez.cli.findings import Finding
    from uprez.config.settings import Settings

FLAGS = (*shared.GROUPS["Bucket and remote config"], "output_dir", "input_dir", "input", "market", "mode")


@shared.with_settings(FLAGS)
def doctor(
    *,
    flags: Mapping[str, object],
    preset: shared.Preset = None,
    config: shared.Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as one JSON object.")] = False,
) -> None:
    """Check configuration, credentials, bucket, models, encoders, disks and terminal; nothing is left behind."""
    from uprez.report.console import Console

    console = Console()
    settings, found = _configuration(flags, config, preset)
    code = EXIT_OK if settings else EXIT_USAGE
    shown: list[Finding] = []
    for finding in (*found, *_checks(settings)):
        shown.append(finding)
        if not as_json:
            console.line(finding.level, f"{finding.what}: {finding.text}")
            if finding.hint:
                console.line("HINT", finding.hint)
    if code == EXIT_OK and any(finding.level == "FAIL" for finding in shown):
        code = EXIT_FAILED
    if as_json:
        document = {"schema": 1, "exit_code": code, "checks": [asdict(finding) for finding in shown]}
        typer.echo(json.dumps(document, indent=2))
    raise typer.Exit(code)


def _configuration(
    flags: Mapping[str, object], config: Path | None, preset: str | None
) -> tuple[Settings | None, list[Finding]]:
    """Read the settings as a run does; without them only this machine can be looked at."""
    from uprez.cli.findings import fail, ok, warn
    from uprez.config.layers import CONFIG, load

    path = config or CONFIG
    try:
        settings = load(flags, config=config, preset=preset)
    except UsageError as error:
        return None, [fail("configuration", error.message, error.hint or "see: uprez config")]
    what = f"{path} is read" if path.is_file() else f"no {path}, so the defaults and the environment"
    found = [ok("configuration", what)]
    for note in settings.notes:
        tag, _, text = note.removeprefix("[").partition("] ")
        found.append(warn("configuration", text, "see: uprez config") if tag == "WARN" else ok("remote config", text))
    found.append(ok("market", f"{settings.market} ({settings.market_reason or 'the default'})"))
    return settings, found


def _checks(settings: Settings | None) -> Iterator[Finding]:
    """Make every check, each on its own."""
    from uprez.cli import bucket_checks, machine_checks
    from uprez.cli.findings import examine
    from uprez.config.environment import folders

    state, cache = folders()
    places = {"state": state, "models": cache}
    if settings:
        yield from examine("credentials", partial(_credentials, settings))
        yield from examine("Vast.ai", partial(_account, settings))
        yield from examine("bucket", partial(bucket_checks.check, settings))
        if settings.output_dir.folder:
            places["results"] = settings.output_dir.folder.absolute()
        if settings.download:
            places["downloads"] = settings.download.absolute()
    yield from examine("models", partial(machine_checks.weights, cache))
    yield from examine("inference", machine_checks.inference)
    yield from examine("encoders", machine_checks.encoders)
    yield from examine("disk", partial(machine_checks.disks, places))
    yield from examine("python", machine_checks.python)
    yield from examine("packages", machine_checks.packages)
    yield from examine("terminal", machine_checks.terminal)


def _credentials(settings: Settings) -> Iterator[Finding]:
    from uprez.cli.findings import ok, warn

    if settings.access:
        origin = settings.origins.get("b2.key")
        yield ok("credentials", f"of the bucket: set in {origin.layer if origin else 'the environment'}")
    elif settings.bucket:
        hint = "put B2_KEY and B2_SECRET into .env"
        yield warn("credentials", f"the bucket {settings.bucket} is named, but its key is not set", hint)
    else:
        yield ok("credentials", "of a bucket: not set, and not needed for folders")
    if not settings.vast_api_key:
        yield ok("Vast.ai", "VAST_API_KEY is not set: nothing is rented")


def _account(settings: Settings) -> Iterator[Finding]:
    """Ask Vast.ai whose key it is, what there is to spend, and what runs; nothing is rented."""
    from uprez.cli.findings import fail, ok, warn
    from uprez.errors import MarketError
    from uprez.fleet import markets

    if settings.vast_api_key is None:
        return
    try:
        vast = markets.account(settings)
        account, found = vast.account(), vast.instances()
    except MarketError as error:
        yield fail("Vast.ai", error.message, error.hint or "try again a little later")
        return
    credit, budget = account.credit_usd, settings.budget_usd
    text = f"${credit:.2f} of credit" if credit is not None else "credit unknown"
    if account.practice:
        text += " (a practice market)"
    if credit is not None and credit < budget:
        yield warn("Vast.ai", f"{text}, less than the budget of ${budget:f}", "add credit, or lower --budget")
    else:
        yield ok("Vast.ai", f"the key is accepted, {text}")
    ours = sum(one.label.startswith("uprez/") for one in found)
    yield ok("machines", f"{len(found)} rented, {ours} by uprez" + (": see uprez status" if ours else ""))
