"""What passes and what does not: each check fails on the damage it is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from joined import assemble, check
from uprez.errors import VerifyError
from uprez.job import Index, Plan
from uprez.media import verify

MakeClip = Callable[..., Path]
Made = tuple[Index, Plan, list[Path]]
Change = Callable[[av.Packet], av.Packet | None]


def _remuxed(source: Path, target: Path, change: Change) -> Path:
    """Copy a file packet by packet; `change` may alter a packet, or drop it by giving None."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in old.streams}
        for number, packet in enumerate(old.demux()):
            if packet.size and (changed := change(packet)) is not None:
                if target.suffix == ".mkv":  # it keeps no dts, so a rising one that is early enough will do
                    changed.dts = number - 10000
                changed.stream = streams[changed.stream_index]
                new.mux(changed)
    return target


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1"])
def test_good_segments_and_results_pass(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], codec: str
) -> None:
    """What this package makes, this package accepts, and says what it holds."""
    source = make_clip(audio=("aac", "aac"))
    index, plan, segments = made = make_segments(source, codec=codec)
    for path, part in zip(segments, plan.segments, strict=True):
        verify.segment(path.as_uri(), plan=plan, index=index, segment=part)
    facts = check(assemble(tmp_path, source, made), source, made)
    assert facts == verify.Facts(frames=30, duration=Fraction(6, 5), audio=2)


@pytest.mark.parametrize("name", ["late.ts", "late.mkv", "late.mp4"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3)])
def test_results_of_every_container_pass(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], name: str, start: Fraction
) -> None:
    """Late pictures and transport streams (whose AAC has other headers) pass whole and cut."""
    source = make_clip(name=name, audio=("aac",), start=Fraction(1, 5))
    made = make_segments(source, start=start)
    facts = check(assemble(tmp_path, source, made), source, made)
    assert facts.audio == 1


def test_a_segment_that_lacks_a_frame_fails(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """One packet fewer than the plan says is found."""
    index, plan, segments = make_segments(make_clip())
    seen: list[int] = []

    def all_but_the_last(packet: av.Packet) -> av.Packet | None:
        seen.append(1)
        return packet if len(seen) < 12 else None

    short = _remuxed(segments[0], tmp_path / "short.mkv", all_but_the_last)
    with pytest.raises(VerifyError, match="11 packets, the plan says 12"):
        verify.segment(short.as_uri(), plan=plan, index=index, segment=plan.segments[0])


def test_a_segment_that_does_not_begin_with_a_keyframe_fails(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """A segment whose first packet needs another's picture is found."""
    index, plan, segments = make_segments(make_clip())
    headless = _remuxed(segments[0], tmp_path / "headless.mkv", lambda packet: None if packet.is_keyframe else packet)
    part = replace(plan.segments[0], count=11)
    with pytest.raises(VerifyError, match="does not begin with a keyframe"):
        verify.segment(headless.as_uri(), plan=plan, index=index, segment=part)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 128}, "holds h264 64x48 yuv420p, the plan says h264 128x48"),
        ({"preflight": {"extradata_sha256": "f" * 64}}, "other encoder settings"),
        ({"preflight": {"encoding": {"codec": "hevc"}}}, "the plan says hevc"),
    ],
    ids=["size", "extradata", "codec"],
)
def test_a_segment_of_another_plan_fails(
    make_clip: MakeClip, make_segments: Callable[..., Made], change: dict[str, object], reason: str
) -> None:
    """Another size, codec or setting is found before anything is joined."""
    index, plan, segments = make_segments(make_clip())
    with pytest.raises(VerifyError, match=reason):
        verify.segment(segments[0].as_uri(), plan=_changed(plan, change), index=index, segment=plan.segments[0])


def _changed(record: object, change: dict[str, object]) -> Plan:
    values = {
        name: _changed(getattr(record, name), value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    return replace(record, **values)  # type: ignore[type-var, return-value]


def test_a_damaged_or_foreign_file_fails(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Noise, an empty file and half a file are VerifyErrors, not crashes."""
    index, plan, segments = make_segments(make_clip())
    data = segments[0].read_bytes()
    for name, content in {"noise.mkv": b"\1\2\3" * 999, "empty.mkv": b"", "half.mkv": data[: len(data) // 2]}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VerifyError):
            verify.segment(path.as_uri(), plan=plan, index=index, segment=plan.segments[0])


def test_a_segment_whose_pictures_are_damaged_fails(make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """All packets are there, but one of them does not decode as it should."""
    index, plan, segments = make_segments(make_clip(size=(320, 240)))
    with av.open(str(segments[0])) as container:
        largest = bytes(max((packet for packet in container.demux(video=0)), key=lambda packet: packet.size))
    data = segments[0].read_bytes()
    at = data.index(largest) + len(largest) // 2
    segments[0].write_bytes(data[:at] + b"\xff" * 64 + data[at + 64 :])
    with pytest.raises(VerifyError, match=r"frame \d+ of it is damaged|frames, the plan says|cannot be read"):
        verify.segment(segments[0].as_uri(), plan=plan, index=index, segment=plan.segments[0])


def _sound_changed(packet: av.Packet) -> av.Packet:
    if packet.stream.type == "audio" and (packet.pts or 0) > 20000:
        data = bytearray(bytes(packet))
        data[-1] ^= 1
        packet.update(bytes(data))
    return packet


def _sound_late(packet: av.Packet) -> av.Packet:
    if packet.stream.type == "audio" and (packet.pts or 0) > 20000:
        packet.pts, packet.dts = packet.pts + 480, packet.dts + 480
    return packet


def _picture_late(packet: av.Packet) -> av.Packet:
    if packet.stream.type == "video" and packet.pts == 29000:
        packet.pts += 1
    return packet


def _sound_short(packet: av.Packet) -> av.Packet | None:
    return None if packet.stream.type == "audio" and (packet.pts or 0) > 50000 else packet


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_sound_changed, r"sound track \(stream 1 of the source\) differs from the source's at 0\.4"),
        (_sound_late, r"sound track \(stream 1 of the source\) is at 0\.\d+ s where"),
        (_sound_short, r"differs from the source's: \d+ packets, \d+ are due"),
        (_picture_late, "frame 29 is shown at"),
        (
            lambda packet: packet if packet.stream.type == "video" else None,
            r"sound track \(stream 1 of the source\) is nothing, aac is due",
        ),
    ],
    ids=["one bit of sound", "late sound", "short sound", "one tick of picture", "no sound"],
)
def test_a_result_with_the_smallest_damage_fails(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made], change: Change, reason: str
) -> None:
    """One bit of sound, 10 ms of sound, the end of a track, one tick of one frame: each is found and named."""
    source = make_clip(audio=("aac",))
    made = make_segments(source)
    damaged = _remuxed(assemble(tmp_path, source, made), tmp_path / "damaged.mp4", change)
    with pytest.raises(VerifyError, match=reason):
        check(damaged, source, made)


def test_segments_in_another_order_fail(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """Two segments of one length that changed places are told by their packets, though every time is right."""
    source = make_clip(frames=24)
    index, plan, (first, second) = made = make_segments(source)
    swapped = assemble(tmp_path, source, (index, plan, [second, first]))
    with pytest.raises(VerifyError, match="from frame 0 on its picture is not that of segment 1"):
        check(swapped, source, made)


def test_a_result_that_begins_late_fails(
    tmp_path: Path, make_clip: MakeClip, make_segments: Callable[..., Made]
) -> None:
    """In Matroska a shift of the whole file passes only as far as its sound begins before 0."""
    source = make_clip(name="clip.mkv")
    made = make_segments(source)

    def later(packet: av.Packet) -> av.Packet:
        packet.pts = (packet.pts or 0) + 5
        return packet

    late = _remuxed(assemble(tmp_path, source, made), tmp_path / "late.mkv", later)
    with pytest.raises(VerifyError, match="begins at"):
        check(late, source, made)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_full_range_segments_are_right(make_clip: MakeClip, make_segments: Callable[..., Made], codec: str) -> None:
    """A phone's full-range video is encoded as full range, which FFmpeg reads back as yuvj420p: the same format."""
    clip = make_clip(pix_fmt="yuvj420p", tags={"color_range": 2})
    index, plan, paths = make_segments(clip, codec=codec)
    assert index.video.colour.full_range
    for path, part in zip(paths, plan.segments, strict=True):
        verify.segment(path.as_uri(), plan=plan, index=index, segment=part)


def test_every_frame_has_the_plans_size(
    make_clip: MakeClip, make_segments: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that changes its size on the way is found at the frame where it does."""
    index, plan, segments = make_segments(make_clip())
    check_frame, seen = verify._check_frame, list[int]()

    def smaller(frame: av.VideoFrame, plan: Plan, name: str) -> None:
        seen.append(1)
        check_frame(frame.reformat(32, 24) if len(seen) == 5 else frame, plan, name)

    monkeypatch.setattr(verify, "_check_frame", smaller)
    with pytest.raises(VerifyError, match=r"frame 4 of it is 32x24 yuv420p, the plan says 64x48 yuv420p"):
        verify.segment(segments[0].as_uri(), plan=plan, index=index, segment=plan.segments[0])


def test_a_codec_that_nobody_knows_is_refused(make_clip: MakeClip, make_segments: Callable[..., Made]) -> None:
    """A file that names no codec of FFmpeg's is an error of the file, not of the program that looks at it."""
    index, plan, segments = make_segments(make_clip(name="clip.mkv"), codec="ffv1")
    data = segments[0].read_bytes()
    assert data.count(b"V_FFV1") == 1
    segments[0].write_bytes(data.replace(b"V_FFV1", b"V_XXXX"))
    with pytest.raises(VerifyError, match=r"holds a codec that nobody knows, the plan says ffv1|cannot be read"):
        verify.segment(segments[0].as_uri(), plan=plan, index=index, segment=plan.segments[0])
