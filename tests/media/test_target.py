"""What a result will be."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

import plain
from uprez.config import kinds
from uprez.errors import EncodeError
from uprez.job import Options, Turn, Video
from uprez.media.layouts import stored
from uprez.media.target import PIX_FMTS, Target, target

VIDEO = replace(plain.VIDEO, width=640, height=360)


def made(video: Video = VIDEO, **options: object) -> Target:
    """What becomes of a video."""
    return target(video, Options(**options))  # type: ignore[arg-type]


def coloured(**changes: object) -> Video:
    """The same video, stored in another way."""
    return replace(VIDEO, colour=replace(VIDEO.colour, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("video", "codec", "pix_fmt"),
    [
        (VIDEO, "h264", "yuv420p"),
        (coloured(across=1, down=1), "h264", "yuv420p"),
        (coloured(depth=10), "hevc", "yuv420p10le"),
        (coloured(depth=12, down=1), "hevc", "yuv420p10le"),
        (coloured(family="gray", across=1, down=1), "h264", "yuv420p"),
        (coloured(tag_transfer=18), "hevc", "yuv420p10le"),
    ],
)
def test_a_usual_result_is_what_players_take(video: Video, codec: str, pix_fmt: str) -> None:
    """4:2:0 in 8 bits as H.264; deeper and HDR sources are HEVC with 10."""
    found = made(video)
    assert (found.codec, stored(found.colour)) == (codec, pix_fmt)


@pytest.mark.parametrize(
    ("changes", "pix_fmt"),
    [
        ({}, "yuv420p"),
        ({"down": 1}, "yuv422p"),
        ({"across": 1, "down": 1, "depth": 10}, "yuv444p10le"),
        ({"depth": 9}, "yuv420p10le"),
        ({"depth": 14, "down": 1}, "yuv422p16le"),
        ({"across": 4, "down": 1}, "yuv422p"),
        ({"family": "gray", "across": 1, "down": 1, "depth": 12}, "yuv420p12le"),
        ({"family": "rgb", "across": 1, "down": 1}, "yuv444p"),
        ({"across": 1, "down": 2, "depth": 10}, "yuv444p16le"),
    ],
)
def test_a_lossless_result_keeps_what_there_is(changes: dict[str, object], pix_fmt: str) -> None:
    """ffv1 has the source's chroma and at least its depth."""
    assert stored(made(coloured(**changes), codec="ffv1").colour) == pix_fmt


def test_sides_are_those_the_format_allows() -> None:
    """Odd sides are for lossless results; a turned video becomes upright."""
    odd = replace(VIDEO, width=35, height=17)
    sizes = [(found.width, found.height) for found in (made(odd, scale=Fraction(1), codec=c) for c in ("ffv1", "h264"))]
    assert sizes == [(35, 17), (36, 16)]
    upright = made(replace(VIDEO, turn=Turn(quarters=1)))
    assert (upright.width, upright.height) == (720, 1280)


def test_auto_is_h264_until_its_decoders_end() -> None:
    """ "auto" is H.264 to 4096 pixels a side and HEVC beyond."""
    codecs = [made(replace(VIDEO, width=side, height=64)).codec for side in (2048, 2049)]
    assert codecs == ["h264", "hevc"]


def test_a_format_that_is_asked_for_is_had() -> None:
    """Ten bits of an 8-bit source, for one."""
    found = made(pix_fmt="yuv420p10le")
    assert (found.codec, found.colour.depth, found.colour.matrix) == ("hevc", 10, "bt709")
    assert made(pix_fmt="yuv444p", codec="h264").colour.across == 1


@pytest.mark.parametrize(
    ("video", "options", "words"),
    [
        (VIDEO, {"codec": "divx"}, "divx"),
        (VIDEO, {"codec": "h264", "pix_fmt": "yuv420p12le"}, "h264 results cannot be stored as yuv420p12le"),
        (coloured(tag_transfer=16), {"pix_fmt": "yuv420p"}, "PQ"),
        (coloured(tag_transfer=18), {"codec": "hevc", "pix_fmt": "yuv420p"}, "HLG"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(video: Video, options: dict[str, object], words: str) -> None:
    """An unknown codec, a format it has not, and HDR in 8 bits."""
    with pytest.raises(EncodeError, match=words) as caught:
        made(video, **options)
    assert caught.value.hint


def test_the_settings_know_every_format() -> None:
    """--pix-fmt takes what some codec has, and nothing else."""
    assert set(kinds.PIX_FMTS) == {name for names in PIX_FMTS.values() for name in names}
