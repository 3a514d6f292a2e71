"""`uprez url`: one fresh address of a result, found by what people call it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import places
from house import located
from s3_server import S3Server
from uprez import http
from uprez.store import keys
from uprez.store.open import Home, open_home

JOBS = ("00112233aabbccdd", "00112233ffffffff", "4455667788990011")


@pytest.fixture
def local(folder: Path) -> Home:
    """Give a folder of results with two outputs of one input, one of another, and a job that has only begun."""
    home = open_home(located(folder / "output"), None)
    places.publish(home, JOBS[0], "trip/cat.x2.mp4")
    places.publish(home, JOBS[1], "trip/cat.x4.mp4")
    places.publish(home, JOBS[2], "dog.x2.mp4")
    home.state.write(keys.plan("9" * 16, "1-01234567"), b"{}")
    return home


Command = Callable[..., tuple[int, str, str]]


def elsewhere(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command in a process of its own, with these variables; gives its code and what it printed."""
    line = [sys.executable, "-m", "uprez", *arguments]
    done = subprocess.run(line, env={**os.environ, **variables}, capture_output=True, check=False)
    return done.returncode, done.stdout.decode("latin-1")


@pytest.mark.parametrize(
    "name", [JOBS[2], "4455", "dog.mp4", "dog.x2.mp4", "trip/cat.x2.mp4", "cat.x4.mp4", "00112233a", "00112233f"]
)
def test_a_job_is_found_by_what_it_is_called(local: Home, command: Command, name: str) -> None:
    """Its id or the beginning of it, the input's name, the output's path or file name: the file's URL alone."""
    code, out, err = command("url", name)
    assert (code, err) == (0, "")
    wanted = {"4": "dog.x2.mp4", "d": "dog.x2.mp4", "t": "trip/cat.x2.mp4", "c": "trip/cat.x4.mp4"}.get(name[0])
    wanted = wanted or ("trip/cat.x2.mp4" if name.endswith("a") else "trip/cat.x4.mp4")
    assert local.root is not None
    assert out == f"{(local.root / wanted).as_uri()}\n"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("dgo.mp4", 2, "no job is called dgo.mp4: did you mean 'dog.mp4'?"),
        ("445", 2, "no job is called 445"),
        ("0011", 2, "0011 may be trip/cat.x2.mp4 (00112233aabbccdd) or trip/cat.x4.mp4 (00112233ffffffff)"),
        ("9999", 1, "job 9999999999999999 is not finished"),
        ("dog.x2.mp4", 1, "the output of job 4455667788990011 is not there any more"),
    ],
)
def test_what_cannot_be_given_is_explained(local: Home, command: Command, name: str, code: int, words: str) -> None:
    """Unknown and ambiguous names are usage errors; unfinished and lost ones are failures; nothing is on stdout."""
    if code == 1:
        assert local.root is not None
        (local.root / "dog.x2.mp4").unlink()
    ended = command("url", name)
    assert ended[:2] == (code, "")
    assert words in ended[2]
    assert "[HINT] " in ended[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("url",), "name one job"),
        (("url", "dog.mp4", "--list"), "name one job"),
        (("url", "dog.mp4", "--valid", "8d"), "--valid 8d is too long"),
        (("url", "dog.mp4", "--valid", "0m"), "--valid 0m is too short"),
        (("url", "dog.mp4", "--valid", "week"), "--valid week is not a length of time"),
        (("url", "dog.mp4", "--output-dir", "none"), "uprez has made nothing in"),
    ],
)
def test_a_wrong_command_is_a_usage_error(
    local: Home, command: Command, arguments: tuple[str, ...], words: str
) -> None:
    """The flag, the value and what is allowed."""
    ended = command(*arguments)
    assert ended[:2] == (2, "")
    assert words in ended[2]


def test_all_jobs_are_listed(local: Home, command: Command) -> None:
    """One line for each output, and for each job without one: id, state, name."""
    assert local.root is not None
    (local.root / "dog.x2.mp4").write_bytes(b"another")
    code, out, err = command("url", "--list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{JOBS[2]} gone       {local.root / 'dog.x2.mp4'}",
        f"{JOBS[0]} done       {local.root / 'trip/cat.x2.mp4'}",
        f"{JOBS[1]} done       {local.root / 'trip/cat.x4.mp4'}",
        "9999999999999999 unfinished -",
    ]


def test_a_market_that_is_to_come_is_no_hindrance(local: Home, command: Command, folder: Path) -> None:
    """Looking needs no market and no mode."""
    (folder / "config.yaml").write_text("market: vast\nvideo:\n  mode: both\n")
    assert command("url", "4455")[0] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii:strict"])
def test_every_name_has_a_plain_url(local: Home, encoding: str) -> None:
    """The URL is ASCII and names the file, and a list works, whatever the console can show."""
    for number, name in enumerate(places.NAMES):
        places.publish(local, f"{number:x}" * 16, name)
    assert local.root is not None
    for name in places.NAMES[2:5:2]:
        code, out = elsewhere("url", name, PYTHONIOENCODING=encoding)
        assert code == 0
        assert out.isascii()
        assert unquote(urlsplit(out.strip()).path) == str(local.root / name)
    code, out = elsewhere("url", "--list", PYTHONIOENCODING=encoding)
    assert (code, len(out.splitlines())) == (0, 4 + len(places.NAMES))


def test_a_bucket_gives_urls_that_work(s3_server: S3Server, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name's URL downloads its bytes for as long as was asked; the list names the bucket."""
    bucket = s3_server.bucket()
    home = places.bucket_home(s3_server.access, bucket)
    for variable, value in places.environment(s3_server, bucket).items():
        monkeypatch.setenv(variable, value)
    for number, name in enumerate(places.NAMES):
        places.publish(home, f"{number:x}" * 16, name)
    for number, name in enumerate(places.NAMES):
        code, out, err = command("url", name, "--valid", "2h")
        assert (code, err, len(out.splitlines())) == (0, "", 1)
        assert out.isascii()
        assert parse_qs(urlsplit(out).query)["X-Amz-Expires"] == ["7200"]
        assert http.request("GET", out.strip()).data == f"the picture of {name}".encode(), number
    assert f"0000000000000000 done       s3://{bucket}/output/plain.x2.mp4" in command("url", "--list")[1]
    monkeypatch.setenv("B2_SECRET", "wrong")
    assert command("url", "plain.x2.mp4")[0] == 2
