"""What a probe says and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.errors import InputError
from uprez.job import Turn
from uprez.media import probe

MakeClip = Callable[..., Path]


def test_quick_states_the_headers(make_clip: MakeClip) -> None:
    """Size, rate, time base, aspect, duration, frames and the other streams come from the headers."""
    rate = Fraction(30000, 1001)
    video = probe.quick(make_clip(rate=rate, sar=Fraction(32, 27), audio=("aac", "aac"), frames=30).as_uri())
    assert (video.codec, video.width, video.height, video.pix_fmt) == ("h264", 64, 48, "yuv420p")
    assert (video.rate, video.sar, video.frames) == (rate, Fraction(32, 27), 30)
    assert video.duration == 30 / rate
    assert [(track.codec, track.language) for track in video.audio] == [("aac", "eng"), ("aac", "deu")]


def test_tags_are_kept_as_the_source_states_them(make_clip: MakeClip) -> None:
    """Colour tags and chroma location are read from the file."""
    options = {"chroma_sample_location": "topleft"}
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    colour = probe.quick(make_clip(tags=tags, options=options).as_uri()).colour
    assert (colour.tag_matrix, colour.tag_primaries, colour.tag_transfer) == (9, 9, 14)
    assert (colour.matrix, colour.siting, colour.full_range) == ("bt2020", "topleft", False)


def test_full_range_is_seen(make_clip: MakeClip) -> None:
    """Full-range video is told from limited-range video."""
    assert probe.quick(make_clip(tags={"color_range": 2}).as_uri()).colour.full_range


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": (16400, 16), "codec": "ffv1", "name": "wide.mkv"}, "size 16400x16 is out of range"),
        ({"size": (8192, 4400), "codec": "ffv1", "name": "huge.mkv", "frames": 1}, "8192x4400 is out of range"),
    ],
    ids=["side", "pixels"],
)
def test_absurd_sizes_are_refused(make_clip: MakeClip, fields: dict[str, object], words: str) -> None:
    """What no decoder could hold is refused in one line that names it."""
    path = make_clip(**{"options": {}, "frames": 2, **fields})
    with pytest.raises(InputError, match=words) as caught:
        probe.quick(path.as_uri())
    assert str(path) in caught.value.message


def test_absurd_times_are_refused(make_clip: MakeClip) -> None:
    """Frames that span years, or millions of them in a second, are a damaged clock."""
    with pytest.raises(InputError, match="hours"):
        probe.index(make_clip(frames=3, times=[0, 1000, 10**12], name="years.mkv").as_uri())
    with pytest.raises(InputError, match="a second work"):
        probe.index(make_clip(frames=1200, times=list(range(1200)), size=(16, 16)).as_uri())


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "expected"),
    [
        ("yuv420p10le", "libx265", ("yuv", 10, 2, 2)),
        ("yuv422p", "ffv1", ("yuv", 8, 2, 1)),
        ("yuv444p12le", "ffv1", ("yuv", 12, 1, 1)),
        ("gray", "ffv1", ("gray", 8, 1, 1)),
        ("bgr0", "ffv1", ("rgb", 8, 1, 1)),
    ],
)
def test_how_samples_are_stored_is_said(
    make_clip: MakeClip, pix_fmt: str, codec: str, expected: tuple[str, int, int, int]
) -> None:
    """Family, depth and share of chroma are read from the pixel format."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = make_clip(name="clip.mkv", pix_fmt=pix_fmt, codec=codec, options=options, frames=3)
    colour = probe.quick(path.as_uri()).colour
    assert (colour.family, colour.depth, colour.across, colour.down) == expected


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turn_is_read(make_clip: MakeClip, rotation: int) -> None:
    """FFmpeg counts turns against the clock, uprez with it; a lying picture's sides change places."""
    video = probe.quick(make_clip(rotation=rotation).as_uri())
    assert video.turn == Turn(quarters=-rotation // 90 % 4)
    assert video.shown_size == ((48, 64) if rotation in (90, 270) else (64, 48))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_interlaced_video_is_told(make_clip: MakeClip, name: str) -> None:
    """The first field is named, and whether the frames themselves say so."""
    for params, order in (("tff=1", "top"), ("bff=1", "bottom")):
        path = make_clip(name=f"{order}-{name}", options={"x264-params": params})
        index = probe.index(path.as_uri())
        assert index.video.flagged
        assert index.video.field_order in (order, "unknown")
    assert not probe.index(make_clip(name=name).as_uri()).video.interlaced


def test_streams_are_described(tmp_path: Path, make_clip: MakeClip) -> None:
    """Language, title, disposition, channels and beginning of each stream, and the chapters."""
    source, path = make_clip(name="plain.mp4", audio=("aac", "aac")), tmp_path / "full.mkv"
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        streams = {s.index: container.add_stream_from_template(s, opaque=True) for s in video.streams}
        for number, stream in streams.items():
            stream.metadata.update(video.streams[number].metadata)
        streams[2].disposition = av.stream.Disposition.default | av.stream.Disposition.comment
        container.metadata["title"] = "A film"
        chapter = {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
        container.set_chapters([chapter])  # type: ignore[list-item]
        for packet in video.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    found = probe.quick(path.as_uri())
    assert (found.title, [(each.title, each.end) for each in found.chapters]) == ("A film", [("One", Fraction(1, 2))])
    assert [(each.language, each.channels, each.sample_rate) for each in found.audio] == [
        ("eng", 1, 48000),
        ("deu", 1, 48000),
    ]
    assert {"default", "comment"} <= set(found.audio[1].dispositions)
    assert found.start is not None
    assert not found.frames_counted


def test_counted_frames_are_told_from_estimates(make_clip: MakeClip) -> None:
    """MP4 counts its frames, Matroska states a length only."""
    assert probe.quick(make_clip().as_uri()).frames_counted
    video = probe.quick(make_clip(name="clip.mkv").as_uri())
    assert not video.frames_counted
    assert video.frames == 30


def test_a_header_that_counts_nothing_is_enough(tmp_path: Path, make_clip: MakeClip) -> None:
    """A recording that was never finished states neither frames nor length: they are counted from its packets."""
    source, path = make_clip(rate=Fraction(24000, 1001)), tmp_path / "stream.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w", options={"live": "1"}) as new:
        picture = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = picture
                new.mux(packet)
    video = probe.quick(path.as_uri())
    assert (video.frames, video.duration) == (None, None)
    index = probe.index(path.as_uri())
    assert len(index.pts) == 30
    length = (index.pts[-1] + index.last_duration - index.pts[0]) * index.time_base
    assert abs(length - 30 * Fraction(1001, 24000)) <= Fraction(1, 1000)


def test_a_variable_rate_is_told(make_clip: MakeClip) -> None:
    """From the gaps between frames, not from the rates that containers state; a millisecond's rounding is none."""
    assert probe.index(make_clip(frames=6, times=[0, 1000, 1500, 4000, 4001, 9000]).as_uri()).vfr
    for name in ("even.mp4", "even.mkv"):
        assert not probe.index(make_clip(name=name, rate=Fraction(30000, 1001)).as_uri()).vfr


def test_damaged_packets_are_counted(make_clip: MakeClip) -> None:
    """What a transport stream lost on its way is counted, and the rest is listed."""
    path = make_clip(name="clip.ts", frames=60, size=(320, 240))
    data = bytearray(path.read_bytes())
    del data[188 * 60 : 188 * 63]
    path.write_bytes(data)
    index = probe.index(path.as_uri())
    assert index.damaged > 0
    assert len(index.pts) >= 58


def test_sound_alone_is_not_a_video(tmp_path: Path) -> None:
    """A file with sound only says that it has no picture."""
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48000)
        for _ in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate = 48000
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with pytest.raises(InputError, match="no video stream: audio only"):
        probe.quick(path.as_uri())


def test_cover_art_is_not_the_picture(tmp_path: Path, make_clip: MakeClip) -> None:
    """A still that stands before the video as cover art is passed over."""
    source = make_clip(name="plain.mp4", frames=12)
    path = tmp_path / "covered.mp4"
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        still = av.VideoFrame(32, 32, "yuvj420p")
        still.pts = 0
        container.mux(cover.encode(still))
        container.mux(cover.encode(None))
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.stream = picture
                container.mux(packet)
    index = probe.index(path.as_uri())
    assert (index.video.width, len(index.pts)) == (64, 12)
    assert [(stream.codec, stream.cover) for stream in index.video.others] == [("mjpeg", True)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_an_index_that_lacks_frames_is_found_out(make_clip: MakeClip, name: str) -> None:
    """Every second frame, the second half or the last frame left out: a look here and there and at the end tells."""
    url = make_clip(name=name, frames=300, size=(16, 16)).as_uri()
    index = probe.index(url)
    assert probe.holds(url, index)
    for kept in (index.pts[::2], index.pts[:150], index.pts[:-1]):
        assert not probe.holds(url, replace(index, pts=kept, keyframes=kept[:1]))


def test_captions_inside_the_picture_are_seen(tmp_path: Path, make_clip: MakeClip) -> None:
    """CEA-708 data in the first packet's SEI (ATSC A/53 part 4) is told of; a video without says nothing."""
    source, path = make_clip(name="plain.ts"), tmp_path / "captioned.ts"
    caption = b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x20\xff"
    sei = b"\x00\x00\x00\x01\x06\x04" + bytes([len(caption)]) + caption + b"\x80"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                changed = av.Packet(sei + bytes(packet))
                changed.stream, changed.time_base, changed.is_keyframe = stream, packet.time_base, packet.is_keyframe
                changed.pts, changed.dts = packet.pts, packet.dts
                new.mux_one(changed)
    assert probe.quick(path.as_uri()).captions
    assert not probe.quick(source.as_uri()).captions


def test_index_lists_every_frame_in_the_order_of_showing(make_clip: MakeClip) -> None:
    """With B-frames the index is ascending, complete and knows its keyframes."""
    index = probe.index(make_clip(frames=30).as_uri())
    assert index.pts == tuple(range(0, 30000, 1000))
    assert index.keyframes == (0, 10000, 20000)
    assert index.last_duration == 1000
    assert index.time_base == Fraction(1, 25000)


def test_a_clock_that_stands_for_a_frame_rate_is_not_believed(tmp_path: Path, make_clip: MakeClip) -> None:
    """A remux without a frame rate shows the codec's clock there: the rate is guessed or measured instead."""
    path = tmp_path / "remuxed.mkv"
    with av.open(str(make_clip(name="plain.mkv"))) as video, av.open(str(path), "w") as container:
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.stream = picture
                container.mux(packet)
    with av.open(str(path)) as remuxed:
        assert remuxed.streams.video[0].average_rate == 25000
    assert probe.quick(path.as_uri()).rate == 25
    assert probe._measured_rate((0, 33, 67, 100), 33, Fraction(1, 1000)) == Fraction(4000, 133)


def test_uneven_times_are_kept(make_clip: MakeClip) -> None:
    """Frames of a video with a variable rate keep their own times."""
    times = [0, 1000, 1500, 4000, 4001, 9000]
    assert probe.index(make_clip(frames=6, times=times).as_uri()).pts == tuple(times)


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path, make_clip: MakeClip) -> None:
    """Packets before an edit list's beginning are decoded for what follows but never shown, so not in the index."""
    path = tmp_path / "edited.mp4"
    with av.open(str(make_clip(name="plain.mp4"))) as video, av.open(str(path), "w") as container:
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 5000, packet.dts - 5000
                packet.stream = picture
                container.mux(packet)
    index = probe.index(path.as_uri())
    assert len(index.pts) == 25
    assert index.pts[0] == 0


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, make_clip: MakeClip, name: str) -> None:
    """A truncated video whose header is whole is not taken for a shorter one."""
    source = make_clip(name=f"whole-{name}", frames=100, codec="mpeg4", options={"g": "10"})
    path = tmp_path / name
    if name.endswith("mp4"):
        _faststart(source, path)
    else:
        path.write_bytes(source.read_bytes())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"ends early|damaged or cut off"):
        probe.index(path.as_uri())


def test_packets_that_are_listed_and_not_there_are_counted(tmp_path: Path, make_clip: MakeClip) -> None:
    """An MP4 cut between two packets says how many frames are listed and how many are there."""
    path = tmp_path / "cut.mp4"
    _faststart(make_clip(name="whole.mp4", frames=40, codec="mpeg4", options={"g": "10"}), path)
    with av.open(str(path)) as container:
        positions = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: positions[25]])
    with pytest.raises(InputError, match="40 frames are listed, 25 can be read"):
        probe.index(path.as_uri())


def _faststart(source: Path, target: Path) -> None:
    options = {"movflags": "+faststart"}
    with av.open(str(source)) as video, av.open(str(target), "w", container_options=options) as container:
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.stream = picture
                container.mux(packet)


def test_two_frames_with_one_time_are_refused(tmp_path: Path) -> None:
    """Frames that cannot be told apart by time are refused rather than given invented times."""
    path = tmp_path / "double.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("ffv1", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for number in range(3):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            packets += picture.encode(frame)
        packets[2].pts = packets[2].dts = packets[1].pts
        container.mux(packets)
    with pytest.raises(InputError, match=r"same time, 0\.040 s"):
        probe.index(path.as_uri())


def test_nothing_of_ffmpeg_reaches_the_console(make_clip: MakeClip, capfd: pytest.CaptureFixture[str]) -> None:
    """Probing, a truncated file's too, leaves the console alone."""
    path = make_clip(frames=60)
    probe.index(path.as_uri())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError):
        probe.index(path.as_uri())
    assert capfd.readouterr() == ("", "")
