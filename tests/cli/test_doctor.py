"""`uprez doctor`: every check on its own, with a next step, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import places
from s3_proxy import Proxy
from s3_server import S3Server
from uprez.cli import bucket_checks, machine_checks
from uprez.cli.findings import Finding, examine, ok
from uprez.errors import StoreError
from uprez.media import ladders
from uprez.models import MODELS, weights

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def roomy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a large disk."""
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**11))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes seconds and has a test of its own."""
    monkeypatch.setattr(machine_checks, "inference", lambda: iter([ok("inference", "runs")]))
    monkeypatch.setattr(machine_checks, "encoders", lambda: iter([ok("encoder h264", "encodes")]))


@pytest.fixture
def bucket(s3_server: S3Server, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, quick: None) -> str:
    """Give an empty bucket that the command finds, behind the proxy."""
    name = s3_server.bucket()
    for variable, value in places.environment(s3_server, name, port=s3_proxy.port).items():
        monkeypatch.setenv(variable, value)
    return name


def level(out: str, what: str) -> str:
    """Give the level of a check."""
    return next(line.partition("]")[0][1:] for line in out.splitlines() if f"] {what}: " in line)


def hint(out: str, what: str) -> str:
    """Give the line after a check's."""
    lines = out.splitlines()
    return lines[next(number for number, line in enumerate(lines) if f"] {what}: " in line) + 1]


def contents(server: S3Server, bucket: str) -> set[str]:
    """List a bucket, with old versions and delete markers."""
    answer = server.client.list_object_versions(Bucket=bucket)
    return {entry["Key"] for entry in (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ()))}


def test_a_machine_without_a_bucket_is_well(command: Command, folder: Path) -> None:
    """All checks are made for real, each one line; weights that are missing are a warning with the command."""
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    for what in (
        *("configuration", "market", "credentials", "Vast.ai", "bucket", "model lanczos", "encoder h264"),
        *("encoder hevc", "disk of state", "disk of models", "disk of results", "disk of temporary files"),
        *("python", "packages", "terminal"),
    ):
        assert level(out, what) == "OK", what
    assert level(out, "inference") in ("OK", "WARN")
    assert hint(out, "model realesr-animevideov3") == "[HINT] uprez models pull realesr-animevideov3"
    assert list(folder.iterdir()) == []


def test_weights_that_are_here_are_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that needs no network any more is well."""
    monkeypatch.setattr(weights, "is_cached", lambda *_: True)
    assert all(finding.level == "OK" for finding in machine_checks.weights(folder))
    assert len(list(machine_checks.weights(folder))) == len(MODELS)


def test_every_finding_that_is_not_well_has_a_next_step(command: Command, quick: None) -> None:
    """Programs get the same as one object; what is wrong has a hint."""
    code, out, err = command("doctor", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["schema"], document["exit_code"]) == (1, 0)
    assert all(check["hint"] for check in document["checks"] if check["level"] != "OK")


@pytest.mark.parametrize("text", ["vidoe:\n  scale: 2\n", "market: vast\n", "a: [\n"])
def test_a_configuration_that_does_not_load_is_code_2(command: Command, quick: None, folder: Path, text: str) -> None:
    """Its error is the first finding, and the machine is looked at all the same."""
    (folder / "config.yaml").write_text(text)
    code, out, _ = command("doctor")
    assert code == 2
    assert level(out, "configuration") == "FAIL"
    assert "[HINT] " in hint(out, "configuration")
    assert level(out, "terminal") == "OK"


def test_a_broken_check_hides_no_other(command: Command, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in one check is a finding; what it found before stays, the rest is made."""

    def half() -> Iterator[Finding]:
        yield ok("encoder h264", "encodes")
        raise RuntimeError("odd")

    monkeypatch.setattr(machine_checks, "encoders", half)
    code, out, _ = command("doctor")
    assert code == 1
    assert "[OK] encoder h264: encodes" in out
    assert "[FAIL] encoders: the check failed: RuntimeError: odd" in out
    assert level(out, "terminal") == "OK"


def test_an_expected_failure_keeps_its_hint() -> None:
    """The error's own next step is the finding's."""

    def refuses() -> Iterator[Finding]:
        raise StoreError("no", hint="do that")
        yield

    (finding,) = examine("x", refuses)
    assert (finding.level, finding.text, finding.hint) == ("FAIL", "no", "do that")


def test_a_codec_without_an_encoder_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder that was tried is told."""
    monkeypatch.setitem(ladders.LADDERS, "hevc", ())
    found = {finding.what: finding.level for finding in machine_checks.encoders()}
    assert found == {"encoder h264": "OK", "encoder hevc": "FAIL"}


@pytest.mark.parametrize(("free", "wanted"), [(10**8, "FAIL"), (10**9, "WARN"), (10**10, "OK")])
def test_a_full_disk_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, wanted: str) -> None:
    """Also of a folder that is not there yet."""
    usage = shutil._ntuple_diskusage(10**12, 0, free)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    levels = {finding.level for finding in machine_checks.disks({"x": folder / "a" / "b"})}
    assert levels == {wanted}


def test_a_free_bucket_is_tried_and_left_empty(
    command: Command, s3_server: S3Server, s3_proxy: Proxy, bucket: str
) -> None:
    """List, write, signed PUT and GET, delete; the probe lies beside the prefix, and nothing is left of it."""
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 0, out
    for what in (
        *("credentials", "bucket", "bucket list", "bucket clock", "state prefix", "bucket write"),
        *("signed URLs", "bucket delete", "bucket versions"),
    ):
        assert level(out, what) == "OK", out
    assert contents(s3_server, bucket) == set()
    written = [seen for seen in s3_proxy.seen("PUT") if seen.status == 200]
    assert [seen.signed for seen in written] == [False, True]
    assert all(seen.key.startswith(".uprez-probe-") for seen in written)


def test_our_own_prefix_takes_the_probe(
    command: Command, s3_server: S3Server, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    """With the marker there the probe is below it, and goes with its versions; no lifecycle rule is a warning."""
    name = s3_server.bucket(versioned=True)
    monkeypatch.setenv("B2_BUCKET", name)
    places.bucket_home(s3_server.access, name)
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 0, out
    assert contents(s3_server, name) == {".uprez/uprez.json"}
    assert all(seen.key.startswith(".uprez/probes/") for seen in s3_proxy.seen("PUT"))
    assert level(out, "bucket versions") == "WARN"
    assert "Keep only the last version" in hint(out, "bucket versions")


def test_a_strangers_prefix_is_not_written_to(
    command: Command, s3_server: S3Server, s3_proxy: Proxy, bucket: str
) -> None:
    """Objects without our marker: a failure with what to do, and not one write."""
    s3_server.client.put_object(Bucket=bucket, Key=".uprez/theirs.txt", Body=b"x")
    s3_proxy.reset()
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 1
    assert level(out, "state prefix") == "FAIL"
    assert "state_prefix" in hint(out, "state prefix")
    assert s3_proxy.counts["PUT"] == s3_proxy.counts["DELETE"] == 0


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [("B2_SECRET", "wrong", "SignatureDoesNotMatch"), ("B2_KEY", "wrong", "InvalidAccessKeyId")],
)
def test_wrong_credentials_are_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, bucket: str, variable: str, value: str, words: str
) -> None:
    """The server's code and the variable to look at."""
    monkeypatch.setenv(variable, value)
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 1
    assert words in out
    assert variable in hint(out, "bucket list")


def test_a_clock_that_is_off_is_a_warning(command: Command, s3_proxy: Proxy, bucket: str) -> None:
    """The seconds and the direction."""
    s3_proxy.skew_s = 300
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 0, out
    assert level(out, "bucket clock") == "WARN"
    assert "s behind the store's" in out
    assert level(out, "signed URLs") == "OK"


def test_a_probe_that_cannot_be_deleted_is_a_failure(command: Command, s3_proxy: Proxy, bucket: str) -> None:
    """The other rights are shown all the same."""
    s3_proxy.fail("DELETE", "503", times=99)
    code, out, _ = command("doctor", "--output-dir", "output")
    assert code == 1
    assert (level(out, "bucket write"), level(out, "bucket delete")) == ("OK", "FAIL")


def test_a_bucket_that_is_not_there_is_soon_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    """A closed port ends the bucket's checks at once; the others are made."""
    monkeypatch.setenv("B2_ENDPOINT", "http://127.0.0.1:9")
    begin = time.monotonic()
    code, out, _ = command("doctor", "--output-dir", "output")
    assert time.monotonic() - begin < 15
    assert code == 1
    assert level(out, "bucket") == "FAIL"
    assert "B2_ENDPOINT" in hint(out, "bucket") or "address" in hint(out, "bucket")
    assert "bucket list" not in out
    assert level(out, "terminal") == "OK"
    limits = bucket_checks.REACH
    assert limits.total_s + limits.connect_s <= 15


def test_a_bucket_without_a_key_is_a_warning(command: Command, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named while results go to a folder: said, and no failure of a run."""
    monkeypatch.setenv("B2_BUCKET", "films")
    code, out, _ = command("doctor", "--output-dir", "./output", "--input-dir", "./input")
    assert code in (0, 1)
    assert level(out, "credentials") == "WARN"


@pytest.mark.parametrize("encoding", ["cp1251:strict", "ascii:strict"])
def test_a_small_console_is_told_that_names_are_escaped(folder: Path, encoding: str) -> None:
    """A folder with a name that it cannot show is shown, escaped, and the warning says how to see it."""
    line = [sys.executable, "-m", "uprez", "doctor", "--output-dir", "./кот é 🐈"]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": encoding}
    done = subprocess.run(line, env=environment, capture_output=True, check=False)
    out = done.stdout.decode(encoding.partition(":")[0])
    assert done.stderr == b""
    assert level(out, "terminal") == "WARN"
    assert "\\U0001f408" in out


def test_a_terminal_that_shows_everything_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTF-8 needs no warning."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert [finding.level for finding in machine_checks.terminal()] == ["OK"]
