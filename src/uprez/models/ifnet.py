"""RIFE's IFNet of the versions 4.25 and 4.26 as ONNX graphs for one size, built from its weights.

Two graphs, because a frame takes part in two pairs and its features depend on it alone:

    rgb of one frame -> head -> layers [1, 7, H, W]: red, green, blue and four features
    layers of two frames, timestep -> between -> rgb of the frame in between

Five blocks, coarse to fine, each refine the flow from the frame in between to either side and a mask that blends the
two. The reference (Practical-RIFE's IFNet_HDv3, https://github.com/hzwer/Practical-RIFE, MIT) brings everything to full
size after each block and reduces it again before the next. Here mask and features, which come from the last block
alone, go to the next one's size directly: bilinear enlargement by s followed by reduction by s/2 is the same as
bilinear enlargement by 2, because both samples that the reduction averages lie between the same two of the coarse ones.
(Of the flow, a sum over several blocks, that does not hold.) Pictures are warped only where the next block looks at
them. What comes out differs from the reference by rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from uprez.models.builder import Builder

SCALES = (16, 8, 4, 2, 1)
"""By how much each block's picture is smaller, at flow scale 1."""
CHANNELS = (192, 128, 96, 64, 32)
"""Of each block."""
LAYERS = 7
"""Of a frame: its colours, then its features."""
RESIDUALS = 8
"""Convolutions of a block between its first two and its last."""
PAD_PX = 64
"""Sides must be multiples of this at flow scale 1: the coarsest block works at a quarter of a sixteenth."""
_SLOPE = 0.2
_MASK, _OUTPUTS = 4, 13
"""Of a block: four outputs of flow, one of mask, eight features."""

Weights = Mapping[str, NDArray[np.float32]]
"""A state dict by PyTorch's names, without "module."."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What the graphs are made for."""

    width: int
    height: int
    """Of the padded picture: multiples of PAD_PX over the flow scale."""
    flow_scale: Fraction = Fraction(1)
    """1, or less where motion is to be looked for in a smaller picture."""

    @property
    def scales(self) -> tuple[int, ...]:
        """Give by how much each block's picture is smaller."""
        return tuple(int(scale / self.flow_scale) for scale in SCALES)


def padded(side: int, flow_scale: Fraction) -> int:
    """Give the side that a picture's side is padded to, on the right and at the bottom."""
    multiple = int(PAD_PX / flow_scale)
    return -(-side // multiple) * multiple


class Network:
    """Writes the two networks into graphs."""

    def __init__(self, b: Builder, weights: Weights, size: Size, *, half: bool = False) -> None:
        """`half`: convolutions compute in float16. Flow and warps never do: beyond 2,048 it has no single pixels."""
        self._b = b
        self._weights = weights
        self._size = size
        self._half = half

    def head(self, name: str, rgb: str) -> str:
        """Give the four features of [1, 3, H, W] in 0-1, as [1, 4, H, W]."""
        x = self._to_half(f"{name}/in", rgb)
        x = self._leaky(f"{name}/relu0", self._conv(f"{name}/cnn0", "encode.cnn0", x, stride=2))
        x = self._leaky(f"{name}/relu1", self._conv(f"{name}/cnn1", "encode.cnn1", x))
        x = self._leaky(f"{name}/relu2", self._conv(f"{name}/cnn2", "encode.cnn2", x))
        return self._from_half(f"{name}/out", self._doubled(f"{name}/cnn3", "encode.cnn3", x))

    def between(self, name: str, left: str, right: str, whole: tuple[str, str], timestep: str) -> str:
        """Give the frame at a share of the way between two, [1, 3, H, W].

        `left` and `right` are what the network sees (layers, colours in 0-1), `whole` the pictures to be warped at the
        end [1, 3, H, W], `timestep` one number above 0 and below 1.
        """
        b = self._b
        pair = b.node("Concat", f"{name}/pair", left, right, axis=0)
        flow = rest = ""
        for number, scale in enumerate(self._size.scales):
            block = f"{name}/block{number}"
            layers = [self._seen(f"{block}/seen", pair, flow, scale), self._time(f"{block}/time", timestep, scale)]
            if flow:
                # The mask and the features from the grid of the block before, half as fine; the flow from full size.
                reduced = self._reduced(f"{block}/flow_before", flow, scale)
                layers += [
                    self._larger(f"{block}/rest_before", rest, 2),
                    self._times(f"{block}/in", reduced, 1 / scale),
                ]
            out = self._block(block, number, b.node("Concat", f"{block}/layers", *layers, axis=1))
            change = self._times(f"{block}/change", self._b.part(f"{block}/flow_out", out, 1, 0, _MASK), scale)
            change = self._larger(f"{block}/full", change, scale)
            flow = b.node("Add", f"{block}/flow", flow, change) if flow else change
            rest = self._b.part(f"{block}/rest", out, 1, _MASK, _OUTPUTS)
        mask = self._larger(f"{name}/mask_full", self._b.part(f"{name}/mask", rest, 1, 0, 1), self._size.scales[-1])
        pictures = b.node("Concat", f"{name}/whole", *whole, axis=0)
        first, second = self._halves(f"{name}/side", self._warp(f"{name}/warped", pictures, flow, 1, (0, 0)))
        share = b.node("Sigmoid", f"{name}/share", mask)
        apart = b.node("Sub", f"{name}/apart", first, second)
        return b.node("Add", f"{name}/out", second, b.node("Mul", f"{name}/shared", apart, share))

    def _block(self, name: str, number: int, x: str) -> str:
        b, key = self._b, f"block{number}"
        x = self._to_half(f"{name}/half", x)
        for step in range(2):
            x = self._conv(f"{name}/conv{step}", f"{key}.conv0.{step}.0", x, stride=2)
            x = self._leaky(f"{name}/relu{step}", x)
        for step in range(RESIDUALS):
            at = f"{key}.convblock.{step}"
            # relu(conv(x) * beta + x): beta goes into the convolution.
            beta = self._weights[f"{at}.beta"].reshape(-1)
            weight = self._weights[f"{at}.conv.weight"] * beta[:, None, None, None]
            bias = self._weights[f"{at}.conv.bias"] * beta
            made = self._convolution(f"{name}/res{step}", x, weight, bias)
            x = self._leaky(f"{name}/res_relu{step}", b.node("Add", f"{name}/res_sum{step}", made, x))
        x = self._doubled(f"{name}/last", f"{key}.lastconv.0", x)
        return self._from_half(f"{name}/out", b.node("DepthToSpace", f"{name}/cells", x, blocksize=2, mode="CRD"))

    def _seen(self, name: str, pair: str, flow: str, scale: int) -> str:
        """Give both frames' layers as the block sees them: warped by the flow so far, and reduced; [1, 14, h, w]."""
        b = self._b
        if not flow:
            seen = self._reduced(name, pair, scale)
        elif scale == 1:
            seen = self._warp(name, pair, flow, 1, (0, 0))
        else:
            # The block looks at the mean of the four samples in the middle of each square of `scale` a side.
            middle = scale // 2 - 1
            four = [
                self._warp(f"{name}/{down}{across}", pair, flow, scale, (middle + down, middle + across))
                for down in range(2)
                for across in range(2)
            ]
            seen = self._times(f"{name}/mean", b.node("Sum", f"{name}/sum", *four), 0.25)
        # Colours of both, then features of both: the order of the weights.
        first, second = self._halves(f"{name}/side", seen)
        parts = [
            self._b.part(f"{name}/{kind}{side}", tensor, 1, start, stop)
            for kind, start, stop in (("rgb", 0, 3), ("features", 3, LAYERS))
            for side, tensor in enumerate((first, second))
        ]
        return b.node("Concat", f"{name}/layers", *parts, axis=1)

    def _reduced(self, name: str, picture: str, scale: int) -> str:
        """Reduce by averaging the four samples in the middle of each square, as bilinear reduction does."""
        if scale == 1:
            return picture
        b, middle = self._b, scale // 2 - 1
        height, width = self._size.height, self._size.width
        cut = picture
        if middle:
            ends = (b.ints(f"{name}/first", middle, middle), b.ints(f"{name}/end", height, width))
            cut = b.node("Slice", f"{name}/cut", picture, *ends, b.ints(f"{name}/axes", 2, 3))
        return b.node("AveragePool", f"{name}/reduced", cut, kernel_shape=[2, 2], strides=[scale, scale])

    def _warp(self, name: str, pictures: str, flow: str, step: int, at: tuple[int, int]) -> str:
        """Fetch [2, C, H, W] from where the flow [1, 4, H, W] in pixels points; of every `step`th sample from `at`."""
        b, size = self._b, self._size
        height, width = size.height // step, size.width // step
        if step > 1:
            places = [b.ints(f"{name}/first", *at), b.ints(f"{name}/end", size.height, size.width)]
            places += [b.ints(f"{name}/axes", 2, 3), b.ints(f"{name}/step", step, step)]
            flow = b.node("Slice", f"{name}/flow", flow, *places)
        sides = b.node("Reshape", f"{name}/sides", flow, b.ints(f"{name}/sides_shape", 2, 2, height, width))
        turned = b.node("Transpose", f"{name}/turned", sides, perm=[0, 2, 3, 1])
        per_px = np.array([2 / (size.width - 1), 2 / (size.height - 1)], np.float32)
        moved = b.node("Mul", f"{name}/moved", turned, b.const(f"{name}/per_px", per_px))
        columns = np.linspace(-1, 1, size.width)[at[1] :: step][:width]
        rows = np.linspace(-1, 1, size.height)[at[0] :: step][:height]
        grid = np.stack(np.meshgrid(columns, rows), axis=-1).astype(np.float32)[None]
        places_ = b.node("Add", f"{name}/grid", moved, b.const(f"{name}/still", grid))
        return b.node("GridSample", name, pictures, places_, mode="bilinear", padding_mode="border", align_corners=1)

    def _time(self, name: str, timestep: str, scale: int) -> str:
        shape = self._b.ints(f"{name}_shape", 1, 1, self._size.height // scale, self._size.width // scale)
        return self._b.node("Expand", name, timestep, shape)

    def _times(self, name: str, x: str, factor: float) -> str:
        return x if factor == 1 else self._b.node("Mul", name, x, self._number(factor))

    def _larger(self, name: str, x: str, scale: int) -> str:
        if scale == 1:
            return x
        factors = self._b.const(f"{name}_scales", np.array([1, 1, scale, scale], np.float32))
        return self._b.node("Resize", name, x, "", factors, mode="linear", coordinate_transformation_mode="half_pixel")

    def _halves(self, name: str, pair: str) -> tuple[str, str]:
        return self._b.part(f"{name}0", pair, 0, 0, 1), self._b.part(f"{name}1", pair, 0, 1, 2)

    def _number(self, value: float) -> str:
        name = f"number_{value}"
        if all(tensor.name != name for tensor in self._b.initializers):
            self._b.scalar(name, value)
        return name

    def _conv(self, name: str, key: str, x: str, *, stride: int = 1) -> str:
        weight, bias = self._weights[f"{key}.weight"], self._weights[f"{key}.bias"]
        return self._convolution(name, x, weight, bias, stride=stride)

    def _convolution(
        self, name: str, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32], *, stride: int = 1
    ) -> str:
        b = self._b
        inputs = (x, self._tensor(f"{name}.weight", weight), self._tensor(f"{name}.bias", bias))
        return b.node("Conv", name, *inputs, pads=[1, 1, 1, 1], strides=[stride, stride])

    def _doubled(self, name: str, key: str, x: str) -> str:
        b = self._b
        weight = self._tensor(f"{name}.weight", self._weights[f"{key}.weight"])
        bias = self._tensor(f"{name}.bias", self._weights[f"{key}.bias"])
        return b.node("ConvTranspose", name, x, weight, bias, pads=[1, 1, 1, 1], strides=[2, 2])

    def _tensor(self, name: str, values: NDArray[np.float32]) -> str:
        return self._b.const(name, values.astype(np.float16) if self._half else values)

    def _to_half(self, name: str, x: str) -> str:
        return self._b.node("Cast", name, x, to=TensorProto.FLOAT16) if self._half else x

    def _from_half(self, name: str, x: str) -> str:
        return self._b.node("Cast", name, x, to=TensorProto.FLOAT) if self._half else x

    def _leaky(self, name: str, x: str) -> str:
        made = helper.make_node("LeakyRelu", [x], [name], name=name, alpha=_SLOPE)
        self._b.nodes.append(made)
        return name
