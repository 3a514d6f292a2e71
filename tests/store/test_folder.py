"""A folder as a store: what is true of it beyond what is true of every store."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from uprez.errors import StoreError
from uprez.job import Pin
from uprez.store.base import Uploads
from uprez.store.folder import FolderStore


class NoUploads(Uploads):
    """A folder has none."""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Give a store whose folder is not there yet."""
    return FolderStore(tmp_path / "out" / ".uprez")


@pytest.fixture
def outputs(tmp_path: Path) -> FolderStore:
    """Give the folder around it."""
    return FolderStore(tmp_path / "out", inodes=False)


def pinned(store: FolderStore, data: bytes = b"video") -> Pin:
    """Write an object and pin it."""
    meta = store.write("jobs/result", data)
    return Pin(key=meta.key, size=meta.size, etag=meta.etag, sha256=hashlib.sha256(data).hexdigest())


def names(folder: Path) -> list[str]:
    """Name what is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_looking_makes_no_folder(store: FolderStore) -> None:
    """A dry run leaves nothing behind: the folder appears with the first write."""
    assert store.read("a") is None
    assert store.head("a") is None
    assert list(store.listing()) == []
    store.delete(["a", "b/c"])
    assert not store.root.exists()
    store.write("a", b"")
    assert store.root.is_dir()


@pytest.mark.parametrize("key", ["../a", "a/../../b", "/etc/passwd", "", "a//b", ".", "a/."])
def test_no_key_leads_out(store: FolderStore, outputs: FolderStore, key: str) -> None:
    """A key that would name something outside of the folder is refused by every method."""
    pin = pinned(store)
    for act in (
        lambda: store.read(key),
        lambda: store.head(key),
        lambda: store.write(key, b""),
        lambda: store.create(key, b""),
        lambda: store.delete([key]),
        lambda: store.get_url(key, seconds=1),
        lambda: store.put_url(key, seconds=1),
        lambda: outputs.place(store, pin, key, replace=True, uploads=NoUploads()),
    ):
        with pytest.raises(StoreError, match="names no file"):
            act()


def test_a_url_is_the_file(store: FolderStore) -> None:
    """What a sheet carries leads to the object."""
    store.write("a b", b"data")
    assert store.get_url("a b", seconds=1) == store.put_url("a b", seconds=1) == (store.root / "a b").as_uri()
    assert store.url == store.root.as_uri()


def test_deletion_leaves_no_empty_folders(store: FolderStore) -> None:
    """Deleted objects take their empty folders along; others and the root stay."""
    for key in ("jobs/1/a", "jobs/1/b", "jobs/2/c"):
        store.write(key, b"")
    store.delete(["jobs/1/a", "jobs/1/b", "jobs/2/c/below"])
    assert names(store.root / "jobs") == ["2"]
    store.delete(["jobs/2/c"])
    assert names(store.root) == []


def test_an_output_is_known_again_on_another_disk(store: FolderStore, outputs: FolderStore, tmp_path: Path) -> None:
    """Its ETag is of time and size, which a careful copy keeps; the state's tells even equal twins apart."""
    placed = outputs.place(store, pinned(store), "movie #1", replace=False, uploads=NoUploads())
    moved = tmp_path / "moved"
    moved.mkdir()
    stat = (tmp_path / "out" / "movie #1").stat()
    (moved / "movie #1").write_bytes(b"video")
    os.utime(moved / "movie #1", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = FolderStore(moved, inodes=False).head("movie #1")
    assert found is not None
    assert found.etag == placed.etag
    assert FolderStore(moved).root == moved


def test_a_pin_of_an_earlier_version_holds(store: FolderStore) -> None:
    """Those had quotes in their ETags."""
    pin = pinned(store)
    with store.local(replace(pin, etag=f'"{pin.etag}"')) as path:
        assert path == store.root / "jobs" / "result"


def test_publishing_links(store: FolderStore, outputs: FolderStore) -> None:
    """However large, nothing is copied, and nothing is left beside it."""
    pin = pinned(store)
    outputs.place(store, pin, "deep/movie.mp4", replace=False, uploads=NoUploads())
    assert (outputs.root / "deep" / "movie.mp4").samefile(store.root / "jobs" / "result")
    outputs.write("other.mp4", b"other")
    outputs.place(store, pin, "other.mp4", replace=True, uploads=NoUploads())
    assert (outputs.root / "other.mp4").samefile(store.root / "jobs" / "result")
    assert names(outputs.root) == [".uprez", "deep", "other.mp4"]


def test_without_hard_links_a_file_is_copied(
    store: FolderStore, outputs: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has no links gets a copy, still whole and at once, and still nothing is replaced unasked."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    pin = pinned(store)
    monkeypatch.setattr(os, "link", refuse)
    outputs.place(store, pin, "movie.mp4", replace=False, uploads=NoUploads())
    assert (outputs.root / "movie.mp4").read_bytes() == b"video"
    assert not (outputs.root / "movie.mp4").samefile(store.root / "jobs" / "result")
    outputs.write("other.mp4", b"other")
    with pytest.raises(FileExistsError):
        outputs.place(store, pin, "other.mp4", replace=False, uploads=NoUploads())
    outputs.place(store, pin, "other.mp4", replace=True, uploads=NoUploads())
    assert (outputs.root / "other.mp4").read_bytes() == b"video"
    assert names(outputs.root) == [".uprez", "movie.mp4", "other.mp4"]


def test_a_dangling_link_and_a_folder_are_names_taken(store: FolderStore, outputs: FolderStore) -> None:
    """Whatever has the name keeps it."""
    pin = pinned(store)
    (outputs.root / "link.mp4").symlink_to(outputs.root / "nowhere")
    (outputs.root / "folder.mp4").mkdir()
    for name in ("link.mp4", "folder.mp4"):
        with pytest.raises(FileExistsError):
            outputs.place(store, pin, name, replace=False, uploads=NoUploads())


def test_failures_name_the_file(store: FolderStore, outputs: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that takes no file, and a disk that is full, are errors with the path and the reason."""
    pin = pinned(store)
    (store.root / "file").touch()
    for act in (lambda: store.write("file/below", b""), lambda: store.create("file/below", b"")):
        with pytest.raises(StoreError, match=r"cannot write .*/file/below: "):
            act()
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(StoreError, match=r"cannot publish .*/movie\.mp4: No space left"):
        outputs.place(store, pin, "movie.mp4", replace=False, uploads=NoUploads())
    assert names(outputs.root) == [".uprez"]


def full(*_: object) -> None:
    """Be a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")
