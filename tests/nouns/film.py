"""A film with everything that a film may hold beside its picture, for tests of what is carried."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from uprez.media import stills

MS = Fraction(1, 1000)
ASS_HEAD = b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\n[Events]\n"
FONT = bytes(range(256)) * 20
PICTURE = stills.png(np.full((16, 16, 3), 90, np.uint8))


def line(stream: Any, data: bytes, at: int, length: int = 300) -> av.Packet:
    """Make a packet of a subtitle, its times in milliseconds."""
    packet = av.Packet(data)
    packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, MS, at, at, length
    return packet


def film(plain: Path, path: Path) -> Path:
    """A film with two languages, styled and drawn subtitles, a font, a cover and another angle."""
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        copied = {each.index: new.add_stream_from_template(each, opaque=True) for each in old.streams}
        for number, stream in copied.items():
            stream.metadata.update(old.streams[number].metadata)
        angle = new.add_stream_from_template(old.streams.video[0], opaque=True)
        angle.metadata["title"] = "other angle"
        lines, drawn = new.add_stream("ass"), new.add_mux_stream("hdmv_pgs_subtitle")
        lines.codec_context.extradata = ASS_HEAD
        lines.metadata["language"], drawn.metadata["language"] = "fre", "gsw"
        lines.disposition = Disposition.forced
        new.add_attachment("Schrift ä.ttf", "font/ttf", FONT)
        new.add_attachment("cover.png", "image/png", PICTURE)
        new.metadata["title"] = "A film"
        new.set_chapters(
            [
                {"id": number, "start": at, "end": at + 600, "time_base": MS, "metadata": {"title": f"part {number}"}}
                for number, at in enumerate((0, 600))
            ]
        )
        for packet in old.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                twin = av.Packet(bytes(packet))
                twin.stream, twin.time_base = angle, packet.time_base
                twin.pts, twin.dts, twin.duration = packet.pts, packet.dts, packet.duration
                twin.is_keyframe = packet.is_keyframe
                new.mux_one(twin)
            packet.stream = copied[packet.stream_index]
            new.mux_one(packet)
        for number in range(3):
            new.mux_one(line(lines, f"{number},0,Default,,0,0,0,,line {number}".encode(), 100 + 300 * number))
        new.mux_one(line(drawn, b"\x16\x00\x0b" + bytes(11) + b"\x80\x00\x00", 250))
    return path
