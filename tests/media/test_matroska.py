"""The shape of samples is stated in a Matroska file's header."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.errors import VerifyError
from uprez.media import matroska


def write(path: Path, title: str, codec: str = "ffv1") -> None:
    """Write a clip whose stream has this name, and sound and a chapter behind it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 480, "yuv420p"
        stream.metadata["title"] = title
        container.add_stream("flac", rate=48000, layout="mono").metadata["title"] = "Sound"
        chapter = {"id": 1, "start": 0, "end": 1, "time_base": Fraction(1), "metadata": {"title": "One"}}
        container.set_chapters([chapter])  # type: ignore[list-item]
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((720, 480), 60 * number, np.uint8), format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("title", ["", "Main view"])
@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_the_shape_is_stated_and_nothing_else_changes(tmp_path: Path, title: str, codec: str) -> None:
    """Any reader knows it from the header; name, chapters, packets and the file's length are as they were."""
    path = tmp_path / "clip.mkv"
    write(path, matroska.padded(title), codec)
    size = path.stat().st_size
    with av.open(str(path)) as container:
        packets = [(packet.pts, bytes(packet)) for packet in container.demux() if packet.size]
    matroska.state_shape(path, 720, 480, Fraction(32, 27))
    assert path.stat().st_size == size
    # crccheck: the header's own check sum holds.
    with av.open(str(path), options={"err_detect": "crccheck+explode"}) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(32, 27)
        assert container.streams.video[0].metadata.get("title", "") == title
        assert container.streams.audio[0].metadata["title"] == "Sound"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]
        assert [(packet.pts, bytes(packet)) for packet in container.demux() if packet.size] == packets


def test_a_file_without_the_place_for_it_is_named(tmp_path: Path) -> None:
    """A stream whose name was not lengthened has no room."""
    path = tmp_path / "clip.mkv"
    write(path, "Main view")
    with pytest.raises(VerifyError, match=r"clip\.mkv"):
        matroska.state_shape(path, 720, 480, Fraction(32, 27))


@given(
    st.integers(2, 4000),
    st.integers(2, 4000),
    st.sampled_from([Fraction(32, 27), Fraction(27, 32), Fraction(128, 117), Fraction(4, 3), Fraction(1), Fraction(8)]),
)
def test_the_size_for_display_has_the_shape(width: int, height: int, sar: Fraction) -> None:
    """Exactly, or to the nearest pixel where that would be a far larger picture."""
    wide, high = matroska.display(width, height, sar)
    exact = width * sar / height
    assert Fraction(wide, high) == exact or (high == height and abs(wide - width * sar) <= Fraction(1, 2))
    assert high <= 4 * height


def test_usual_sizes_for_display_are_near_the_picture() -> None:
    """NTSC's wide screen is 16:9."""
    assert matroska.display(720, 480, Fraction(32, 27)) == (864, 486)
    assert matroska.display(720, 576, Fraction(16, 15)) == (768, 576)
