"""What a result says it holds is compared with its source: streams, marks, chapters, fonts, covers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from film import FONT, film
from joined import Made, assemble, check
from uprez.errors import VerifyError

MakeClip = Callable[..., Path]
MakeSegments = Callable[..., Made]


@pytest.fixture
def whole(tmp_path: Path, make_clip: MakeClip, make_segments: MakeSegments) -> tuple[Path, Path, Made]:
    """Give a film with everything, its result, and what that was made of."""
    source = film(make_clip(name="plain.mkv", audio=("aac", "flac")), tmp_path / "film.mkv")
    made = make_segments(source)
    return assemble(tmp_path, source, made), source, made


def _altered(result: Path, change: Callable[[Any, Any], None], *, font: bytes = FONT, sound: int = 0) -> Path:
    """Copy a result packet by packet, with something else in it; `sound` more copies of its first sound track."""
    target = result.with_name("altered.mkv")
    options = {"default_mode": "passthrough"}
    with av.open(str(result)) as old, av.open(str(target), "w", container_options=options) as new:
        kept = {each.index: each for each in old.streams if each.type != "attachment" and not _is_cover(each)}
        streams = {number: new.add_stream_from_template(each, opaque=True) for number, each in kept.items()}
        more = [new.add_stream_from_template(old.streams.audio[0], opaque=True) for _ in range(sound)]
        for number, stream in streams.items():
            stream.metadata.update(kept[number].metadata)
            stream.disposition = kept[number].disposition
        for each in old.streams.attachments:
            new.add_attachment(each.metadata["filename"], each.metadata["mimetype"], font)
        with av.open(str(result)) as again:
            cover = next(each for each in again.streams.video if _is_cover(each))
            data = next(bytes(packet) for packet in again.demux(cover) if packet.size)
        new.add_attachment("cover.png", "image/png", data)
        new.set_chapters(old.chapters())
        change(new, streams)
        for packet in old.demux(*kept.values()):
            if packet.size:
                for twin in more if packet.stream_index == old.streams.audio[0].index else []:
                    copy = av.Packet(bytes(packet))
                    copy.stream, copy.time_base = twin, packet.time_base
                    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                    new.mux_one(copy)
                packet.stream = streams[packet.stream_index]
                new.mux_one(packet)
    return target


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _as_it_is(new: Any, streams: Any) -> None:
    """Change nothing."""


def _without_chapters(new: Any, streams: Any) -> None:
    new.set_chapters([])


def _in_another_language(new: Any, streams: Any) -> None:
    streams[1].metadata["language"] = "spa"


def _marked(new: Any, streams: Any) -> None:
    streams[2].disposition = Disposition.forced


def test_a_copy_that_changes_nothing_passes(whole: tuple[Path, Path, Made]) -> None:
    """What follows fails by its change, and not by being copied."""
    result, source, made = whole
    check(_altered(result, _as_it_is), source, made)


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (_without_chapters, {}, "0 chapters, 2 are due"),
        (_in_another_language, {}, "the language of its audio is spa, eng is due"),
        (_marked, {}, r"its audio is marked \['forced'\]"),
        (_as_it_is, {"font": b"another"}, "its attachments and covers are not the source's"),
        (_as_it_is, {"sound": 1}, "beside the picture it holds"),
    ],
    ids=["chapters", "language", "marks", "font", "one more track"],
)
def test_what_is_not_the_sources_is_found(
    whole: tuple[Path, Path, Made], change: Callable[[Any, Any], None], more: dict[str, Any], said: str
) -> None:
    """Lost chapters, another language, another mark, another font, a track too many."""
    result, source, made = whole
    with pytest.raises(VerifyError, match=said):
        check(_altered(result, change, **more), source, made)
