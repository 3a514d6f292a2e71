"""What a result will be."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import get_args

import pytest

import plain
from uprez.config import kinds
from uprez.errors import EncodeError
from uprez.job import Options, Siting, Turn, Video
from uprez.media.colour import tags_for
from uprez.media.ladders import LADDERS, PIX_FMTS
from uprez.media.layouts import layout, stored
from uprez.media.target import Target, target

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


@pytest.mark.parametrize(
    ("changes", "preset", "pix_fmt"),
    [
        ({}, None, "yuv422p10le"),
        ({"across": 1, "down": 1}, None, "yuv444p10le"),
        ({"family": "rgb", "across": 1, "down": 1, "depth": 12}, None, "yuv444p10le"),
        ({"family": "gray", "across": 1, "down": 1}, None, "yuv422p10le"),
        ({"across": 1, "down": 2}, None, "yuv422p10le"),
        ({"across": 1, "down": 1}, "hq", "yuv422p10le"),
        ({}, "4444", "yuv444p10le"),
    ],
)
def test_a_prores_result_keeps_the_chroma_or_has_its_profile_s(
    changes: dict[str, object], preset: str | None, pix_fmt: str
) -> None:
    """4:4:4 and RGB stay 4:4:4, all else is 4:2:2, unless a profile is named, which stores one of the two."""
    assert stored(made(coloured(**changes), codec="prores", encoder_preset=preset).colour) == pix_fmt


@pytest.mark.parametrize("tags", [(5, 5, 6), (4, 4, 4), (7, 7, 7), (2, 2, 2), (9, 9, 16), (1, 1, 1)])
def test_a_prores_result_is_in_colours_that_prores_can_name(tags: tuple[int, int, int]) -> None:
    """Limited range, chroma on the left, and the tags that a frame's header has, which name the matrix in use."""
    matrix = {5: "bt601", 4: "fcc", 7: "smpte240m", 2: "bt601", 9: "bt2020", 1: "bt709"}[tags[0]]
    source = coloured(
        **dict(zip(("tag_matrix", "tag_primaries", "tag_transfer"), tags, strict=True)),
        matrix=matrix,
        full_range=True,
        siting="center",
    )
    colour = made(source, codec="prores").colour
    said = tags_for(colour, Fraction(25))
    assert (colour.full_range, colour.siting, said.colour_range) == (False, "left", 1)
    assert said.matrix == {"bt601": 6, "bt709": 1, "bt2020": 9}[colour.matrix]
    assert said.transfer in (1, 4, 16)


def test_chroma_is_where_the_file_can_say_it_is() -> None:
    """AV1 names two places, FFV1 four, the others all six: chroma that lies elsewhere is moved."""
    said = {
        codec: {made(coloured(siting=siting), codec=codec).colour.siting for siting in get_args(Siting)}
        for codec in ("av1", "ffv1", "hevc")
    }
    assert said["av1"] == {"left", "topleft"}
    assert said["ffv1"] == {"left", "topleft", "center", "top"}
    assert said["hevc"] == set(get_args(Siting))


def test_the_pixel_formats_are_all_that_there_are() -> None:
    """Each name is FFmpeg's own for a planar format that uprez can make."""
    assert all(layout(name).planar == name for names in PIX_FMTS.values() for name in names)
    assert {name for rungs in LADDERS.values() for rung in rungs for name in rung.pix_fmts} == set(PIX_FMTS["prores"])


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
        (VIDEO, {"codec": "av1", "pix_fmt": "yuv444p"}, "av1 results cannot be stored as yuv444p"),
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
    """--codec and --pix-fmt take what some codec has, and nothing else; --crf reaches to the end of every scale."""
    assert set(kinds.PIX_FMTS) == {name for names in PIX_FMTS.values() for name in names}
    assert set(kinds.CODECS) == set(LADDERS)
    qualities = {codec: [rung.quality for rung in rungs if rung.quality] for codec, rungs in LADDERS.items()}
    assert {codec for codec, found in qualities.items() if not found} == set(kinds.WITHOUT_QUALITY)
    assert {codec for codec, rungs in LADDERS.items() if not any(rung.presets for rung in rungs)} == set(
        kinds.WITHOUT_PRESETS
    )
    assert max(quality.worst for found in qualities.values() for quality in found) == kinds.WORST_QUALITY
