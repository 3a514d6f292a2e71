"""Objects by their URL: every name works, and a write is seen whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.errors import StoreError
from uprez.store import urls

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


@pytest.mark.parametrize("url", ["http://127.0.0.1/a", "s3://bucket/a", "/a/bare/path", "FTP://a"])
def test_only_files_are_opened(url: str) -> None:
    """This version follows no other scheme, and says which one it was given."""
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
