"""The choice of an encoder and what it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.errors import EncodeError
from uprez.job import Colour
from uprez.media import probe
from uprez.media.encode import LADDERS, Choice, Encoder, Picture, Rung, choose, extradata_sha256
from uprez.media.frame import Frame

SOFTWARE = {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1"}

PICTURE = Picture(
    width=70,
    height=50,
    sar=Fraction(32, 27),
    rate=Fraction(30000, 1001),
    colour=Colour(matrix="bt601", full_range=False, siting="topleft"),
)


def _frame(number: int, picture: Picture = PICTURE) -> Frame:
    generator = np.random.default_rng(number)
    shapes = [(picture.height, picture.width), *[(picture.height // 2, picture.width // 2)] * 2]
    return Frame(planes=tuple(generator.integers(16, 235, shape, np.uint8) for shape in shapes), pts=number)


def _write(path: Path, choice: Choice, count: int, picture: Picture = PICTURE) -> None:
    with Encoder(path, choice.encoding, picture) as encoder:
        for number in range(count):
            encoder.write(_frame(number, picture))


@pytest.mark.parametrize("codec", sorted(LADDERS))
def test_what_is_written_is_counted_tagged_and_closed(
    tmp_path: Path, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every frame is in the file, a keyframe first, with size, aspect, colour, siting and the trial's extradata."""
    choice = choose(codec, PICTURE, crf=None, threads=2)
    path = tmp_path / "segment.mkv"
    _write(path, choice, 30)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (6, 6, 6, 1)
        assert (stream.width, stream.height, stream.pix_fmt) == (70, 50, "yuv420p")
        # PyAV cannot write a container's aspect, so it is in the bitstream; FFV1's is seen by its decoder only.
        assert codec == "ffv1" or stream.sample_aspect_ratio == Fraction(32, 27)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == 30
    assert packets[0].is_keyframe
    assert probe.quick(path.as_uri()).colour.siting == "topleft"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_groups_of_pictures_are_closed(tmp_path: Path, codec: str) -> None:
    """Nothing that is decoded after a keyframe is shown before it: any keyframe is a place to begin."""
    path = tmp_path / "long.mkv"
    _write(path, choose(codec, PICTURE, crf=40, threads=2), 270)
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    keys = [place for place, (_, key) in enumerate(packets) if key]
    assert len(keys) > 1
    for place in keys:
        assert min(pts for pts, _ in packets[place:]) == packets[place][0]


@pytest.mark.parametrize("codec", sorted(LADDERS))
def test_extradata_does_not_depend_on_content_or_length(tmp_path: Path, codec: str) -> None:
    """The trial's extradata is every segment's: with it segments are told to belong to one plan."""
    choice = choose(codec, PICTURE, crf=None, threads=2)
    hashes = set()
    for count in (1, 3, 40):
        _write(tmp_path / "segment.mkv", choice, count)
        with av.open(str(tmp_path / "segment.mkv")) as container:
            hashes.add(extradata_sha256(container.streams.video[0]))
    assert hashes == {choice.extradata_sha256}


def test_ffv1_gives_back_every_sample(tmp_path: Path) -> None:
    """The lossless rung is lossless, row padding or not."""
    choice = choose("ffv1", PICTURE, crf=None, threads=2)
    _write(tmp_path / "segment.mkv", choice, 5)
    with av.open(str(tmp_path / "segment.mkv")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            due = np.concatenate([plane.ravel() for plane in _frame(number).planes])
            assert np.array_equal(frame.to_ndarray().ravel(), due)


@pytest.mark.parametrize("codec", ["ffv1", "hevc"])  # x264's macroblock tree differs from run to run below 320x240
def test_the_same_frames_give_the_same_file_twice(tmp_path: Path, codec: str) -> None:
    """With the same settings and threads an encoder writes the same packets again."""
    choice = choose(codec, PICTURE, crf=None, threads=2)
    decoded = []
    for name in ("a.mkv", "b.mkv"):
        _write(tmp_path / name, choice, 20)
        with av.open(str(tmp_path / name)) as container:
            decoded.append([bytes(packet) for packet in container.demux(video=0)])
    assert decoded[0] == decoded[1]


def test_auto_is_h264_until_its_decoders_end() -> None:
    """ "auto" is H.264 to 4096 pixels a side and HEVC beyond."""
    small = choose("auto", replace(PICTURE, width=4096, height=64), crf=None, threads=2)
    large = choose("auto", replace(PICTURE, width=4098, height=64), crf=None, threads=2)
    assert (small.encoding.codec, large.encoding.codec) == ("h264", "hevc")


def test_quality_goes_to_the_encoder() -> None:
    """Without a wish the default is used, with one the wish is."""
    defaults = choose("h264", PICTURE, crf=None, threads=2).encoding
    wished = choose("h264", PICTURE, crf=30, threads=2).encoding
    name = next(rung.quality for rung in LADDERS["h264"] if rung.encoder == defaults.rung)
    assert (dict(defaults.options)[name or ""], dict(wished.options)[name or ""]) == ("18", "30")


@pytest.mark.parametrize(("codec", "crf"), [("h264", 52), ("hevc", -1), ("ffv1", 10), ("divx", None)])
def test_what_makes_no_sense_is_refused(codec: str, crf: int | None) -> None:
    """A quality out of range, one for a lossless codec and an unknown codec are errors with a next step."""
    with pytest.raises(EncodeError) as caught:
        choose(codec, PICTURE, crf=crf, threads=1)
    assert caught.value.hint


def test_a_rung_that_does_not_work_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rung is taken, and the ladder says why; an encoder that FFmpeg lacks counts as one that fails."""
    absent = Rung(encoder="h264_of_no_one", quality="crf", default=18, settings=())
    software = next(rung for rung in LADDERS["h264"] if rung.encoder == SOFTWARE["h264"])
    monkeypatch.setitem(LADDERS, "h264", (absent, software))
    choice = choose("h264", PICTURE, crf=None, threads=1)
    assert choice.encoding.rung == "libx264"
    assert choice.ladder[0].startswith("h264_of_no_one: ")
    assert choice.ladder[1] == "libx264: chosen"
    monkeypatch.setitem(LADDERS, "h264", (absent,))
    with pytest.raises(EncodeError, match="no encoder for h264 at 70x50 works here: h264_of_no_one"):
        choose("h264", PICTURE, crf=None, threads=1)


def test_every_ladder_ends_in_software() -> None:
    """Each codec can be made on a machine without a GPU."""
    assert {codec: rungs[-1].encoder for codec, rungs in LADDERS.items()} == SOFTWARE


def test_a_block_that_raises_leaves_no_file(tmp_path: Path) -> None:
    """Half a segment is not left under its name."""
    choice = choose("h264", PICTURE, crf=None, threads=1)
    path = tmp_path / "segment.mkv"
    with pytest.raises(KeyError), Encoder(path, choice.encoding, PICTURE) as encoder:  # noqa: PT012
        encoder.write(_frame(0))
        raise KeyError
    assert not path.exists()


def test_an_unwritable_path_is_an_encode_error(tmp_path: Path) -> None:
    """A folder that is not there is named as a failure to encode."""
    choice = choose("ffv1", PICTURE, crf=None, threads=1)
    with pytest.raises(EncodeError, match="No such file"):
        Encoder(tmp_path / "absent" / "segment.mkv", choice.encoding, PICTURE)


def test_clips_made_for_tests_are_readable(make_clip: Callable[..., Path]) -> None:
    """The fixture's own files open."""
    with av.open(str(make_clip(frames=2))) as container:
        assert len(list(container.decode(video=0))) == 2
