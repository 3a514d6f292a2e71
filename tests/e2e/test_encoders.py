"""Codecs, qualities and presets, as a person asks for them."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from house import House, MakeClip

LONG = pytest.mark.long("longer")
KINDS = [
    (("--codec", "av1", "--encoder-preset", "10", "--crf", "40"), "av1", "yuv420p"),
    pytest.param(("--codec", "av1", "--pix-fmt", "yuv420p10le"), "av1", "yuv420p10le", marks=LONG),
    pytest.param(
        ("--codec", "prores", "--encoder-preset", "lt", "--container", "mov"), "prores", "yuv422p10le", marks=LONG
    ),
    (("--codec", "prores", "--encoder-preset", "4444"), "prores", "yuv444p12le"),
    (("--codec", "h264", "--encoder-preset", "ultrafast", "--crf", "30"), "h264", "yuv420p"),
]


def only(folder: Path) -> Path:
    """Give the one result."""
    (found,) = folder.glob("clip.x2.*")
    return found


@pytest.mark.parametrize(("flags", "codec", "pix_fmt"), KINDS)
def test_what_is_asked_is_what_comes(
    house: House, clip: MakeClip, flags: tuple[str, ...], codec: str, pix_fmt: str
) -> None:
    """Each codec goes the whole way in pieces, with its quality, its preset and its format; done work is done."""
    clip(frames=20)
    ended = house.enhance("--segment-frames", "12", *flags)
    assert ended.code == 0, ended.out + ended.err
    with av.open(str(only(house.outputs))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.codec.canonical_name, stream.pix_fmt) == (codec, pix_fmt)
        assert sum(1 for _ in container.decode(stream)) == 20
    assert "already done" in house.enhance("--segment-frames", "12", *flags).out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--encoder-preset", "tiny"), "libx265: knows no preset"),
        (("--codec", "av1", "--crf", "0"), "libsvtav1: its quality goes from 1 (best) to 63"),
        (("--codec", "prores", "--crf", "10"), "--crf 10 means nothing to prores"),
        (("--codec", "av1", "--pix-fmt", "yuv444p"), "av1 results cannot be stored as yuv444p"),
    ],
)
def test_what_no_encoder_takes_is_a_usage_error(
    house: House, clip: MakeClip, flags: tuple[str, ...], words: str
) -> None:
    """It is said before anything starts, with what each encoder takes."""
    clip(frames=5)
    ended = house.enhance(*flags)
    assert ended.code == 2, ended.out + ended.err
    assert words in ended.err
    assert "Created instance" not in ended.out


def test_a_pair_that_never_fits_stops_the_run(house: House, clip: MakeClip) -> None:
    """A container that does not take the codec's pictures is named, with those that do, and nothing is made."""
    clip(frames=5)
    ended = house.enhance("--codec", "prores", "--container", "mp4")
    assert ended.code == 2
    assert "choose --container mov or mkv" in ended.err
    assert "mp4 cannot carry prores pictures" in ended.out + ended.err
    assert "Created instance" not in ended.out


def test_enhance_takes_the_encoder_s_flags(house: House, clip: MakeClip) -> None:
    """`uprez enhance` makes the same choices, and writes QuickTime by its suffix."""
    target = house.top / "made" / "big.mov"
    flags = ("--model", "lanczos", "--codec", "prores", "--encoder-preset", "proxy")
    ended = house.uprez("enhance", str(clip(frames=5)), str(target), *flags)
    assert ended.code == 0, ended.out + ended.err
    with av.open(str(target)) as container:
        assert container.format.name.startswith("mov")
        assert container.streams.video[0].codec_context.codec.canonical_name == "prores"
