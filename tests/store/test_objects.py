"""The controller's objects: written once, pinned exactly, deleted with care, published without replacing anything."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from house import located
from uprez.errors import StoreError
from uprez.store import keys, objects, urls
from uprez.store.base import Meta
from uprez.store.open import Home, open_home

JOB = "0123456789abcdef"
PLAN = "1-01234567"
KEY = keys.segment(JOB, PLAN, 0, "89abcdef-1")


def path_of(home: Home, key: str) -> Path:
    """Say where an object of ours lies."""
    assert home.prefix is not None
    return home.prefix / key


def listing(folder: Path) -> list[str]:
    """Name what is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An output folder with its marked state."""
    return open_home(located(tmp_path / "out"), None)


def test_what_is_written_is_read(home: Home) -> None:
    """An object has the bytes it was last given; one that was never written is None."""
    assert home.state.read(KEY) is None
    home.state.write(KEY, b"one")
    home.state.write(KEY, b"two")
    assert home.state.read(KEY) == b"two"
    assert path_of(home, KEY).read_bytes() == b"two"


def test_an_object_is_created_once(home: Home) -> None:
    """The first to create an object wins, the second is told so and changes nothing."""
    assert home.state.create(keys.plan(JOB, "1-01234567"), b"first")
    assert not home.state.create(keys.plan(JOB, "1-01234567"), b"second")
    assert home.state.read(keys.plan(JOB, "1-01234567")) == b"first"


def test_failures_name_the_key(home: Home) -> None:
    """A store that refuses is an error with the key in it, for writing, creating and reading."""
    path_of(home, "jobs").write_text("a file where a folder must be")
    for act in (
        lambda: home.state.write(KEY, b""),
        lambda: home.state.create(KEY, b""),
        lambda: objects.pin(home, KEY),
    ):
        with pytest.raises(StoreError, match=KEY):
            act()


def test_a_listing_holds_our_keys_only(home: Home) -> None:
    """Foreign files, and ours that are still being written, are not listed; other prefixes are not either."""
    found = [keys.index_pin(JOB), KEY, keys.plan(JOB, "1-01234567")]
    for key in (*found, keys.sheet("89abcdef"), keys.manifest("f" * 16)):
        home.state.write(key, b"")
    for foreign in ("notes.txt", f"{keys.PREFIX}", "plan-1.json#7"):
        (path_of(home, keys.job_prefix(JOB)) / foreign).touch()
    assert objects.listing(home, keys.job_prefix(JOB)) == sorted(found)
    assert objects.listing(home, keys.job_prefix("e" * 16)) == []


def test_a_pin_holds_until_the_object_changes(home: Home) -> None:
    """A pin says exactly which bytes count, and notices when they go or are replaced by as many others."""
    home.state.write(KEY, b"bytes")
    pin = objects.pin(home, KEY)
    assert (pin.key, pin.size, pin.sha256) == (KEY, 5, urls.digest(path_of(home, KEY)))
    assert objects.holds(home, pin)
    assert not objects.holds(home, replace(pin, size=6))
    home.state.write(KEY, b"other")
    assert not objects.holds(home, pin)
    objects.delete(home, [KEY])
    assert not objects.holds(home, pin)


def test_only_what_stands_still_is_pinned(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is replaced while its digest is taken is refused."""
    home.state.write(KEY, b"bytes")
    digest = urls.digest

    def slow(path: Path) -> str:
        found = digest(path)
        home.state.write(KEY, b"other")
        return found

    monkeypatch.setattr(urls, "digest", slow)
    with pytest.raises(StoreError, match="changed while it was read"):
        objects.pin(home, KEY)


def test_what_is_gone_is_not_pinned(home: Home) -> None:
    """Pinning nothing is an error that names the key."""
    with pytest.raises(StoreError, match=f"{KEY} is gone"):
        objects.pin(home, KEY)


def test_deletion_leaves_no_empty_folders_and_all_else(home: Home) -> None:
    """Deleted objects take their empty folders along; neighbours, foreign files and the marker stay."""
    other = keys.manifest("f" * 16)
    for key in (KEY, other):
        home.state.write(key, b"")
    objects.delete(home, [KEY, KEY, keys.index_pin(JOB)])
    assert not (home.prefix / keys.job_prefix(JOB)).exists()
    assert objects.listing(home, "") == sorted([other, keys.MARKER])


@pytest.mark.parametrize(
    "key", ["movie.mp4", "../movie.mp4", f"jobs/{JOB}/notes.txt", f"jobs/{JOB}/../../movie.mp4", ""]
)
def test_what_is_not_ours_is_not_deleted(home: Home, key: str) -> None:
    """A key that uprez cannot have composed is refused, and the file is still there."""
    files = [home.root / "movie.mp4", home.prefix / "movie.mp4", home.prefix / "jobs" / JOB / "notes.txt"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with pytest.raises(StoreError, match="not a key that uprez may delete"):
        objects.delete(home, [key])
    assert all(file.exists() for file in files)


def test_nothing_is_deleted_without_the_marker(home: Home) -> None:
    """A prefix that lost its marker may belong to somebody else."""
    home.state.write(KEY, b"kept")
    path_of(home, keys.MARKER).unlink()
    with pytest.raises(StoreError, match=r"uprez\.json is missing"):
        objects.delete(home, [KEY])
    assert home.state.read(KEY) == b"kept"


def test_a_deletion_that_fails_is_a_store_error(home: Home) -> None:
    """What the system refuses to remove is named."""
    path_of(home, KEY).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"cannot delete .*{KEY}"):
        objects.delete(home, [KEY])


def etag(home: Home, path: Path) -> str:
    """Ask for an output's ETag."""
    assert home.root is not None
    meta = home.outputs.head(path.relative_to(home.root).as_posix())
    assert meta is not None
    return meta.etag


def place(home: Home, source: Path, name: str, claimed: bytes | None = None) -> Meta:
    """Give a checked object a name."""
    data = source.read_bytes() if claimed is None else claimed
    home.state.write(KEY, data)
    return home.outputs.place(home.state, objects.pin(home, KEY), name, replace=False, uploads=home.uploads)


@pytest.fixture(params=["links", "no links"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checked file, on a file system with and one without hard links."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", _no_link)
    path = tmp_path / "result"
    path.write_bytes(b"result")
    return path


def _no_link(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_a_result_gets_its_name_and_its_source_stays(home: Home, source: Path) -> None:
    """A published file is whole under its name, in folders made for it, with nothing left beside."""
    place(home, source, "a/b/movie é #1.x2.mp4")
    assert (home.root / "a/b/movie é #1.x2.mp4").read_bytes() == b"result"
    assert listing(home.root / "a/b") == ["movie é #1.x2.mp4"]
    assert source.exists()


@pytest.mark.parametrize("there", [b"foreign", b"RESULT", b""])
def test_a_foreign_file_is_never_replaced(home: Home, source: Path, there: bytes) -> None:
    """A name that holds other bytes, even as many, is taken."""
    (home.root / "movie.mp4").write_bytes(there)
    with pytest.raises(FileExistsError):
        place(home, source, "movie.mp4")
    assert (home.root / "movie.mp4").read_bytes() == there
    assert listing(home.root) == [".uprez", "movie.mp4"]


def test_a_folder_or_a_dead_link_is_not_replaced(home: Home, source: Path) -> None:
    """A name can be taken by things that are no files."""
    (home.root / "folder.mp4").mkdir()
    (home.root / "link.mp4").symlink_to(home.root / "nowhere")
    for name in ("folder.mp4", "link.mp4"):
        with pytest.raises(FileExistsError):
            place(home, source, name)
    assert (home.root / "link.mp4").is_symlink()
    assert not (home.root / "nowhere").exists()


def test_the_same_bytes_are_ours(home: Home, source: Path) -> None:
    """A publish that was interrupted before it was recorded is simply done again."""
    place(home, source, "movie.mp4")
    tag = etag(home, home.root / "movie.mp4")
    place(home, source, "movie.mp4")
    assert etag(home, home.root / "movie.mp4") == tag


def test_a_copy_that_fails_leaves_nothing(home: Home, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up, no name appears and the error names the one that was meant."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", _no_link)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot publish .*movie\.mp4: No space left"):
        place(home, source, "movie.mp4")
    assert listing(home.root) == [".uprez"]


def test_an_output_is_known_again_by_its_etag(home: Home, source: Path) -> None:
    """The ETag stays while a file is left alone and changes when it is touched."""
    place(home, source, "movie.mp4")
    target = home.root / "movie.mp4"
    tag = etag(home, target)
    assert etag(home, target) == tag
    os.utime(target, ns=(0, target.stat().st_mtime_ns + 1_000_000))
    assert etag(home, target) != tag
