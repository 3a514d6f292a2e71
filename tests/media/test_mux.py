"""Assembly: times from the timeline, everything else from the source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from joined import assemble, check, pins
from uprez.errors import VerifyError
from uprez.job import Index, Plan, Segment
from uprez.media import containers, mux, probe
from uprez.media.timeline import timeline

MakeClip = Callable[..., Path]
Made = tuple[Index, Plan, list[Path]]
Packets = list[tuple[Fraction, str]]


def _sound(path: Path) -> list[Packets]:
    """Give time and hash of every packet of every sound track, by PyAV alone."""
    with av.open(str(path)) as container:
        tracks: dict[int, Packets] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio) if tracks else ():
            if packet.size:
                at = packet.pts * packet.time_base
                tracks[packet.stream_index].append((at, hashlib.sha256(bytes(packet)).hexdigest()))
        return list(tracks.values())


def _shown(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a.mp4", "audio": ("aac", "aac")},
        {"name": "late.mp4", "audio": ("aac",), "start": Fraction(1, 2)},
        {"name": "a.mkv", "audio": ("aac", "libopus")},
        {"name": "late.mkv", "audio": ("aac", "flac"), "start": Fraction(21, 1000)},
        {"name": "silent.mp4"},
    ],
    ids=lambda fields: fields["name"],
)
def test_a_whole_video_reads_back_like_its_source(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], fields: dict[str, object]
) -> None:
    """Frame times, sound packets and their offsets, in MP4 and Matroska, are the source's own."""
    source = make_clip(**fields)
    result = assemble(tmp_path, source, make_segments(source))
    assert result.suffix == source.suffix
    assert _shown(result) == _shown(source)
    assert _sound(result) == _sound(source)
    assert probe.quick(result.as_uri()).rate == probe.quick(source.as_uri()).rate


def test_times_before_zero_move_a_matroska_file_as_a_whole(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """AAC that begins before 0 in MP4 keeps its distance to the picture in Matroska, which has no such times."""
    source = make_clip(audio=("aac",))
    result = assemble(tmp_path, source, make_segments(source, codec="ffv1"))
    got, due = _sound(result)[0], _sound(source)[0]
    shift = _shown(result)[0] - _shown(source)[0]
    assert [hashed for _, hashed in got] == [hashed for _, hashed in due]
    assert all(abs(a - b - shift) <= Fraction(1, 1000) for (a, _), (b, _) in zip(got, due, strict=True))
    assert 0 <= shift < Fraction(22, 1000)


def test_a_cut_begins_at_zero_with_the_sound_that_begins_in_it(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Of a cut's sound exactly the packets that begin in it are there, as far from the picture as they were."""
    source = make_clip(audio=("aac",), frames=50)
    made = make_segments(source, start=Fraction(1, 2), duration=Fraction(1))
    result = assemble(tmp_path, source, made)
    start = _shown(source)[13]  # 0.5 s falls between frames 12 (0.48 s) and 13 (0.52 s)
    due = [(at - start, hashed) for at, hashed in _sound(source)[0] if start <= at < start + Fraction(25, 25)]
    assert _shown(result) == [Fraction(number, 25) for number in range(25)]
    assert _sound(result)[0] == due


def test_uneven_times_survive(tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """A variable frame rate is kept to the tick, through B-frames and joints."""
    times = [0, 400, 1000, 1500, 4000, 4001, 9000, 9100, 9200, 12000, 12001, 15000, 15001, 15002, 20000, 26000]
    source = make_clip(frames=16, times=times)
    result = assemble(tmp_path, source, make_segments(source, length=5))
    assert _shown(result) == [Fraction(at, 25000) for at in times]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_decoding_times_rise_and_never_pass_showing_times(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], codec: str
) -> None:
    """Across joints dts rises strictly and stays at or below pts, with one delay."""
    source = make_clip(frames=40, times=[number * 1000 + number * number for number in range(40)])
    result = assemble(tmp_path, source, make_segments(source, codec=codec, length=7))
    with av.open(str(result)) as container:
        stream = container.streams.video[0]
        pairs = [(packet.dts, packet.pts) for packet in container.demux(stream) if packet.size]
        tag = stream.codec_context.codec_tag
    assert [dts for dts, _ in pairs] == sorted({dts for dts, _ in pairs})
    assert all(dts <= pts for dts, pts in pairs)
    assert min(pts - dts for dts, pts in pairs) == 0
    assert tag == {"h264": "avc1", "hevc": "hvc1"}[codec]


def test_one_frame_is_a_video(tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """The shortest result has one frame of the right length."""
    source = make_clip(frames=1)
    result = assemble(tmp_path, source, make_segments(source))
    assert _shown(result) == [0]
    assert probe.index(result.as_uri()).last_duration == 1000


def test_languages_titles_dispositions_and_chapters_are_copied(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """What the source says about its tracks the result says too; a cut's chapters are clipped and moved."""
    plain, source = make_clip(name="plain.mkv", audio=("aac", "aac"), frames=50), tmp_path / "named.mkv"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in old.streams}
        for number, stream in streams.items():
            stream.metadata.update(old.streams[number].metadata)
        streams[2].disposition = av.stream.Disposition.comment
        new.metadata["title"] = "A film"
        second = Fraction(1, 1000)
        chapters = [(0, 600, "one"), (600, 1400, "two"), (1400, 2000, "three")]
        new.set_chapters(
            [
                {"id": number, "start": start, "end": end, "time_base": second, "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(chapters)
            ]
        )
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    result = assemble(tmp_path, source, make_segments(source, start=Fraction(1), duration=Fraction(1, 2)))
    with av.open(str(result)) as container:
        tracks = container.streams.audio
        assert [track.language for track in tracks] == ["eng", "deu"]
        assert [track.metadata["title"] for track in tracks] == ["track 0", "track 1"]
        assert tracks[1].disposition == av.stream.Disposition.comment
        assert container.metadata["title"] == "A film"
        got = [
            (
                chapter["start"] * chapter["time_base"],
                chapter["end"] * chapter["time_base"],
                chapter["metadata"]["title"],
            )
            for chapter in container.chapters()
        ]
    assert got == [(0, Fraction(2, 5), "two"), (Fraction(2, 5), Fraction(13, 25), "three")]


def test_subtitles_are_copied_where_they_fit(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """SubRip text in Matroska arrives unchanged, at its times."""
    plain, source = make_clip(name="plain.mkv"), tmp_path / "titled.mkv"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        picture = new.add_stream_from_template(old.streams.video[0], opaque=True)
        titles = new.add_mux_stream("subrip")
        titles.time_base = Fraction(1, 1000)
        new.start_encoding()
        line = av.Packet(b"Hello there")
        line.stream, line.time_base, line.pts, line.dts, line.duration = titles, Fraction(1, 1000), 200, 200, 700
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = picture
                new.mux(packet)
        new.mux(line)
    made = make_segments(source)
    assert containers.left_behind(made[0].video, made[1].container) == ()
    result = assemble(tmp_path, source, made)
    with av.open(str(result)) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size]
        assert [(bytes(packet), packet.pts, packet.duration) for packet in packets] == [(b"Hello there", 200, 700)]


def test_segments_of_other_settings_are_refused(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Extradata that is not the plan's stops assembly, names both and leaves no file."""
    source = make_clip()
    index, plan, segments = make_segments(source)
    other = replace(plan, preflight=replace(plan.preflight, extradata_sha256="0" * 64))
    with pytest.raises(VerifyError, match=r"extradata [0-9a-f]{12}, the plan has 000000000000"):
        assemble(tmp_path, source, (index, other, segments))
    assert not (tmp_path / "result.mp4").exists()


def test_segments_of_two_settings_are_refused(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """One segment among others that was made by another encoder is refused: by its name, with both settings."""
    source = make_clip()
    index, plan, segments = made = make_segments(source)
    delay = max(pin.delay for pin in pins(made))
    with av.open(str(segments[1])) as old, av.open(str(tmp_path / "other.mkv"), "w") as new:
        stream = new.add_stream("libx264", rate=25, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in old.decode(video=0):
            new.mux(stream.encode(frame.reformat(format="yuv420p")))
        new.mux(stream.encode(None))
    mixed = [segments[0], tmp_path / "other.mkv", segments[2]]
    own = plan.preflight.extradata_sha256[:12]
    with pytest.raises(VerifyError, match=rf"other\.mkv \(segment 2\): .*extradata [0-9a-f]{{12}}, the plan has {own}"):
        mux.assemble(
            tmp_path / "mixed.mp4", plan=plan, index=index, segments=mixed, delay=delay, source_url=source.as_uri()
        )
    assert not (tmp_path / "mixed.mp4").exists()


@pytest.mark.long("longer")
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_six_hundred_pieces_end_at_the_right_time(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], name: str
) -> None:
    """Joints add nothing to a clock that no millisecond divides: frame 5,999 of 23.976 a second is at 250.208 s."""
    source = make_clip(name=name, size=(16, 16), frames=6000, rate=Fraction(24000, 1001))
    made = make_segments(source, length=10)
    assert len(made[2]) == 600
    result = assemble(tmp_path, source, made)
    check(result, source, made)
    shown = _shown(result)
    last = 5999 * Fraction(1001, 24000)
    assert len(shown) == 6000
    assert abs(shown[-1] - last) <= (0 if name == "clip.mp4" else Fraction(1, 2000))


def test_a_failure_while_writing_leaves_no_file(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is half written when something fails does not stay under its name."""
    source = make_clip()

    def begin_and_fail(output: av.container.OutputContainer, *_: object) -> None:
        output.start_encoding()
        assert (tmp_path / "result.mp4").exists()
        raise VerifyError("enough")

    made = make_segments(source)
    monkeypatch.setattr(mux, "_write", begin_and_fail)
    with pytest.raises(VerifyError, match="enough"):
        assemble(tmp_path, source, made)
    assert not (tmp_path / "result.mp4").exists()


def test_missing_and_swapped_segments_are_refused(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """A segment too few, or one of another length, is an error."""
    source = make_clip()
    index, plan, segments = make_segments(source)
    target, url = tmp_path / "result.mp4", source.as_uri()
    with pytest.raises(VerifyError, match="2 segments are there, the plan has 3"):
        mux.assemble(target, plan=plan, index=index, segments=segments[:2], delay=3, source_url=url)
    with pytest.raises(VerifyError, match=r"segment-2\.mkv: 6 frames, the plan says 12"):
        mux.assemble(target, plan=plan, index=index, segments=segments[::-1], delay=3, source_url=url)
    assert not target.exists()


def test_the_index_stands_before_the_pictures(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """An MP4 result can be played while it is fetched: moov comes before mdat."""
    source = make_clip()
    data = assemble(tmp_path, source, make_segments(source)).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_timeline_agrees_with_the_file(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """What is written is what the timeline says, to the tick."""
    source = make_clip(rate=Fraction(24000, 1001))
    index, plan, _ = made = make_segments(source)
    times = timeline(index, plan.first, plan.count)
    assert probe.index(assemble(tmp_path, source, made).as_uri()).pts == times.pts


def test_part_from_the_beginning_keeps_the_priming(
    make_clip: MakeClip, make_segments: Callable[..., Made], tmp_path: Path
) -> None:
    """A cut that begins at 0 keeps the packet before 0 by which an AAC decoder gets going, as the whole file does."""
    clip = make_clip(audio=("aac",))
    index, plan, paths = make_segments(clip, duration=Fraction(1, 2))
    target = assemble(tmp_path, clip, (index, plan, paths))
    first = [next(p for p in av.open(str(path)).demux(audio=0) if p.size) for path in (clip, target)]
    assert first[0].pts < 0
    assert bytes(first[0]) == bytes(first[1])
    assert first[0].pts == first[1].pts


def test_sound_that_an_edit_list_hides_stays_hidden(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """What was cut away is not heard in a result, but for the packet that gets the decoder going."""
    source, path = make_clip(name="plain.mp4", audio=("aac",), frames=50), tmp_path / "edited.mp4"
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        streams = {each.index: container.add_stream_from_template(each, opaque=True) for each in video.streams}
        for packet in video.demux():
            if packet.size:
                shift = round(Fraction(2, 5) / (packet.time_base or 1))
                packet.pts, packet.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    index, plan, segments = make_segments(path, container="mkv")
    target = assemble(tmp_path, path, (index, plan, segments))
    check(target, path, (index, plan, segments))
    with av.open(str(target)) as container:
        first = {each.type: each.start_time * each.time_base for each in container.streams}
    assert first["video"] - first["audio"] < Fraction(1, 20)


def test_subtitles_that_begin_together_do_so_in_the_result(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Lines of one moment share their time; none is moved to come after another."""
    source, path = make_clip(name="plain.mkv", frames=20), tmp_path / "lines.mkv"
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        lines = container.add_stream("ass")
        lines.codec_context.extradata = b"[Script Info]\n[V4+ Styles]\n[Events]\n"
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.stream = picture
                container.mux(packet)
        for number in range(5):
            line = av.Packet(f"{number},0,Default,,0,0,0,,line {number}".encode())
            line.stream, line.time_base = lines, Fraction(1, 1000)
            line.pts = line.dts = 200
            line.duration = 100
            container.mux_one(line)
    index, plan, segments = make_segments(path, container="mkv")
    target = assemble(tmp_path, path, (index, plan, segments))
    with av.open(str(target)) as container:
        times = [packet.pts for packet in container.demux(container.streams.subtitles[0]) if packet.size]
    assert times == [200] * 5


def test_many_joints_add_no_drift(tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """300 segments of film at 24000/1001: the last frame is shown when its number says, to the tick."""
    source = make_clip(frames=10, rate=Fraction(24000, 1001))
    index, plan, (segment,) = make_segments(source, length=10)
    many = 300
    times = tuple(1001 * number for number in range(10 * many))
    index = replace(index, time_base=Fraction(1, 24000), pts=times, keyframes=times[::10], last_duration=1001)
    parts = tuple(Segment(number=number, first=10 * number, count=10) for number in range(many))
    plan = replace(plan, count=10 * many, segments=parts)
    target = tmp_path / "long.mp4"
    mux.assemble(target, plan=plan, index=index, segments=[segment] * many, delay=3, source_url=source.as_uri())
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert sorted(packet.pts * packet.time_base for packet in packets) == [
            number * Fraction(1001, 24000) for number in range(10 * many)
        ]


@pytest.mark.parametrize("stated", [Fraction(50), Fraction(90000), None])
def test_no_stated_rate_decides_a_time(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], stated: Fraction | None
) -> None:
    """Whatever rate a header states, frames are shown at their own times and the sound stays with them."""
    source = make_clip(audio=("aac",))
    index, plan, segments = make_segments(source)
    wrong = replace(index, video=replace(index.video, rate=stated))
    result = assemble(tmp_path, source, (wrong, plan, segments))
    assert _shown(result) == _shown(source)
    assert _sound(result) == _sound(source)
