"""Streams beside the picture, compared at some places where a source is too large to be read whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from joined import Made, assemble, pins
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
    import av

    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    data = path.read_bytes()
    at = data.index(packets[number]) + len(packets[number]) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
