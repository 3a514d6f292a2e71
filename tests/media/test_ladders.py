"""What encoders can be asked for."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest

from uprez.errors import EXIT_USAGE, UsageError
from uprez.media import ladders
from uprez.media.ladders import LADDERS


def check(codec: str, crf: int | None = None, preset: str | None = None, pix_fmt: str | None = None) -> None:
    """Check what may be asked of a codec."""
    ladders.check(codec, crf=crf, preset=preset, pix_fmt=pix_fmt)


@pytest.mark.parametrize("codec", ["auto", *LADDERS])
def test_nothing_asked_is_always_done(codec: str) -> None:
    """Without a wish every codec is made."""
    check(codec)


@pytest.mark.parametrize(
    ("codec", "crf", "preset"),
    [
        ("auto", 0, None),
        ("auto", 51, "slow"),
        ("h264", 20, "p7"),
        ("hevc", None, "placebo"),
        ("av1", 63, "12"),
        ("av1", 40, "p1"),
        ("prores", None, "proxy"),
        ("prores", None, "4444xq"),
    ],
)
def test_what_some_rung_knows_is_taken(codec: str, crf: int | None, preset: str | None) -> None:
    """One rung that can do all that is asked is enough."""
    check(codec, crf, preset)


@pytest.mark.parametrize(
    ("codec", "crf", "preset", "words"),
    [
        ("auto", 52, None, "no encoder for auto takes --crf 52: h264_nvenc: its quality goes from 1 (best) to 51; "),
        ("av1", 0, None, "libsvtav1: its quality goes from 1 (best) to 63"),
        ("av1", 22, "medium", 'takes --crf 22 and --encoder-preset medium: av1_nvenc: knows no preset "medium" (p1 to'),
        ("av1", None, "13", 'libsvtav1: knows no preset "13" (0 to 12)'),
        (
            "h264",
            None,
            "tiny",
            "(ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, ",
        ),
        ("h264", 0, "p5", "h264_nvenc: its quality goes from 1"),
        ("prores", 10, None, "prores_ks: has no constant quality"),
        ("prores", None, "raw", "(proxy, lt, standard, hq)"),
        ("ffv1", None, "slow", "ffv1: knows no presets"),
    ],
)
def test_what_no_rung_knows_is_a_usage_error(codec: str, crf: int | None, preset: str | None, words: str) -> None:
    """Each rung is named with what it takes."""
    with pytest.raises(UsageError) as caught:
        check(codec, crf, preset)
    assert words in caught.value.message
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.hint


def test_a_pixel_format_that_no_codec_has_is_a_usage_error() -> None:
    """Also one that a profile of ProRes does not store; "auto" has what one of its two codecs has."""
    check("auto", pix_fmt="yuv444p12le")
    check("prores", preset="4444", pix_fmt="yuv444p10le")
    for codec, pix_fmt, preset in (
        ("auto", "yuv420p16le", None),
        ("av1", "yuv444p", None),
        ("prores", "yuv420p", None),
    ):
        with pytest.raises(UsageError, match=f"{codec} results cannot be stored as {pix_fmt}"):
            check(codec, preset=preset, pix_fmt=pix_fmt)
    with pytest.raises(UsageError, match="knows no preset"):
        check("prores", preset="4444", pix_fmt="yuv422p10le")


def test_what_only_the_cpu_knows_is_known() -> None:
    """A rented GPU that will not encode is worth a word; where it does, or never could, there is nothing to say."""

    def passed(codec: str, crf: int | None = None, preset: str | None = None) -> str | None:
        return ladders.passes_gpu(codec, crf=crf, preset=preset)

    assert passed("av1", preset="6") == 'av1_nvenc: knows no preset "6" (p1 to p7)'
    assert "hevc_nvenc: its quality goes from 1" in str(passed("auto", crf=0))
    assert {passed("h264"), passed("hevc", preset="p6"), passed("prores", preset="hq"), passed("ffv1")} == {None}


def test_the_page_has_the_table() -> None:
    """Every encoder stands in the reference, in the ladders' order, with its scale, its presets and its defaults."""
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "media.md"
    _, _, table = page.read_text(encoding="utf-8").partition("| codec | encoder |")
    rows = list(takewhile(lambda line: line.startswith("|"), table.splitlines()[2:]))
    listed = [rung for rungs in LADDERS.values() for rung in rungs]
    for rung, row in zip(listed, rows, strict=True):
        assert f"| {rung.encoder}" in row
        assert not rung.quality or f"| {rung.quality.best} to {rung.quality.worst} ({rung.quality.default}) |" in row
        assert not rung.presets or f"({rung.presets.default}) |" in row
        assert not rung.presets or str(rung.presets) in row or rung.encoder == "libx265"
        assert row.endswith("| yes |" if rung.says_hdr else "| no |")
