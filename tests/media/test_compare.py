"""How like two videos are: what is paired with what, and figures that FFmpeg's filters give too."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import MakeClip
from plain import VIDEO
from uprez.errors import InputError
from uprez.job import Index
from uprez.media import probe
from uprez.media.compare import File, compare, notes, pairs, picture

Gray = NDArray[np.uint8]
LOSSLESS = {"codec": "ffv1", "options": {}, "frames": 12}


def file(path: Path) -> File:
    """A clip, indexed."""
    return File(url=path.as_uri(), index=probe.index(path.as_uri()))


def timed(*pts: int, last: int = 40) -> File:
    """A video that only has times, in ms."""
    index = Index(video=VIDEO, time_base=Fraction(1, 1000), pts=pts, keyframes=pts[:1], last_duration=last)
    return File(url="file:///none", index=index)


def numbers(one: File, other: File) -> list[tuple[int, int]]:
    """Which frames are paired."""
    return [(pair.first, pair.second) for pair in pairs(one, other)]


# --- pairs


def test_frames_are_paired_by_time() -> None:
    """What Matroska rounds is the same time; where a file as a whole begins does not matter."""
    assert numbers(timed(0, 40, 80), timed(7, 48, 87)) == [(0, 0), (1, 1), (2, 2)]
    assert [pair.apart * 1000 for pair in pairs(timed(0, 40, 80), timed(7, 48, 87))] == [0, 1, 0]


def test_the_video_with_fewer_frames_leads() -> None:
    """A result with frames left out, or shown twice, is compared where both have a frame, whichever comes first."""
    few, many = timed(0, 100, 200, last=100), timed(*range(0, 300, 40))
    assert numbers(few, many) == [(0, 0), (1, 2), (2, 5)]
    assert numbers(many, few) == [(0, 0), (2, 1), (5, 2)]
    assert max(pair.apart for pair in pairs(few, many)) == Fraction(20, 1000)


def test_what_is_shown_after_the_end_has_no_partner() -> None:
    """A video that ends earlier is not held on its last frame; a note counts the others."""
    long, short = timed(0, 100, 200, 300), timed(*range(0, 160, 20), last=20)
    assert numbers(long, short) == [(0, 0), (1, 5)]


# --- figures


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "yuv422p12le"])
def test_figures_are_those_of_ffmpegs_filters(make_clip: MakeClip, tmp_path: Path, pix_fmt: str) -> None:
    """PSNR to 0.01 dB and SSIM to 0.001 of each frame, at 8, 10 and 12 bits."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("figures by ffmpeg's filters: ffmpeg is not installed")
    clip = make_clip(name="a.mkv", pix_fmt=pix_fmt, size=(96, 64), **LOSSLESS)
    noisy(clip, tmp_path / "b.mkv")
    found = compare(file(clip), file(tmp_path / "b.mkv"), threads=1)
    psnr = [found.psnr_of(score) for score in found.scores]
    assert psnr == pytest.approx(by_ffmpeg("psnr", clip, tmp_path / "b.mkv"), abs=0.01)
    assert [score.ssim for score in found.scores] == pytest.approx(
        by_ffmpeg("ssim", clip, tmp_path / "b.mkv"), abs=0.001
    )


def noisy(source: Path, target: Path) -> None:
    """A clip with noise, in its own format."""
    noise = "geq=lum='lum(X,Y)*0.95+lum(20,20)*0.2*random(1)':cb='cb(X,Y)':cr='cr(X,Y)'"
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-vf", noise, "-c:v", "ffv1", str(target)]
    subprocess.run(command, check=True)


def by_ffmpeg(name: str, one: Path, other: Path) -> list[float]:
    """Luma's figure of each frame."""
    graph = f"[0:v][1:v]{name}=stats_file=-"
    command = ["ffmpeg", "-v", "error", "-i", str(other), "-i", str(one), "-lavfi", graph, "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(value) for value in re.findall(r"(?:psnr_y|Y):([0-9.]+)", said)]


def test_equal_videos_have_no_error(make_clip: MakeClip) -> None:
    """The figures of a clip and itself."""
    clip = file(make_clip(**LOSSLESS))
    found = compare(clip, clip, threads=1)
    assert (found.psnr, found.ssim, found.apart) == (float("inf"), pytest.approx(1), 0)
    assert len(found.scores) == len(found.pairs) == 12
    assert notes(clip, clip, found) == []


@pytest.mark.parametrize(
    ("pix_fmt", "full", "matrix"),
    [("yuv444p10le", False, 5), ("yuv420p", True, 5), ("bgr0", True, 2), ("yuv444p", False, 9)],
    ids=["10 bits", "full range", "RGB", "BT.2020"],
)
def test_range_depth_and_matrix_make_no_difference(
    make_clip: MakeClip, tmp_path: Path, pix_fmt: str, full: bool, matrix: int
) -> None:
    """The same pictures stored in another way differ by what FFmpeg's conversion rounds."""
    one = make_clip(name="a.mkv", tags={"color_range": 1, "colorspace": 5}, **LOSSLESS)
    stored_as(one, tmp_path / "b.mkv", pix_fmt, full=full, matrix=matrix)
    found = compare(file(one), file(tmp_path / "b.mkv"), threads=1)
    assert found.psnr > 45
    assert found.ssim > 0.99


def stored_as(source: Path, target: Path, pix_fmt: str, *, full: bool, matrix: int) -> None:
    """Convert a clip of BT.601 in limited range; `matrix` as H.273 numbers it."""
    span = 2 if full else 1
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = outside.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.color_range, stream.codec_context.colorspace = span, matrix
        for frame in inside.decode(video=0):
            ranges = {"src_color_range": 1, "dst_color_range": span}
            made = frame.reformat(format=pix_fmt, src_colorspace=5, dst_colorspace=matrix, **ranges)
            outside.mux(stream.encode(made))
        outside.mux(stream.encode(None))


def test_the_larger_picture_is_averaged(make_clip: MakeClip, tmp_path: Path) -> None:
    """An enlargement by repeated samples is the picture, in either order."""
    small = make_clip(name="small.mkv", pix_fmt="gray", **LOSSLESS)
    large = changed(
        small, tmp_path / "large.mkv", lambda _, plane: plane.repeat(3, axis=0).repeat(3, axis=1), (192, 144)
    )
    for one, other in ((small, large), (large, small)):
        found = compare(file(one), file(other), threads=1)
        assert found.size == (64, 48)
        assert found.psnr > 100


def changed(source: Path, target: Path, change: Callable[[int, Gray], Gray], size: tuple[int, int]) -> Path:
    """Copy a clip as gray, each frame's luma changed, which has this size after it."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = outside.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "gray"
        for number, frame in enumerate(inside.decode(video=0)):
            plane = np.ascontiguousarray(change(number, luma_of(frame)))
            made = av.VideoFrame.from_ndarray(plane, format="gray")
            made.pts, made.time_base = frame.pts, frame.time_base
            outside.mux(stream.encode(made))
        outside.mux(stream.encode(None))
    return target


def test_a_turned_video_is_compared_as_it_is_shown(make_clip: MakeClip, tmp_path: Path) -> None:
    """A phone's portrait clip and its upright copy are the same pictures."""
    turned = make_clip(name="turned.mp4", rotation=-90, codec="libx264", options={"qp": "0"}, frames=5)
    upright = changed(turned, tmp_path / "upright.mkv", lambda _, plane: np.rot90(plane, -1), (48, 64))
    other = file(upright)
    limited = replace(other.index.video.colour, full_range=False)
    other = replace(other, index=replace(other.index, video=replace(other.index.video, colour=limited)))
    assert compare(file(turned), other, threads=1).psnr > 100


def luma_of(frame: av.VideoFrame) -> Gray:
    """The first plane, without padding."""
    plane = frame.planes[0]
    return np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


# --- a choice of frames


@pytest.mark.parametrize(("count", "chosen"), [(1, [0]), (3, [0, 6, 11]), (12, list(range(12))), (99, list(range(12)))])
def test_so_many_frames_are_spread_evenly(make_clip: MakeClip, count: int, chosen: list[int]) -> None:
    """The first and the last are among them; there are no more than there are."""
    clip = file(make_clip(**LOSSLESS))
    assert [score.pair.first for score in compare(clip, clip, count=count, threads=1).scores] == chosen


def test_a_time_names_one_frame(make_clip: MakeClip) -> None:
    """The one that is shown then; beyond the end there is none."""
    clip = file(make_clip(**LOSSLESS))
    (score,) = compare(clip, clip, at=Fraction(119, 1000), threads=1).scores
    assert score.pair.first == 2
    with pytest.raises(InputError, match=r"no frame of both is shown at 0\.480 s: one of them ends at 0\.480 s"):
        compare(clip, clip, at=Fraction(48, 100), threads=1)


def test_the_worst_frame_is_found(make_clip: MakeClip, tmp_path: Path) -> None:
    """One spoilt frame is named by its time, and shown beside the right one."""
    clip = make_clip(pix_fmt="gray", **LOSSLESS)
    spoilt = changed(clip, tmp_path / "spoilt.mkv", lambda n, plane: plane * np.uint8(n != 7), (64, 48))
    one, other = file(clip), file(spoilt)
    found = compare(one, other, threads=1)
    assert found.worst.pair.at == found.worst_ssim.pair.at == Fraction(7, 25)
    both = picture(one, other, found.worst.pair, threads=1)
    assert both.shape == (48, 64 + 4 + 64, 3)
    assert both[:, :64].max() > 100
    assert both[:, 68:].max() == 0


# --- notes


def test_what_the_figures_do_not_say_is_noted(make_clip: MakeClip) -> None:
    """Other shapes, another beginning, frames without a partner."""
    one = make_clip(name="a.mkv", **LOSSLESS)
    other = make_clip(name="b.mkv", **LOSSLESS | {"size": (64, 64), "start": Fraction(2)})
    said = notes(file(one), file(other), compare(file(one), file(other), threads=1))
    assert said == [
        "the shapes differ: pictures are stretched onto each other",
        "they begin at 0.000 s and 2.000 s; times count from there",
    ]
