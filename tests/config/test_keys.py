"""The table of settings: complete, read, and honest about what has no effect yet."""

from __future__ import annotations

import ast
import dataclasses
import json
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import uprez
from uprez.config.document import Reader
from uprez.config.keys import FLAGS, KEYS, NOT_YET, flag_of
from uprez.config.layers import load
from uprez.config.settings import Rental, Settings
from uprez.config.variables import NAMES
from uprez.job import Options

REPO = Path(__file__).resolve().parents[2]
SOURCE = Path(uprez.__file__).parent
ALL = REPO / "tests/data/config-all.yaml"
STEERING = {
    *("batch.preset", "vast.preset", "config_url", "config_optional"),
    *("b2.bucket", "market", "video.mode"),
}
"""Keys that config/ itself acts on: they choose layers, say what a bare name means, or stop the run."""


@dataclass(frozen=True)
class Answer:
    """A remote config that says nothing."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b"{}"


def attributes() -> Iterator[str]:
    """List every "settings.x", "options.x" and "rental.x" that is read outside of config/, by x."""
    for path in SOURCE.rglob("*.py"):
        if (SOURCE / "config") in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = ast.unparse(node.value).rpartition(".")[2].removeprefix("_")
                if owner in ("settings", "options", "rental"):
                    yield node.attr


def test_what_has_no_effect_is_listed_and_nothing_else() -> None:
    """Each key ends in a field that something reads, or is in NOT_YET, or retired, or chooses layers."""
    read = set(attributes())
    idle = {
        name
        for name, key in KEYS.items()
        if not key.retired and name not in STEERING and (key.field is None or key.field.split(".")[-1] not in read)
    }
    assert set(NOT_YET) <= idle, "acted on by now: take not_yet out of the row"
    assert idle - set(NOT_YET) == set(), "never read: mark the row not_yet"


def test_every_field_is_one_of_the_settings() -> None:
    """The table names no field that is not there."""
    fields = {one.name for one in dataclasses.fields(Settings)}
    fields |= {f"options.{one.name}" for one in dataclasses.fields(Options)}
    fields |= {f"rental.{one.name}" for one in dataclasses.fields(Rental)}
    assert {key.field for key in KEYS.values() if key.field} <= fields


def test_every_field_that_a_person_can_set_has_a_key() -> None:
    """Nothing of what may be rented or asked of a video is out of reach."""
    named = {key.field for key in KEYS.values()}
    assert {f"options.{one.name}" for one in dataclasses.fields(Options)} <= named
    assert {f"rental.{one.name}" for one in dataclasses.fields(Rental)} <= named


def test_flags_are_named_for_their_keys() -> None:
    """Each key has a flag of its name; what shares one, is retired or is a credential has none."""
    assert flag_of("vast.min_vram") == "--min-vram"
    assert flag_of("budget") == "--budget"
    assert len(FLAGS) == sum(key.flag for key in KEYS.values())
    without = {name for name, key in KEYS.items() if not key.flag and not name.startswith(("local", "rented"))}
    assert without == {
        *("batch.input_dir", "batch.preset", "vast.preset", "batch.use_force_sync_onstart"),
        *("advanced.prefer", "advanced.strict", "b2.key", "b2.secret", "b2.token", "vast.api_key", "vast.url"),
    }
    assert all(key.env or key.also for key in KEYS.values() if key.env_only)


def everything() -> dict[str, str]:
    """Give the texts of the file that uses every key."""
    document = Reader(name="all", layer="all").document(ALL.read_bytes())
    return {name: given.text for name, given in document.values.items()}


def test_the_file_with_every_key_has_every_key() -> None:
    """What it leaves out would be untested."""
    assert set(everything()) == {name for name, key in KEYS.items() if not key.env_only}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of a bucket."""
    monkeypatch.setenv("B2_KEY", "id")
    monkeypatch.setenv("B2_SECRET", "secret")


@pytest.mark.usefixtures("account")
def test_the_file_with_every_key_loads() -> None:
    """All old and new names together make the settings of a run, and what does nothing is said once."""
    settings = load({}, config=ALL, fetch=lambda url, headers: Answer())
    assert settings.input is not None
    assert (settings.input.bucket, settings.input.key) == ("films", "films/one film.mp4")
    assert (settings.output_dir.bucket, settings.output_dir.key) == ("films", "finished/films/")
    assert settings.options.start == 90
    assert settings.rental.gpu_models == ("RTX 3090", "RTX 4090", "RTX 4080", "RTX 4070", "RTX 5090")
    assert settings.rental.compute_cap == 860
    assert settings.rental.host_whitelist == ("1001", "1002")
    assert settings.git_repo == "https://example.org/uprez.git"
    warnings = [note for note in settings.notes if note.startswith("[WARN]")]
    assert sum("batch.use_force_sync_onstart" in note for note in warnings) == 1
    (idle,) = [note for note in warnings if "does not act on it yet" in note]
    assert set(idle.partition(": ")[2].split(", ")) == set(NOT_YET)
    assert (settings.options.target_fps, settings.options.factor) == (None, None), "an old file's, beside upscale"
    assert settings.memory_bytes == 3 << 30


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.field and not key.env_only])
def test_every_key_is_read(name: str, folder: Path) -> None:
    """Setting a key changes the settings of the run: none is accepted and forgotten."""
    section, _, key = name.rpartition(".")
    texts = {"b2.bucket": "all-films", "webhook_url": "https://example.org/hook", "video.mode": "both"}
    text = texts.get(name, everything()[name])
    top: dict[str, Any] = {
        "market": "auto",
        "b2": {"bucket": "films", "endpoint": "https://s3.eu-central-003.backblazeb2.com"},
    }
    if name in ("video.target_fps", "video.factor", "video.strategy"):
        top["video"] = {"mode": "both"}
    path = folder / "one.yaml"
    path.write_text(json.dumps(top), encoding="utf-8")
    before = load({}, config=path)
    (top.setdefault(section, {}) if section else top)[key] = text
    path.write_text(json.dumps(top), encoding="utf-8")
    after = load({}, config=path)
    assert replace(after, origins={}, notes=()) != replace(before, origins={}, notes=())


def test_every_credential_is_read(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The variables that hold an account end in the settings, and in no file."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    settings = load({"input_dir": "./input"})
    assert settings.access is not None
    assert settings.access.token is not None
    revealed = (settings.access.key, settings.access.secret, settings.access.token)
    assert [secret.reveal() for secret in revealed] == ["id", "secret", "token"]
    monkeypatch.setenv("VAST_API_KEY", "vast")
    key = load({"input_dir": "./input"}).vast_api_key
    assert key is not None
    assert key.reveal() == "vast"


def test_the_reference_is_in_step() -> None:
    """The page's tables are what the table of settings makes; `python tools/reference.py` writes them."""
    made = runpy.run_path(str(REPO / "tools/reference.py"))
    text = (REPO / "docs/reference/configuration.md").read_text(encoding="utf-8")
    assert made["page"](text) == text
    assert all(f"`{name}`" in text for name in KEYS)


def test_the_example_of_variables_is_complete() -> None:
    """.env.example names each variable of ours, without a value."""
    lines = (REPO / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == {f"{name}=" for name in NAMES}
