"""Subtitles of MP4 (timed text, "mov_text") as SubRip, which Matroska holds: text stays, style does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

from uprez.job import Stream
from uprez.media.source import fraction

if TYPE_CHECKING:
    from av.stream import Stream as AvStream

    from uprez.media.source import AnyPacket

_LENGTH_BYTES = 2
_UTF_16 = (b"\xfe\xff", b"\xff\xfe")


def becomes_subrip(stream: Stream, container: str) -> bool:
    """Say whether a stream of a source is written as SubRip in a result of this container."""
    return container == "mkv" and stream.codec == "mov_text"


def is_text(packet: AnyPacket) -> bool:
    """Say whether a packet of the source is of timed text."""
    return getattr(packet.stream, "name", None) == "mov_text"


def text_of(data: bytes) -> str:
    """Read a sample of timed text (3GPP TS 26.245, 5.17): its length, the text, then boxes of style; "" is a gap."""
    text = data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")]
    return text.decode("utf-16" if text[:2] in _UTF_16 else "utf-8", "replace")


def written(packet: AnyPacket, stream: AvStream, container: str) -> AnyPacket:
    """Give a packet of timed text as a result of this container has it: as it is, or its text alone."""
    if container != "mkv":
        packet.stream = stream
        return packet
    made = av.Packet(text_of(bytes(packet)).encode())
    made.stream, made.time_base = stream, fraction(packet.time_base)
    made.pts = made.dts = packet.pts
    made.duration = packet.duration
    return made
