"""Streams beside the picture, compared at some places where a source is too large to be read whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from joined import Made, assemble, check, pins
from uprez.errors import VerifyError
from uprez.media import tracks, verify
from uprez.media.timeline import planned

MakeClip = Callable[..., Path]
MakeSegments = Callable[..., Made]
SECOND = Fraction(1)


def _check(result: Path, source: Path, made: Made, places: list[Fraction]) -> verify.Facts:
    index, plan, _ = made
    return verify.result(
        result.as_uri(), plan=plan, index=index, source_url=source.as_uri(), pins=pins(made), places=places
    )


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(5, 2)])
def test_sound_is_found_at_each_place(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments, name: str, start: Fraction
) -> None:
    """Whole and cut, whatever the container: what the result has there is what the source has there."""
    source = make_clip(name=name, audio=("aac",), frames=250, start=Fraction(1, 5))
    made = make_segments(source, length=300, start=start)
    result = assemble(tmp_path, source, made)
    index, plan, _ = made
    places = [start + index.pts[0] * index.time_base + SECOND * second for second in (0, 3, 6)]
    _check(result, source, made, places)
    (track,) = tracks.of_source(source.as_uri(), plan, index, planned(index, plan), places)
    assert 200 < len(track.at) < 330, "two seconds at each of three places"


def test_one_byte_at_a_place_is_missed(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> None:
    """A changed packet is found where it is looked for, by its time, and not elsewhere."""
    source = make_clip(name="film.mkv", audio=("aac",), frames=250)
    made = make_segments(source, length=300)
    result = assemble(tmp_path, source, made)
    index, plan, _ = made
    (whole,) = tracks.of_source(source.as_uri(), plan, index, planned(index, plan))
    spoilt = next(number for number in range(len(whole.at)) if whole.time(number) > 3)
    _spoil(result, spoilt)
    with pytest.raises(VerifyError, match=r"sound track \(stream 1 of the source\) differs from the source's at 3\.0"):
        _check(result, source, made, [SECOND * 0, SECOND * 3])
    _check(result, source, made, [SECOND * 0, SECOND * 6])


def _spoil(path: Path, number: int) -> None:
    """Change a bit in the middle of a packet of sound."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    data = path.read_bytes()
    at = data.index(packets[number]) + len(packets[number]) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_silence_that_is_not_the_sources_is_found(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments
) -> None:
    """Sound that stops, or has a hole, between the places that are listened to is missed all the same."""
    source = make_clip(name="film.mkv", audio=("aac",), frames=500)
    made = make_segments(source, length=600)
    result = assemble(tmp_path, source, made)
    places = [SECOND * 0]
    _check(result, source, made, places)
    for first, last in ((6, 12), (6, 99)):
        holed = _without(result, tmp_path / "holed.mkv", first, last)
        with pytest.raises(
            VerifyError, match=r"sound track \(stream 1 of the source\) differs from the source's at [56]\."
        ):
            _check(holed, source, made, places)


def _without(path: Path, target: Path, first: int, last: int) -> Path:
    """Leave out the sound between two times, in seconds."""
    with av.open(str(path)) as old, av.open(str(target), "w") as new:
        streams = {each.index: new.add_stream_from_template(each, opaque=True) for each in old.streams}
        for number, stream in streams.items():
            stream.metadata.update(old.streams[number].metadata)
        for packet in old.demux():
            if packet.size and not (packet.stream.type == "audio" and first <= packet.pts * packet.time_base < last):
                packet.stream = streams[packet.stream_index]
                new.mux_one(packet)
    return target


def test_sound_before_the_beginning_is_no_shift(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments
) -> None:
    """AAC of MP4 begins before 0: in Matroska that moves the file, also where only some places are compared."""
    source = make_clip(name="film.mp4", audio=("aac",), frames=100)
    made = make_segments(source, length=200, container="mkv")
    result = assemble(tmp_path, source, made)
    _check(result, source, made, [SECOND * 0, SECOND * 2])


@pytest.mark.parametrize("name", ["camera.mov", "camera.mkv"])
def test_uncompressed_sound_has_its_times(
    tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments, name: str
) -> None:
    """Containers cut PCM into packets as they like: bytes and times are compared where cuts meet, or by place."""
    source = make_clip(name=name, audio=("pcm_s16le",), frames=250)
    made = make_segments(source, length=300)
    result = assemble(tmp_path, source, made)
    _check(result, source, made, [SECOND * 0, SECOND * 4])
    check(result, source, made)
    if name == "camera.mkv":
        with pytest.raises(VerifyError, match="differs from the source's at"):
            _check(_without(result, tmp_path / "holed.mkv", 4, 7), source, made, [SECOND * 0])
