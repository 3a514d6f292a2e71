"""Where a setting comes from, low to high, and what comes of it.

defaults.yaml < AWS_* variables < [preset named in config.yaml] < config.yaml < [preset named remotely] < remote config
< .env < environment < [preset named by --preset] < flags
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from uprez.config import presets, remote, variables
from uprez.config.document import Document, Preset, Reader, Values, laid_over, read
from uprez.config.environment import folders
from uprez.config.keys import FLAGS, KEYS, flag_of
from uprez.config.kinds import nearest
from uprez.config.resolve import resolve
from uprez.config.settings import Origin, Settings
from uprez.errors import FetchError, UsageError

CONFIG = Path("config.yaml")
"""Read when it lies in the current folder and --config names no other."""
Flags = Mapping[str, object]
"""By the flag's name as Python writes it (`min_vram`); None is a flag that was not given."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """All that is set, each value with its origin."""

    values: Values
    ranks: Mapping[str, int]
    """The layer that set a key; the higher one is the stronger."""
    notes: tuple[str, ...] = ()
    dotenv: Path | None = None
    """Where a file of variables was looked for."""


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """What every layer says, before it is known what the remote one does."""

    defaults: Values
    amazon: Values = field(default_factory=dict)
    local: Document = field(default_factory=Document)
    dotenv: Values = field(default_factory=dict)
    environment: Values = field(default_factory=dict)
    flags: Values = field(default_factory=dict)
    preset: str | None = None
    """Named by --preset."""
    presets: Mapping[str, Preset]
    path: Path | None = None
    """Of .env."""

    def merge(self, above: Document | None = None, *, below: bool = False) -> Merged:
        """Lay the layers over each other, with the remote one or without it; `below`: only those under it."""
        known = presets.overlay(self.presets, above.presets if above else {})
        other = above or Document()
        stack = (
            self.defaults,
            self.amazon,
            _named(self.local, known),
            self.local.values,
            _named(other, known),
            other.values,
            self.dotenv,
            self.environment,
            presets.expand(self.preset, known, "--preset") if self.preset else {},
            self.flags,
        )
        values: Values = {}
        ranks: dict[str, int] = {}
        for rank, layer in enumerate(stack[:4] if below else stack):
            values = laid_over(values, layer)
            ranks.update(dict.fromkeys(layer, rank))
        return Merged(values=values, ranks=ranks, dotenv=self.path)


def load(
    flags: Flags,
    *,
    config: Path | None = None,
    preset: str | None = None,
    fetch: remote.Fetch | None = None,
) -> Settings:
    """Merge all layers under the flags that were given, and check every value.

    Raises UsageError that names the value, where it was given and the next step.
    """
    return settled(gather(flags, config=config, preset=preset, fetch=fetch))


def settled(merged: Merged) -> Settings:
    """Make the settings of a run of all that is set; raises UsageError."""
    return resolve(merged.values, merged.ranks, merged.notes, dotenv=merged.dotenv)


def load_one(
    input: Path,  # noqa: A002  the field's name
    output: Path,
    flags: Flags,
    *,
    config: Path | None = None,
    preset: str | None = None,
) -> Settings:
    """Make the settings of `uprez enhance`: one file here, by the picture's settings alone."""
    given = {**flags, "name": output.name}
    merged = gather(given, config=config, preset=preset, alone=True)
    return resolve(merged.values, merged.ranks, merged.notes, alone=(input, output.absolute().parent))


def gather(
    flags: Flags,
    *,
    config: Path | None = None,
    preset: str | None = None,
    alone: bool = False,
    fetch: remote.Fetch | None = None,
) -> Merged:
    """Read every layer and merge them. `alone`: only what concerns the picture, and nothing from elsewhere."""
    path = _config_path(config)
    local = _document(path, config is not None)
    presets.check_local(local)
    known = presets.overlay(presets.shipped(), local.presets)
    presets.expand_all(known)
    given = _flags(flags)
    if alone:
        layers = _Layers(defaults=defaults(), local=local, flags=given, preset=preset, presets=known)
        return _finished(layers.merge(), [], alone=True)
    beside = path.parent / ".env"
    dotenv, environment = variables.dotenv(beside), variables.environment()
    layers = _Layers(
        path=beside.absolute(),
        defaults=defaults(),
        amazon=variables.fallback([dotenv, environment]),
        local=local,
        dotenv=variables.values(dotenv, ".env"),
        environment=variables.values(environment, "environment"),
        flags=given,
        preset=preset,
        presets=known,
    )
    notes = [f"[WARN] {text}" for text in variables.strangers(dotenv)]
    before = layers.merge()
    if "config_url" not in before.values:
        return _finished(before, notes)
    above = _remote(layers, before, fetch or remote.fetch, notes)
    if above is None:
        return _finished(before, notes)
    after = layers.merge(above)
    remote.guard(str(before.values["config_url"].value), before.values, after.values)
    return _finished(after, notes)


def over(below: Merged, flags: Flags) -> Merged:
    """Lay what only the present has over settings that were merged before: the credentials, and the flags given now."""
    dotenv, environment = variables.dotenv(below.dotenv) if below.dotenv else {}, variables.environment()
    found = {
        **variables.fallback([dotenv, environment]),
        **variables.values(dotenv, ".env"),
        **variables.values(environment, "environment"),
    }
    credentials = {name: given for name, given in found.items() if KEYS[name].secret or KEYS[name].env_only}
    given = _flags(flags)
    ranks = {**below.ranks, **dict.fromkeys(credentials, 0), **dict.fromkeys(given, 1 + max(below.ranks.values()))}
    return replace(below, values=laid_over({**below.values, **credentials}, given), ranks=ranks)


def defaults() -> Values:
    """Give the lowest layer."""
    data = resources.files("uprez.config").joinpath("defaults.yaml").read_bytes()
    return Reader(name="defaults.yaml", layer="defaults").document(data).values


def one_of(value: str, choices: Iterable[str], flag: str) -> str:
    """Check a value against its choices; raises UsageError with the nearest one."""
    known = list(choices)
    if value in known:
        return value
    raise UsageError(f"{flag} {value!r} is unknown{nearest(value, known)}", hint=f"known: {', '.join(known)}")


def _config_path(config: Path | None) -> Path:
    path = config or CONFIG
    if config is not None and not config.is_file():
        raise UsageError(f"--config {config} is not a file")
    return path


def _document(path: Path, named: bool) -> Document:
    try:
        return Reader(name=str(path), layer=path.name).document(path.read_bytes())
    except FileNotFoundError:
        if named:
            raise UsageError(f"--config {path} is not a file") from None
        return Document()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _flags(flags: Flags) -> Values:
    found: Values = {}
    for flag, value in flags.items():
        texts = _texts(value)
        if texts:
            name = FLAGS[flag]
            found[name] = read(name, texts, Origin(layer="flag", place=flag_of(name)), flag_of(name))
    return found


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return [str(value)]


def _named(document: Document, known: presets.Presets) -> Values:
    """Give the values of the preset that a document names."""
    given = document.values.get("batch.preset") or document.values.get("vast.preset")
    if given is None:
        return {}
    name = "batch.preset" if "batch.preset" in document.values else "vast.preset"
    return presets.expand(str(given.value), known, f"{given.origin.place}: {name}")


def _remote(layers: _Layers, before: Merged, fetch: remote.Fetch, notes: list[str]) -> Document | None:
    """Fetch the remote config and judge it; None where it cannot be had and need not be."""
    url = str(before.values["config_url"].value)
    optional = before.values.get("config_optional")
    notes.append("[+] Downloading remote config...")
    try:
        document = remote.download(url, folders()[0], fetch)
    except FetchError as error:
        if optional is not None and optional.value is True:
            notes.append(f"[WARN] The remote config was left out: {error.message}")
            return None
        raise UsageError(
            f"the remote config cannot be had: {error.message}", hint="to go on without it: config_optional: true"
        ) from error
    bucket = before.values.get("b2.bucket")
    expanded = presets.expand_all(layers.presets)
    remote.check(document, layers.merge(below=True).values, expanded, str(bucket.value) if bucket else None)
    presets.expand_all(presets.overlay(layers.presets, document.presets))
    notes.extend(remote.told(document))
    return document


def _finished(merged: Merged, notes: list[str], *, alone: bool = False) -> Merged:
    """Take out what is retired, and warn of what has no effect."""
    values = {name: given for name, given in merged.values.items() if not alone or _is_alone(name)}
    retired = {name: given for name, given in values.items() if KEYS[name].retired}
    said = [
        f"[WARN] {given.origin.place}: {name} does nothing: {KEYS[name].retired}" for name, given in retired.items()
    ]
    left = {name: given for name, given in values.items() if name not in retired}
    shipped = defaults()
    idle = [
        name
        for name, given in left.items()
        if KEYS[name].not_yet and (name not in shipped or shipped[name].value != given.value)
    ]
    if idle:
        said.append(f"[WARN] read, but this version does not act on it yet: {', '.join(sorted(idle))}")
    return replace(merged, values=left, notes=(*notes, *said))


def _is_alone(name: str) -> bool:
    """Say whether a key concerns one file here: the picture, its part, and how it is cut."""
    return name.startswith(("video.", "local.", "local_bucket.", "rented.")) or name in (
        *("name", "start", "duration", "segment_frames", "memory", "advanced.lowres_strategy"),
    )
