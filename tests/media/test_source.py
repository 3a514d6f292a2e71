"""What may be opened, and how the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from uprez.errors import InputError, StoreError
from uprez.media import probe
from uprez.media.source import opened, shown

MakeClip = Callable[..., Path]


def _refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        probe.index(path.as_uri())
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_text_file_named_mp4_is_refused(tmp_path: Path) -> None:
    """Text is not a video, whatever its name says."""
    path = tmp_path / "notes.mp4"
    path.write_text("meet at noon\n" * 50)
    assert "cannot be read as a video" in _refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile clip.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.mp4\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "hls"],
)
def test_a_playlist_named_mp4_does_not_play_its_neighbour(tmp_path: Path, make_clip: MakeClip, text: str) -> None:
    """A playlist that names a real clip beside it is refused: nothing but the file itself is opened."""
    make_clip(name="clip.mp4")
    path = tmp_path / "list.mp4"
    path.write_text(text)
    assert "cannot be read as a video" in _refusal(path)


def test_an_empty_file_is_named_as_such(tmp_path: Path) -> None:
    """A file of no bytes is called empty."""
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "is empty" in _refusal(path)


def test_a_missing_file_and_a_folder_are_named_as_such(tmp_path: Path) -> None:
    """What is not there and what is not a file are told apart."""
    assert "no such file" in _refusal(tmp_path / "absent.mp4")
    assert "not a file" in _refusal(tmp_path)


def test_an_mp4_cut_before_its_index_is_called_truncated(make_clip: MakeClip) -> None:
    """An MP4 whose moov atom is lost says so."""
    path = make_clip(frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "moov" in _refusal(path)


@pytest.mark.parametrize("name", ["a b%20c#d?.mp4", "http:x.mp4", "ünï.mkv"])
def test_odd_names_are_opened(make_clip: MakeClip, name: str) -> None:
    """Spaces, percent signs, fragments, colons and other letters in a name are part of the name."""
    assert len(probe.index(make_clip(name=name, frames=5).as_uri()).pts) == 5


@pytest.mark.parametrize(
    "url",
    ["file://elsewhere/a.mp4", "ftp://127.0.0.1/a.mp4", "concat:a.mp4|b.mp4", "data:video/mp4;base64,AAAA", "/a.mp4"],
)
def test_only_this_machines_files_and_http_are_opened(url: str) -> None:
    """Any other URL is refused before FFmpeg sees it."""
    with pytest.raises((StoreError, InputError)), opened(url):
        pass


def test_a_url_is_shown_without_what_is_secret_in_it() -> None:
    """A file is named by its path, a web address without user, password and query."""
    assert shown("file:///in/a%20b.mp4") == "/in/a b.mp4"
    assert shown("https://me:word@host/a.mp4?X-Amz-Signature=abc") == "https://host/a.mp4"
