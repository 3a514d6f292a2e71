"""Interlaced pictures become whole ones, one for each frame."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from uprez.errors import InputError
from uprez.media import decode, probe
from uprez.media.deinterlace import deinterlaced

SIZE = (96, 64)
MakeClip = Callable[..., Path]


def moved(field: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """A bright bar on grey that moves by 4 columns with each field."""
    picture = np.full((SIZE[1], SIZE[0]), 60, np.uint8)
    picture[:, 4 * field % 64 : 4 * field % 64 + 24] = 200
    return picture


def write(path: Path, order: Literal["top", "bottom"], count: int = 12) -> Path:
    """Write an interlaced clip: the lines of each frame are of two moments."""
    params = {"top": "tff=1", "bottom": "bff=1"}[order]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "1", "x264-params": params})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        first = 0 if order == "top" else 1
        for number in range(count):
            woven = moved(2 * number)
            woven[1 - first :: 2] = moved(2 * number + 1)[1 - first :: 2]
            frame = av.VideoFrame.from_ndarray(woven, format="gray").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combing(luma: np.ndarray) -> float:
    """How much neighbouring lines differ: high where two moments are woven together."""
    rows = luma.astype(int)
    return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())


@pytest.mark.parametrize("order", ["top", "bottom"])
def test_combs_are_gone_and_every_frame_is_there(tmp_path: Path, order: Literal["top", "bottom"]) -> None:
    """Each frame keeps its time; the bar's edges are straight and where its first field has them."""
    path = write(tmp_path / "clip.mkv", order)
    index = probe.index(path.as_uri())
    assert index.video.interlaced
    assert index.video.flagged
    assert index.video.field_order in (order, "unknown")
    combed = list(decode.frames(path.as_uri(), index, 0, 12, threads=1))
    whole = list(decode.frames(path.as_uri(), index, 0, 12, threads=1, deinterlace="auto"))
    assert [frame.pts for frame in whole] == list(index.pts)
    for before, after in list(zip(combed, whole, strict=True))[1:-1]:
        assert combing(after.planes[0]) < combing(before.planes[0]) / 3


@pytest.mark.parametrize(("first", "count"), [(0, 5), (5, 4), (11, 1), (0, 12)])
def test_a_part_is_deinterlaced_as_the_whole_is(tmp_path: Path, first: int, count: int) -> None:
    """Segments join: each frame has its neighbours, though they belong to another segment."""
    path = write(tmp_path / "clip.mkv", "top")
    index = probe.index(path.as_uri())
    whole = list(decode.frames(path.as_uri(), index, 0, 12, threads=1, deinterlace="auto"))[first : first + count]
    part = list(decode.frames(path.as_uri(), index, first, count, threads=2, deinterlace="auto"))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole]
    for one, other in zip(part, whole, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def test_progressive_video_is_left_alone(make_clip: MakeClip) -> None:
    """Nothing changes unless somebody says so; then every frame is still there."""
    path = make_clip(frames=9)
    index = probe.index(path.as_uri())
    plain, auto = (
        list(decode.frames(path.as_uri(), index, 0, 9, threads=1, deinterlace=how)) for how in ("off", "auto")
    )
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(plain, auto, strict=True))
    assert len(list(decode.frames(path.as_uri(), index, 0, 9, threads=1, deinterlace="on"))) == 9


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_are_enough(tmp_path: Path, count: int) -> None:
    """One frame, or two, come out as many."""
    path = write(tmp_path / "clip.mkv", "top", count)
    index = probe.index(path.as_uri())
    assert len(list(decode.frames(path.as_uri(), index, 0, count, threads=1, deinterlace="on"))) == count


def test_what_the_filter_would_convert_is_refused() -> None:
    """FFmpeg would silently turn a format that its filter does not take into another, with other code values."""
    frames = [av.VideoFrame(*SIZE, "gray10le") for _ in range(3)]
    with pytest.raises(InputError, match="gray10le") as caught:
        list(deinterlaced(frames, "top", flagged_only=False))
    assert "--deinterlace off" in str(caught.value.hint)
