"""Which files are inputs, and what tells one from another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from uprez.errors import InputError, UsageError
from uprez.store import find

MIB = 1 << 20


def touch(top: Path, *names: str) -> None:
    """Make files with one byte in them."""
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(top: Path, found: list[Path]) -> list[str]:
    """Give paths as people see them."""
    return [path.relative_to(top).as_posix() for path in found]


def test_videos_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Every suffix of a video counts in any case, at any depth, sorted; other files do not."""
    touch(tmp_path, "b.mp4", "a.MKV", "sub/deep/c.webm", "sub.mov", "notes.txt", "mp4", ".mp4", "a.mp4.part")
    assert names(tmp_path, find.folder(tmp_path, warn=print)) == ["a.MKV", "b.mp4", "sub/deep/c.webm", "sub.mov"]


def test_a_folder_named_like_a_video_is_searched_and_no_input(tmp_path: Path) -> None:
    """Only files are inputs."""
    touch(tmp_path, "clips.mp4/a.mp4")
    assert names(tmp_path, find.folder(tmp_path, warn=print)) == ["clips.mp4/a.mp4"]


def test_our_state_is_no_input(tmp_path: Path) -> None:
    """Whatever lies under a state prefix, at any depth, is not looked at."""
    touch(tmp_path, ".uprez/jobs/a.mp4", "out/.uprez/b.mp4", "out/c.mp4")
    assert names(tmp_path, find.folder(tmp_path, warn=print)) == ["out/c.mp4"]


def test_our_outputs_are_no_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of earlier runs are left out, however the folder is written: with dots, relative, through a link."""
    touch(tmp_path, "in/a.mp4", "in/a.x2.mp4")
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    skip = frozenset({tmp_path / "in" / "a.x2.mp4"})
    for folder in ("in", "./in", "in/../in", "link", str(tmp_path / "in")):
        assert names(Path(folder), find.folder(Path(folder), skip=skip, warn=print)) == ["a.mp4"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    """A linked video is an input; a linked folder could be a circle."""
    touch(tmp_path, "else/a.mp4")
    top = tmp_path / "in"
    top.mkdir()
    (top / "b.mp4").symlink_to(tmp_path / "else" / "a.mp4")
    (top / "more").symlink_to(tmp_path / "else")
    (top / "round").symlink_to(top)
    assert names(top, find.folder(top, warn=print)) == ["b.mp4"]
    assert find.source(top / "b.mp4", "b.mp4").identity == find.source(tmp_path / "else/a.mp4", "a.mp4").identity


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    """The folder, what is wrong with it and the flag are named."""
    touch(tmp_path, "file")
    for name, what in (("none", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(UsageError, match=f"{name} {what}") as caught:
            find.folder(tmp_path / name, warn=print)
        assert "--input-dir" in str(caught.value.hint)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file of ten MiB whose bytes all differ from their neighbours."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(251)) * (10 * MIB // 251 + 1))
    os.truncate(path, 10 * MIB)
    return path


def identity(path: Path) -> str:
    """Identify a file."""
    return find.source(path, path.name).identity


def test_a_copy_a_move_and_a_touch_keep_the_identity(clip: Path, tmp_path: Path) -> None:
    """It is the content that makes an input, not its name, place or time."""
    before = identity(clip)
    shutil.copyfile(clip, tmp_path / "copy.mkv")
    os.utime(clip, (1, 1))
    (tmp_path / "sub").mkdir()
    clip.rename(tmp_path / "sub" / "moved.mp4")
    assert identity(tmp_path / "copy.mkv") == before
    assert identity(tmp_path / "sub" / "moved.mp4") == before


@pytest.mark.parametrize("place", [0, MIB - 1, 5 * MIB, 9 * MIB, 10 * MIB - 1])
def test_a_changed_byte_is_another_input(clip: Path, place: int) -> None:
    """One byte of the first, middle or last MiB makes another identity."""
    source = find.source(clip, "clip.mp4")
    assert find.unchanged(source, None)
    with clip.open("rb+") as file:
        file.seek(place)
        file.write(b"\xff")
    assert identity(clip) != source.identity
    assert not find.unchanged(source, None)


def test_another_length_is_another_input(clip: Path) -> None:
    """Files that agree in every byte that is looked at still differ by their size; one that is gone has changed."""
    clip.write_bytes(bytes(3 * MIB))
    source = find.source(clip, "clip.mp4")
    clip.write_bytes(bytes(4 * MIB))
    assert identity(clip) != source.identity
    clip.unlink()
    assert not find.unchanged(source, None)


def test_a_source_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL is absolute, its name is what people see."""
    touch(tmp_path, "in/a #1.mp4")
    monkeypatch.chdir(tmp_path)
    source = find.source(Path("in/a #1.mp4"), "a #1.mp4")
    assert source.url == (tmp_path / "in" / "a #1.mp4").as_uri()
    assert (source.name, source.size) == ("a #1.mp4", 1)


def test_what_cannot_be_an_input_fails_alone(tmp_path: Path) -> None:
    """An empty file, a dead link and a folder each fail with their name and the reason."""
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round.mp4").symlink_to(tmp_path / "round.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, why in (
        ("empty.mp4", r"is empty \(0 bytes\)"),
        ("dead.mp4", "cannot be read: No such file"),
        ("round.mp4", "cannot be read: Too many levels"),
        ("folder.mp4", "is not a regular file"),
    ):
        with pytest.raises(InputError, match=f"^{name}: {why}"):
            find.source(tmp_path / name, name)


def test_a_pipe_named_like_a_video_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever for somebody to write to it."""
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match=r"pipe\.mp4: is not a regular file"):
        find.source(tmp_path / "pipe.mp4", "pipe.mp4")


def test_a_name_that_is_not_utf8_is_refused_readably(tmp_path: Path) -> None:
    """It is found, cannot be written into a document, and is shown with its bytes escaped and the next step."""
    name = os.fsdecode(b"caf\xe9.mp4")
    touch(tmp_path, name)
    (path,) = find.folder(tmp_path, warn=print)
    with pytest.raises(InputError, match=r"^caf\\xe9\.mp4: the file's name is not UTF-8") as caught:
        find.source(path, name)
    assert caught.value.hint == "rename the file"


def test_folders_nobody_means_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden folders and macOS's shadow files are no inputs; a folder that cannot be read is said and left out."""
    touch(tmp_path, "a.mp4", ".Trash/b.mp4", "._a.mp4", "locked/c.mp4")
    real = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    said: list[str] = []
    assert names(tmp_path, find.folder(tmp_path, warn=said.append)) == ["a.mp4"]
    assert len(said) == 1
    assert "locked cannot be read: Permission denied" in said[0]
