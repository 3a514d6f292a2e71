"""The choice of an encoder and what it writes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.plane import VideoPlane

import plain
from uprez.errors import EncodeError, StoreError
from uprez.job import Colour, Mastering, Options
from uprez.media import decode, encode, probe
from uprez.media.colour import prores_colour, tags_for
from uprez.media.encode import Choice, Encoder, Picture, choose, encoding, extradata_sha256
from uprez.media.frame import Frame
from uprez.media.ladders import LADDERS, PIX_FMTS, Rung
from uprez.media.layouts import layout
from uprez.media.target import target

SOFTWARE = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "prores": "prores_ks", "ffv1": "ffv1"}

PICTURE = Picture(
    width=70,
    height=50,
    sar=Fraction(32, 27),
    rate=Fraction(30000, 1001),
    colour=Colour(matrix="bt601", full_range=False, siting="topleft"),
)


def _stored(codec: str, pix_fmt: str | None = None, picture: Picture = PICTURE) -> Picture:
    """The picture as a codec stores it: its first format, unless another is named."""
    how = layout(pix_fmt or PIX_FMTS[codec][0])
    stored = replace(picture.colour, depth=how.depth, across=how.across, down=how.down)
    return replace(picture, colour=prores_colour(stored) if codec == "prores" else stored)


def _frame(number: int, picture: Picture = PICTURE) -> Frame:
    generator = np.random.default_rng(number)
    colour, unit = picture.colour, 1 << (picture.colour.depth - 8)
    chroma = (-(-picture.height // colour.down), -(-picture.width // colour.across))
    kind = np.uint8 if colour.depth == 8 else np.uint16
    planes = tuple(
        generator.integers(16 * unit, 235 * unit, shape, kind)
        for shape in ((picture.height, picture.width), chroma, chroma)
    )
    return Frame(planes=planes, pts=number)


def _write(path: Path, choice: Choice, count: int, picture: Picture = PICTURE) -> None:
    with Encoder(path, choice.encoding, picture) as encoder:
        for number in range(count):
            encoder.write(_frame(number, picture))


@pytest.mark.parametrize("codec", sorted(LADDERS))
def test_what_is_written_is_counted_tagged_and_closed(
    tmp_path: Path, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every frame is in the file, a keyframe first, with size, aspect, colour, siting and the trial's extradata."""
    picture = _stored(codec)
    choice = choose(codec, picture, crf=None, threads=2)
    path = tmp_path / "segment.mkv"
    _write(path, choice, 30, picture)
    tags = tags_for(picture.colour, picture.rate)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries) == (tags.matrix, tags.primaries)
        assert (context.color_trc, context.color_range) == (tags.transfer, tags.colour_range)
        assert (stream.width, stream.height, stream.pix_fmt) == (70, 50, PIX_FMTS[codec][0])
        # PyAV cannot write a container's aspect, so it is in the bitstream; FFV1's is seen by its decoder only.
        assert codec not in ("h264", "hevc") or stream.sample_aspect_ratio == Fraction(32, 27)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == 30
    assert packets[0].is_keyframe
    assert probe.quick(path.as_uri()).colour.siting == picture.colour.siting
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pix_fmt", PIX_FMTS["prores"])
def test_prores_says_its_colour_in_each_frame(tmp_path: Path, pix_fmt: str) -> None:
    """A decoder believes a ProRes frame before its container, so the frame says the matrix, primaries and transfer."""
    hdr = replace(PICTURE.colour, matrix="bt2020", tag_matrix=9, tag_primaries=9, tag_transfer=16)
    for colour, said in ((PICTURE.colour, (6, 6, 1, 1)), (hdr, (9, 9, 16, 1))):
        picture = _stored("prores", pix_fmt, replace(PICTURE, colour=colour))
        path = tmp_path / "segment.mkv"
        _write(path, choose("prores", picture, crf=None, threads=2), 1, picture)
        with av.open(str(path)) as container:
            (frame,) = container.decode(video=0)
            assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == said


@pytest.mark.parametrize(("codec", "pix_fmt"), [(codec, names[-1]) for codec, names in PIX_FMTS.items()])
def test_segments_join_exactly(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    """One decoder that gets the packets of two segments, one after the other, shows what each of them shows alone."""
    picture = _stored(codec, pix_fmt)
    choice = choose(codec, picture, crf=None, threads=2)
    parts = [tmp_path / f"segment-{number}.mkv" for number in range(2)]
    for path, count in zip(parts, (13, 4), strict=True):
        _write(path, choice, count, picture)
    alone = [frame for path in parts for frame in _shown(path)]
    assert len(alone) == 17
    assert _shown(*parts) == alone


def _shown(*parts: Path) -> list[bytes]:
    """Every frame's samples, as one decoder gives them."""
    with ExitStack() as stack:
        sources = [stack.enter_context(av.open(str(path))) for path in parts]
        decoder = sources[0].streams.video[0].codec_context
        packets = [packet for source in sources for packet in source.demux(video=0) if packet.size]
        frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
        each = 1 if layout(frames[0].format.name).depth == 8 else 2
        return [b"".join(_rows(plane, each) for plane in frame.planes) for frame in frames]


def _rows(plane: VideoPlane, bytes_each: int) -> bytes:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * bytes_each].tobytes()


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
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
    picture = _stored(codec)
    choice = choose(codec, picture, crf=None, threads=2)
    hashes = set()
    for count in (1, 3, 40):
        _write(tmp_path / "segment.mkv", choice, count, picture)
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
    how, odd = layout(pix_fmt), codec == "ffv1"
    picture = replace(_stored(codec, pix_fmt), width=69 if odd else 72, height=49 if odd else 48)
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
    assert index.video.pix_fmt == (choice.encoding.decoded_as or pix_fmt)
    got = list(decode.frames(path.as_uri(), index, 0, 3, threads=1))
    assert [plane.shape for plane in got[0].planes] == [plane.shape for plane in planes]
    if codec == "ffv1":
        assert all(np.array_equal(a, b) for frame in got for a, b in zip(frame.planes, planes, strict=True))


def test_decoders_give_4444_back_deeper() -> None:
    """FFmpeg decodes what was stored with 10 bits as 12: a choice says so, and of nothing else."""
    deeper = {
        name: found
        for codec, names in PIX_FMTS.items()
        for name in names
        if (found := choose(codec, _stored(codec, name), crf=None, threads=1).encoding.decoded_as)
    }
    assert deeper == {"yuv444p10le": "yuv444p12le"}


GRADED = Mastering(
    red=(Fraction(34000, 50000), Fraction(16000, 50000)),
    green=(Fraction(13250, 50000), Fraction(34500, 50000)),
    blue=(Fraction(7500, 50000), Fraction(3000, 50000)),
    white=(Fraction(15635, 50000), Fraction(16450, 50000)),
    luminance=(Fraction(1, 10000), Fraction(1000)),
    max_cll=1000,
    max_fall=400,
)


def _numbers(facts: Mastering | None) -> list[float]:
    """All numbers of the metadata, in order."""
    assert facts is not None
    pairs = (facts.red, facts.green, facts.blue, facts.white, facts.luminance, (facts.max_cll, facts.max_fall))
    return [float(number or 0) for pair in pairs for number in pair or ()]


@pytest.mark.parametrize(("codec", "encoder"), [("hevc", "libx265"), ("av1", "libsvtav1")])
def test_hdr_metadata_is_in_the_stream(tmp_path: Path, codec: str, encoder: str) -> None:
    """The mastering display and the light levels of an HDR source are in an HEVC or AV1 result."""
    colour = replace(PICTURE.colour, matrix="bt2020", depth=10, tag_matrix=9, tag_primaries=9, tag_transfer=16)
    picture = replace(PICTURE, colour=colour, mastering=GRADED)
    choice = choose(codec, picture, crf=None, threads=1)
    assert choice.encoding.rung == encoder
    assert choice.ladder[0].endswith(": writes no HDR metadata")
    path = tmp_path / "segment.mkv"
    _write(path, choice, 1, picture)
    video = probe.quick(path.as_uri())
    assert _numbers(video.mastering) == pytest.approx(_numbers(GRADED), abs=2**-14)  # AV1's steps
    assert (video.colour.tag_transfer, video.colour.depth) == (16, 10)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_quality_goes_to_the_encoder(codec: str) -> None:
    """Without a wish the default is used, with one the wish is."""
    rung = next(rung for rung in LADDERS[codec] if rung.encoder == SOFTWARE[codec])
    assert rung.quality
    for crf, said in ((None, rung.quality.default), (30, 30)):
        made = encoding(codec, rung.encoder, PICTURE, crf=crf, preset=None, threads=2)
        assert dict(made.options)[rung.quality.option] == str(said)


@pytest.mark.parametrize(
    ("codec", "rung"), [(codec, rung) for codec, rungs in LADDERS.items() for rung in rungs if not rung.on_gpu]
)
def test_every_preset_and_both_ends_of_the_quality_encode(codec: str, rung: Rung) -> None:
    """What the table says of an encoder, the encoder can do."""
    picture = _stored(codec, rung.pix_fmts[0] if rung.pix_fmts else None)
    for preset in rung.presets.names if rung.presets else ():
        choice = choose(codec, picture, crf=None, preset=preset, threads=2)
        assert rung.presets
        assert dict(choice.encoding.options)[rung.presets.option] == preset
        assert choice.encoding.rung == rung.encoder
    for crf in (rung.quality.best, rung.quality.worst) if rung.quality else ():
        assert choose(codec, picture, crf=crf, threads=2).ladder[-1] == f"{rung.encoder}: chosen"


def test_no_rung_is_passed_over_for_what_none_has() -> None:
    """HDR metadata that no encoder of a codec writes is no reason to leave the GPU."""
    picture = replace(PICTURE, mastering=GRADED)
    assert not any("HDR" in line for line in choose("h264", picture, crf=None, threads=1).ladder)


def test_better_quality_takes_more_bytes(tmp_path: Path) -> None:
    """The best number of each scale is really the best: none is taken for "as you like"."""
    for codec in ("h264", "hevc", "av1"):
        quality = LADDERS[codec][-1].quality
        assert quality
        sizes = []
        for crf in (quality.best, quality.default, quality.worst):
            _write(tmp_path / "segment.mkv", choose(codec, PICTURE, crf=crf, threads=1), 6)
            sizes.append((tmp_path / "segment.mkv").stat().st_size)
        assert sizes[0] > 1.5 * sizes[1]
        assert sizes[1] > 1.5 * sizes[2]


def test_what_a_rung_does_not_know_is_passed_over() -> None:
    """A preset, or a quality, that only a later rung has makes the ladder go on, and it says why."""
    choice = choose("h264", PICTURE, crf=None, preset="medium", threads=1)
    assert choice.ladder == ('h264_nvenc: knows no preset "medium" (p1 to p7)', "libx264: chosen")
    best = choose("hevc", PICTURE, crf=0, threads=1)
    assert best.ladder == ("hevc_nvenc: its quality goes from 1 (best) to 51", "libx265: chosen")


@pytest.mark.parametrize(
    ("codec", "crf", "preset"),
    [("h264", 52, None), ("hevc", -1, None), ("av1", 0, None), ("av1", None, "medium"), ("ffv1", 10, None)],
)
def test_what_makes_no_sense_is_refused(codec: str, crf: int | None, preset: str | None) -> None:
    """A quality out of range, one for a lossless codec and an unknown preset end the ladder, each rung with its why."""
    with pytest.raises(EncodeError, match=f"{SOFTWARE[codec]}: ") as caught:
        choose(codec, PICTURE, crf=crf, preset=preset, threads=1)
    assert all(rung.encoder in caught.value.message for rung in LADDERS[codec])


@pytest.mark.parametrize("codec", sorted(LADDERS))
def test_an_encoding_follows_from_what_is_asked(codec: str) -> None:
    """Who knows what was asked can say, without the machine, what its choice must have been."""
    picture = _stored(codec, PIX_FMTS[codec][-1])
    presets = LADDERS[codec][-1].presets
    preset = presets.names[1] if presets else None
    got = choose(codec, picture, crf=None, preset=preset, threads=3).encoding
    assert replace(got, decoded_as="") == encoding(
        codec, got.rung, picture, crf=None, preset=preset, threads=got.threads
    )


def test_an_encoding_that_nobody_can_have_chosen_is_refused() -> None:
    """An encoder of another codec or format, and one that does not know what is asked."""
    for codec, encoder, preset in (("h264", "libx265", None), ("prores", "prores_ks", None), ("h264", "libx264", "p5")):
        with pytest.raises(EncodeError, match=encoder):
            encoding(codec, encoder, PICTURE, crf=None, preset=preset, threads=1)


def test_a_machine_without_a_gpu_knows_soon() -> None:
    """The rungs that are not there cost nothing, and the one that is encodes five frames: a blink of an eye."""
    picture = replace(PICTURE, width=640, height=360)
    began = time.monotonic()
    choice = choose("h264", picture, crf=None, threads=2)
    took = time.monotonic() - began
    assert took < 2
    assert 0 < choice.seconds_per_frame * 4 <= took  # the first of five opens the encoder, and is not counted


def test_a_rung_that_does_not_work_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rung is taken, and the ladder says why; an encoder that FFmpeg lacks counts as one that fails."""
    absent = Rung(encoder="h264_of_no_one", quality=None, presets=None, settings=())
    software = next(rung for rung in LADDERS["h264"] if rung.encoder == SOFTWARE["h264"])
    monkeypatch.setitem(LADDERS, "h264", (absent, software))
    choice = choose("h264", PICTURE, crf=None, threads=1)
    assert choice.encoding.rung == "libx264"
    assert choice.ladder[0].startswith("h264_of_no_one: ")
    assert choice.ladder[1] == "libx264: chosen"
    monkeypatch.setitem(LADDERS, "h264", (absent,))
    with pytest.raises(EncodeError, match="no encoder for h264 at 70x50 works here: h264_of_no_one"):
        choose("h264", PICTURE, crf=None, threads=1)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="SVT-AV1 has no right to do it")
def test_svt_leaves_every_thread_its_priority(tmp_path: Path) -> None:
    """As root, SVT-AV1 makes itself and its caller real-time: an encoder that is open has given that back."""
    choice = choose("av1", PICTURE, crf=None, threads=2)
    with Encoder(tmp_path / "segment.mkv", choice.encoding, PICTURE) as encoder:
        encoder.write(_frame(0))
        threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
        assert len(threads) > 10
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}


def test_every_ladder_ends_in_software() -> None:
    """Each codec can be made on a machine without a GPU."""
    assert {codec: rungs[-1].encoder for codec, rungs in LADDERS.items()} == SOFTWARE
    assert set(LADDERS) == set(PIX_FMTS)


def test_a_block_that_raises_leaves_no_file(tmp_path: Path) -> None:
    """Half a segment is not left under its name."""
    choice = choose("h264", PICTURE, crf=None, threads=1)
    path = tmp_path / "segment.mkv"
    with pytest.raises(KeyError), Encoder(path, choice.encoding, PICTURE) as encoder:  # noqa: PT012
        encoder.write(_frame(0))
        raise KeyError
    assert not path.exists()


def test_a_full_disk_is_the_store_and_not_the_encoder(tmp_path: Path) -> None:
    """Whether it shows at a frame or at the end, the error says what is full, and the file is gone."""
    choice = choose("ffv1", PICTURE, crf=None, threads=1)
    for count in (1, 200):
        path = tmp_path / "segment.mkv"
        path.symlink_to("/dev/full")
        with pytest.raises(StoreError, match=r"segment\.mkv cannot be written: No space left") as caught:
            _write(path, choice, count)
        assert caught.value.hint == "is the disk full?"
        assert not path.is_symlink()


def test_an_encoder_that_fails_is_an_encode_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What FFmpeg raises while it encodes is the encoder's fault, and leaves no file."""
    choice = choose("h264", PICTURE, crf=None, threads=1)
    path = tmp_path / "segment.mkv"
    monkeypatch.setattr(Encoder, "_to_ffmpeg", lambda _self, _frame: av.VideoFrame(0, 0, "yuv420p"))
    with pytest.raises(EncodeError, match="libx264 at 70x50 fails: Invalid argument"):
        _write(path, choice, 1)
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


@pytest.mark.parametrize(
    ("size", "ends"), [((260, 18), False), ((16, 1000), False), ((64, 8), True), ((640, 30), True), ((16, 16), True)]
)
def test_narrow_pictures_are_not_for_svt(size: tuple[int, int], ends: bool) -> None:
    """libsvtav1 waits for ever at some shapes: there it is passed over by name, and never begun."""
    picture = Picture(width=size[0], height=size[1], sar=Fraction(1), rate=Fraction(25), colour=plain.COLOUR)
    if ends:
        assert choose("av1", picture, crf=None, threads=2).encoding.rung == "libsvtav1"
    else:
        with pytest.raises(EncodeError, match="libsvtav1: never ends at such a shape"):
            choose("av1", picture, crf=None, threads=2)


def test_a_rate_beyond_an_encoders_is_no_reason_to_fail() -> None:
    """SVT-AV1 refuses more than 240 frames a second; what it is told matters to nothing but its rate control."""
    options = Options(mode="interp", scale=Fraction(1), factor=Fraction(16), codec="av1")
    video = replace(plain.VIDEO, rate=Fraction(60))
    told = encode.picture(video, options, target(video, options))
    assert choose("av1", told, crf=None, threads=2, preset="12").encoding.rung == "libsvtav1"
    assert encode.picture(video, options, target(video, replace(options, codec="hevc"))).rate == 960


@pytest.mark.parametrize(("rate", "primaries"), [(Fraction(25), 5), (Fraction(30000, 1001), 6), (None, 5)])
def test_more_frames_a_second_are_no_other_colour(tmp_path: Path, rate: Fraction | None, primaries: int) -> None:
    """PAL at 60 frames a second has PAL's primaries still: what nobody stated is told by the source's rate."""
    untagged = Colour(matrix="bt601", full_range=False, siting="left")
    video = replace(plain.VIDEO, rate=rate, colour=untagged)
    options = Options(mode="interp", scale=Fraction(1), target_fps=Fraction(60), codec="ffv1")
    told = encode.picture(video, options, target(video, options))
    assert told.rate == 60
    path = tmp_path / "segment.mkv"
    _write(path, choose("ffv1", told, crf=None, threads=2), 1, told)
    assert probe.quick(path.as_uri()).colour.tag_primaries == primaries
