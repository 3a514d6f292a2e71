"""Objects by their URL, in a folder and signed: every name works, and a write is seen whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3_proxy import Proxy
from s3_server import S3Server
from uprez import http
from uprez.errors import BusyError, DeniedError, StoreError
from uprez.sheet import Upload
from uprez.store import urls
from uprez.store.bucket import BucketStore

NAMES = [
    "plain.mp4",
    "with space",
    "#1",
    "100%",
    "%41",
    "a+b",
    "a?b=c",
    "a;b",
    "naïve 😀",
    "new\nline",
    "tab\t",
    "back\\slash",
    os.fsdecode(b"not-utf8-\xff\xfe"),
]


def listing(folder: Path) -> list[str]:
    """Name what is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_every_file_name_works(tmp_path: Path, name: str) -> None:
    """Whatever a file is called, its URL leads to it, for writing, reading and fetching."""
    url = (tmp_path / name).as_uri()
    urls.put(url, b"content")
    assert urls.path_of(url) == tmp_path / name
    found = urls.get(url)
    assert found is not None
    assert found.data == b"content"
    urls.fetch(url, tmp_path / "copy", sha256=urls.digest(tmp_path / name))
    assert listing(tmp_path) == sorted([name, "copy"])


@settings(deadline=None)  # a busy machine is no failure
@given(
    name=st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
)
def test_a_url_leads_back_to_its_path(name: bytes) -> None:
    """Path to URL and back is exact for every name that the system allows."""
    path = Path("/folder") / os.fsdecode(name)
    assert urls.path_of(path.as_uri()) == path


def test_an_unchanged_object_is_not_read_again(tmp_path: Path) -> None:
    """With the tag of what is there, nothing comes back; after a write of the same size, the new bytes do."""
    url = (tmp_path / "sheet.json").as_uri()
    urls.put(url, b"one")
    first = urls.get(url)
    assert first is not None
    assert urls.get(url, etag=first.etag) is None
    urls.put(url, b"two")
    second = urls.get(url, etag=first.etag)
    assert second is not None
    assert second.data == b"two"


def test_a_message_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sheet or status of any size cannot fill the memory; the limit itself is allowed."""
    monkeypatch.setattr(urls, "SMALL", 1 << 20)
    path = tmp_path / "status.json"
    path.write_bytes(bytes(1 << 20))
    found = urls.get(path.as_uri())
    assert found is not None
    assert len(found.data) == 1 << 20
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(StoreError, match="larger than 1 MiB"):
        urls.get(path.as_uri())


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    """Reading or fetching what is not there says which file and why."""
    url = (tmp_path / "none.json").as_uri()
    with pytest.raises(StoreError, match=r"none\.json: No such file"):
        urls.get(url)
    with pytest.raises(StoreError, match=r"none\.json: No such file"):
        urls.fetch(url, tmp_path / "copy", sha256="")


@pytest.mark.parametrize("url", ["s3://bucket/a", "/a/bare/path", "FTP://a", "httpx://a"])
def test_only_files_and_http_are_opened(url: str) -> None:
    """No other scheme is followed, and the message says which one was given."""
    with pytest.raises(StoreError, match="file://"):
        urls.get(url)


def test_fetched_bytes_are_checked(tmp_path: Path) -> None:
    """An object that is not what was pinned is refused with both digests."""
    path = tmp_path / "weights"
    path.write_bytes(b"meant")
    meant = urls.digest(path)
    path.write_bytes(b"other")
    with pytest.raises(StoreError, match=f"{meant[:12]}... was expected"):
        urls.fetch(path.as_uri(), tmp_path / "copy", sha256=meant)


def test_a_reader_never_sees_half_an_object(tmp_path: Path) -> None:
    """While an object is replaced again and again, every read gives one whole version and folders list no other."""
    url = (tmp_path / "object").as_uri()
    versions = [bytes([value]) * size for value, size in ((1, 1 << 18), (2, 1 << 12), (3, 1 << 17))]
    urls.put(url, versions[0])
    written = threading.Event()

    def write() -> None:
        for turn in range(30):
            urls.put(url, versions[turn % 3])
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not written.is_set():
        found = urls.get(url)
        assert found is not None
        seen.add(found.data)
    writer.join()
    assert seen <= set(versions)
    assert listing(tmp_path) == ["object"]


def test_a_file_is_published_with_the_source_left(tmp_path: Path) -> None:
    """A large object is given by its file, which stays where it is."""
    source = tmp_path / "segment.mkv"
    source.write_bytes(b"segment")
    urls.put((tmp_path / "deep" / "er" / "object").as_uri(), source)
    assert (tmp_path / "deep" / "er" / "object").read_bytes() == b"segment"
    assert source.read_bytes() == b"segment"


def test_without_hard_links_a_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has no links, or another disk, gets a copy."""
    monkeypatch.setattr(os, "link", refuse_link)
    source = tmp_path / "segment.mkv"
    source.write_bytes(b"segment")
    urls.put((tmp_path / "object").as_uri(), source)
    assert (tmp_path / "object").read_bytes() == b"segment"
    assert not source.samefile(tmp_path / "object")


def refuse_link(*_: object) -> None:
    """Be a file system without hard links."""
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_failed_write_leaves_the_old_object_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full the name keeps what it had, and the half-written bytes are gone."""
    url = (tmp_path / "object").as_uri()
    urls.put(url, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*object: No space left"):
        urls.put(url, b"new")
    assert (tmp_path / "object").read_bytes() == b"old"
    assert listing(tmp_path) == ["object"]


def test_a_write_below_a_file_is_a_store_error(tmp_path: Path) -> None:
    """A folder that cannot exist is the store's failure, not a defect."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        urls.put((tmp_path / "file" / "object").as_uri(), b"")


PART = 5 << 20
"""The smallest part that S3 takes, but for the last."""


@pytest.fixture
def store(s3_server: S3Server, s3_proxy: Proxy) -> BucketStore:
    """Give a prefix of a bucket whose URLs are signed."""
    return BucketStore(s3_server.access_to(s3_proxy.port), *s3_server.place())


def test_a_signed_url_is_as_good_as_a_file(store: BucketStore, tmp_path: Path) -> None:
    """What is put from memory or from a file is read, not read again while it is the same, and fetched."""
    path = tmp_path / "segment"
    path.write_bytes(bytes(300_000))
    for name, source in (("a b#.json", b"{}"), ("segment", path)):
        urls.put(store.put_url(name, seconds=60), source)
        first = urls.get(store.get_url(name, seconds=60))
        assert first is not None
        data = source if isinstance(source, bytes) else source.read_bytes()
        assert first.data == data
        assert urls.get(store.get_url(name, seconds=60), etag=first.etag) is None
        sha256 = hashlib.sha256(data).hexdigest()
        urls.fetch(store.get_url(name, seconds=60), tmp_path / "copy", sha256=sha256)
        assert (tmp_path / "copy").read_bytes() == data
    urls.put(store.put_url("a b#.json", seconds=60), b"[]")
    again = urls.get(store.get_url("a b#.json", seconds=60), etag=first.etag)
    assert again is not None
    assert again.data == b"[]"


def test_a_refused_signature_is_told_without_it(store: BucketStore, tmp_path: Path) -> None:
    """403 is its own error, from which a worker knows to ask for a new sheet; 404 is another."""
    url = store.get_url("status.json", seconds=60)
    for act in (
        lambda: urls.put(url, b"x"),
        lambda: urls.get(f"{url}0"),
        lambda: urls.fetch(f"{url}0", tmp_path / "copy", sha256=""),
        lambda: urls.fetch_source(f"{url}0", tmp_path / "copy", size=1, etag=None),
    ):
        with pytest.raises(DeniedError, match=r"cannot (GET|PUT) http://.*/status\.json: 403 ") as caught:
            act()
        assert "X-Amz" not in str(caught.value)
    with pytest.raises(StoreError, match=r"cannot read .*/none: No such file"):
        urls.put(store.put_url("a", seconds=60), tmp_path / "none")
    with pytest.raises(StoreError, match="404 NoSuchKey") as missing:
        urls.get(url)
    assert not isinstance(missing.value, DeniedError)


def test_fetched_bytes_of_a_bucket_are_checked(store: BucketStore, tmp_path: Path) -> None:
    """An object that is not what was pinned is refused with both digests."""
    store.write("weights", b"other")
    with pytest.raises(StoreError, match=r"/weights has changed: its SHA-256 is .*0{12}\.\.\. was expected"):
        urls.fetch(store.get_url("weights", seconds=60), tmp_path / "copy", sha256="0" * 64)


@pytest.mark.parametrize("remote", [True, False])
def test_a_source_is_fetched_only_if_it_is_the_one(
    store: BucketStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, remote: bool
) -> None:
    """An input is copied when it has its size (and ETag, over HTTP) and there is room for it."""
    (tmp_path / "source").write_bytes(b"video")
    meta = store.write("source", b"video")
    url = store.get_url("source", seconds=60) if remote else (tmp_path / "source").as_uri()
    etag = f'"{meta.etag}"' if remote else None
    urls.fetch_source(url, tmp_path / "copy", size=5, etag=etag)
    assert (tmp_path / "copy").read_bytes() == b"video"
    for size in (4, 6):
        with pytest.raises(StoreError, match=r"source .*(has 5 bytes|larger than 4)"):
            urls.fetch_source(url, tmp_path / "copy", size=size, etag=None)
    if remote:
        with pytest.raises(StoreError, match="changed"):
            urls.fetch_source(url, tmp_path / "copy", size=5, etag='"other"')
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4))
    with pytest.raises(StoreError, match="0 MiB free") as caught:
        urls.fetch_source(url, tmp_path / "copy", size=5, etag=etag)
    assert "make room" in str(caught.value.hint)


def uploading(store: BucketStore, size: int) -> tuple[str, Upload]:
    """Begin an upload."""
    client = store._at.connection.client
    upload = client.create_multipart_upload(Bucket=store.bucket, Key=f"{store.prefix}/big")["UploadId"]
    return upload, store.upload("big", upload, size=size, part_bytes=PART, seconds=60)


def test_a_large_object_goes_in_parts(store: BucketStore, s3_proxy: Proxy, tmp_path: Path) -> None:
    """As many parts as it takes of those that were signed; it appears whole and no upload is left."""
    for size in (2 * PART + 7, 2 * PART, 5):
        data = secrets.token_bytes(size)
        (tmp_path / "big").write_bytes(data)
        s3_proxy.reset()
        _, upload = uploading(store, 3 * PART)
        urls.put_parts(upload, tmp_path / "big")
        assert store.read("big") == data
        assert s3_proxy.counts["UPLOAD_PART"] == max(1, -(-size // PART))
        assert list(store.uploads()) == []


def test_a_complete_that_went_through_is_no_failure(store: BucketStore, s3_proxy: Proxy, tmp_path: Path) -> None:
    """When its answer was lost, the next one finds no upload: it is there. A first one that finds none is a failure."""
    (tmp_path / "big").write_bytes(b"video")
    upload, signed = uploading(store, 5)
    s3_proxy.fail("COMPLETE", "lost")
    urls.put_parts(signed, tmp_path / "big")
    assert store.read("big") == b"video"
    upload, signed = uploading(store, 5)
    store.abort_upload("big", upload)
    with pytest.raises(StoreError, match="404 NoSuchUpload"):
        urls.put_parts(signed, tmp_path / "big")


def test_a_failed_upload_is_given_up(store: BucketStore, s3_proxy: Proxy, tmp_path: Path) -> None:
    """A signature that is refused, a file that grew: nothing is left to pay for. A busy store is asked once more."""
    (tmp_path / "big").write_bytes(bytes(PART + 1))
    _, signed = uploading(store, 2 * PART)
    s3_proxy.fail("UPLOAD_PART", "503", times=99)
    with pytest.raises(BusyError, match="503 SlowDown"):
        urls.put_parts(signed, tmp_path / "big")
    s3_proxy.reset()
    urls.put_parts(signed, tmp_path / "big")
    _, signed = uploading(store, 2 * PART)
    forged = replace(signed, part_urls=(f"{signed.part_urls[0]}0", *signed.part_urls[1:]))
    with pytest.raises(DeniedError, match="403"):
        urls.put_parts(forged, tmp_path / "big")
    _, signed = uploading(store, PART)
    with pytest.raises(StoreError, match="more than the 5242880 that its upload was signed for"):
        urls.put_parts(signed, tmp_path / "big")
    assert list(store.uploads()) == []
    assert s3_proxy.counts["ABORT"] == 2


def test_parts_that_are_not_joined_are_an_error(
    store: BucketStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 may answer 200 to Complete and then say that it failed: passing, or for good."""
    (tmp_path / "big").write_bytes(b"video")
    _, signed = uploading(store, 5)
    request = http.request

    def joined(method: str, url: str, **rest: object) -> http.Response:
        if method == "POST":
            return http.Response(status=200, headers={}, data=f"<?xml?><Error><Code>{code}</Code></Error>".encode())
        return request(method, url, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(http, "request", joined)
    code = "InternalError"
    with pytest.raises(BusyError, match="not joined: InternalError"):
        urls.put_parts(signed, tmp_path / "big")
    assert len(list(store.uploads())) == 1
    code = "InvalidPart"
    with pytest.raises(StoreError, match="not joined: InvalidPart"):
        urls.put_parts(signed, tmp_path / "big")
    assert list(store.uploads()) == []
