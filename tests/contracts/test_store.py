"""What every store does, over every implementation."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import uprez.store
from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store.base import Store
from uprez.store.bucket import BucketStore
from uprez.store.folder import FolderStore
from uprez.store.memory import MemoryStore

NAMES = [
    "plain",
    "deep/er/plain.mp4",
    "with space.mp4",
    "кино/фильм №1.mp4",
    "🎬.x2.mkv",
    "#1.mp4",
    "100%",
    "%41",
    "a+b",
    "a?b=c&d",
    "a;b,c",
    "it's (1) [2] {3}~!*",
    "Case",
    "case",
]


@dataclass
class Recorder:
    """Remembers uploads as a ledger does."""

    open: set[int]
    made: int = 0

    def intend(self, store: str, key: str) -> int:
        """Number an upload."""
        assert store
        assert key
        self.made += 1
        self.open.add(self.made)
        return self.made

    def began(self, number: int, upload: str) -> None:
        """Check the order of calls."""
        assert number in self.open
        assert upload

    def ended(self, number: int) -> None:
        """Forget an upload."""
        self.open.remove(number)


@dataclass(frozen=True)
class Pair:
    """Two stores in one place: what uprez remembers and what it gives."""

    state: Store
    outputs: Store
    uploads: Recorder


Make = Callable[[pytest.FixtureRequest, Path], tuple[Store, Store]]


def bucket(*, versioned: bool) -> Make:
    """Make two prefixes of a bucket, behind the proxy that refuses what B2 refuses."""

    def make(request: pytest.FixtureRequest, _: Path) -> tuple[Store, Store]:
        server, proxy = request.getfixturevalue("s3_server"), request.getfixturevalue("s3_proxy")
        name, prefix = server.place(versioned=versioned)
        access = server.access_to(proxy.port)
        return BucketStore(access, name, f"{prefix}/.uprez"), BucketStore(access, name, f"{prefix}/output")

    return make


STORES: dict[str, tuple[type[Store], Make]] = {
    "folder": (FolderStore, lambda _, path: (FolderStore(path / ".uprez"), FolderStore(path, inodes=False))),
    "memory": (MemoryStore, lambda *_: (MemoryStore(), MemoryStore())),
    "bucket": (BucketStore, bucket(versioned=False)),
    "bucket with versions": (BucketStore, bucket(versioned=True)),
}
"""How each implementation is made for a test."""


@pytest.fixture(params=STORES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Give a state and an output store."""
    return Pair(*STORES[request.param][1](request, tmp_path), Recorder(set()))


@pytest.fixture
def store(pair: Pair) -> Store:
    """Give an empty store."""
    return pair.state


def pinned(store: Store, key: str, data: bytes) -> Pin:
    """Write an object and pin it."""
    meta = store.write(key, data)
    digest = hashlib.sha256(data).hexdigest()
    return Pin(key=key, size=len(data), etag=meta.etag, sha256=digest, version=meta.version)


def test_every_store_is_in_the_suite() -> None:
    """Each class below uprez.store that has the protocol's methods is tested here."""
    methods = [name for name, member in vars(Store).items() if inspect.isfunction(member) and name[0] != "_"]
    assert len(methods) == 10
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(uprez.store.__path__, "uprez.store.")
    ]
    classes = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    stores = {kind for kind in classes if all(hasattr(kind, name) for name in methods)} - {Store}
    assert stores == {kind for kind, _ in STORES.values()}


def test_what_is_written_is_read(store: Store) -> None:
    """An object has the bytes it was last given; one that was never written is None."""
    assert store.read("a/b") is None
    assert store.head("a/b") is None
    store.write("a/b", b"one")
    meta = store.write("a/b", b"other")
    assert store.read("a/b") == b"other"
    found = store.head("a/b")
    assert found is not None
    assert (found.key, found.size, found.etag, found.version) == ("a/b", 5, meta.etag, meta.version)
    assert found.etag
    assert '"' not in found.etag
    assert store.read("a") is None


def test_an_etag_changes_with_the_object(store: Store) -> None:
    """Other bytes of the same size have another ETag."""
    assert store.write("key", b"one").etag != store.write("key", b"two").etag


def test_an_object_is_created_once(store: Store) -> None:
    """The first to create an object wins, another with other bytes is told so and changes nothing."""
    assert store.create("plan", b"first")
    assert not store.create("plan", b"other")
    assert store.read("plan") == b"first"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_works(store: Store, name: str) -> None:
    """Whatever an object is called, it is written, found, listed, lent and deleted by that name and no other."""
    pin = pinned(store, name, b"data")
    assert store.read(name) == b"data"
    assert [meta.key for meta in store.listing()] == [name]
    with store.local(pin) as path:
        assert path.read_bytes() == b"data"
    store.delete([name])
    assert store.head(name) is None
    assert list(store.listing()) == []


def test_a_listing_is_by_prefix(store: Store) -> None:
    """Keys that begin with the prefix are listed with their facts, whether or not it ends at a slash."""
    for key in ("a/1", "a/2", "ab", "b/1/c"):
        store.write(key, key.encode())
    assert list(store.listing("c")) == []
    for prefix in ("", "a", "a/", "a/1", "b/", "b/1/"):
        found = {meta.key: meta.size for meta in store.listing(prefix)}
        assert found == {key: len(key) for key in ("a/1", "a/2", "ab", "b/1/c") if key.startswith(prefix)}


def test_deletion_takes_exactly_what_it_names(store: Store) -> None:
    """Named objects go, absent ones are no error, and names that only begin alike stay."""
    for key in ("jobs/1/a", "jobs/1/ab", "jobs/1/b", "jobs/1/c", "jobs/1/d", "jobs/2/a"):
        store.write(key, b"1")
        store.write(key, b"2")
    store.delete([])
    store.delete(["jobs/1/a", "none"])
    store.delete(["jobs/1/b", "jobs/1/c", "jobs/1/d", "jobs/1/none"])
    assert sorted(meta.key for meta in store.listing()) == ["jobs/1/ab", "jobs/2/a"]
    store.delete(meta.key for meta in list(store.listing()))
    assert list(store.listing()) == []


def test_only_what_was_pinned_is_lent(store: Store) -> None:
    """An object that was replaced by as many other bytes, or is gone, is an error that names it."""
    pin = pinned(store, "key", b"bytes")
    meta = store.head("key")
    assert meta is not None
    with store.local(meta) as path:
        assert path.read_bytes() == b"bytes"
    if pin.version is None:
        store.write("key", b"other")
        for what in (pin, meta):
            with pytest.raises(StoreError, match=r"key.* changed"), store.local(what):
                pytest.fail("lent")
    store.delete(["key"])
    with pytest.raises(StoreError, match=r"key.* gone"), store.local(pin):
        pytest.fail("lent")


def test_an_object_is_placed_and_the_source_stays(pair: Pair) -> None:
    """A published object has the bytes that were pinned, whatever it is called, and can be published again."""
    pin = pinned(pair.state, "jobs/1/result", b"video")
    for name in ("movie.x2.mp4", "папка/фильм 🎬 #1 100%+.x2.mkv"):
        placed = pair.outputs.place(pair.state, pin, name, replace=False, uploads=pair.uploads)
        assert (placed.key, placed.size) == (name, 5)
        found = pair.outputs.head(name)
        assert found is not None
        assert (found.size, found.etag, found.note) == (5, placed.etag, placed.note)
        assert pair.outputs.read(name) == b"video"
        again = pair.outputs.place(pair.state, pin, name, replace=False, uploads=pair.uploads)
        assert (again.etag, again.version) == (placed.etag, placed.version)
    assert pair.state.read("jobs/1/result") == b"video"
    pair.state.delete(["jobs/1/result"])
    assert pair.outputs.read("movie.x2.mp4") == b"video"
    assert pair.uploads.open == set()


def test_a_taken_name_is_left_alone(pair: Pair) -> None:
    """Other bytes under the name are an error and stay, even of that size; with `replace` they are replaced."""
    pin = pinned(pair.state, "result", b"video")
    pair.outputs.write("movie.mp4", b"other")
    with pytest.raises(FileExistsError):
        pair.outputs.place(pair.state, pin, "movie.mp4", replace=False, uploads=pair.uploads)
    assert pair.outputs.read("movie.mp4") == b"other"
    pair.outputs.place(pair.state, pin, "movie.mp4", replace=True, uploads=pair.uploads)
    assert pair.outputs.read("movie.mp4") == b"video"


def test_only_what_was_pinned_is_placed(pair: Pair) -> None:
    """A source that was replaced is not published, and nothing appears."""
    pin = pinned(pair.state, "result", b"video")
    if pin.version is None:
        pair.state.write("result", b"other")
    else:
        pair.state.delete(["result"])
    with pytest.raises(StoreError):
        pair.outputs.place(pair.state, pin, "movie.mp4", replace=False, uploads=pair.uploads)
    assert pair.outputs.head("movie.mp4") is None


def test_urls_name_the_object(store: Store) -> None:
    """Both kinds of URL hold the key in a form that any client reads back."""
    for url in (store.get_url("a b#.mp4", seconds=60), store.put_url("a b#.mp4", seconds=60)):
        assert "a%20b%23.mp4" in url
