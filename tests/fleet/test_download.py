"""Bringing outputs here: whole, under a safe name, in place of nothing."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import places
from house import located
from s3_proxy import Proxy
from s3_server import S3Server
from uprez.errors import StoreError
from uprez.fleet.download import bring, parts
from uprez.store.memory import MemoryStore
from uprez.store.open import Home, open_home

JOB = "00112233aabbccdd"


def silent(name: str, done: int, total: int) -> None:
    """Hear nothing."""


def remembered() -> Home:
    """Give a place in memory that is laid out as in a bucket."""
    return Home(outputs=MemoryStore(), base="output/", state=MemoryStore())


def files(folder: Path) -> list[str]:
    """List every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", places.NAMES)
def test_every_name_arrives_from_a_bucket(s3_server: S3Server, tmp_path: Path, name: str) -> None:
    """Cyrillic, emoji, blanks and URL signs: the file has the name below the outputs' prefix, and the bytes."""
    home = places.bucket_home(s3_server.access, s3_server.bucket())
    output = places.publish(home, JOB, name)
    heard: list[tuple[str, int, int]] = []
    path = bring(home, output, tmp_path, lambda *said: heard.append(said))
    assert path == tmp_path / name
    assert path.read_bytes() == f"the picture of {name}".encode()
    assert heard[-1] == (name, output.size, output.size)
    assert files(tmp_path) == [name]


def test_a_broken_connection_is_taken_up(s3_server: S3Server, s3_proxy: Proxy, tmp_path: Path) -> None:
    """A download that breaks in the middle goes on."""
    home = places.bucket_home(s3_server.access_to(s3_proxy.port), s3_server.bucket())
    data = os.urandom(3 << 20)
    output = places.publish(home, JOB, "a.x2.mp4", data)
    s3_proxy.fail("GET", "cut", key="a.x2")
    assert bring(home, output, tmp_path, silent).read_bytes() == data


def test_what_is_here_already_is_kept(tmp_path: Path) -> None:
    """The same bytes are success, and nothing is fetched; other bytes are left alone and named."""
    home = remembered()
    output = places.publish(home, JOB, "a.x2.mp4")
    path = bring(home, output, tmp_path, silent)
    home.outputs.delete([output.path])
    assert bring(home, output, tmp_path, silent) == path
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="already with other bytes"):
        bring(home, output, tmp_path, silent)
    assert path.read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the name during the download keeps it, also where there are no hard links."""
    home, output = remembered(), None
    output = places.publish(home, JOB, "a.x2.mp4")
    copy = shutil.copyfile

    def late(source: Path, target: Path) -> None:
        copy(source, target)
        (tmp_path / "a.x2.mp4").write_bytes(b"mine")

    monkeypatch.setattr(shutil, "copyfile", late)
    for refused in (False, True):
        (tmp_path / "a.x2.mp4").unlink(missing_ok=True)
        if refused:
            monkeypatch.setattr(os, "link", no_links)
        with pytest.raises(StoreError, match="already with other bytes"):
            bring(home, output, tmp_path, silent)
        assert files(tmp_path) == ["a.x2.mp4"]
        assert (tmp_path / "a.x2.mp4").read_bytes() == b"mine"


def no_links(*_: object) -> None:
    """Fail as a file system without links does."""
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_disk_without_links_gets_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is renamed there."""
    monkeypatch.setattr(os, "link", no_links)
    home = remembered()
    bring(home, places.publish(home, JOB, "a.x2.mp4"), tmp_path, silent)
    assert files(tmp_path) == ["a.x2.mp4"]


def test_what_is_not_the_output_does_not_appear(tmp_path: Path) -> None:
    """Gone, another size, other bytes of the same size: each is an error, and no file is left."""
    home = remembered()
    output = places.publish(home, JOB, "a.x2.mp4", b"1234")
    for data, words in ((b"123", "another file now"), (b"1235", "does not hold the bytes")):
        home.outputs.write(output.path, data)
        with pytest.raises(StoreError, match=words):
            bring(home, output, tmp_path, silent)
    home.outputs.delete([output.path])
    with pytest.raises(StoreError, match="is gone"):
        bring(home, output, tmp_path, silent)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        *("../a.mp4", "a/../b.mp4", "./a", "/etc/passwd", "a//b", "a/", "", "C:a.mp4", "x\\..\\y.mp4", "a\nb.mp4"),
        *("nul\0.mp4", "CON", "a/com1.mp4", "lpt9.x2.mp4", "a. ", "end.", "\x1b[2J.mp4", "a\u2028b"),
    ],
)
def test_an_unsafe_name_is_refused(tmp_path: Path, name: str) -> None:
    """No key makes a path out of the folder, a device or a control sequence."""
    home = remembered()
    output = replace(places.publish(home, JOB, "a.x2.mp4"), path=f"output/{name}")
    with pytest.raises(StoreError, match="is not fetched"):
        bring(home, output, tmp_path / "in", silent)
    assert files(tmp_path) == []


def test_ordinary_names_are_parts() -> None:
    """Names that only look special are names."""
    assert parts("console/aux-1/.hidden/con fer.mp4") == ("console", "aux-1", ".hidden", "con fer.mp4")


def test_a_small_disk_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free space is compared with the size before anything is fetched."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    home = remembered()
    with pytest.raises(StoreError, match="GB free"):
        bring(home, places.publish(home, JOB, "a.x2.mp4"), tmp_path, silent)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """The system's reason comes with the path."""
    (tmp_path / "file").touch()
    home = remembered()
    with pytest.raises(StoreError, match=r"cannot write .*file/a\.x2\.mp4"):
        bring(home, places.publish(home, JOB, "a.x2.mp4"), tmp_path / "file", silent)


def test_results_in_a_folder_are_here(tmp_path: Path) -> None:
    """Nothing is copied from one folder to another."""
    home = open_home(located(tmp_path / "out"), None)
    output = places.publish(home, JOB, "a.x2.mp4")
    assert bring(home, output, tmp_path / "in", silent) == tmp_path / "out" / "a.x2.mp4"
    assert not (tmp_path / "in").exists()
