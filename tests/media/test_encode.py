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
from uprez.job import Colour, Mastering
from uprez.media import decode, probe
from uprez.media.encode import LADDERS, Choice, Encoder, Picture, Rung, choose, extradata_sha256
from uprez.media.frame import Frame
from uprez.media.layouts import layout
from uprez.media.target import CODECS, PIX_FMTS

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


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [(codec, name) for codec, names in PIX_FMTS.items() for name in names if codec in LADDERS]
)
def test_every_pixel_format_is_written_and_read_back(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    """Each format that a codec's results may have is encoded, at odd sides where these are allowed."""
    how = layout(pix_fmt)
    colour = replace(PICTURE.colour, depth=how.depth, across=how.across, down=how.down)
    odd = codec == "ffv1"
    picture = replace(PICTURE, width=69 if odd else 72, height=49 if odd else 48, colour=colour)
    choice = choose(codec, picture, crf=None, threads=1)
    assert choice.encoding.pix_fmt == pix_fmt
    path = tmp_path / "segment.mkv"
    chroma = (-(-picture.height // how.down), -(-picture.width // how.across))
    kind = np.uint8 if how.depth == 8 else np.uint16
    ramp = (np.arange(picture.height * picture.width) % (1 << how.depth)).astype(kind)
    luma = ramp.reshape(picture.height, picture.width)
    planes = (luma, *[np.full(chroma, 3 << (how.depth - 3), kind)] * 2)
    with Encoder(path, choice.encoding, picture) as encoder:
        for number in range(3):
            encoder.write(Frame(planes=planes, pts=number))
    index = probe.index(path.as_uri())
    assert index.video.pix_fmt == pix_fmt
    got = list(decode.frames(path.as_uri(), index, 0, 3, threads=1))
    assert [plane.shape for plane in got[0].planes] == [plane.shape for plane in planes]
    if codec == "ffv1":
        assert all(np.array_equal(a, b) for frame in got for a, b in zip(frame.planes, planes, strict=True))


def test_hdr_metadata_is_in_the_stream(tmp_path: Path) -> None:
    """The mastering display and the light levels of an HDR source are in an HEVC result."""
    facts = Mastering(
        red=(Fraction(34000, 50000), Fraction(16000, 50000)),
        green=(Fraction(13250, 50000), Fraction(34500, 50000)),
        blue=(Fraction(7500, 50000), Fraction(3000, 50000)),
        white=(Fraction(15635, 50000), Fraction(16450, 50000)),
        luminance=(Fraction(1, 10000), Fraction(1000)),
        max_cll=1000,
        max_fall=400,
    )
    colour = replace(PICTURE.colour, matrix="bt2020", depth=10, tag_matrix=9, tag_primaries=9, tag_transfer=16)
    picture = replace(PICTURE, colour=colour, mastering=facts)
    choice = choose("hevc", picture, crf=None, threads=1)
    if choice.encoding.rung != "libx265":
        pytest.skip(f"{choice.encoding.rung} takes no HDR metadata")
    path = tmp_path / "segment.mkv"
    with Encoder(path, choice.encoding, picture) as encoder:
        shapes = ((50, 70), (25, 35), (25, 35))
        encoder.write(Frame(planes=tuple(np.full(shape, 300, np.uint16) for shape in shapes), pts=0))
    video = probe.quick(path.as_uri())
    assert video.mastering == facts
    assert (video.colour.tag_transfer, video.colour.depth) == (16, 10)


def test_quality_goes_to_the_encoder() -> None:
    """Without a wish the default is used, with one the wish is."""
    defaults = choose("h264", PICTURE, crf=None, threads=2).encoding
    wished = choose("h264", PICTURE, crf=30, threads=2).encoding
    name = next(rung.quality for rung in LADDERS["h264"] if rung.encoder == defaults.rung)
    assert (dict(defaults.options)[name or ""], dict(wished.options)[name or ""]) == ("18", "30")


@pytest.mark.parametrize(("codec", "crf"), [("h264", 52), ("hevc", -1), ("ffv1", 10)])
def test_what_makes_no_sense_is_refused(codec: str, crf: int) -> None:
    """A quality out of range and one for a lossless codec are errors with a next step."""
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
    assert set(LADDERS) == set(CODECS) == set(PIX_FMTS)


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
