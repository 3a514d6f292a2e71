"""What a person is told of a video."""

from __future__ import annotations

from dataclasses import replace

from plain import VIDEO, indexed
from uprez.job import Mastering, Options
from uprez.media import notes

INDEX = indexed(VIDEO, 2)


def test_a_plain_video_needs_no_word() -> None:
    """Nothing is said where nothing is lost or changed."""
    assert notes.of_index(INDEX, Options(), "h264") == []


def test_what_is_lost_or_changed_is_said() -> None:
    """Alpha, dynamic HDR, fields, damage and jumps, each in a sentence."""
    video = replace(VIDEO, alpha=True, captions=True, dynamic_hdr=("HDR10+",), field_order="top")
    said = notes.of_index(replace(INDEX, video=video, damaged=3, breaks=2), Options(), "h264")
    assert len(said) == 6
    for words in ("alpha", "closed captions", "HDR10+", "bwdif", "at least 3", "jumps 2 times"):
        assert any(words in line for line in said)
    kept = notes.of_index(replace(INDEX, video=video), Options(deinterlace="off"), "h264")
    assert any("as it is" in line for line in kept)


def test_lost_hdr_metadata_is_said() -> None:
    """Only HEVC and AV1 results carry the mastering display and the light levels."""
    index = replace(INDEX, video=replace(VIDEO, mastering=Mastering(max_cll=1000)))
    assert [notes.of_index(index, Options(), codec) for codec in ("hevc", "av1")] == [[], []]
    (line,) = notes.of_index(index, Options(), "ffv1")
    assert "mastering display" in line
