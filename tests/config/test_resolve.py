"""Places, market and access: what the values mean together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.config.layers import load
from uprez.config.locations import input_folder, locate, output_folder, region_of
from uprez.config.settings import Location
from uprez.errors import UsageError

Write = Callable[[str], None]
ENDPOINT = "https://s3.eu-central-003.backblazeb2.com"
BUCKET = f"b2: {{bucket: films, endpoint: {ENDPOINT}}}\n"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of a bucket."""
    monkeypatch.setenv("B2_KEY", "id")
    monkeypatch.setenv("B2_SECRET", "CANARY")


def point(found: Location | None) -> str:
    """Write a location as a URL, a folder as a path."""
    assert found is not None
    assert sum(part is not None for part in (found.folder, found.bucket, found.url)) == 1
    return found.url or (f"s3://{found.bucket}/{found.key}" if found.bucket else str(found.folder))


@pytest.mark.parametrize(
    ("text", "bucket", "wanted"),
    [
        ("clips", None, "clips"),
        ("clips/new", None, "clips/new"),
        ("./clips", "films", "clips"),
        ("/clips", "films", "/clips"),
        ("../clips", "films", "../clips"),
        ("clips/new", "films", "s3://films/clips/new"),
        ("naïve #1 %+ 😀", "films", "s3://films/naïve #1 %+ 😀"),
        ("s3://other/a/b", "films", "s3://other/a/b"),
        ("b2://other//a", None, "s3://other/a"),
        ("S3://other", None, "s3://other/"),
        ("file:///a%20b/c", "films", "/a b/c"),
        ("https://example.org/a.mp4?key=1", "films", "https://example.org/a.mp4?key=1"),
    ],
)
def test_a_text_says_where_it_points(text: str, bucket: str | None, wanted: str) -> None:
    """URLs by their scheme; paths that begin so, or all without a bucket, are here; the rest is in the bucket."""
    assert point(locate(text, bucket, "--input")) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("urgent", "s3://films/input/urgent/"),
        ("input", "s3://films/input/"),
        ("input/", "s3://films/input/"),
        ("input/urgent", "s3://films/input/urgent/"),
        ("urgent/", "s3://films/urgent/"),
        ("s3://other", "s3://other/"),
        ("s3://other/a", "s3://other/a/"),
        ("./urgent", "urgent"),
    ],
)
def test_a_bare_name_lies_below_input(text: str, wanted: str) -> None:
    """One word is a prefix below input/, anything with a slash a prefix at the top."""
    assert point(input_folder(text, "films", "--input-dir")) == wanted


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text(min_size=1, max_size=30), bucket=st.none() | st.just("films"))
def test_any_text_is_one_place_or_a_usage_error(text: str, bucket: str | None) -> None:
    """Exactly one of folder, bucket and URL; a key never begins with a slash or leads upwards."""
    for read in (locate, input_folder, output_folder):
        try:
            found = read(text, bucket, "--x")
        except UsageError:
            continue
        point(found)
        assert not found.key.startswith("/")
        assert not {".", ".."} & set(found.key.split("/"))


def test_a_url_in_a_message_has_no_query(folder: Path) -> None:
    """The text of a location may hold a signature, so that its query is left out."""
    assert locate("https://me:pw@example.org/a.mp4?sig=CANARY", None, "--input").text == "https://example.org/a.mp4"


def test_a_name_of_300_letters_is_no_path() -> None:
    """What the system cannot look up is refused with its reason."""
    with pytest.raises(UsageError, match="cannot be a path"):
        load({"input_dir": "x" * 300})


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("text", "flags", "source", "target"),
    [
        ("", {}, "input", "output"),
        ("batch: {input_dir: b}", {}, "b", "output"),
        ("batch: {input_dir: b}\nvideo: {input_dir: v}", {}, "v", "output"),
        ("batch: {input_dir: b}\nvideo: {input_dir: v}", {"input_dir": "f"}, "f", "output"),
        (BUCKET, {}, "s3://films/input/", "s3://films/output/"),
        (BUCKET, {"input_dir": "input/urgent"}, "s3://films/input/urgent/", "s3://films/output/"),
        (BUCKET, {"input_dir": "./input"}, "input", "output"),
        (BUCKET, {"input": "a/b.mp4"}, "s3://films/a/b.mp4", "s3://films/output/"),
        (BUCKET, {"input": "https://example.org/a.mp4"}, "https://example.org/a.mp4", "s3://films/output/"),
        ("", {"input": "https://example.org/a.mp4"}, "https://example.org/a.mp4", "output"),
        (BUCKET, {"input": "s3://other/a.mp4"}, "s3://other/a.mp4", "s3://other/output/"),
        (BUCKET, {"output_dir": "done"}, "s3://films/input/", "s3://films/done/"),
        (BUCKET, {"output_dir": "./done"}, "s3://films/input/", "done"),
        (f"{BUCKET}video: {{input_dir: v}}", {"input": "a.mp4"}, "s3://films/a.mp4", "s3://films/output/"),
        (f"{BUCKET}input: a.mp4", {"input_dir": "v"}, "s3://films/input/v/", "s3://films/output/"),
    ],
)
def test_inputs_and_outputs(text: str, flags: dict[str, str], source: str, target: str, config: Write) -> None:
    """The flag, then video, then batch; in the bucket when there is one; results follow their inputs."""
    config(f"market: local\n{text}")
    settings = load(flags)
    assert point(settings.input or settings.input_dir) == source
    assert point(settings.output_dir) == target


def test_an_input_is_one_video(folder: Path, config: Write) -> None:
    """A folder or a prefix is named with another flag, and one of the two is enough."""
    with pytest.raises(UsageError, match=r"--input none\.mp4 is not a file"):
        load({"input": "none.mp4"})
    with pytest.raises(UsageError, match="exclude each other"):
        load({"input": "a", "input_dir": "b"})
    config(BUCKET)
    with pytest.raises(UsageError, match="--input films/ is not an object"):
        load({"input": "films/"})


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [(ENDPOINT, "eu-central-003"), ("https://s3.example.org", None), (None, None), ("https://evil/" + ENDPOINT, None)],
)
def test_the_region_is_read_off_a_backblaze_endpoint(endpoint: str | None, region: str | None) -> None:
    """It is in the host's name, and in no other place."""
    assert region_of(endpoint) == region


@pytest.mark.parametrize(
    ("variables", "endpoint", "region", "key"),
    [
        ({"B2_KEY": "k", "B2_SECRET": "s", "B2_ENDPOINT": "s3.us-west-004.backblazeb2.com"}, "b2", "us-west-004", "k"),
        ({"B2_KEY": "k", "B2_SECRET": "s", "B2_REGION": "us-west-004"}, "b2", "us-west-004", "k"),
        ({"B2_KEY": "k", "B2_SECRET": "s", "B2_ENDPOINT": "http://127.0.0.1:8333"}, "local", "us-east-1", "k"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, None, "us-east-1", "a"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}, None, "eu-west-1", "a"),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://localhost:9000"}
            | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8333", "AWS_DEFAULT_REGION": "x"},
            "local",
            "x",
            "a",
        ),
        (
            {"B2_KEY": "k", "B2_SECRET": "s", "B2_ENDPOINT": "s3.us-west-004.backblazeb2.com"}
            | {"AWS_ACCESS_KEY_ID": "a", "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-west-1"},
            "b2",
            "us-west-004",
            "k",
        ),
    ],
)
def test_the_account_is_put_together(
    variables: dict[str, str], endpoint: str | None, region: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B2's variables, or Amazon's where neither of B2's keys is set; never half of each."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    access = load({"bucket": "films", "market": "local"}).access
    assert access is not None
    known = {"b2": "https://s3.us-west-004.backblazeb2.com", "local": "http://127.0.0.1:8333", None: None}
    assert (access.endpoint, access.region, access.key.reveal()) == (known[endpoint], region, key)
    assert access.token is None


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, "B2_KEY and B2_SECRET not set"),
        ({"B2_KEY": "id"}, "B2_SECRET not set"),
        ({"AWS_SECRET_ACCESS_KEY": "CANARY"}, "B2_KEY not set"),
        ({"B2_KEY": "id", "B2_SECRET": "CANARY"}, "B2_ENDPOINT not set"),
        ({"B2_KEY": "id", "B2_SECRET": "CAN\tARY"}, "B2_SECRET is empty, or holds"),
        ({"B2_KEY": "id", "B2_SECRET": "CANARY", "B2_ENDPOINT": "http://s3.example.org"}, "is plain http"),
    ],
)
def test_a_bucket_without_its_account_stops_the_run(
    variables: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is named, and no value of a secret; who uses no bucket hears nothing."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=line) as caught:
        load({"bucket": "films"})
    assert "CAN" not in caught.value.message
    if "not set" in line:
        assert load({"bucket": "films", "input_dir": "./input"}).bucket == "films"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("market", "flags", "reason"),
    [
        ("auto", {"input_dir": "./input"}, "auto: the input is a folder here"),
        ("local", {}, "set by config.yaml:2"),
        ("auto", {"market": "local"}, "set by --market"),
    ],
)
def test_the_market_is_chosen_and_said(
    market: str, flags: dict[str, str], reason: str, config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key and a remote input `auto` means to rent; the reason of every choice is kept."""
    monkeypatch.setenv("VAST_API_KEY", "CANARY")
    config(f"{BUCKET}market: {market}\n")
    assert load(flags).market_reason == reason


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("market", "flags", "reason"),
    [
        ("auto", {}, "auto: VAST_API_KEY is set and the input is in a bucket"),
        (
            "auto",
            {"input": "https://example.org/a.mp4"},
            "auto: VAST_API_KEY is set and the input is an HTTP URL",
        ),
        ("vast", {"input_dir": "./input"}, "set by config.yaml:1"),
        ("auto", {"market": "vast"}, "set by --market"),
    ],
)
def test_renting_is_chosen_and_its_results_go_to_the_bucket(
    market: str, flags: dict[str, str], reason: str, config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's results too: no rented machine can reach a folder here."""
    monkeypatch.setenv("VAST_API_KEY", "CANARY")
    config(f"market: {market}\n{BUCKET}")
    settings = load(flags)
    assert (settings.market, settings.market_reason) == ("vast", reason)
    assert settings.output_dir.bucket is not None


@pytest.mark.parametrize(
    ("text", "flags", "line"),
    [
        ("", {}, "market vast: VAST_API_KEY is not set"),
        ("CANARY", {}, "a rented machine needs a bucket"),
        ("CANARY", {"output_dir": "./out"}, "--output-dir ./out is a folder here, which no rented machine can reach"),
    ],
)
def test_renting_needs_a_key_and_a_bucket(
    text: str, flags: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is named before anything starts, with the next step, and never a key."""
    if text:
        monkeypatch.setenv("VAST_API_KEY", text)
    with pytest.raises(UsageError, match=line) as caught:
        load({"market": "vast", **flags})
    assert caught.value.hint
    assert "CANARY" not in caught.value.message


def test_without_a_key_auto_is_local() -> None:
    """Nothing is rented by those who cannot rent."""
    assert load({}).market_reason == "auto: VAST_API_KEY is not set"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("true", Path("output")), ("false", None), ("./there", Path("there")), ("there", Path("there"))],
)
def test_results_are_brought_to_a_folder_here(text: str, wanted: Path | None) -> None:
    """`true` is ./output; any other name is a folder on this machine, whatever bucket is set."""
    assert load({"download": text}).download == wanted


@pytest.mark.usefixtures("account")
def test_settings_never_print_a_secret(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Whoever logs the settings logs none of the keys."""
    monkeypatch.setenv("VAST_API_KEY", "CANARY")
    monkeypatch.setenv("WEBHOOK_URL", "https://example.org/CANARY")
    (folder / ".env").write_text("AWS_SESSION_TOKEN=CANARY\n", encoding="utf-8")
    settings = load({"bucket": "films", "input_dir": "./input"})
    assert settings.webhook is not None
    assert settings.webhook.reveal() == "https://example.org/CANARY"
    assert "CANARY" not in f"{settings!r} {settings}"
