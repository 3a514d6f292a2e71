"""What a file holds beside what it plays: fonts and other attachments, and pictures that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from uprez.media.containers import QUICKTIME, carried
from uprez.media.source import AnyPacket, demuxed, opened

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.stream import AttachmentStream
    from av.stream import Stream as AvStream

    from uprez.job import Stream, Video

_TYPES = {
    "mjpeg": ("jpg", "image/jpeg"),
    "png": ("png", "image/png"),
    "bmp": ("bmp", "image/bmp"),
    "gif": ("gif", "image/gif"),
    "tiff": ("tiff", "image/tiff"),
    "webp": ("webp", "image/webp"),
}
"""Suffix and media type by FFmpeg's name of a picture's codec."""


def add(
    output: OutputContainer, source: InputContainer, source_url: str, video: Video, container: str
) -> list[AnyPacket]:
    """Copy attachments and cover art into a file that is about to begin; gives packets to write before all others."""
    packets = []
    for stream in carried(video, container):
        template = source.streams[stream.index]
        if stream.kind == "attachment":
            _add_attachment(output, cast("AttachmentStream", template))
        elif stream.cover and container in QUICKTIME:
            packets.append(_add_cover(output, template, cover(source_url, stream.index)))
        elif stream.cover:
            suffix, kind = _TYPES[stream.codec]
            name = template.metadata.get("filename") or f"cover.{suffix}"
            output.add_attachment(
                name, template.metadata.get("mimetype") or kind, bytes(cover(source_url, stream.index))
            )
    return packets


def contents(url: str, streams: Sequence[Stream]) -> list[bytes]:
    """Read attachments and covers whole. Raises InputError when the file cannot be read."""
    with opened(url) as container:
        attached = {each.index: bytes(each.data or b"") for each in container.streams.attachments}
    return [attached[each.index] if each.kind == "attachment" else bytes(cover(url, each.index)) for each in streams]


def cover(url: str, number: int) -> AnyPacket:
    """Read the one packet of a picture that stands for the file. Raises InputError when there is none."""
    with opened(url) as container:
        return next(packet for packet in demuxed(container, container.streams[number]) if packet.size)


def _add_attachment(output: OutputContainer, template: AttachmentStream) -> None:
    if template.data:  # an empty one is gone when it is read back
        output.add_stream_from_template(template)


def _add_cover(output: OutputContainer, template: AvStream, packet: AnyPacket) -> AnyPacket:
    stream = output.add_stream_from_template(template, opaque=True)
    stream.metadata.update(template.metadata)
    stream.disposition = template.disposition
    packet.stream = stream
    packet.pts = packet.dts = 0
    return packet
