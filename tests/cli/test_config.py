"""`uprez config`, and the flags that are made from the table of settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from uprez import batch
from uprez.cli import flags
from uprez.config.keys import FLAGS, KEYS, flag_of
from uprez.config.settings import Settings
from uprez.config.variables import NAMES

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print as on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Keep the settings that runs are started with."""
    found: list[Settings] = []

    async def run(settings: Settings, console: object) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr(batch, "run", run)
    return found


def test_every_flag_is_in_one_group() -> None:
    """--help leaves none out and shows none twice."""
    grouped = [name for names in flags.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(FLAGS)


@pytest.mark.parametrize("verb", ["run", "enhance", "config"])
def test_help_fits_and_is_complete(verb: str, command: Command) -> None:
    """Every flag of a verb is in its help, in 80 columns."""
    code, out, _ = command(verb, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    names = flags.PICTURE if verb == "enhance" else FLAGS
    assert all(flag_of(FLAGS[name]) in out for name in names)
    assert "--preset" in out
    assert ("--budget" in out) is (verb != "enhance")


def test_help_loads_nothing_heavy() -> None:
    """What help is made from pulls in no settings reader, no media library and no HTTP client."""
    code = (
        "import sys, uprez.cli.main; heavy = {'yaml', 'pydantic', 'numpy', 'av', 'urllib3', 'dotenv', 'onnx', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


SAMPLES = {
    "input": "a.mp4",
    "name": "a.mkv",
    "mode": "upscale",
    "scale": "3",
    "codec": "hevc",
    "container": "mkv",
    "precision": "f16",
    "strategy": "upscale-then-interp",
    "memory": "2GiB",
    "market": "local",
    "on_budget": "stop",
    "bucket": "films",
    "endpoint": "https://s3.example.org",
    "webhook_url": "https://example.org/",
    "config_url": "http://127.0.0.1:9/",
    "type": "bid",
    "rank": "value",
    "min_reliability": "0.9",
    "pix_fmt": "yuv444p",
    "deinterlace": "on",
}
"""Values for the flags that do not take a 7."""


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_sets_its_key(name: str, command: Command) -> None:
    """Each flag is taken by the parser and its key is said to come from it."""
    key = KEYS[FLAGS[name]]
    flag = flag_of(FLAGS[name])
    given = [f"--no-{flag[2:]}"] if key.kind.metavar == "" else [flag, SAMPLES.get(name, "7")]
    optional = ["--config-optional"] if name == "config_url" else []
    code, out, err = command("config", "--json", *given, *optional)
    assert code == 0, err
    assert json.loads(out)[FLAGS[name]]["place"] == flag


def test_what_is_set_is_shown_with_its_origin(folder: Path, command: Command) -> None:
    """Each value, the file and line, the variable or the flag; warnings go to the other stream."""
    (folder / "config.yaml").write_text(
        "b2:\n  bucket: films\nvast: {min_vram: 12}\nadvanced: {lowres_strategy: skip}\nbatch: {preset: low}\n",
        encoding="utf-8",
    )
    (folder / ".env").write_text("B2_KEY=id\n", encoding="utf-8")
    code, out, err = command("config", "--scale", "3", "--output-dir", "/very/long" * 12)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        *("b2.bucket films config.yaml:2", "b2.key **** .env:1", "video.scale 3 --scale"),
        *("market auto defaults", "vast.min_vram 12 config.yaml:3", "video.crf 23 preset low: low.yaml:12"),
    ):
        assert line in lines
    assert err.startswith("[WARN] read, but this version does not act on it yet: ")


def test_secrets_are_never_shown(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the list, not as JSON, not in the error about one that stands in the wrong place."""
    for name in NAMES:
        monkeypatch.setenv(name, {"B2_BUCKET": "films", "B2_REGION": "r"}.get(name, "https://example.org/CANARY"))
    monkeypatch.setenv("B2_ENDPOINT", "https://s3.example.org")
    monkeypatch.setenv("VAST_URL", "https://vast.example.org")
    for arguments in (["config"], ["config", "--json"], ["config", "--input", "https://u:CANARY@a.org/b?x=CANARY"]):
        code, out, err = command(*arguments)
        assert code == 0
        assert "****" in out
        assert "CANARY" not in out + err
    (folder / "config.yaml").write_text("b2:\n  secret: CANARY\n", encoding="utf-8")
    code, out, err = command("config")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "[ERROR] config.yaml:2: b2.secret is a secret and may not stand in a file of settings",
        "[HINT] put it into .env or the environment as B2_SECRET",
    ]
    for wrong in ("webhook_url: CANARY", "b2: {key: *CANARY }", "b2: {key: 'CANARY", "vast: {api_key: CANARY}"):
        (folder / "config.yaml").write_text(wrong, encoding="utf-8")
        code, out, err = command("run")
        assert code == 2
        assert "CANARY" not in out + err


def test_a_run_gets_what_the_layers_say(folder: Path, command: Command, runs: list[Settings]) -> None:
    """Flags, lists and switches arrive; what reading them had to say comes first on the console."""
    (folder / "mine.yaml").write_text("presets: {p: {video: {scale: 3}}}\nadvanced: {strict: 1}\n", encoding="utf-8")
    code, out, err = command(
        *("run", "--config", "mine.yaml", "--preset", "p", "--no-recursive", "--download", "there", "--dry-run"),
        *("--gpu-models", "RTX_4090,RTX_3090", "--gpu-models", "L4", "--no-skip-existing"),
    )
    assert (code, err) == (0, "")
    assert out.startswith("[WARN] mine.yaml:2: advanced.strict does nothing")
    (settings,) = runs
    assert settings.options.scale == 3
    assert (settings.recursive, settings.dry_run, settings.skip_existing) == (False, True, False)
    assert settings.download == Path("there")
    assert settings.rental.gpu_models == ("RTX 4090", "RTX 3090", "L4")


def test_one_file_here_takes_the_picture(folder: Path, command: Command, runs: list[Settings]) -> None:
    """`uprez enhance` reads the picture's settings of config.yaml, and has none of the other flags."""
    (folder / "a.mp4").write_bytes(b"x")
    (folder / "config.yaml").write_text("video: {scale: 3}\nb2: {bucket: films}\nmarket: vast\n", encoding="utf-8")
    assert command("enhance", "a.mp4", "b.mkv", "--crf", "17")[0] == 0
    (settings,) = runs
    assert (settings.options.scale, settings.options.crf, settings.bucket) == (3, 17, None)
    assert command("enhance", "a.mp4", "b.mkv", "--budget", "1")[0] == 2


def test_the_old_command_reads_config_yaml(folder: Path) -> None:
    """`python batch_processor.py` with nothing else is `uprez run`."""
    (folder / "config.yaml").write_text("video: {scale: 9}\n", encoding="utf-8")
    script = Path(__file__).resolve().parents[2] / "batch_processor.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("[ERROR] config.yaml:1: video.scale 9 cannot be done")


def test_the_file_in_the_repository_changes_nothing(folder: Path, command: Command, runs: list[Settings]) -> None:
    """Whoever runs uprez in a clone gets the defaults, and the example names every section."""
    text = (Path(__file__).resolve().parents[2] / "config.yaml").read_text(encoding="utf-8")
    command("run")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    command("run")
    assert runs[0] == runs[1]
    assert all(f"{section}:" in text for section in ("video", "batch", "b2", "vast", "presets"))
