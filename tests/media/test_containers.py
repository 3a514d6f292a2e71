"""Which container a result gets, and what is said of what it cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest

import plain
from uprez.job import Stream, StreamKind, Video
from uprez.media import containers

MP4, MKV, TS = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts"
Other = tuple[StreamKind, str]


def _video(demuxer: str, *others: Other | Stream) -> Video:
    streams = [
        each if isinstance(each, Stream) else Stream(index=number, kind=each[0], codec=each[1])
        for number, each in enumerate(others, 1)
    ]
    return replace(plain.VIDEO, container=demuxer, others=tuple(streams))


def _cover(codec: str) -> Stream:
    return Stream(index=1, kind="video", codec=codec, dispositions=("attached_pic",))


def _spoken(language: str, *marks: str) -> Stream:
    return Stream(index=1, kind="audio", codec="pcm_s16le", language=language, dispositions=marks)


@pytest.mark.parametrize(
    ("demuxer", "others", "codec", "container"),
    [
        (MP4, [("audio", "aac"), ("subtitle", "mov_text")], "h264", "mp4"),
        (MP4, [("audio", "aac"), ("data", "bin_data")], "hevc", "mp4"),
        (MP4, [("audio", "aac"), ("data", "bin_data")], "av1", "mp4"),
        (MP4, [_cover("mjpeg")], "h264", "mp4"),
        (MP4, [("audio", "pcm_s16le")], "h264", "mov"),
        (MP4, [_spoken("eng", "default")], "h264", "mov"),
        (MP4, [_spoken("fre")], "h264", "mov"),
        (MP4, [_spoken("gsw")], "h264", "mkv"),
        (MP4, [_spoken("eng", "comment")], "h264", "mkv"),
        (MP4, [("audio", "pcm_s16le")], "av1", "mkv"),
        (MP4, [("audio", "pcm_s16le"), ("audio", "flac")], "h264", "mkv"),
        (MP4, [("subtitle", "ass")], "h264", "mkv"),
        (MP4, [], "ffv1", "mkv"),
        (MKV, [("audio", "aac")], "h264", "mkv"),
        (MKV, [("audio", "aac")], "prores", "mov"),
        (MKV, [("attachment", "ttf")], "prores", "mkv"),
        (TS, [("audio", "aac")], "h264", "mkv"),
        ("avi", [("audio", "pcm_mulaw")], "h264", "mov"),
        ("avi", [("audio", "wmav2")], "h264", "mkv"),
    ],
)
def test_the_container_is_the_first_that_loses_nothing(
    demuxer: str, others: list[Other | Stream], codec: str, container: str
) -> None:
    """MP4 stays MP4 or QuickTime where that holds all the source says; ProRes goes to QuickTime; else Matroska."""
    assert containers.container_for(_video(demuxer, *others), codec) == container


@pytest.mark.parametrize("container", containers.FORMATS)
def test_the_table_is_what_the_muxers_take(tmp_path: Path, container: str) -> None:
    """No codec of sound or picture stands in the table that FFmpeg, as it is built here, does not write."""
    decoders = {"dts": "dca", "amr_nb": "amrnb", "amr_wb": "amrwb"}
    with av.open(str(tmp_path / f"file.{container}"), "w", format=containers.FORMATS[container]) as output:
        known = output.supported_codecs
    wanted = {*containers.CARRIES[container]["audio"], *containers.CARRIES[container]["video"]}
    wanted |= containers.PICTURES[container]
    assert {decoders.get(name, name) for name in wanted} <= known


def test_what_fits_nowhere_is_named_and_does_not_decide() -> None:
    """Telemetry is no reason for Matroska, which does not hold it either; a person is told."""
    video = _video(MP4, ("audio", "aac"), ("data", "gpmd"), ("data", "bin_data"))
    assert containers.container_for(video, "h264") == "mp4"
    assert containers.left_behind(video, "mp4") == ("stream 2 (data, gpmd)",)
    assert containers.lost(video, "mp4") == ()


def test_what_another_container_holds_is_lost() -> None:
    """MP4 loses subtitles with style and fonts, and covers in forms of the web."""
    webp = replace(_cover("webp"), index=3)
    video = _video(MKV, ("subtitle", "ass"), ("attachment", "ttf"), webp)
    assert [stream.codec for stream in containers.lost(video, "mp4")] == ["ass", "ttf", "webp"]
    assert containers.lost(video, "mkv") == ()
    assert [stream.codec for stream in containers.carried(video, "mkv")] == ["ass", "ttf", "webp"]
    assert containers.named(webp) == "stream 3 (cover art, webp)"


def test_another_picture_is_carried_unless_it_may_be_another_programme() -> None:
    """A second angle of a film is copied; a transport stream's second picture is not."""
    assert len(containers.carried(_video(MKV, ("video", "h264")), "mkv")) == 1
    assert containers.carried(_video(TS, ("video", "h264")), "mkv") == ()
    assert containers.left_behind(_video(TS, ("video", "h264")), "mkv") == ("stream 1 (video, h264)",)


def test_what_quicktime_cannot_say_is_told() -> None:
    """A language or a mark that would be missing is named."""
    video = _video(MP4, _spoken("gsw", "default", "comment"))
    said = ("the language of stream 1 (gsw)", "that stream 1 is comment")
    assert containers.left_behind(video, "mov") == said
    assert containers.left_behind(video, "mkv") == ()


@pytest.mark.parametrize(("code", "written"), [("fre", "fra"), ("deu", "ger"), ("eng", "eng"), ("zho", "chi")])
def test_languages_have_the_code_that_quicktime_knows(code: str, written: str) -> None:
    """Both codes of ISO 639-2 mean one language; Matroska and MP4 hold either."""
    assert containers.language_in("mov", code) == written
    assert containers.language_in("mkv", code) == code
