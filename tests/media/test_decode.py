"""Exactly the frames that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.errors import InputError
from uprez.media import decode, probe

MakeClip = Callable[..., Path]

OPEN_GOP = {"bf": "3", "g": "10", "x264-params": "open-gop=1:scenecut=0:b-adapt=0", "flags": "-cgop"}


def _reference(path: Path) -> dict[int, np.ndarray]:
    """Decode the whole file from its beginning with nothing of ours."""
    with av.open(str(path)) as container:
        return {frame.pts: frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "b.mp4"},
        {"name": "b.mkv"},
        {"name": "b.ts"},
        {"name": "open.mp4", "options": OPEN_GOP},
        {"name": "open.mkv", "options": OPEN_GOP},
        {"name": "refresh.mkv", "options": {"x264-params": "intra-refresh=1:keyint=10", "bf": "0"}},
        {"name": "part2.mp4", "codec": "mpeg4", "options": {"bf": "2", "g": "8"}},
    ],
    ids=lambda fields: fields["name"],
)
def test_every_range_gives_exactly_its_frames(make_clip: MakeClip, fields: dict[str, object]) -> None:
    """Any range, in any container, with B-frames and open GOPs, is what a whole decode shows at those times."""
    path = make_clip(**fields)
    index = probe.index(path.as_uri())
    reference = _reference(path)
    assert len(index.pts) == 30
    for first in range(0, 30, 3):
        for count in (1, 7, 30 - first):
            got = list(decode.frames(path.as_uri(), index, first, min(count, 30 - first), threads=2))
            assert [frame.pts for frame in got] == list(index.pts[first : first + count])
            assert all(np.array_equal(frame.planes[0], reference[frame.pts]) for frame in got)


def test_planes_are_contiguous_without_padding(make_clip: MakeClip) -> None:
    """A width that decoders pad gives planes of the picture's own size."""
    path = make_clip(size=(70, 50), frames=3)
    (frame,) = decode.frames(path.as_uri(), probe.index(path.as_uri()), 1, 1, threads=1)
    assert [plane.shape for plane in frame.planes] == [(50, 70), (25, 35), (25, 35)]
    assert all(plane.flags.c_contiguous and plane.dtype == np.uint8 for plane in frame.planes)


def test_hidden_frames_come_before_none_that_are_asked_for(tmp_path: Path, make_clip: MakeClip) -> None:
    """When an edit list begins inside a GOP, decoding begins before it and yields what is shown only."""
    source, path = make_clip(name="plain.mp4"), tmp_path / "edited.mp4"
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        picture = container.add_stream_from_template(video.streams.video[0], opaque=True)
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 5000, packet.dts - 5000
                packet.stream = picture
                container.mux(packet)
    index, reference = probe.index(path.as_uri()), _reference(source)
    for first in (0, 2, 7):
        got = list(decode.frames(path.as_uri(), index, first, 3, threads=2))
        assert [frame.pts for frame in got] == list(index.pts[first : first + 3])
        assert all(np.array_equal(frame.planes[0], reference[frame.pts + 5000]) for frame in got)


def test_a_missing_frame_shows_its_neighbour(make_clip: MakeClip) -> None:
    """A frame that the index lists and the file does not show is shown as the one before it, and marked."""
    path = make_clip()
    index, reference = probe.index(path.as_uri()), _reference(path)
    wrong = replace(index, pts=(*index.pts[:12], index.pts[12] + 1, *index.pts[13:]))
    for first in (0, 11, 12):
        got = list(decode.frames(path.as_uri(), wrong, first, 16 - first, threads=1))
        assert [frame.pts for frame in got] == list(wrong.pts[first:16])
        assert [number for number, frame in enumerate(got, first) if frame.damaged] == [12]
        assert np.array_equal(got[12 - first].planes[0], reference[index.pts[12]])


def test_nothing_to_show_is_an_error(make_clip: MakeClip) -> None:
    """A video of which nothing can be decoded is not made of nothing."""
    path = make_clip()
    index = probe.index(path.as_uri())
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in spans:
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"the frame at 0\.\d+ s cannot be decoded"):
        list(decode.frames(path.as_uri(), index, 0, 12, threads=2))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_damage_loses_no_frame(make_clip: MakeClip, codec: str) -> None:
    """A packet of rubbish: all frames are there at their times, and those before it are as they were."""
    options = {"g": "10"} if codec != "mjpeg" else {}
    path = make_clip(name="clip.mkv", size=(320, 240), frames=40, codec=codec, options=options, **_jpeg(codec))
    index, reference = probe.index(path.as_uri()), _reference(path)
    with av.open(str(path)) as container:
        packet = next(each for each in container.demux(video=0) if each.pts == index.pts[20])
        damaged = bytes(packet)
    data = path.read_bytes()
    at = data.index(damaged)
    path.write_bytes(data[:at] + bytes(len(damaged)) + data[at + len(damaged) :])
    got = list(decode.frames(path.as_uri(), index, 0, 40, threads=2))
    assert [frame.pts for frame in got] == list(index.pts)
    assert any(frame.damaged for frame in got)
    assert all(np.array_equal(frame.planes[0], reference[frame.pts]) for frame in got[:15])
    assert np.array_equal(got[35].planes[0], reference[index.pts[35]])


def _jpeg(codec: str) -> dict[str, object]:
    return {"pix_fmt": "yuvj420p", "tags": {"color_range": 2}} if codec == "mjpeg" else {}


def test_a_change_of_size_is_named_by_its_time(make_clip: MakeClip) -> None:
    """Frames of another size than the index states are refused."""
    path = make_clip()
    index = probe.index(path.as_uri())
    other = replace(index, video=replace(index.video, width=128))
    with pytest.raises(InputError, match="the picture is 64x48"):
        list(decode.frames(path.as_uri(), other, 0, 1, threads=1))


def test_stopping_early_closes_the_file(make_clip: MakeClip) -> None:
    """A reader that leaves after one frame leaves nothing open."""
    path = make_clip()
    frames = decode.frames(path.as_uri(), probe.index(path.as_uri()), 0, 30, threads=2)
    assert next(frames).pts == 0
    frames.close()  # type: ignore[attr-defined]
    assert next(frames, None) is None
