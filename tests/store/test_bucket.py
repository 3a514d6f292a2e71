"""A bucket on a real server: every fault at every request, uploads that leave nothing to pay, errors that say what."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import botocore.auth
import pytest

from s3_proxy import HOWS, How, Proxy
from s3_server import S3Server
from uprez import http
from uprez.config.settings import Secret
from uprez.errors import DeniedError, StoreError, UprezError
from uprez.job import Pin
from uprez.store import s3, urls
from uprez.store.bucket import BucketStore

DATA = secrets.token_bytes(300_000)
PART = 5 << 20
"""The smallest part that S3 takes, but for the last."""
BIG = secrets.token_bytes(PART) + DATA
READ_S = 0.6
"""Of the stores in these tests: shorter than the proxy is slow."""


@dataclass
class Uploads:
    """A ledger's memory of uploads."""

    records: dict[int, tuple[str, str, str | None]] = field(default_factory=dict)

    def intend(self, store: str, key: str) -> int:
        """Remember an intent."""
        number = len(self.records) + 1
        self.records[number] = (store, key, None)
        return number

    def began(self, number: int, upload: str) -> None:
        """Remember the id."""
        self.records[number] = (*self.records[number][:2], upload)

    def ended(self, number: int) -> None:
        """Forget."""
        del self.records[number]


@dataclass(frozen=True)
class Place:
    """Two stores in one bucket behind the proxy."""

    state: BucketStore
    outputs: BucketStore
    proxy: Proxy
    uploads: Uploads

    def pinned(self, data: bytes = DATA, key: str = "jobs/1/result") -> Pin:
        """Write an object and pin it."""
        meta = self.state.write(key, data)
        digest = hashlib.sha256(data).hexdigest()
        return Pin(key=key, size=len(data), etag=meta.etag, sha256=digest, version=meta.version)

    def publish(self, pin: Pin, name: str = "movie.mp4") -> None:
        """Give a pinned object a name."""
        self.outputs.place(self.state, pin, name, replace=False, uploads=self.uploads)

    def versions(self, name: str = "movie.mp4") -> int:
        """Count the versions of an output."""
        client = s3.connect(self.state._at.access, connect_s=2, read_s=READ_S).client
        found = client.list_object_versions(Bucket=self.outputs.bucket, Prefix=f"{self.outputs.prefix}/{name}")
        return len(found.get("Versions", ())) + len(found.get("DeleteMarkers", ()))


@pytest.fixture(params=[False, True], ids=["plain", "versions"])
def versioned(request: pytest.FixtureRequest) -> bool:
    """Say whether the bucket keeps versions."""
    return bool(request.param)


@pytest.fixture
def place(s3_server: S3Server, s3_proxy: Proxy, *, versioned: bool) -> Place:
    """Give two empty stores whose large objects are larger than the smallest part."""
    s3_proxy.delay_s = 2 * READ_S
    bucket, prefix = s3_server.place(versioned=versioned)
    access = s3_server.access_to(s3_proxy.port)
    limits = {"copy_bytes": PART, "copy_part_bytes": PART}
    state, outputs = (
        BucketStore(access, bucket, f"{prefix}/{name}", connect_s=2, read_s=READ_S, copy_s=READ_S, **limits)
        for name in (".uprez", "out")
    )
    s3_proxy.b2 = versioned  # B2 always keeps versions
    return Place(state, outputs, s3_proxy, Uploads())


def publish(place: Place, data: bytes) -> None:
    """Publish once and again."""
    pin = place.pinned(data)
    place.publish(pin)
    place.publish(pin)
    assert place.outputs.read("movie.mp4") == data
    assert place.versions() == 1


def send_parts(place: Place) -> None:
    """Upload in parts through signed URLs."""
    begun = place.state.begin_upload("big", place.uploads)
    upload = place.state.upload("big", begun.upload, size=len(BIG), part_bytes=PART, seconds=60)
    with tempfile.NamedTemporaryFile() as file:
        file.write(BIG)
        file.flush()
        urls.put_parts(upload, Path(file.name))
    place.uploads.ended(begun.number)
    assert place.state.read("big") == BIG


def read_local(place: Place) -> None:
    """Lend an object."""
    with place.state.local(place.pinned()) as path:
        assert path.read_bytes() == DATA


def write_delete(place: Place) -> None:
    """Write, list and delete."""
    for key in "abcde":
        place.state.write(f"jobs/{key}", b"data")
    assert sorted(meta.key for meta in place.state.listing()) == [f"jobs/{key}" for key in "abcde"]
    place.state.delete([f"jobs/{key}" for key in "abcde"])
    assert list(place.state.listing()) == []


def create(place: Place) -> None:
    """Create an object once."""
    assert place.state.create("plan", b"data")
    assert not place.state.create("plan", b"other")
    assert place.state.read("plan") == b"data"


def give_up(place: Place) -> None:
    """Begin an upload and abort it, twice."""
    begun = place.state.begin_upload("big", place.uploads)
    for _ in range(2):
        place.state.abort_upload("big", begun.upload)
    place.uploads.ended(begun.number)


DEEDS: dict[str, tuple[Callable[[Place], None], tuple[str, ...]]] = {
    "create": (create, ("PUT", "GET")),
    "write and delete": (write_delete, ("PUT", "LIST", "DELETE")),
    "lend": (read_local, ("PUT", "GET")),
    "publish by copy": (lambda place: publish(place, DATA), ("HEAD", "COPY")),
    "publish by parts": (
        lambda place: publish(place, BIG),
        ("HEAD", "LIST", "CREATE_UPLOAD", "PART_COPY", "COMPLETE"),
    ),
    "send parts": (send_parts, ("LIST", "CREATE_UPLOAD", "UPLOAD_PART", "COMPLETE")),
    "give up": (give_up, ("ABORT",)),
}
"""What a store does, and which of its requests can fail."""
FAULTS = [(deed, kind, how) for deed, (_, kinds) in DEEDS.items() for kind, how in itertools.product(kinds, HOWS)]


@pytest.fixture(autouse=True)
def short_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer for a signed PUT than for the rest."""
    monkeypatch.setattr(urls, "PUT_LIMITS", http.Limits(read_s=READ_S))


@pytest.mark.parametrize("versioned", [True], ids=["versions"], indirect=True)
@pytest.mark.parametrize(("deed", "kind", "how"), FAULTS, ids=lambda value: value)
def test_a_fault_passes(place: Place, deed: str, kind: str, how: How) -> None:
    """Whatever happens to one request, it is done right in the end, once, and no upload is left."""
    place.proxy.fail(kind, how)
    DEEDS[deed][0](place)
    assert place.proxy.pending() == 0
    assert list(place.state.uploads()) == list(place.outputs.uploads()) == []
    assert place.uploads.records == {}


@pytest.mark.parametrize("versioned", [True], ids=["versions"], indirect=True)
@pytest.mark.parametrize(
    ("deed", "kind"), [(deed, kind) for deed, (_, kinds) in DEEDS.items() for kind in kinds], ids=lambda value: value
)
def test_a_fault_that_stays_is_told(place: Place, deed: str, kind: str) -> None:
    """A store that is busy for good is an error that says what was to be done, where, and what the store said."""
    place.proxy.fail(kind, "503", times=99)
    with pytest.raises(StoreError, match=r"(s3://|http://).*/(\.uprez|out).*: 503 S(lowDown|ervice)") as caught:
        DEEDS[deed][0](place)
    assert "X-Amz" not in str(caught.value)
    place.proxy.reset()
    assert list(place.outputs.uploads()) == []


def test_what_a_deed_asks_for(place: Place) -> None:
    """Nothing that B2 refuses is ever sent: no checksum, no v2 signature, no chunked payload."""
    for deed, _ in DEEDS.values():
        deed(place)
        place.state.delete([meta.key for meta in place.state.listing()])
        place.outputs.delete([meta.key for meta in place.outputs.listing()])
    names = {name for seen in place.proxy.seen() for name in seen.headers}
    assert not {name for name in names if name.startswith(("x-amz-checksum", "x-amz-sdk", "x-amz-trailer"))}
    assert "content-md5" in names
    assert place.versions("") == 0


def test_creating_works_where_the_store_does_not_know_how(place: Place, *, versioned: bool) -> None:
    """Where If-None-Match is refused it is not asked for again; where it is known, it decides."""
    assert place.state.create("plan", b"one")
    assert place.state.create("plan", b"one"), "the same bytes are those of a write whose answer was lost"
    assert not place.state.create("plan", b"two")
    assert place.state.read("plan") == b"one"
    asked = sum("if-none-match" in seen.headers for seen in place.proxy.seen("PUT"))
    assert asked == (1 if versioned else 3)


def test_a_published_object_is_one_of_its_kind(place: Place, s3_server: S3Server) -> None:
    """It has its content type and our note, by copy and by parts; the parts are as large as they should be."""
    for name, data in (("movie.mp4", DATA), ("big.mkv", BIG)):
        pin = place.pinned(data)
        place.publish(pin, name)
        found = s3_server.client.head_object(Bucket=place.outputs.bucket, Key=f"{place.outputs.prefix}/{name}")
        assert found["ContentType"] == {"movie.mp4": "video/mp4", "big.mkv": "video/x-matroska"}[name]
        assert found["Metadata"] == {"uprez-sha256": pin.sha256}
        meta = place.outputs.head(name)
        assert meta is not None
        assert meta.note == pin.sha256
        assert place.outputs.read(name) == data
    assert place.proxy.counts["PART_COPY"] == 2
    assert [seen.status for seen in place.proxy.seen("COPY")].count(200) == 1


@pytest.mark.parametrize("versioned", [True], ids=["versions"], indirect=True)
def test_an_older_version_is_still_lent_and_placed(place: Place) -> None:
    """A pin holds the version that it names after the key was written again."""
    pin = place.pinned(b"video")
    place.state.write(pin.key, b"other")
    with place.state.local(pin) as path:
        assert path.read_bytes() == b"video"
    place.publish(pin)
    assert place.outputs.read("movie.mp4") == b"video"


def test_a_wrong_hash_is_noticed(place: Place) -> None:
    """What is lent is checked against its pin, byte by byte."""
    pin = place.pinned()
    with pytest.raises(StoreError, match="bytes differ"), place.state.local(replace(pin, sha256="0" * 64)):
        pytest.fail("lent")


def test_a_copy_to_another_bucket_is_a_defect(place: Place, s3_server: S3Server) -> None:
    """Publishing is within one bucket."""
    other = BucketStore(s3_server.access, "other")
    with pytest.raises(ValueError, match="not in the bucket"):
        other.place(place.state, place.pinned(b""), "x", replace=False, uploads=place.uploads)


@pytest.mark.parametrize("data", [DATA, BIG], ids=["copy", "parts"])
def test_what_changed_is_not_published(place: Place, data: bytes, *, versioned: bool) -> None:
    """A source that was replaced since it was pinned fails, nothing appears, and no upload is left."""
    pin = place.pinned(data)
    place.state.write(pin.key, data[::-1])
    if versioned:
        place.state.delete([pin.key])
    with pytest.raises(StoreError, match=r"cannot publish s3://.*/out/movie\.mp4: 4"):
        place.publish(pin)
    assert place.outputs.head("movie.mp4") is None
    assert list(place.outputs.uploads()) == []
    assert place.uploads.records == {}


def test_a_killed_publish_leaves_a_record(place: Place) -> None:
    """Where the abort fails too, the ledger still knows the upload, it is listed, and it can be aborted later."""
    pin = place.pinned(BIG)
    place.proxy.fail("PART_COPY", "503", times=99)
    place.proxy.fail("ABORT", "503", times=99)
    with pytest.raises(StoreError, match="SlowDown"):
        place.publish(pin)
    place.proxy.reset()
    ((store, key, upload),) = place.uploads.records.values()
    assert (store, key) == (place.outputs.url, "movie.mp4")
    (found,) = place.outputs.uploads("mov")
    assert (found.key, found.upload) == ("movie.mp4", upload)
    assert found.begun is not None
    place.outputs.abort_upload(found.key, found.upload)
    assert list(place.outputs.uploads()) == []
    place.outputs.abort_upload(found.key, found.upload)


def test_uploads_have_any_name(place: Place) -> None:
    """Keys of uploads are listed as they are."""
    names = ["a b", "кино/🎬+#%41?.mkv"]
    for name in names:
        place.state.begin_upload(name, place.uploads)
    assert sorted(found.key for found in place.state.uploads()) == sorted(names)
    for found in list(place.state.uploads()):
        place.state.abort_upload(found.key, found.upload)


def test_a_copy_may_take_its_time(place: Place) -> None:
    """A server that copies gigabytes is waited for longer than one that answers a look."""
    place.proxy.fail("COPY", "slow")
    patient = BucketStore(place.outputs._at.access, place.outputs.bucket, place.outputs.prefix, read_s=READ_S)
    patient.place(place.state, place.pinned(), "movie.mp4", replace=False, uploads=place.uploads)
    assert [seen.status for seen in place.proxy.seen("COPY")].count(200) == 1


def test_parts_have_limits(place: Place) -> None:
    """An upload of more parts than a store takes is refused before anything is signed."""
    with pytest.raises(ValueError, match="at most 10000"):
        place.state.upload("big", "u", size=10_001, part_bytes=1, seconds=60)


def test_long_listings_are_whole(place: Place, s3_server: S3Server) -> None:
    """More than a page of keys is listed and deleted to the last, and neighbours stay."""
    keys = [f"many/{number:04} %+" for number in range(1203)]
    bucket, prefix = place.state.bucket, place.state.prefix

    def write(some: list[str]) -> None:
        for key in some:
            s3_server.client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=b"")

    writers = [threading.Thread(target=write, args=(keys[start::4],)) for start in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    patient = BucketStore(place.state._at.access, bucket, prefix)  # a busy machine deletes 1,000 in more than a second
    assert sorted(meta.key for meta in patient.listing("many/")) == keys
    assert place.proxy.counts["LIST"] == 2
    patient.write("many.txt", b"")
    patient.delete(keys)
    assert [meta.key for meta in patient.listing()] == ["many.txt"]


def wrong(place: Place, **changes: object) -> BucketStore:
    """Give a store with other access to the same place."""
    return BucketStore(replace(place.state._at.access, **changes), place.state.bucket, place.state.prefix)  # type: ignore[arg-type]


DENIED: list[tuple[Callable[[Place], BucketStore], str, str]] = [
    (lambda place: wrong(place, key=Secret("AKNOBODY")), "403 InvalidAccessKeyId: .+", "B2_KEY"),
    (lambda place: wrong(place, secret=Secret("wrong")), "403 SignatureDoesNotMatch: .+", "B2_SECRET"),
]


@pytest.mark.parametrize(("make", "words", "hint"), DENIED, ids=["key", "secret"])
def test_wrong_credentials_are_refused(
    place: Place, make: Callable[[Place], BucketStore], words: str, hint: str
) -> None:
    """The server refuses them, whatever is asked; the error says what, where, why, and which setting to look at."""
    store = make(place)
    for act in (
        lambda: store.read("a"),
        lambda: store.write("a", b""),
        lambda: list(store.listing()),
        lambda: store.create("a", b""),
        lambda: store.delete(["a"]),
    ):
        with pytest.raises(DeniedError, match=rf"s3://{store.bucket}/{store.prefix}.*: {words}") as caught:
            act()
        assert hint in str(caught.value.hint)
    with pytest.raises(DeniedError, match=words):
        store.head("a")
    assert place.proxy.counts["PUT"] <= 2, "asking again would give the same answer"


def test_a_missing_bucket_is_named(place: Place) -> None:
    """It is not taken for an empty one."""
    store = BucketStore(place.state._at.access, "none-such")
    for act in (
        lambda: store.read("a"),
        lambda: list(store.listing()),
        lambda: store.write("a", b""),
        lambda: list(store.uploads()),
    ):
        with pytest.raises(StoreError, match="404 NoSuchBucket") as caught:
            act()
        assert "B2_BUCKET" in str(caught.value.hint)


@pytest.mark.parametrize("skew_s", [7200, -7200])
def test_a_skewed_clock_does_not_matter(place: Place, skew_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store refuses what is dated by a clock that is hours off: after one refusal its own clock dates everything."""
    real, utc = time.time, botocore.auth.get_current_datetime
    monkeypatch.setattr(s3, "time", SimpleNamespace(time=lambda: real() - skew_s))
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: utc() - timedelta(seconds=skew_s))
    assert place.state.head("a") is None
    place.state.write("a", b"one")
    assert place.state.read("a") == b"one"
    assert [meta.key for meta in place.state.listing("a")] == ["a"]
    assert abs(place.state._at.skew_s - skew_s) < 60
    assert urls.get(place.state.get_url("a", seconds=60)), "and what is signed for others"
    place.state.delete(["a"])
    assert place.state.read("a") is None


def test_no_server_is_named(place: Place) -> None:
    """A refused connection names the endpoint, and so does a server without a certificate."""
    with pytest.raises(StoreError, match=r"cannot connect to http://127\.0\.0\.1:1: Connection refused") as caught:
        wrong(place, endpoint="http://127.0.0.1:1").read("a")
    assert "B2_ENDPOINT" in str(caught.value.hint)
    with pytest.raises(StoreError, match="no secure connection to https://"):
        wrong(place, endpoint=f"https://127.0.0.1:{place.proxy.port}").read("a")


def test_the_bucket_says_what_it_keeps(place: Place, s3_server: S3Server, *, versioned: bool) -> None:
    """A doctor learns of versions and of lifecycle rules."""
    assert place.state.versioning() is versioned
    assert not place.state.has_lifecycle()
    store = BucketStore(place.state._at.access, s3_server.bucket())
    rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    s3_server.client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration={"Rules": [rule]})
    assert store.has_lifecycle()


def test_a_full_disk_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that does not fit here is an error of ours."""

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    pin = place.pinned()
    monkeypatch.setattr(http, "download", full)
    with pytest.raises(StoreError, match="No space left"), place.state.local(pin):
        pytest.fail("lent")


def test_many_threads_may_use_a_store(place: Place) -> None:
    """Workers of one controller share it."""
    failures: list[UprezError] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                place.state.write(f"{number}/{turn}", b"data")
                assert place.state.read(f"{number}/{turn}") == b"data"
        except UprezError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(place.state.listing())) == 40


def test_nothing_of_the_users_settings_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles, files and endpoints of other tools change nothing: what counts is what uprez was given."""
    for name in (
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ENDPOINT_URL",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    s3.connect.cache_clear()
    store = BucketStore(place.state._at.access, place.state.bucket, place.state.prefix)
    store.write("a", b"data")
    assert store.read("a") == b"data"
