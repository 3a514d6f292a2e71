"""The clips that benchmarks make for themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice, pairwise, repeat
from pathlib import Path

import av
from av.video.frame import VideoFrame

from uprez.job import Options, Video
from uprez.media import decode, encode, probe
from uprez.media.frame import Frame
from uprez.media.scenes import same
from uprez.media.target import Target

RATE = Fraction(25)


def on_twos(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Give every picture twice, as cartoons are drawn; pts are positions."""
    twice = chain.from_iterable(repeat(frame, 2) for frame in frames)
    return (Frame(planes=frame.planes, pts=number) for number, frame in enumerate(twice))


def check_on_twos(frames: Sequence[Frame]) -> None:
    """Raise ValueError where a clip is not on twos: a pair that differs, or two pairs that do not."""
    for number, (before, after) in enumerate(pairwise(frames)):
        if same(before, after) != (number % 2 == 0):
            raise ValueError(f"frames {number} and {number + 1} {'differ' if number % 2 == 0 else 'are the same'}")


def write_on_twos(source: Path, path: Path, count: int, threads: int) -> None:
    """Write `count` frames on twos, of a source's first pictures, without loss; and read them again to see that."""
    index = probe.index(source.as_uri())
    pictures = decode.frames(source.as_uri(), index, 0, -(-count // 2), threads=threads)
    _write_lossless(path, islice(on_twos(pictures), count), index.video, threads)
    made = probe.index(path.as_uri())
    check_on_twos(list(decode.frames(path.as_uri(), made, 0, count, threads=threads)))


def write_large(source: Path, path: Path, size: tuple[int, int], count: int) -> None:
    """Write `count` frames of a size as H.264, the source again from its beginning where it is over."""
    with av.open(f"file:{path}", "w") as sink:
        stream = sink.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(islice(_again(source), count)):
            frame = picture.reformat(*size, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / RATE
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))


def _write_lossless(path: Path, frames: Iterable[Frame], video: Video, threads: int) -> None:
    wanted = Target(codec="ffv1", width=video.width, height=video.height, colour=video.colour)
    picture = encode.picture(video, Options(codec="ffv1"), wanted)
    encoding = encode.encoding("ffv1", "ffv1", picture, crf=None, preset=None, threads=threads)
    with encode.Encoder(path, encoding, picture) as encoder:
        for frame in frames:
            encoder.write(frame)


def _again(source: Path) -> Iterator[VideoFrame]:
    while True:
        with av.open(f"file:{source}") as container:
            yield from container.decode(video=0)
