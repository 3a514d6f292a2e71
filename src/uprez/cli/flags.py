"""The flags: one for each setting, made from the table of settings, and the few that are no settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from uprez.config.keys import FLAGS, KEYS, flag_of
from uprez.config.kinds import SWITCH

GROUPS: dict[str, tuple[str, ...]] = {
    "What and where": (
        *("input_dir", "input", "output_dir", "name", "recursive", "skip_existing", "overwrite"),
        *("max_files", "dry_run", "download"),
    ),
    "Picture": (
        *("mode", "scale", "model", "factor", "target_fps", "strategy", "precision", "codec", "crf"),
        *("encoder_preset", "pix_fmt", "container", "drop_unsupported", "start", "duration", "deinterlace", "cfr"),
        *("segment_frames", "lowres_strategy"),
    ),
    "Market and limits": ("market", "budget", "on_budget", "max_machines", "max_runtime", "deadline", "memory", "wait"),
    "Bucket and remote config": (
        *("bucket", "endpoint", "region", "state_prefix", "config_url", "config_optional", "webhook_url"),
    ),
    "Rented machines": (
        *("type", "rank", "max_price", "min_price", "min_vram", "gpu_models", "gpu_whitelist", "gpu_required"),
        *("gpu_blacklist", "gpu_priority", "min_reliability", "verified", "datacenter", "static_ip"),
        *("host_whitelist", "host_blacklist", "min_inet_down", "min_inet_up", "min_dlperf"),
        *("min_dlperf_per_dphtotal", "min_cuda", "compute_cap", "min_gpu_mem_bw", "min_pcie_gen"),
        *("min_cpu_cores", "min_cpu_ram", "min_disk_bw", "allocated_storage"),
        *("image", "git_repo", "repo_url", "git_branch"),
    ),
}
"""Every flag of a setting, as --help shows them."""
PICTURE = (*GROUPS["Picture"], "memory")
"""The flags of `uprez enhance`."""

Preset = Annotated[str | None, typer.Option(help="low, balanced, high or one of your own.", metavar="NAME")]
Config = Annotated[
    Path | None, typer.Option(help="The file of settings (default ./config.yaml, if there).", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON event a line; the last is the results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]


def sane(path: Path | None) -> Path | None:
    """Refuse a path that the system cannot even look up, such as one with a name of 300 letters."""
    try:
        if path is not None:
            path.exists()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{str(path)[:60]}... cannot be a path: {error.args[-1]}") from error
    return path


def tell(notes: Iterable[str], line: Callable[[str, str], None]) -> None:
    """Say what reading the settings had to say, "[TAG] text" each."""
    for note in notes:
        tag, _, text = note.removeprefix("[").partition("] ")
        line(tag, text)


class Grouped(TyperCommand):
    """A command whose help shows its flags by group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  Typer's own Click is not public
        """Write the groups in order, then the flags that are no settings."""
        given = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        flags = {str(param.name): param for param in self.get_params(ctx) if param.param_type_name == "option"}
        grouped = {name for names in GROUPS.values() for name in names}
        titles = {"Arguments": given, "General": [param for name, param in flags.items() if name not in grouped]}
        titles |= {title: [flags[name] for name in names if name in flags] for title, names in GROUPS.items()}
        for title, params in titles.items():
            rows = [record for param in params if (record := param.get_help_record(ctx))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=26)


def with_settings(names: Iterable[str] = FLAGS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the flags of these settings; it gets what was given as `flags`."""
    chosen = tuple(names)

    def wrap(verb: Callable[..., None]) -> Callable[..., None]:
        def command(**arguments: Any) -> None:  # noqa: ANN401  whatever the flags hold: text, switch or list
            flags = {name: arguments.pop(name) for name in chosen}
            verb(flags=flags, **arguments)

        own = [
            parameter
            for parameter in inspect.signature(verb, eval_str=True).parameters.values()
            if parameter.name != "flags"
        ]
        made = [_parameter(name) for name in chosen]
        command.__name__, command.__doc__ = verb.__name__, verb.__doc__
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *made)]
        command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # what inspect reads first
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
        return command

    return wrap


def _parameter(flag: str) -> inspect.Parameter:
    key = KEYS[FLAGS[flag]]
    name = flag_of(FLAGS[flag])
    if key.kind is SWITCH:
        option = typer.Option(f"{name}/--no-{name[2:]}", help=key.help, show_default=False)
        kind: Any = bool | None
    else:
        option = typer.Option(name, help=key.help, metavar=key.kind.metavar)
        kind = list[str] | None if key.kind.many else str | None
    return inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
