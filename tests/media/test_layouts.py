"""Pixel formats: what is read of them, and that bringing them to planes changes no code value."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from uprez.errors import InputError
from uprez.job import Colour
from uprez.media.decode import _planar, _plane
from uprez.media.layouts import Layout, layout, planar, stored

WIDTH, HEIGHT = 48, 32


def planes_of(frame: av.VideoFrame, how: Layout) -> list[NDArray[np.generic]]:
    """What the decoder makes of a frame."""
    count = 1 if how.family == "gray" else 3
    return [_plane(plane, how.depth) for plane in _planar(frame, how.planar).planes[:count]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yuv420p", Layout(planar="yuv420p", family="yuv", depth=8, across=2, down=2, alpha=False)),
        ("yuvj422p", Layout(planar="yuv422p", family="yuv", depth=8, across=2, down=1, alpha=False)),
        ("p010le", Layout(planar="yuv420p10le", family="yuv", depth=10, across=2, down=2, alpha=False)),
        ("yuva444p12be", Layout(planar="yuv444p12le", family="yuv", depth=12, across=1, down=1, alpha=True)),
        ("yuv411p", Layout(planar="yuv411p", family="yuv", depth=8, across=4, down=1, alpha=False)),
        ("rgba", Layout(planar="gbrp", family="rgb", depth=8, across=1, down=1, alpha=True)),
        ("pal8", Layout(planar="gbrp", family="rgb", depth=8, across=1, down=1, alpha=False)),
        ("rgb48be", Layout(planar="gbrp16le", family="rgb", depth=16, across=1, down=1, alpha=False)),
        ("gray12le", Layout(planar="gray12le", family="gray", depth=12, across=1, down=1, alpha=False)),
        ("ya8", Layout(planar="gray", family="gray", depth=8, across=1, down=1, alpha=True)),
    ],
)
def test_a_format_is_read_as_its_planes(name: str, expected: Layout) -> None:
    """Packed, semi-planar and big-endian formats have a planar one; alpha is named."""
    assert layout(name) == expected


@pytest.mark.parametrize("name", ["xyz12le", "bayer_rggb8", "grayf32le", "yuv410p", "cuda", "gbrap12be", "nonsense"])
def test_what_cannot_be_read_is_named(name: str) -> None:
    """Formats that hold no such samples are refused by their name."""
    with pytest.raises(InputError, match=name):
        layout(name)


def test_no_format_is_a_damaged_header() -> None:
    """A video whose header names no format says so."""
    with pytest.raises(InputError, match="unknown"):
        layout(None)


def test_a_colour_names_the_format_it_is_stored_in() -> None:
    """The format that frames of a colour have is found from the colour alone."""
    assert stored(Colour(matrix="bt709", full_range=False, siting="left", depth=12, across=2, down=1)) == "yuv422p12le"
    assert planar("yuv", 10, 4, 1) is None


PACKED = [
    *("nv12", "nv21", "nv16", "nv24", "p010le", "p012le", "p016le", "p210le", "yuyv422", "uyvy422", "y210le"),
    *("yuv420p10be", "yuv444p16be", "yuvj420p", "yuvj444p", "yuva420p", "yuva444p10le", "vuya", "xv30le"),
    *("rgb24", "bgr24", "bgr0", "argb", "rgba", "rgb48le", "rgba64be", "x2rgb10le", "gbrp10be", "gbrap", "gbrap12le"),
    *("gray10be", "gray16be", "ya8", "ya16le"),
]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("span", [0, 1, 2])
def test_no_code_value_changes_on_the_way_to_planes(name: str, span: int) -> None:
    """Random samples written into a format plane by plane, or by FFmpeg's own packing, come back as they were."""
    how = layout(name)
    rng = np.random.default_rng(7)
    source = av.VideoFrame(WIDTH, HEIGHT, how.planar)
    for plane in source.planes:
        rows = np.frombuffer(plane, np.uint8 if how.depth == 8 else np.uint16).reshape(plane.height, -1)
        rows[:] = rng.integers(0, 1 << how.depth, rows.shape)
    if (
        name.startswith("yuvj")
        or (name.startswith(("yuva", "gbrap")) and name.endswith("le"))
        or name in ("yuva420p", "gbrap")
    ):
        made = av.VideoFrame(WIDTH, HEIGHT, name)  # the same planes, and alpha after them
        for target, plane in zip(made.planes, source.planes, strict=False):
            target.update(bytes(plane))
    else:
        made = source.reformat(format=name, src_color_range=2, dst_color_range=2)
    made.color_range = span
    due = planes_of(source, how)
    got = planes_of(made, how)
    assert all(np.array_equal(a, b) for a, b in zip(got, due, strict=True))


def test_interleaved_chroma_is_told_apart() -> None:
    """NV12 and P010, written by hand: U and V are where they belong, and the ten bits are the upper ones."""
    nv12 = av.VideoFrame(4, 2, "nv12")
    for plane, values in zip(nv12.planes, ([1, 2, 3, 4, 5, 6, 7, 8], [10, 20, 11, 21]), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        rows[:, :4] = np.array(values).reshape(-1, 4)
    y, u, v = planes_of(nv12, layout("nv12"))
    assert (y.tolist(), u.tolist(), v.tolist()) == ([[1, 2, 3, 4], [5, 6, 7, 8]], [[10, 11]], [[20, 21]])
    p010 = av.VideoFrame(4, 2, "p010le")
    for plane in p010.planes:
        np.frombuffer(plane, np.uint16)[:] = 700 << 6
    assert all((plane == 700).all() for plane in planes_of(p010, layout("p010le")))
