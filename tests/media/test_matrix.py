"""The media matrix: eight of its clips through the whole product, and proof that its checks can fail."""

from __future__ import annotations

import math
import shlex
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import matrix_checks
import media_matrix
from matrix_clips import BT709, T709, Case, seen
from matrix_colours import COLOURS, LUMA_WEIGHTS, PUBLISHED

CHOSEN = (
    "hdr10",
    "vfr-phone",
    "b-frames-ts",
    "rotation-90",
    "odd-420",
    "interlaced-tff",
    "ts-jump-back",
    "damaged-mp4",
)
"""What `make test` runs; `make media-matrix` runs all."""

PLAIN = Case(name="plain", make=(f"{seen('yuv420p')} {T709} -c:v ffv1 source.mkv",))
SHAM = f"-fps_mode passthrough -enc_time_base 1/1000 {T709} -c:v ffv1"
"""A result that FFmpeg makes, so that it can be spoilt."""


def _need_ffmpeg(name: str) -> None:
    if not media_matrix.installed():
        pytest.skip(f"{name}: {media_matrix.MISSING}")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_clip_comes_out_as_it_was(name: str, tmp_path: Path) -> None:
    """Through controller and worker with identity into FFV1, a clip of each kind is what its row expects."""
    _need_ffmpeg(name)
    verdict = media_matrix.run(media_matrix.NAMES[name], tmp_path)
    assert verdict.complaints == ()


def test_the_matrix_is_wide() -> None:
    """There are at least 40 clips, each with its own name."""
    assert len(media_matrix.NAMES) == len(media_matrix.CASES) >= 40


def _sham(folder: Path, filters: str, options: str = "", case: Case = PLAIN) -> matrix_checks.Verdict:
    """Judge a result that FFmpeg makes of a clip by these filters and options."""
    _need_ffmpeg(case.name)
    media_matrix.make(case, folder)
    command = f"ffmpeg -v error -noautorotate -i {case.source} -vf '{filters}' {SHAM} {options} result.mkv"
    subprocess.run(shlex.split(command), cwd=folder, check=True)
    return matrix_checks.judge(case, folder, folder / "result.mkv")


def test_an_honest_result_is_not_blamed(tmp_path: Path) -> None:
    """What is the same in every frame has no error at all."""
    verdict = _sham(tmp_path, "null")
    assert verdict.complaints == ()
    assert verdict.errors == matrix_checks.Errors(luma=0, chroma=0, chroma_max=0)


@pytest.mark.parametrize(
    ("filters", "options", "complaint"),
    [
        pytest.param("shuffleframes=1 0 2 3 4", "", "luma is up to", id="two frames changed places"),
        pytest.param(
            r"settb=1/1000,setpts=PTS+10*eq(N\,7)", "", "1 frames are not at their times: frame 7", id="frame late"
        ),
        pytest.param("settb=1/1000,setpts=PTS+1", "", "25 frames are not at their times: frame 0", id="all late"),
        pytest.param(r"select=not(eq(n\,7))", "", "ffprobe shows 24 frames, the source has 25", id="frame dropped"),
        pytest.param("tpad=stop=1", "", "ffprobe counts 26 frames, the row has 25", id="frame added"),
        pytest.param("lutyuv=y=val+3", "", "luma is up to 3 off, 1 allowed", id="luma"),
        pytest.param("lutyuv=u=val+3", "", "99 of 100 chroma samples are up to 3 off, 2 allowed", id="chroma"),
        pytest.param("null", "-colorspace smpte170m", "space smpte170m instead of bt709", id="matrix's tag"),
        pytest.param("null", "-color_trc smpte2084", "transfer smpte2084 instead of bt709", id="transfer's tag"),
        pytest.param("null", "-chroma_sample_location topleft", "location topleft instead of left", id="siting's tag"),
        pytest.param("setsar=4/3", "", "sample aspect 4:3 instead of 1:1", id="sample aspect"),
        pytest.param("null", "-pix_fmt yuv444p", "pixel format yuv444p instead of yuv420p", id="pixel format"),
        pytest.param("crop=158:120", "", "size (158, 120) instead of (160, 120)", id="size"),
    ],
)
def test_a_spoilt_result_is_blamed(tmp_path: Path, filters: str, options: str, complaint: str) -> None:
    """Each thing that the matrix is about is caught where it is wrong by a little."""
    complaints = _sham(tmp_path, filters, options).complaints
    assert any(found.startswith(complaint) for found in complaints), complaints


def test_hard_edges_are_measured_against_ffmpeg(tmp_path: Path) -> None:
    """Chroma that is blurred where FFmpeg's conversion keeps it is blamed, though its luma is exact."""
    hard = replace(PLAIN, make=(f"{seen('yuv420p', hard=True)} {T709} -c:v ffv1 source.mkv",), hard=True)
    assert _sham(tmp_path, "null", case=hard).complaints == ()
    (tmp_path / "result.mkv").unlink()
    complaints = _sham(tmp_path, "gblur=sigma=2:planes=6", case=hard).complaints
    assert any(found.startswith("99 of 100 chroma samples") for found in complaints), complaints


def test_a_turn_the_wrong_way_is_blamed(tmp_path: Path) -> None:
    """A picture turned against the clock instead of with it has the right size and the wrong luma."""
    case = media_matrix.NAMES["rotation-90"]
    tolerated = "scale=in_h_chr_pos=0:in_v_chr_pos=128,format=yuv444p,{},format=yuv420p"
    complaints = _sham(tmp_path, tolerated.format("transpose=2"), case=case).complaints
    assert any(found.startswith("luma is up to") for found in complaints), complaints


def test_a_clock_that_jumps_goes_on() -> None:
    """Back or far forward, the next frame comes a step after the last; frames between keep their distances."""
    times = [Fraction(number, 25) for number in (100, 101, 103, 2, 3, 900, 901)]
    step = Fraction(1, 25)
    assert [time * 25 for time in matrix_checks.continued(times, step)] == [100, 101, 103, 104, 105, 106, 107]


@pytest.mark.parametrize("key", PUBLISHED, ids=str)
def test_published_code_values_follow_from_the_equations(key: tuple[str, bool, int]) -> None:
    """The literal table is what H.273 gives; a half is rounded upwards."""
    matrix, full, depth = key
    kr, kb = LUMA_WEIGHTS[matrix]
    top, unit = (1 << depth) - 1, 1 << (depth - 8)
    spans = (top, top, 0) if full else (219 * unit, 224 * unit, 16 * unit)
    for name, (red, green, blue) in COLOURS.items():
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        chroma = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
        exact = (spans[0] * luma + spans[2], *(spans[1] * share + (top + 1) // 2 for share in chroma))
        codes = tuple(min(top, math.floor(value + Fraction(1, 2))) for value in exact)
        assert PUBLISHED[key][name] == codes, name


def test_published_code_values_are_the_standards_own() -> None:
    """Some of them as BT.601, BT.709, BT.2020 and RP 219 print them, and as facts/video.md has measured."""
    assert PUBLISHED["bt601", False, 8]["red"] == (81, 90, 240)
    assert PUBLISHED["bt709", False, 8]["red"] == (63, 102, 240)
    assert PUBLISHED["bt2020", False, 8]["red"] == (74, 97, 240)
    assert PUBLISHED["bt709", False, 8]["75% yellow"] == (168, 44, 136)
    assert PUBLISHED["bt709", False, 10]["75% green"] == (534, 253, 207)
    assert PUBLISHED["bt709", False, 10]["75% blue"] == (111, 848, 481)
    assert BT709.range == "tv"
