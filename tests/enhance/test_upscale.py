"""Upscaling: the shipped graph equals ncnn's own runtime, and frames keep their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ncnn
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from plain import VIDEO
from uprez.enhance.session import open_session
from uprez.enhance.upscale import Means, open_upscaler
from uprez.errors import ModelError
from uprez.job import Colour, Turn, Video
from uprez.media.frame import Frame
from uprez.media.target import Target
from uprez.models import MODELS
from uprez.models.graphs import RGB_OUTPUTS, GraphSpec, planes_graph
from uprez.models.importers import read_srvgg
from uprez.models.networks import srvgg

Planes = tuple[NDArray[np.uint8], ...]
FAMILIES = ("openvino", "cpu")
COLOUR = Colour(matrix="bt601", full_range=False, siting="left")


def video(width: int, height: int, depth: int = 8) -> Video:
    """A video of the given size, 601 and limited range."""
    return replace(
        VIDEO,
        width=width,
        height=height,
        pix_fmt="yuv420p" if depth == 8 else f"yuv420p{depth}le",
        colour=replace(COLOUR, depth=depth),
    )


def result(colour: Colour, width: int, height: int) -> Target:
    """A result of this size."""
    return Target(codec="ffv1", width=width, height=height, colour=colour)


def grey(width: int, height: int, pts: int) -> Frame:
    """A flat frame."""
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return Frame(planes=tuple(np.full(shape, 120, np.uint8) for shape in shapes), pts=pts)


@pytest.fixture(scope="module")
def network(ncnn_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted network, as a file."""
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    onnx.save_model(srvgg(read_srvgg(*(file.read_bytes() for file in ncnn_files))), path)
    return path


def reference(files: tuple[Path, Path], rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the published files on ncnn's own runtime, in full precision on the CPU; (3, H, W) in and out."""
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 2
    assert net.load_param(str(files[0])) == 0
    assert net.load_model(str(files[1])) == 0
    with net.create_extractor() as extractor:
        extractor.input("data", ncnn.Mat(np.ascontiguousarray(rgb)))
        status, result = extractor.extract("output")
    assert status == 0
    return np.array(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "number", "size"),
    [
        pytest.param("bikes.mp4", 3, (320, 136), marks=pytest.mark.long("longer")),
        pytest.param("bikes.mp4", 120, (320, 136), marks=pytest.mark.long("longer")),
        ("bigbuckbunny.mp4", 60, (320, 180)),
    ],
)
def test_the_network_equals_ncnns_runtime(
    ncnn_files: tuple[Path, Path],
    network: Path,
    clip_frame: Callable[[str, int, tuple[int, int]], Planes],
    clip: str,
    number: int,
    size: tuple[int, int],
) -> None:
    """On whole real frames, the shipped graph in the shipped session gives ncnn's RGB to within 1/255 everywhere."""
    spec = GraphSpec(
        width=size[0],
        height=size[1],
        out_width=2 * size[0],
        out_height=2 * size[1],
        native_scale=4,
        source=COLOUR,
        target=COLOUR,
        expose_rgb=True,
    )
    graph = planes_graph(onnx.load_model(network), spec)
    session = open_session(lambda *_: graph, families=FAMILIES, threads=2)
    tensors = session.call(dict(zip("yuv", clip_frame(clip, number, size), strict=True)), RGB_OUTPUTS)
    before, after = (tensors[name].astype(np.float32)[0] for name in RGB_OUTPUTS)
    expected = reference(ncnn_files, before)
    assert after.shape == expected.shape == (3, 4 * size[1], 4 * size[0])
    assert np.ptp(expected) > 0.5
    assert np.abs(after - expected).max() <= 1 / 255


def test_a_frame_keeps_its_pts_and_takes_the_asked_size(network: Path) -> None:
    """The real model at scale 1.5 gives a frame of the asked size at the time of its source frame."""
    upscaler = open_upscaler(
        network,
        MODELS["realesr-animevideov3"],
        video(64, 48),
        result(COLOUR, 96, 72),
        Means(families=FAMILIES, threads=2),
    )
    made = upscaler(grey(64, 48, 1234))
    assert made.pts == 1234
    assert [plane.shape for plane in made.planes] == [(72, 96), (36, 48), (36, 48)]
    assert all(plane.flags.c_contiguous and plane.dtype == np.uint8 for plane in made.planes)
    assert upscaler.session.family in FAMILIES


def test_a_frame_does_not_change_when_the_next_one_runs() -> None:
    """Each result owns its planes: the pipeline holds several at a time."""
    upscaler = open_upscaler(
        None, MODELS["lanczos"], video(64, 48), result(COLOUR, 128, 96), Means(families=["cpu"], threads=1)
    )
    first = upscaler(grey(64, 48, 0))
    kept = [plane.copy() for plane in first.planes]
    upscaler(Frame(planes=tuple(plane + 50 for plane in grey(64, 48, 1).planes), pts=1))
    assert all(np.array_equal(a, b) for a, b in zip(first.planes, kept, strict=True))


def test_identity_refuses_another_size() -> None:
    """The identity model asked for another size raises ModelError that names both sizes."""
    with pytest.raises(ModelError, match="64x48 cannot become 128x96"):
        open_upscaler(
            None, MODELS["identity"], video(64, 48), result(COLOUR, 128, 96), Means(families=["cpu"], threads=1)
        )


@pytest.mark.parametrize(("depth", "code"), [(10, 1000), (12, 4000)])
def test_deeper_samples_come_back_as_they_are(depth: int, code: int) -> None:
    """Code values of 10 and 12 bits pass through the identity model's graph unchanged, as uint16."""
    colour = Colour(matrix="bt2020", full_range=False, siting="topleft", depth=depth)
    source = replace(video(64, 48, depth), colour=colour)
    upscaler = open_upscaler(
        None, MODELS["identity"], source, result(colour, 64, 48), Means(families=FAMILIES, threads=1)
    )
    ramp = np.linspace(0, code, 64 * 48).round().astype(np.uint16).reshape(48, 64)
    grey = np.full((24, 32), 1 << (depth - 1), np.uint16)
    made = upscaler(Frame(planes=(ramp, grey, grey), pts=3))
    assert {plane.dtype for plane in made.planes} == {np.dtype(np.uint16)}
    assert np.array_equal(made.planes[0], ramp)
    assert np.array_equal(made.planes[1], grey)


def test_a_turned_video_comes_out_upright() -> None:
    """A phone's portrait video is turned, and its sides change places."""
    source = replace(video(64, 48), turn=Turn(quarters=1))
    upscaler = open_upscaler(
        None, MODELS["identity"], source, result(COLOUR, 48, 64), Means(families=FAMILIES, threads=1)
    )
    luma = np.random.default_rng(1).integers(16, 235, (48, 64), dtype=np.uint8)
    grey = np.full((24, 32), 128, np.uint8)
    made = upscaler(Frame(planes=(luma, grey, grey), pts=0))
    assert np.abs(made.planes[0].astype(int) - np.rot90(luma, -1)).max() <= 1


def test_a_missing_network_file_is_a_model_error(tmp_path: Path) -> None:
    """A network that is not on the disk raises ModelError with its path and the way to get it."""
    with pytest.raises(ModelError, match=r"gone\.onnx") as caught:
        open_upscaler(
            tmp_path / "gone.onnx",
            MODELS["realesr-animevideov3"],
            video(64, 48),
            result(COLOUR, 128, 96),
            Means(families=["cpu"], threads=1),
        )
    assert caught.value.hint is not None
