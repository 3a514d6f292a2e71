"""Nothing of a source is lost: sound, subtitles, fonts, covers, other pictures, chapters, in every container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from film import FONT, MS, PICTURE, film, line
from joined import assemble, check
from uprez.errors import VerifyError
from uprez.job import Index, Plan
from uprez.media import containers, probe, subtitles

MakeClip = Callable[..., Path]
Made = tuple[Index, Plan, list[Path]]
MakeSegments = Callable[..., Made]


def _streams(path: Path) -> list[tuple[str, str, str | None, str | None]]:
    with av.open(str(path)) as container:
        return [
            (
                each.type,
                each.codec_context.codec.canonical_name if each.codec_context else each.name,
                each.language,
                each.metadata.get("title") or each.metadata.get("filename"),
            )
            for each in container.streams
        ]


def _packets(path: Path, number: int) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams[number]
        found = [packet for packet in container.demux(stream) if packet.size]
        return [((packet.pts or 0) * packet.time_base, bytes(packet)) for packet in found]


def test_matroska_keeps_all_that_matroska_has(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> None:
    """Two languages, ASS, PGS, another angle, a font, a cover and chapters arrive byte for byte, at their times."""
    source = film(make_clip(name="plain.mkv", audio=("aac", "flac")), tmp_path / "rich.mkv")
    made = make_segments(source)
    assert made[1].container == "mkv"
    assert containers.left_behind(made[0].video, "mkv") == ()
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    assert _streams(result)[1:] == _streams(source)[1:]
    for number in range(1, len(_streams(source))):
        if _streams(source)[number][0] != "attachment":
            assert _packets(result, number) == _packets(source, number)
    with av.open(str(result)) as container:
        assert [bytes(each.data) for each in container.streams.attachments] == [FONT]
        assert [each.metadata["mimetype"] for each in container.streams.attachments] == ["font/ttf"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["part 0", "part 1"]
        forced = [each.index for each in container.streams if each.disposition & Disposition.forced]
        covers = [each.index for each in container.streams if each.disposition & Disposition.attached_pic]
    assert (len(forced), len(covers)) == (1, 1)
    assert _packets(result, covers[0])[0][1] == PICTURE


def test_mp4_keeps_its_text_and_its_cover(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> None:
    """Timed text and cover art of an MP4 stay in MP4 as they are, whole and in a part."""
    source = _with_text(make_clip(name="plain.mp4", audio=("aac",)), tmp_path / "text.mp4")
    made = make_segments(source)
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    kinds = [stream[:2] for stream in _streams(result)]
    assert kinds == [("video", "h264"), ("audio", "aac"), ("subtitle", "mov_text"), ("video", "png")]
    assert _texts(result) == _texts(source)
    assert _packets(result, 3)[0][1] == PICTURE
    part = make_segments(source, start=Fraction(1, 2), duration=Fraction(1, 2))
    cut = assemble(tmp_path, source, part)
    check(cut, source, part)
    assert _packets(cut, 3)[0][1] == PICTURE


def test_timed_text_becomes_subrip_in_matroska(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments
) -> None:
    """Where the result is Matroska the text of an MP4's subtitles stays, with language and times; the cover too."""
    source = _with_text(make_clip(name="plain.mp4", audio=("aac",)), tmp_path / "text.mp4")
    made = make_segments(source, codec="ffv1")
    assert made[1].container == "mkv"
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    kinds = [stream[:3] for stream in _streams(result)]
    assert kinds == [
        ("video", "ffv1", None),
        ("audio", "aac", "eng"),
        ("subtitle", "subrip", "deu"),
        ("video", "png", None),
    ]
    shift = _packets(result, 0)[0][0]
    got = [(at - shift, data.decode()) for at, data in _packets(result, 2)]
    assert got == [(Fraction(1, 5), "Grüß Gott"), (Fraction(3, 5), "Ende")]


def _with_text(plain: Path, path: Path) -> Path:
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        copied = {each.index: new.add_stream_from_template(each, opaque=True) for each in old.streams}
        for number, stream in copied.items():
            stream.metadata.update(old.streams[number].metadata)
        text = new.add_mux_stream("mov_text")
        text.time_base, text.metadata["language"] = MS, "deu"
        cover = new.add_stream("png", rate=25)
        cover.width = cover.height = 16
        cover.pix_fmt, cover.disposition = "rgb24", Disposition.attached_pic
        new.start_encoding()
        for at, words in ((200, "Grüß Gott"), (600, "Ende")):
            data = words.encode()
            new.mux_one(line(text, len(data).to_bytes(2, "big") + data, at, 200))
        picture = av.Packet(PICTURE)
        picture.stream, picture.pts, picture.dts, picture.time_base, picture.is_keyframe = cover, 0, 0, MS, True
        new.mux_one(picture)
        for packet in old.demux():
            if packet.size:
                packet.stream = copied[packet.stream_index]
                new.mux_one(packet)
    return path


def _texts(path: Path) -> list[tuple[Fraction, str]]:
    return [(at, subtitles.text_of(data)) for at, data in _packets(path, 2)]


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.mov"])
def test_pictures_that_begin_late_and_sound_that_goes_on_stay_so(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments, name: str
) -> None:
    """A picture that begins half a second after its sound, and sound that outlasts it, keep their offsets."""
    source = make_clip(name=name, audio=("aac",), start=Fraction(1, 2))
    made = make_segments(source)
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    for number in (0, 1):
        assert sorted(at for at, _ in _packets(result, number)) == sorted(at for at, _ in _packets(source, number))


def test_pcm_goes_to_quicktime(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> None:
    """A camera's QuickTime file with uncompressed sound stays one, and every sample arrives."""
    source = make_clip(name="camera.mov", audio=("pcm_s16le",), languages=("fra",))
    made = make_segments(source)
    assert made[1].container == "mov"
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    assert b"".join(data for _, data in _packets(result, 1)) == b"".join(data for _, data in _packets(source, 1))
    assert probe.quick(result.as_uri()).others[0].language == "fra"


def test_one_byte_of_a_subtitle_is_missed(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> None:
    """Subtitles are compared as sound is."""
    source = film(make_clip(name="plain.mkv", audio=("aac",)), tmp_path / "rich.mkv")
    made = make_segments(source)
    result = assemble(tmp_path, source, made)
    data = result.read_bytes()
    assert data.count(b"line 1") == 1
    result.write_bytes(data.replace(b"line 1", b"line l"))
    with pytest.raises(
        VerifyError, match=r"subtitle track \(stream 3 of the source\) differs from the source's at 0.4"
    ):
        check(result, source, made)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x00\x05helloXXXX", "hello"),
        (b"\x00\x00", ""),
        (b"\x00\x06\xfe\xff\x00h\x00i", "hi"),
        (b"\x00\x03\xffab", "\ufffdab"),
        (b"", ""),
    ],
)
def test_text_is_read_out_of_its_sample(data: bytes, text: str) -> None:
    """Length first, UTF-8 or UTF-16 by its mark, boxes of style behind; a gap is empty."""
    assert subtitles.text_of(data) == text


def test_shape_survives_where_a_codec_has_none(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments
) -> None:
    """A result whose picture would be squeezed does not pass."""
    source = make_clip(sar=Fraction(128, 117))
    index, plan, _ = made = make_segments(source)
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    other = replace(index, video=replace(index.video, sar=Fraction(1)))
    with pytest.raises(VerifyError, match=r"samples have the shape 128/117, 1 is due"):
        check(result, source, (other, plan, made[2]))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_transport_streams_clock_begins_anew(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments, container: str
) -> None:
    """A recording whose clock stands at ten hours begins at 0, its sound and picture as far apart as they were."""
    plain, source = make_clip(name="plain.ts", audio=("aac",), start=Fraction(1, 5)), tmp_path / "late.ts"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        copied = {each.index: new.add_stream_from_template(each, opaque=True) for each in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.pts, packet.dts = packet.pts + 36000 * 90000, packet.dts + 36000 * 90000
                packet.stream = copied[packet.stream_index]
                new.mux_one(packet)
    made = make_segments(source, container=container)
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    seen = probe.quick(result.as_uri())
    gap = [probe.quick(source.as_uri()), seen]
    assert all(video.start is not None and video.others[0].start is not None for video in gap)
    assert 0 <= (seen.start or 0) < 1
    apart = [(video.start or 0) - (video.others[0].start or 0) for video in gap]
    assert abs(apart[0] - apart[1]) <= Fraction(1, 500)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_tracks_title_in_mp4_is_kept(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments, container: str
) -> None:
    """What FFmpeg calls the name of an MP4's track is its title in a result."""
    source = make_clip(name="titled.mp4", audio=("aac",))
    assert probe.quick(source.as_uri()).others[0].title == "track 0"
    made = make_segments(source, container=container)
    result = assemble(tmp_path, source, made)
    assert probe.quick(result.as_uri()).others[0].title == "track 0"


def test_where_a_telephone_took_a_video_is_kept(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments
) -> None:
    """Apple's own keys (place, model) are in an MP4 result as they were in the source."""
    plain, source = make_clip(name="plain.mp4"), tmp_path / "phone.mov"
    said = {"com.apple.quicktime.model": "iPhone 99", "com.apple.quicktime.location.ISO6709": "+47.0+008.0/"}
    options = {"movflags": "use_metadata_tags"}
    with av.open(str(plain)) as old, av.open(str(source), "w", container_options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        new.metadata.update(said)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = stream
                new.mux_one(packet)
    made = make_segments(source)
    assert made[1].container == "mp4"
    with av.open(str(assemble(tmp_path, source, made))) as container:
        assert said.items() <= container.metadata.items()
