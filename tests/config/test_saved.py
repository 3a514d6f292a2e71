"""Settings that are kept and read again: they mean the same, and hold no secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from uprez.config import saved
from uprez.config.document import Reader
from uprez.config.keys import KEYS
from uprez.config.layers import load
from uprez.config.settings import Settings
from uprez.errors import UsageError

Write = Callable[[str], None]
ALL = Path(__file__).resolve().parent.parent / "data/config-all.yaml"
TEXTS = {name: one.text for name, one in Reader(name="all", layer="all").document(ALL.read_bytes()).values.items()}
OTHERS = {
    "input": "./a film.mp4",
    "video.mode": "both",
    "video.codec": "ffv1",
    "video.scale": "3",
    "output_dir": "./res\udcffults",
    "name": "b.mov",
    "market": "vast",
    "vast.gpu_models": "RTX_4090, RTX_5090",
    "vast.download": "true",
    "video.input_dir": "s3://films/a?b#c/d",
}
"""Second values, so that layers can differ."""
LAYERS = ("file", "preset", "remote", "flag")


@dataclass(frozen=True)
class Answer:
    """A remote config."""

    data: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def again(found: Settings, flags: Mapping[str, object] | None = None) -> Settings:
    """Keep settings, through text, and read them again."""
    return saved.restore(saved.opened(json.loads(json.dumps(saved.saved(found)))), flags or {})


def alike(one: Settings) -> Settings:
    """Leave out what need not be the same."""
    return replace(one, notes=(), origins={}, market_reason="", webhook=None)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of a bucket and of a market."""
    for name in ("B2_KEY", "B2_SECRET", "VAST_API_KEY"):
        monkeypatch.setenv(name, f"CANARY-{name}")


def nested(values: Mapping[str, str]) -> dict[str, object]:
    """Write dotted keys as sections."""
    found: dict[str, object] = {}
    for name, text in values.items():
        section, _, key = name.rpartition(".")
        inner = found.setdefault(section, {}) if section else found
        assert isinstance(inner, dict)
        inner[key] = text
    return found


CHOICES = st.sampled_from([(name, text) for name, text in (*TEXTS.items(), *OTHERS.items()) if not KEYS[name].secret])


@pytest.mark.usefixtures("account")
@settings(deadline=None, max_examples=60, suppress_health_check=[*HealthCheck])
@given(chosen=st.dictionaries(st.sampled_from(LAYERS), st.lists(CHOICES, max_size=4)))
def test_what_is_kept_means_the_same(chosen: dict[str, list[tuple[str, str]]], folder: Path) -> None:
    """Whatever the layers say, the settings that are read again are those that were kept."""
    (folder / "a film.mp4").touch()
    layer = {name: dict(found) for name, found in chosen.items()}
    file = {"b2.bucket": "films", "b2.endpoint": "https://s3.eu-central-003.backblazeb2.com"} | layer.get("file", {})
    file.pop("config_url", None)
    top = {**nested(file), "presets": {"mine": nested(layer.get("preset", {}))}}
    if "remote" in layer:
        top["config_url"] = "http://127.0.0.1:8765/config.yaml"
    (folder / "config.yaml").write_text(json.dumps(top), encoding="utf-8")
    flags = {name.rpartition(".")[2]: text for name, text in layer.get("flag", {}).items() if KEYS[name].flag}
    flags.pop("config_url", None)
    remote = Answer(json.dumps(nested(layer.get("remote", {}))).encode())
    try:
        found = load(flags, preset="mine" if "preset" in layer else None, fetch=lambda url, headers: remote)
    except UsageError:
        assume(False)
    assert alike(again(found)) == alike(found)


@pytest.mark.usefixtures("account")
def test_no_secret_is_kept(config: Write) -> None:
    """Keys, a webhook and the query of a URL are not in what is kept."""
    config(
        "input: https://films.example.org/a.mp4?signature=CANARY\nwebhook_url: https://example.org/CANARY\n"
        "output_dir: ./out\ngit_repo: https://CANARY@example.org/uprez.git\nmarket: local\n"
    )
    text = json.dumps(saved.saved(load({"bucket": "films"})))
    assert "CANARY" not in text
    assert "https://films.example.org/a.mp4" in text


@pytest.mark.usefixtures("account")
def test_what_may_hold_a_key_is_given_again(config: Write) -> None:
    """A signed URL has to be given again, and the message says how; an object's name may look like one."""
    config("output_dir: ./out\nmarket: local\n")
    signed = "https://films.example.org/a.mp4?signature=1"
    found = load({"input": signed})
    with pytest.raises(UsageError, match=r"input https://films\.example\.org/a\.mp4 had a query") as error:
        again(found)
    assert error.value.hint == "give it again: --input URL"
    assert alike(again(found, {"input": signed})) == alike(found)
    named = load({"input": "s3://films/a?b#c", "endpoint": "https://s3.eu-central-003.backblazeb2.com"})
    assert alike(again(named)) == alike(named)


def test_a_webhook_is_missed_aloud(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook of a file is not kept: that is said, until a variable or a flag brings one."""
    config("webhook_url: https://example.org/hook\n")
    found = load({})
    assert again(found).webhook is None
    (note,) = again(found).notes
    assert note == (
        "[WARN] webhook_url of config.yaml:1 is a secret and was not saved: set WEBHOOK_URL, or --webhook-url"
    )
    monkeypatch.setenv("WEBHOOK_URL", "https://example.org/hook")
    assert (again(found).webhook, again(found).notes) == (found.webhook, ())


def test_credentials_are_those_of_the_present(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come from the environment and the file of variables as they are now; other variables count no more."""
    (folder / ".env").write_text("B2_KEY=old\nB2_SECRET=old\nB2_BUCKET=films\nB2_REGION=eu\n", encoding="utf-8")
    found = load({})
    (folder / ".env").write_text("B2_KEY=new\nB2_SECRET=new\nB2_BUCKET=other\nB2_REGION=us\n", encoding="utf-8")
    monkeypatch.setenv("B2_SECRET", "newer")
    access = again(found).access
    assert access is not None
    assert (access.key.reveal(), access.secret.reveal(), access.region) == ("new", "newer", "eu")
    assert again(found).bucket == "films"


def test_flags_win_over_what_was_kept(config: Write) -> None:
    """A flag given now counts before everything that was said then, the flags of that time included."""
    config("video: {mode: both, target_fps: 60}\nmax_machines: 2\n")
    found = load({"budget": "3", "scale": "4"})
    changed = again(found, {"budget": "7", "factor": "3"})
    assert (changed.budget_usd, changed.max_machines, changed.options.scale) == (Decimal(7), 2, Fraction(4))
    assert (changed.options.factor, changed.options.target_fps) == (Fraction(3), None)
    assert changed.origins["budget"].layer == "flag"


def test_what_a_preset_came_to_is_kept(config: Write, folder: Path) -> None:
    """The preset and the file are gone, and the settings are as they were."""
    config("presets: {mine: {video: {scale: 3, crf: 17}, max_price: 0.4}}\n")
    found = load({}, preset="mine")
    (folder / "config.yaml").unlink()
    assert alike(again(found)) == alike(found)
    assert again(found).options.crf == 17


def test_auto_stays_what_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that worked here for want of a key goes on here, though one is set by now."""
    flags = {"input": "https://films.example.org/a.mp4", "output_dir": "./out"}
    found = load(flags)
    monkeypatch.setenv("VAST_API_KEY", "key")
    assert (found.market, again(found).market) == ("local", "local")


def test_the_higher_layer_is_meant_again(config: Write, folder: Path) -> None:
    """A folder in a flag counts before a video in a file, and so it does when both are read again."""
    (folder / "a.mp4").touch()
    config("input: ./a.mp4\n")
    found = load({"input_dir": "./films"})
    assert found.input is None
    assert alike(again(found)) == alike(found)


@pytest.mark.usefixtures("account")
def test_a_practice_batch_does_not_go_on_for_money(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rented at one address is not rented at another, unless the market is named now."""
    config("b2: {bucket: films, endpoint: 'https://s3.eu-central-003.backblazeb2.com'}\n")
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:8765")
    found = load({})
    assert (found.market, alike(again(found))) == ("vast", alike(found))
    monkeypatch.delenv("VAST_URL")
    with pytest.raises(UsageError, match=r"rented at http://127\.0\.0\.1:8765, and now VAST_URL is https://console"):
        again(found)
    assert again(found, {"market": "vast"}).vast_url == Settings.vast_url


def test_keys_of_other_versions_do_no_harm() -> None:
    """A setting that this version has not is left out, and one that is younger than the save has its default."""
    data = saved.saved(load({}))
    data["values"]["video.colour"] = data["values"].pop("budget")
    restored = saved.restore(saved.opened(data), {})
    assert restored.budget_usd == Settings.budget_usd


@pytest.mark.parametrize("broken", [{}, {"schema": 2}, {"values": {"budget": {"text": 5}}}])
def test_what_cannot_be_read_is_a_usage_error(broken: dict[str, object]) -> None:
    """A record of another kind is refused in a sentence."""
    data = {**saved.saved(load({})), **broken} if broken else {}
    with pytest.raises(UsageError, match="the saved settings"):
        saved.opened(data)
