"""Signed URLs: those of botocore's own presigner, dated by the store's clock, and refused by the server when wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import botocore.auth
import botocore.config
import botocore.session
import pytest

from s3_proxy import Proxy
from s3_server import S3Server
from uprez import http
from uprez.config.settings import Access, Secret
from uprez.errors import FetchError
from uprez.store import sign
from uprez.store.bucket import BucketStore

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "папка/a b+c%d#e?f&g=h~(1)/🎬.mkv"
ACCESS = Access(endpoint="https://s3.example.test", region="eu-central-003", key=Secret("AK"), secret=Secret("SK"))
UPLOAD = {"UploadId": "u/1+2"}
OPERATIONS: dict[str, tuple[str, dict[str, Any], dict[str, str | int]]] = {
    "get_object": ("GET", {}, {}),
    "put_object": ("PUT", {}, {}),
    "upload_part": ("PUT", {**UPLOAD, "PartNumber": 7}, {"partNumber": 7, "uploadId": "u/1+2"}),
    "complete_multipart_upload": ("POST", UPLOAD, {"uploadId": "u/1+2"}),
    "abort_multipart_upload": ("DELETE", UPLOAD, {"uploadId": "u/1+2"}),
}


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop botocore's clock."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOON.replace(tzinfo=None))


def reference(access: Access) -> Any:  # botocore ships no types
    """Give botocore's own client."""
    return botocore.session.Session(session_vars={"profile": (None, None, None, None)}).create_client(
        "s3",
        region_name=access.region,
        endpoint_url=access.endpoint,
        aws_access_key_id=access.key.reveal(),
        aws_secret_access_key=access.secret.reveal(),
        aws_session_token=access.token.reveal() if access.token else None,
        config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("token", [None, Secret("T/1+2")])
def test_a_url_is_botocores_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, operation: str, token: Secret | None
) -> None:
    """Every request that uprez signs has address, parameters and signature as botocore's presigner makes them."""
    nowhere = str(tmp_path_factory.getbasetemp() / "none")
    monkeypatch.setenv("AWS_CONFIG_FILE", nowhere)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    method, parameters, query = OPERATIONS[operation]
    access = replace(ACCESS, token=token)
    ours = urlsplit(sign.presign(access, method, "bucket", KEY, seconds=3600, query=query))
    theirs = urlsplit(
        reference(access).generate_presigned_url(
            operation, Params={"Bucket": "bucket", "Key": KEY, **parameters}, ExpiresIn=3600
        )
    )
    assert ours[:3] == theirs[:3]
    assert parse_qs(ours.query) == parse_qs(theirs.query)


@pytest.mark.usefixtures("noon")
def test_a_url_is_dated_by_the_stores_clock() -> None:
    """With the store 20 minutes ahead, the signature is the one that its own clock would give."""
    shifted = sign.presign(ACCESS, "GET", "bucket", KEY, seconds=60, skew_s=1200)
    assert dict(parse_qsl(urlsplit(shifted).query))["X-Amz-Date"] == "20261124T122000Z"
    later = sign.presign(ACCESS, "GET", "bucket", KEY, seconds=60, skew_s=12 * 3600)
    assert "20261125%2Feu-central-003" in later


@pytest.mark.parametrize("seconds", [0, -1, sign.LONGEST_S + 1, 1e9])
def test_a_url_lives_seven_days_at_most(seconds: float) -> None:
    """A longer life, which a store would refuse only when the URL is used, is refused at once."""
    sign.presign(ACCESS, "GET", "bucket", KEY, seconds=sign.LONGEST_S)
    with pytest.raises(ValueError, match="7 days"):
        sign.presign(ACCESS, "GET", "bucket", KEY, seconds=seconds)


def test_amazon_needs_no_endpoint() -> None:
    """Without an endpoint it is Amazon's own for the region."""
    assert sign.endpoint(replace(ACCESS, endpoint=None)) == "https://s3.eu-central-003.amazonaws.com"


@pytest.fixture
def store(s3_server: S3Server, s3_proxy: Proxy) -> BucketStore:
    """Give a store on the real server."""
    return BucketStore(s3_server.access_to(s3_proxy.port), *s3_server.place())


def test_a_url_works_for_what_it_is_signed_for(store: BucketStore) -> None:
    """What is put by one is read by the other, whatever the key."""
    http.request("PUT", store.put_url(KEY, seconds=60), body=b"data")
    assert http.request("GET", store.get_url(KEY, seconds=60)).data == b"data"
    assert http.head(store.get_url(KEY, seconds=60)).size == 4


def forged(url: str) -> str:
    """Change one digit of a signature."""
    return url[:-1] + ("0" if url[-1] != "0" else "1")


def longer(url: str) -> str:
    """Give a URL a longer life than was signed."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), "X-Amz-Expires": "999"}
    return parts._replace(query=urlencode(query)).geturl()


FORGERIES: dict[str, Callable[[str], str]] = {
    "forged signature": forged,
    "longer life": longer,
    "another key": lambda url: url.replace("movie", "other"),
}


@pytest.mark.parametrize("how", FORGERIES)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_server_refuses_a_forgery(store: BucketStore, how: str, method: str) -> None:
    """A URL that was changed in any way is answered with 403 by the server itself."""
    for key in ("movie", "other"):
        store.write(key, b"data")
    url = store.get_url("movie", seconds=60) if method == "GET" else store.put_url("movie", seconds=60)
    with pytest.raises(FetchError, match="403 SignatureDoesNotMatch") as caught:
        http.request(method, FORGERIES[how](url), body=b"evil" if method == "PUT" else None)
    assert caught.value.status == 403
    assert "X-Amz" not in str(caught.value)
    assert store.read("movie") == store.read("other") == b"data"


def test_the_server_refuses_another_method(store: BucketStore) -> None:
    """A URL for reading does not write, and one for writing neither reads nor deletes."""
    store.write("movie", b"data")
    for method, url in (
        ("PUT", store.get_url("movie", seconds=60)),
        ("DELETE", store.get_url("movie", seconds=60)),
        ("GET", store.put_url("movie", seconds=60)),
        ("DELETE", store.put_url("movie", seconds=60)),
    ):
        with pytest.raises(FetchError, match="403") as caught:
            http.request(method, url, body=b"evil" if method == "PUT" else None)
        assert caught.value.status == 403
    assert store.read("movie") == b"data"


def test_the_server_refuses_what_has_expired(store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature that is over is answered with 403."""
    store.write("movie", b"data")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: hour_ago.replace(tzinfo=None))
    url = store.get_url("movie", seconds=60)
    with pytest.raises(FetchError, match="403") as caught:
        http.request("GET", url)
    assert caught.value.status == 403


@pytest.mark.parametrize("skew_s", [-600, 600])
def test_a_wrong_clock_here_does_not_spoil_urls(store: BucketStore, s3_proxy: Proxy, skew_s: int) -> None:
    """Once the store has said what time it is, URLs are signed by its clock."""
    s3_proxy.skew_s = skew_s
    store.write("movie", b"data")
    assert store.skew_s == pytest.approx(skew_s, abs=2.5)
    date = dict(parse_qsl(urlsplit(store.get_url("movie", seconds=60)).query))["X-Amz-Date"]
    signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert signed == pytest.approx(time.time() + skew_s, abs=2.5)
    s3_proxy.skew_s = 0
    store.head("movie")
    assert store.skew_s == 0
