"""Layers: their order, the origin of every value, and the line that a mistake is on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uprez.config.layers import gather, load, load_one, one_of
from uprez.config.settings import Origin
from uprez.errors import UsageError
from uprez.job import Options

Write = Callable[[str], None]
CODECS = ("auto", "h264", "hevc", "ffv1")


@dataclass(frozen=True)
class Answer:
    """A remote config."""

    data: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def test_defaults_are_those_of_the_options(folder: Path) -> None:
    """The defaults file and the options' own defaults agree, so a job's id does not depend on which one was used."""
    settings = load({})
    assert settings.options == Options()
    assert settings.market == "local"
    assert settings.output_dir.folder == Path("output")
    assert settings.input_dir is not None
    assert settings.input_dir.folder == Path("input")
    assert (settings.state_dir, settings.cache_dir) == (folder / "state", folder / "cache")
    assert (settings.local.boot_s, settings.local.lease_s, settings.local.grace_s) == (30, 60, 10)
    assert (settings.budget_usd, settings.max_machines, settings.state_prefix) == (Decimal(5), 1, ".uprez")
    assert settings.notes == ()


def test_flags_win_over_defaults(tmp_path: Path) -> None:
    """Each flag that is given takes the place of its default."""
    settings = load(
        {
            "input_dir": tmp_path,
            "output_dir": tmp_path / "out",
            "name": "a.mkv",
            "start": "0:01.5",
            "duration": "2",
            "scale": "1.5",
            "model": "lanczos",
            "mode": "upscale",
            "codec": "hevc",
            "crf": 20,
            "segment_frames": 12,
            "dry_run": True,
        }
    )
    assert settings.options == Options(
        scale=Fraction(3, 2),
        model="lanczos",
        codec="hevc",
        container="mkv",
        crf=20,
        start=Fraction(3, 2),
        duration=Fraction(2),
    )
    assert settings.input_dir is not None
    assert (settings.input_dir.folder, settings.output_dir.folder) == (tmp_path, tmp_path / "out")
    assert (settings.name, settings.segment_frames, settings.dry_run) == ("a.mkv", 12, True)


def test_flags_that_were_not_given_change_nothing() -> None:
    """None and an empty list are no values: the default below them counts."""
    assert load({"scale": None, "crf": None, "gpu_models": [], "output_dir": None}) == load({})


LAYERS = ("file-preset", "file", "remote-preset", "remote", "flag-preset", "flag")
"""Those that can set the quality, low to high."""


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.dictionaries(st.sampled_from(LAYERS), st.integers(0, 51), min_size=1))
def test_the_highest_layer_wins_and_is_named(chosen: dict[str, int], folder: Path) -> None:
    """Whichever layers set a value, the last of the list counts, and its origin says which one that was."""
    presets = {f"p-{name}": {"video": {"crf": crf}} for name, crf in chosen.items() if name.endswith("preset")}
    local = {"config_url": "https://example.org/c", "presets": presets}
    above: dict[str, object] = {}
    for document, name in ((local, "file"), (above, "remote")):
        if name in chosen:
            document["video"] = {"crf": chosen[name]}
        if f"{name}-preset" in chosen:
            document["batch"] = {"preset": f"p-{name}-preset"}
    (folder / "config.yaml").write_text(json.dumps(local), encoding="utf-8")
    merged = gather(
        {"crf": chosen.get("flag")},
        preset="p-flag-preset" if "flag-preset" in chosen else None,
        fetch=lambda url, headers: Answer(json.dumps(above).encode()),
    )
    winner = max(chosen, key=LAYERS.index)
    assert merged.values["video.crf"].value == chosen[winner]
    layers = {"file": "config.yaml", "remote": "remote", "flag": "flag"}
    assert merged.values["video.crf"].origin.layer == layers.get(winner, f"preset p-{winner}")


def test_the_environment_wins_over_dotenv_and_both_over_files(
    folder: Path, config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of this shell beats .env, which beats config.yaml; a flag beats all; each says where it is from."""
    config("b2:\n  bucket: from-file\n  endpoint: s3.us-west-004.backblazeb2.com\n")
    assert gather({}).values["b2.bucket"].origin == Origin(layer="config.yaml", place="config.yaml:2")
    (folder / ".env").write_text("# mine\n\nB2_BUCKET=from-dotenv\n", encoding="utf-8")
    assert gather({}).values["b2.bucket"].origin == Origin(layer=".env", place=".env:3")
    monkeypatch.setenv("B2_BUCKET", "from-shell")
    assert gather({}).values["b2.bucket"].origin == Origin(layer="environment", place="B2_BUCKET")
    given = gather({"bucket": "from-flag"}).values["b2.bucket"]
    assert (given.value, given.origin) == ("from-flag", Origin(layer="flag", place="--bucket"))


def test_a_file_elsewhere_brings_its_own_dotenv(folder: Path) -> None:
    """--config names another file; .env lies beside it. A file that is named must be there."""
    (folder / "there").mkdir()
    (folder / "there" / "my.yaml").write_text("video: {scale: 3}", encoding="utf-8")
    (folder / "there" / ".env").write_text("B2_BUCKET=films", encoding="utf-8")
    values = gather({}, config=Path("there/my.yaml")).values
    assert values["video.scale"].origin == Origin(layer="my.yaml", place="there/my.yaml:1")
    assert values["b2.bucket"].value == "films"
    with pytest.raises(UsageError, match=r"--config none\.yaml is not a file"):
        load({}, config=Path("none.yaml"))


def test_dotenv_leaves_the_environment_alone(folder: Path) -> None:
    """What .env says is read, not exported, and a dollar in it is a dollar."""
    (folder / ".env").write_text("B2_KEY=id\nB2_SECRET=a${HOME}$b\nexport B2_BUCKET='films'\n", encoding="utf-8")
    before = dict(os.environ)
    settings = load({"input_dir": "./input"})
    assert settings.access is not None
    assert settings.access.secret.reveal() == "a${HOME}$b"
    assert settings.bucket == "films"
    assert dict(os.environ) == before


def test_a_broken_dotenv_is_named_by_its_line_alone(folder: Path) -> None:
    """Its text may be a secret, so that only the place is said; a name that nothing reads is said too."""
    (folder / ".env").write_text('B2_KEY=id\nB2_SECRET="CANARY\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"\.env:2") as caught:
        load({})
    assert "CANARY" not in caught.value.message
    (folder / ".env").write_text("B2_KEYID=CANARY\nEDITOR=vi\nB2_KEY=\n", encoding="utf-8")
    assert load({}).notes == ("[WARN] .env:1: B2_KEYID is read by nothing: did you mean 'B2_KEY'?",)


BAD = [
    ("scale", "0.5", "--scale", "1 to 4"),
    ("scale", "4.01", "--scale", "1 to 4"),
    ("scale", "nan", "--scale", "1 to 4"),
    ("scale", "1e999999999", "--scale", "1 to 4"),
    ("scale", "-2", "--scale", "1 to 4"),
    ("scale", "", "--scale", "1 to 4"),
    ("mode", "upscal", "--mode", "upscale"),
    ("factor", "1", "--factor", "above 1"),
    ("factor", "16.1", "--factor", "up to 16"),
    ("factor", "3/0", "--factor", "5/2"),
    ("target_fps", "0.5", "--target-fps", "24000/1001"),
    ("target_fps", "fast", "--target-fps", "23.976"),
    ("strategy", "interp-first", "--strategy", "upscale-then-interp"),
    ("precision", "int8", "--precision", "f16"),
    ("memory", "511MiB", "--memory", "at least 512MiB"),
    ("memory", "8", "--memory", "8G"),
    ("memory", "lots", "--memory", "2GiB"),
    ("codec", "h265", "--codec", "hevc"),
    ("crf", -1, "--crf", "0 (best)"),
    ("crf", 64, "--crf", "0 (best)"),
    ("start", "-1", "--start", "write seconds"),
    ("start", "1:2:3:4", "--start", "write seconds"),
    ("start", "soon", "--start", "write seconds"),
    ("duration", "", "--duration", "write seconds"),
    ("duration", "0", "--duration", "more than 0"),
    ("duration", "1e9", "--duration", "write seconds"),
    ("segment_frames", 0, "--segment-frames", "at least 1"),
    ("name", "a/b.mp4", "--name", "--output-dir"),
    ("name", "..", "--name", "--output-dir"),
    ("name", " ", "--name", "--output-dir"),
    ("name", "a.avi", ".avi", ".mkv"),
    ("budget", "five", "--budget", "0.35"),
    ("min_vram", "12GB", "--min-vram", "without a unit"),
    ("compute_cap", "8.65.1", "--compute-cap", "8.6"),
    ("min_reliability", "95", "--min-reliability", "0 to 1"),
    ("state_prefix", "../x", "--state-prefix", ".uprez"),
    ("config_url", "http://example.org/c", "--config-url", "https://"),
    ("config_url", "ftp://example.org/c", "--config-url", "https://"),
    ("endpoint", "http://s3.example.org", "--endpoint", "https://"),
    ("bucket", "a b", "--bucket", "letters"),
    ("output_dir", "https://example.org/", "--output-dir", "bucket"),
    ("input_dir", "https://example.org/", "--input-dir", "--input"),
    ("input_dir", "ftp://example.org/", "--input-dir", "s3://"),
    ("input_dir", "s3://films/../other", "--input-dir", ".."),
]


@pytest.mark.parametrize(("name", "value", "flag", "step"), BAD)
def test_a_bad_value_is_named_with_its_flag_and_the_next_step(
    name: str, value: str | int, flag: str, step: str
) -> None:
    """Whoever mistyped reads what, where, and what to write instead."""
    with pytest.raises(UsageError) as caught:
        load({name: value})
    assert flag in caught.value.message
    assert str(value) in caught.value.message
    assert step in str(caught.value.hint)


BAD_FILES = [
    ("vide:\n  scale: 2", "config.yaml:1: vide is not a setting: did you mean 'video'?"),
    ("video:\n  scale: 2\n  scal: 3", "config.yaml:3: video.scal is not a setting: did you mean 'video.scale'?"),
    ("video:\n  start: 3", "config.yaml:2: video.start is not a setting: did you mean 'start'?"),
    ("max_price: 3", "config.yaml:1: max_price is not a setting: did you mean 'vast.max_price'?"),
    ("video:\n  scale: 5", "config.yaml:2: video.scale 5 cannot be done"),
    ("video:\n  scale: [2]", "config.yaml:2: video.scale is a list, not a value"),
    ("video:\n  scale: {x: 2}", "config.yaml:2: video.scale is a section, not a value"),
    ("video: 2", "config.yaml:1: video is not a section"),
    ("vast:\n  min_vram: 12GB", "config.yaml:2: vast.min_vram 12GB is not a number"),
    ("vast:\n  verified: perhaps", "config.yaml:2: vast.verified perhaps is neither true nor false"),
    ("vast:\n  gpu_models: [[a]]", "config.yaml:2: vast.gpu_models is a list, not a value"),
    ("vast:\n  type: spot", "config.yaml:2: vast.type spot is unknown"),
    ("video:\n  mode: all", "config.yaml:2: video.mode all is unknown"),
    (
        "video:\n  mode: both\n  cfr: 30",
        "config.yaml:3: video.cfr 30 repeats frames, and mode both makes new ones",
    ),
    (
        "video:\n  mode: interp\n  factor: 2\n  target_fps: 60",
        "config.yaml:4: video.target_fps 60 and config.yaml:3: video.factor 2 exclude each other",
    ),
    ("market: vast", "config.yaml:1: market vast: VAST_API_KEY is not set"),
    ("video:\n\tscale: 2", "config.yaml:2: is neither YAML nor JSON"),
    ("video:\n  scale: 2\n  scale: 3", "config.yaml:3: scale stands twice in its section"),
    ("- video", "config.yaml: holds no settings by name"),
    ("just text", "config.yaml: holds no settings by name"),
    ("video: {scale: 2", "config.yaml:1: is neither YAML nor JSON"),
    ("a: &a [*a]", "config.yaml: is neither YAML nor JSON"),
    ("video: &v\n  <<: *v", "config.yaml: is neither YAML nor JSON"),
    ("[" * 5000, "config.yaml: is neither YAML nor JSON"),
    ("video: !!python/object:os.system {}\n", None),
    ("a: 1\n---\nb: 2", "config.yaml:2: is neither YAML nor JSON"),
    ("presets: [high]", "config.yaml:1: presets is not a section"),
    ("presets:\n  x:\n    scale: 2", "config.yaml:3: presets.x.scale is not a setting"),
    ("presets:\n  x:\n    b2: {bucket: abc}", "config.yaml:3: presets.x.b2.bucket may not be set by a preset"),
    ("presets:\n  x:\n    git_repo: abc", "config.yaml:3: presets.x.git_repo may not be set by a preset"),
    ("presets:\n  x:\n    webhook_url: https://a", "presets.x.webhook_url may not be set by a preset"),
    ("batch:\n  preset: hihg", "config.yaml:2: batch.preset 'hihg' is not a preset: did you mean 'high'?"),
    ("batch: {preset: x}\npresets:\n  x: {preset: y}\n  y: {preset: x}", "goes round in a circle: x -> y -> x"),
    ("presets:\n  x:\n    preset: nothing\nvast: {preset: x}", "config.yaml:3: presets.x.preset 'nothing' is not a"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_mistake_in_the_file_is_named_with_its_line_and_key(text: str, message: str | None, config: Write) -> None:
    """Whoever wrote the file reads the place, the key, the value, and what may stand there."""
    config(text)
    if message is None:
        load({})
        return
    with pytest.raises(UsageError) as caught:
        load({})
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "video:\n", "video: {scale: }", "{}", "null", "\ufeffvideo:"])
def test_nothing_written_is_nothing_set(text: str, config: Write) -> None:
    """An empty file, an empty section and an empty value leave the defaults."""
    config(text)
    assert load({}).options == Options()


def test_a_file_that_is_not_text_is_named(folder: Path) -> None:
    """Latin-1 is no UTF-8: the line is said."""
    (folder / "config.yaml").write_bytes("video:\n  model: é\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"config\.yaml:2: is not UTF-8"):
        load({})


def test_yamls_guesses_change_nothing(config: Write) -> None:
    """Numbers in quotes, times without them, dates and yes are what they look like."""
    config('start: 1:30\nduration: 90\nname: 2024-01-01\nrecursive: No\nvideo: {scale: "2.50", crf: "18"}\n')
    settings = load({})
    assert (settings.options.start, settings.options.duration) == (90, 90)
    assert (settings.name, settings.recursive) == ("2024-01-01", False)
    assert (settings.options.scale, settings.options.crf) == (Fraction(5, 2), 18)


def test_aliases_cannot_fill_the_memory(config: Write) -> None:
    """Ten lines that stand for a billion values are read as ten lines."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    config("\n".join(lines))
    with pytest.raises(UsageError, match="a0 is not a setting"):
        load({})


@pytest.mark.parametrize("value", ["8.6", '"8.6"', "860", "86"])
def test_a_compute_capability_is_read_in_every_spelling(value: str, config: Write) -> None:
    """8.6 is 860, as Vast.ai writes it."""
    config(f"vast: {{compute_cap: {value}}}")
    assert load({}).rental.compute_cap == 860


def test_lists_come_with_commas_or_repeated() -> None:
    """Underscores in a GPU's name are spaces, and a name counts once."""
    rental = load({"gpu_models": ["RTX_4090,RTX 3090", "RTX_3090"], "host_blacklist": ["1,2"]}).rental
    assert (rental.gpu_models, rental.host_blacklist) == (("RTX 4090", "RTX 3090"), ("1", "2"))


def test_a_preset_builds_on_another_and_on_its_namesake(config: Write) -> None:
    """A preset of one's own takes what it does not say from its base; one named like a shipped one extends that."""
    config("presets:\n  high: {max_price: 2}\n  mine:\n    preset: high\n    video: {scale: 3}\n")
    settings = load({}, preset="mine")
    assert (settings.options.scale, settings.options.crf) == (3, 16)
    assert (settings.rental.max_usd_per_hour, settings.rental.min_vram_gb) == (2, 24)
    assert settings.origins["vast.max_price"] == Origin(layer="preset mine", place="config.yaml:2")
    assert settings.origins["vast.min_vram"] == Origin(layer="preset mine", place="high.yaml:5")


@pytest.mark.parametrize("name", ["low", "balanced", "high"])
def test_shipped_presets_load(name: str) -> None:
    """Each is a rental profile with a quality."""
    settings = load({"codec": "hevc"}, preset=name)
    assert settings.options.crf is not None
    assert settings.rental.max_usd_per_hour is not None
    assert settings.rental.gpu_models
    assert settings.rental.bid is (name == "low")


def test_batch_preset_counts_before_vast_preset(config: Write) -> None:
    """Of two names in one file the first is taken, and a name alone under vast is enough."""
    config("vast: {preset: low}\nbatch: {preset: high}")
    assert load({}).options.crf == 16
    config("vast: {preset: low}")
    assert load({}).options.crf == 23


def test_what_is_no_longer_needed_warns_once_and_does_nothing(config: Write) -> None:
    """An old key loads; the line says where it stands and what to do."""
    config("advanced:\n  strict: true\n")
    (note,) = load({}).notes
    assert note.startswith("[WARN] config.yaml:2: advanced.strict does nothing: ")
    assert note.endswith("remove the line")
    assert "advanced.strict" not in load({}).origins


def test_what_has_no_effect_yet_is_said_in_one_line(config: Write) -> None:
    """Keys of a later version are named together, and only where they differ from the default."""
    config("vast: {min_vram: 12, wait: false}\nmax_machines: 2\nadvanced: {lowres_strategy: skip}\n")
    assert load({}).notes == ("[WARN] read, but this version does not act on it yet: advanced.lowres_strategy",)


def test_each_mode_asks_for_what_it_does(config: Write) -> None:
    """Whatever a file says beside a mode, the options hold what that mode uses: a job's id depends on nothing else."""
    settings = "video: {scale: 3, model: lanczos, target_fps: 59.94, strategy: upscale-then-interp}\n"
    config(settings)
    ntsc = Fraction(60000, 1001)
    assert load({}).options == Options(scale=Fraction(3), model="lanczos")
    assert load({"mode": "interp"}).options == Options(mode="interp", scale=Fraction(1), target_fps=ntsc)
    assert load({"mode": "both"}).options == Options(
        mode="both", scale=Fraction(3), model="lanczos", target_fps=ntsc, strategy="upscale-then-interp"
    )
    config("")
    assert load({"mode": "both"}).options == Options(mode="both")
    assert load({"mode": "interp", "scale": "1.0"}).options == Options(mode="interp", scale=Fraction(1))


def test_a_rate_or_a_factor_counts_by_its_layer(config: Write) -> None:
    """They say the same in two ways: the higher layer is meant, be it a flag, a preset's own line or the file."""
    config(
        "video: {mode: interp, target_fps: 60}\n"
        "presets:\n  below: {video: {target_fps: 50}}\n  thrice: {preset: below, video: {factor: 3}}\n"
    )
    assert load({}).options.target_fps == 60
    by_flag = load({"factor": "5/2"}).options
    assert (by_flag.factor, by_flag.target_fps) == (Fraction(5, 2), None)
    by_preset = load({}, preset="thrice").options
    assert (by_preset.factor, by_preset.target_fps) == (3, None)
    again = load({"target_fps": "48"}, preset="thrice").options
    assert (again.factor, again.target_fps) == (None, 48)
    with pytest.raises(UsageError, match="--target-fps 48 and --factor 3 exclude each other"):
        load({"target_fps": "48", "factor": "3"})


@pytest.mark.parametrize(
    ("mode", "name", "value", "use"),
    [
        ("upscale", "target_fps", "60", "--mode both or interp"),
        ("upscale", "factor", "2", "--mode both or interp"),
        ("upscale", "strategy", "upscale-then-interp", "--mode both"),
        ("interp", "scale", "2", "--mode both"),
        ("interp", "model", "lanczos", "--mode both"),
        ("interp", "strategy", "interp-then-upscale", "--mode both"),
    ],
)
def test_a_flag_that_means_nothing_to_the_mode_is_refused(
    mode: str, name: str, value: str, use: str, config: Write
) -> None:
    """Whoever typed it wants something else; in a file or a preset it may be meant for another run."""
    text = f"video: {{{name}: {value}, mode: {mode}}}\npresets: {{mine: {{video: {{{name}: {value}}}}}}}\n"
    config(text)
    assert load({}, preset="mine").options.mode == mode
    with pytest.raises(UsageError, match=f"{value} means nothing to --mode {mode}") as caught:
        load({name: value})
    assert use in str(caught.value.hint)


def test_a_constant_rate_by_repeating_excludes_one_by_interpolation() -> None:
    """`--cfr` repeats frames: beside a mode that makes new ones the other flag is named."""
    with pytest.raises(UsageError, match=r"--cfr 59\.94 repeats frames, and mode both makes new ones") as caught:
        load({"mode": "both", "cfr": "59.94"})
    assert "--target-fps 59.94" in str(caught.value.hint)


def test_a_rate_that_nothing_uses_is_said_where_nobody_chose_the_mode(config: Write) -> None:
    """Old files have `mode: upscale` beside `target_fps`, which never did anything; without a mode it is a mistake."""
    config("video:\n  mode: upscale\n  target_fps: 60\n")
    assert load({}).notes == ()
    config("video:\n  target_fps: 60\n")
    said = (
        "[WARN] config.yaml:2: video.target_fps does nothing in mode upscale: mode both or interp makes frames between"
    )
    assert load({}).notes == (said,)
    assert load({"mode": "upscale"}).notes == load({"mode": "both"}).notes == ()


def test_half_precision_of_a_preset_is_a_wish(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset's f16 is meant for GPUs: on this machine, which computes on its CPU, it asks for nothing."""
    assert load({}, preset="low").options.precision == "auto"
    assert load({}, preset="high").options.precision == "f32"
    with pytest.raises(UsageError, match="--precision f16 is what GPUs compute in"):
        load({"precision": "f16"}, preset="low")
    monkeypatch.setenv("VAST_API_KEY", "key")
    monkeypatch.setenv("B2_KEY", "id")
    monkeypatch.setenv("B2_SECRET", "secret")
    config("b2: {bucket: films, endpoint: https://s3.eu-central-003.backblazeb2.com}\n")
    rented = load({}, preset="low")
    assert (rented.market, rented.options.precision) == ("vast", "f16")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30),
        ("8G", 8 << 30),
        ("1500MB", 1_500_000_000),
        ("0.5 GiB", 512 << 20),
        ("536870912", 512 << 20),
        ("1.5g", 3 << 29),
        ("1TB", 10**12),
    ],
)
def test_a_size_is_read_in_every_notation(text: str, size: int) -> None:
    """MB is a million bytes, MiB and M are 2^20, as elsewhere; a bare number is bytes."""
    assert load({"memory": text}).memory_bytes == size


@pytest.mark.parametrize(
    ("name", "container"),
    [
        (None, "auto"),
        ("a", "auto"),
        ("a.mp4", "mp4"),
        ("a.MKV", "mkv"),
        ("v1.2", "auto"),
        ("é #%.mp4", "mp4"),
        ("a.mov", "mov"),
    ],
)
def test_the_container_is_read_off_the_name(name: str | None, container: str) -> None:
    """A suffix that uprez writes chooses the container; any other dot is part of the name."""
    assert load({"name": name}).options.container == container


def test_a_name_and_a_container_must_agree(config: Write) -> None:
    """Two flags that contradict each other stop the run; a name beats the file's container."""
    with pytest.raises(UsageError, match=r"--name a\.mp4"):
        load({"name": "a.mp4", "container": "mkv"})
    config("video: {container: mkv}")
    assert load({"name": "a.mp4"}).options.container == "mp4"
    assert load({"name": "a"}).options.container == "mkv"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numerator=st.integers(0, 5000), places=st.integers(0, 3))
def test_a_scale_is_taken_exactly_or_refused(numerator: int, places: int) -> None:
    """Every decimal from 1 to 4 is that very fraction; all others are refused."""
    scale = Fraction(numerator, 10**places)
    text = f"{numerator // 10**places}.{numerator % 10**places:0{places}}" if places else str(numerator)
    if 1 <= scale <= 4:
        assert load({"scale": text}).options.scale == scale
    else:
        with pytest.raises(UsageError, match=r"--scale"):
            load({"scale": text})


def test_a_near_miss_is_answered_with_the_nearest() -> None:
    """A typing error gets a suggestion, nonsense the list alone."""
    with pytest.raises(UsageError, match=r"--codec 'hevv' is unknown: did you mean 'hevc'\?"):
        one_of("hevv", CODECS, "--codec")
    with pytest.raises(UsageError, match=r"--codec 'zzzz' is unknown$") as caught:
        one_of("zzzz", CODECS, "--codec")
    assert caught.value.hint == "known: auto, h264, hevc, ffv1"


@pytest.mark.parametrize(
    ("codec", "flags", "words"),
    [
        ("ffv1", {"crf": "20"}, "--crf 20 means nothing to ffv1, which is lossless"),
        ("prores", {"crf": "20"}, r"--crf 20 means nothing to prores, which has its quality from its profile"),
        ("ffv1", {"encoder_preset": "slow"}, "--encoder-preset slow means nothing to ffv1"),
    ],
)
def test_what_a_codec_has_not_is_refused(codec: str, flags: dict[str, str], words: str) -> None:
    """A quality or a preset that means nothing to the codec stops the run before anything starts."""
    with pytest.raises(UsageError, match=words):
        load({"codec": codec, **flags})


def test_a_preset_s_quality_is_for_codecs_that_have_one(config: Write) -> None:
    """What a preset of ours says is left out where the codec has no such thing."""
    config("presets: {mine: {preset: high, video: {encoder_preset: slow}}}\n")
    for codec, crf, preset in (("ffv1", None, None), ("prores", None, "slow"), ("hevc", 16, "slow")):
        options = load({"codec": codec}, preset="mine").options
        assert (options.crf, options.encoder_preset) == (crf, preset)


def test_the_encoder_and_its_preset_reach_the_options(config: Write) -> None:
    """Codec, quality, preset, format and container of a file are those of the run, and flags go before them."""
    config("video: {codec: av1, crf: 60, encoder_preset: 8, pix_fmt: yuv420p10le, container: mkv}\n")
    options = load({}).options
    assert (options.codec, options.crf, options.encoder_preset) == ("av1", 60, "8")
    assert (options.pix_fmt, options.container) == ("yuv420p10le", "mkv")
    flags = {"codec": "prores", "encoder_preset": "hq", "pix_fmt": "auto", "container": "mov"}
    config("video: {codec: av1, encoder_preset: 8}\n")
    options = load(flags).options
    assert (options.codec, options.encoder_preset, options.container) == ("prores", "hq", "mov")


def test_one_file_here_takes_the_picture_alone(folder: Path, config: Write) -> None:
    """`uprez enhance` reads the file's video settings and nothing of buckets, markets or the remote config."""
    config(
        "b2: {bucket: films}\nmarket: vast\nconfig_url: https://example.org/c\nbatch: {dry_run: true}\n"
        "output_dir: s3://a/b\nvideo: {scale: 3}\nbudget: 1\n"
    )
    settings = load_one(Path("a.mp4"), folder / "b.mkv", {"crf": "17"})
    assert (settings.options.scale, settings.options.crf, settings.options.container) == (3, 17, "mkv")
    assert settings.input is not None
    assert (settings.input.folder, settings.output_dir.folder) == (Path("a.mp4"), folder)
    assert (settings.name, settings.exact, settings.dry_run, settings.bucket) == ("b.mkv", True, False, None)
    assert settings.state_folder is not None
    assert settings.state_folder.parent == folder / "state" / "enhance"
    assert settings.market == "local"
